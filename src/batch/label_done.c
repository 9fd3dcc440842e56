/* What is to be seen of a run that was finished, when somebody wants to go on with it. */
#include "batch/label_int.h"

#include "base/map.h"
#include "batch/pipeline.h"

#include <stdlib.h>

static int64_t number_in(const json_t *meta, const char *group, const char *name)
{
    const json_t *o = group ? json_object_get(meta, group) : meta;
    return json_integer_value(json_object_get(o, name));
}

static void read_counts(qg_counts *c, const json_t *meta)
{
    c->lines = number_in(meta, "rows", "lines");
    c->judged = number_in(meta, "rows", "judged");
    c->kept = number_in(meta, "rows", "kept");
    c->failed = number_in(meta, "rows", "failed");
    c->hits = number_in(meta, NULL, "hits");
    for (int i = 0; i < 3; i++)
        c->severity[i] = number_in(meta, "severity", qg_severity_name((qg_severity)i));
}

static void read_place(qg_place *at, const json_t *meta)
{
    const char *sum = json_string_value(json_object_get(json_object_get(meta, "last_line"), "sum"));
    at->number = number_in(meta, "last_line", "number");
    at->begin = (uint64_t)number_in(meta, "last_line", "begin");
    at->sum = sum ? strtoull(sum, NULL, 16) : 0;
}

qg_status qg_label_read_meta(qg_label_run *run, qg_err *err)
{
    qg_map map;
    json_t *meta = NULL;
    if (qg_map_open(&map, run->meta_path, NULL) == QG_OK) {
        qg_json_parse(qg_slice_of((const char *)map.data, map.size), 0, &meta, NULL);
        qg_map_close(&map);
    }
    qg_status rc =
        json_is_true(json_object_get(meta, "complete"))
            ? qg_identity_same(run->meta_path, meta, run->identity, err)
            : qg_fail(err, QG_ERR_ARG, "%s: not the output of a run that can be gone on with",
                      run->opt->out);
    if (rc == QG_OK) {
        read_counts(&run->at.counts, meta);
        read_place(&run->at.in, meta);
    }
    json_decref(meta);
    return rc;
}

qg_status qg_label_no_more(qg_label_run *run, qg_err *err)
{
    const qg_label_options *o = run->opt;
    qg_line line;
    bool more = true;
    QG_TRY(qg_source_open(&run->source, o->in, err));
    QG_TRY(qg_source_skip(run->source, &run->at.in, err));
    for (;;) {
        QG_TRY(qg_source_next(run->source, &line, &more, err));
        if (!more)
            return QG_OK;
        if (qg_pipeline_wants(&line, o->shard, o->n_shards))
            return qg_fail(err, QG_ERR_ARG,
                           "%s: line %lld: there are more lines than when %s was finished; begin "
                           "anew with --force",
                           o->in, (long long)line.place.number, o->out);
    }
}
