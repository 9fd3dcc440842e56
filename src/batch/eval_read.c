/* Labelled rows with their verdicts, judged now or read. */
#define _GNU_SOURCE
#include "batch/eval.h"

#include "base/limits.h"
#include "base/mem.h"
#include "batch/ident.h"
#include "batch/pipeline.h"
#include "batch/view.h"
#include "serve/outcome.h"

#include <stdio.h>

typedef struct reader {
    qg_eval_set *set;
    qg_batch_policy policy;
} reader;

static qg_status add_row(qg_eval_set *set, const qg_eval_row *row, qg_err *err)
{
    if (set->n == set->cap) {
        size_t cap = set->cap ? 2 * set->cap : 1024;
        qg_eval_row *rows =
            cap <= QG_MAX_EVAL_ROWS ? qg_realloc_array(set->rows, cap, sizeof *rows) : NULL;
        if (!rows)
            return qg_fail(err, QG_ERR_NOMEM, "%s: too many rows", set->name);
        set->rows = rows;
        set->cap = cap;
    }
    set->rows[set->n++] = *row;
    return QG_OK;
}

static void failed(qg_eval_set *set, int64_t line, const qg_err *err)
{
    if (set->failed++ == 0) {
        set->failed_line = line;
        set->failed_err = *err;
    }
}

static bool is_hit(const reader *r, const qg_said *said)
{
    qg_result result;
    qg_outcome o;
    qg_said_result(said, &result);
    qg_outcome_of(&o, &r->policy.view, &result);
    return o.hit;
}

/* Its label and, when judged is NULL, its verdict stand in the line. */
static qg_status take_line(reader *r, qg_slice line, int64_t number, const qg_verdict_of *judged,
                           qg_err *err)
{
    qg_eval_row row = {.line = number};
    json_t *root = NULL;
    qg_err why;
    qg_status rc = qg_json_parse(line, QG_JSON_NUL | QG_JSON_REALS, &root, &why);
    if (rc == QG_OK)
        rc = qg_gold_read(&row, root, &r->set->arena, &why);
    if (judged) {
        row.said = judged->said;
        row.us = judged->us;
    } else if (rc == QG_OK) {
        rc = qg_gold_verdict(&row.said, root, &why);
    }
    json_decref(root);
    if (rc != QG_OK) {
        failed(r->set, number, &why);
        return QG_OK;
    }
    row.hit = is_hit(r, &row.said);
    return add_row(r->set, &row, err);
}

static qg_status take(void *ud, const qg_item *item, qg_err *err)
{
    reader *r = ud;
    qg_verdict_of v;
    qg_err several;
    if (item->status != QG_OK) {
        failed(r->set, item->place.number, &item->err);
        return QG_OK;
    }
    if (item->row.n != 1) {
        qg_fail(&several, QG_ERR_FORMAT, "the row has several texts and one label");
        failed(r->set, item->place.number, &several);
        return QG_OK;
    }
    qg_item_verdict(item, 0, &r->policy.view, &v);
    return take_line(r, qg_slice_of(item->line, item->n), item->place.number, &v, err);
}

static qg_status open_cache(qg_cache **cache, const qg_eval_options *opt, qg_err *err)
{
    qg_ident ident;
    *cache = NULL;
    if (!opt->cache)
        return QG_OK;
    QG_TRY(qg_ident_of(&ident, opt->engine, &opt->opened, err));
    char *what = qg_ident_of_verdicts(&ident, opt->engine, opt->decode, opt->special);
    qg_status rc = what ? qg_cache_open(cache, opt->cache, what, err)
                        : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(what);
    return rc;
}

static qg_status judge_all(reader *r, qg_source *source, const qg_eval_options *opt, qg_err *err)
{
    qg_cache *cache;
    QG_TRY(open_cache(&cache, opt, err));
    const qg_pipeline_options pipeline = {
        .engine = opt->engine,
        .decode = opt->decode,
        .concurrency = opt->concurrency,
        .rules = r->policy.rules,
        .view = &r->policy.view,
        .fields = opt->fields,
        .n_shards = 1,
        .cache = cache,
    };
    int64_t start = qg_now_us();
    qg_status rc = qg_pipeline_run(&pipeline, source, take, r, err);
    r->set->seconds = (double)(qg_now_us() - start) / 1e6;
    qg_cache_close(cache);
    return rc;
}

static qg_status read_judged(reader *r, qg_source *source, qg_err *err)
{
    qg_line line;
    bool more = true;
    while (more) {
        QG_TRY(qg_source_next(source, &line, &more, err));
        if (more && !qg_row_is_blank(line.text))
            QG_TRY(take_line(r, line.text, line.place.number, NULL, err));
    }
    return QG_OK;
}

qg_status qg_eval_read(qg_eval_set *set, const char *path, const qg_eval_options *opt, qg_err *err)
{
    reader r = {.set = set};
    qg_source *source = NULL;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    *set = (qg_eval_set){.name = qg_memdup0(name, strcspn(name, "."))};
    qg_arena_init(&set->arena, QG_MAX_TEXT_BYTES);
    if (!set->name)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_status rc = qg_batch_policy_open(&r.policy, opt->policy, opt->engine, err);
    if (rc == QG_OK)
        rc = qg_source_open(&source, path, err);
    if (rc == QG_OK)
        rc = opt->engine ? judge_all(&r, source, opt, err) : read_judged(&r, source, err);
    if (rc == QG_OK && set->n == 0 && set->failed)
        rc = qg_fail(err, QG_ERR_FORMAT, "%s: line %lld: %s", path, (long long)set->failed_line,
                     set->failed_err.msg);
    else if (rc == QG_OK && set->n == 0)
        rc = qg_fail(err, QG_ERR_FORMAT, "%s: no rows", path);
    qg_source_close(source);
    qg_batch_policy_close(&r.policy);
    return rc;
}

void qg_eval_close(qg_eval_set *set)
{
    qg_mfree(set->name);
    qg_mfree(set->rows);
    qg_arena_free(&set->arena);
    *set = (qg_eval_set){.n = 0};
}

qg_status qg_eval_join(qg_eval_set *all, const qg_eval_set *sets, size_t n, qg_err *err)
{
    *all = (qg_eval_set){.name = qg_memdup0("all", 3)};
    qg_arena_init(&all->arena, QG_MAX_TEXT_BYTES);
    if (!all->name)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < sets[i].n; k++)
            QG_TRY(add_row(all, &sets[i].rows[k], err));
        all->failed += sets[i].failed;
        all->seconds += sets[i].seconds;
    }
    return QG_OK;
}
