/* The files of a run: OUT, its side file, the journal while it is under way, and OUT.meta.json. */
#define _GNU_SOURCE
#include "batch/label_int.h"

#include "base/map.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool to_stdout(const qg_label_run *run)
{
    return !strcmp(run->opt->out, "-");
}

static bool exists(const char *path)
{
    struct stat st;
    return path[0] && stat(path, &st) == 0;
}

/* ---- names and identity ---------------------------------------------------------------------- */

static qg_status name_one(char *path, size_t n, const char *out, const char *end, qg_err *err)
{
    if (snprintf(path, n, "%s%s", out, end) >= (int)n)
        return qg_fail(err, QG_ERR_TOO_LONG, "%s: the name is too long", out);
    return QG_OK;
}

static qg_status name_all(qg_label_run *run, qg_err *err)
{
    const char *out = run->opt->out, *errors = run->opt->errors;
    if (errors)
        QG_TRY(name_one(run->errors_path, sizeof run->errors_path, errors, "", err));
    if (to_stdout(run))
        return QG_OK;
    if (!errors)
        QG_TRY(name_one(run->errors_path, sizeof run->errors_path, out, ".errors.jsonl", err));
    QG_TRY(name_one(run->journal_path, sizeof run->journal_path, out, ".journal", err));
    return name_one(run->meta_path, sizeof run->meta_path, out, ".meta.json", err);
}

static json_t *string_or_null(const char *s)
{
    return s && *s ? json_string(s) : json_null();
}

static qg_status make_identity(qg_label_run *run, qg_err *err)
{
    const qg_label_options *o = run->opt;
    char shard[32];
    QG_TRY(qg_ident_of(&run->ident, o->engine, &o->opened, err));
    snprintf(shard, sizeof shard, "%u/%u", o->shard, o->n_shards);
    run->identity = json_pack(
        "{s:s,s:s,s:o,s:s,s:o,s:s,s:s,s:o,s:o,s:o}", "format", "qguard label 1", "version",
        QG_VERSION, "model", qg_ident_json(&run->ident, o->engine, o->decode, o->special),
        "template_sha256", run->ident.shown, "policy_sha256", string_or_null(run->policy.hash),
        "shard", shard, "output", qg_output_kind(o->out), "where", string_or_null(o->where_text),
        "prompt_field", string_or_null(o->fields.prompt), "response_field",
        string_or_null(o->fields.response));
    return run->identity ? QG_OK : qg_fail(err, QG_ERR_ARG, "a name is not UTF-8");
}

static qg_status open_cache(qg_label_run *run, qg_err *err)
{
    const qg_label_options *o = run->opt;
    if (!o->cache)
        return QG_OK;
    char *text = qg_ident_of_verdicts(&run->ident, o->engine, o->decode, o->special);
    qg_status rc = text ? qg_cache_open(&run->cache, o->cache, text, err)
                        : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(text);
    return rc;
}

/* ---- what a run says of itself --------------------------------------------------------------- */

static qg_status add_counts(qg_label_run *run, json_t *o, bool complete)
{
    const qg_counts *c = &run->at.counts;
    json_t *severity = json_object();
    char sum[20];
    for (int i = 0; i < 3; i++)
        json_object_set_new(severity, qg_severity_name((qg_severity)i),
                            json_integer(c->severity[i]));
    json_object_set_new(o, "input", json_string(run->opt->in));
    json_object_set_new(o, "complete", json_boolean(complete));
    json_object_set_new(o, "rows",
                        json_pack("{s:I,s:I,s:I,s:I}", "lines", (json_int_t)c->lines, "judged",
                                  (json_int_t)c->judged, "kept", (json_int_t)c->kept, "failed",
                                  (json_int_t)c->failed));
    json_object_set_new(o, "severity", severity);
    snprintf(sum, sizeof sum, "%016llx", (unsigned long long)run->at.in.sum);
    json_object_set_new(o, "last_line",
                        json_pack("{s:I,s:I,s:s}", "number", (json_int_t)run->at.in.number, "begin",
                                  (json_int_t)run->at.in.begin, "sum", sum));
    return json_object_set_new(o, "hits", json_integer(c->hits)) ? QG_ERR_NOMEM : QG_OK;
}

static bool write_whole(const char *path, const char *text)
{
    size_t n = strlen(text);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool fine = fd >= 0 && write(fd, text, n) == (ssize_t)n && write(fd, "\n", 1) == 1;
    fine = fine && fsync(fd) == 0;
    return (fd < 0 || close(fd) == 0) && fine;
}

static qg_status write_meta(qg_label_run *run, bool complete, qg_err *err)
{
    char fresh[sizeof run->meta_path + 8];
    json_t *o = json_copy(run->identity);
    char *text = o && add_counts(run, o, complete) == QG_OK ? qg_json_dump(o) : NULL;
    qg_status rc = text ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    snprintf(fresh, sizeof fresh, "%s.new", run->meta_path);
    if (rc == QG_OK && (!write_whole(fresh, text) || rename(fresh, run->meta_path)))
        rc = qg_fail(err, QG_ERR_IO, "%s: %s", run->meta_path, strerror(errno));
    qg_mfree(text);
    json_decref(o);
    qg_sync_folder_of(run->meta_path);
    return rc;
}

/* ---- beginning ------------------------------------------------------------------------------- */

/* The output must not be written over what is being read. */
static qg_status not_the_input(const qg_label_run *run, const char *path, qg_err *err)
{
    struct stat in, out;
    if (!path[0] || stat(run->opt->in, &in) || stat(path, &out) || in.st_dev != out.st_dev ||
        in.st_ino != out.st_ino)
        return QG_OK;
    return qg_fail(err, QG_ERR_ARG, "%s: input and output are the same file", path);
}

static qg_status begin_journal(qg_label_run *run, const char *identity, bool resume, qg_err *err)
{
    if (resume)
        return qg_journal_resume(&run->journal, run->journal_path, identity, &run->at, err);
    QG_TRY(qg_journal_begin(&run->journal, run->journal_path, identity, err));
    unlink(run->meta_path);
    return QG_OK;
}

/* Which run this is: a new one, one that goes on, or none. */
static qg_status find_place(qg_label_run *run, qg_label_summary *summary, qg_err *err)
{
    const qg_label_options *o = run->opt;
    bool begun = exists(run->journal_path), there = exists(o->out);
    QG_TRY(not_the_input(run, o->out, err));
    QG_TRY(not_the_input(run, run->errors_path, err));
    if ((begun || there) && !o->resume && !o->force)
        return qg_fail(err, QG_ERR_ARG,
                       "%s: there is such an output: --resume goes on with it, --force writes it "
                       "anew",
                       o->out);
    if (there && !begun && !o->force) {
        summary->nothing_left = true;
        return qg_label_read_meta(run, err);
    }
    char *identity = qg_json_dump(run->identity);
    qg_status rc = identity ? begin_journal(run, identity, begun && o->resume, err)
                            : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(identity);
    return rc;
}

static qg_status open_files(qg_label_run *run, qg_err *err)
{
    QG_TRY(qg_source_open(&run->source, run->opt->in, err));
    QG_TRY(qg_source_skip(run->source, &run->at.in, err));
    QG_TRY(qg_output_open(&run->out, run->opt->out, run->at.out, err));
    if (run->at.wrong)
        QG_TRY(qg_output_open(&run->errors, run->errors_path, run->at.wrong, err));
    else if (run->errors_path[0])
        unlink(run->errors_path);
    return open_cache(run, err);
}

qg_status qg_label_begin(qg_label_run *run, qg_label_summary *summary, qg_err *err)
{
    QG_TRY(name_all(run, err));
    QG_TRY(make_identity(run, err));
    if (!to_stdout(run))
        QG_TRY(find_place(run, summary, err));
    summary->resumed = run->at.counts.lines > 0;
    summary->before = run->at.counts.lines;
    summary->nothing_left |= run->at.done;
    if (summary->nothing_left)
        return qg_label_no_more(run, err);
    QG_TRY(open_files(run, err));
    return to_stdout(run) ? QG_OK : write_meta(run, false, err);
}

/* ---- going on and ending --------------------------------------------------------------------- */

qg_status qg_label_checkpoint(qg_label_run *run, bool done, qg_err *err)
{
    QG_TRY(qg_output_sync(run->out, &run->at.out, err));
    if (run->errors)
        QG_TRY(qg_output_sync(run->errors, &run->at.wrong, err));
    if (run->cache)
        QG_TRY(qg_cache_commit(run->cache, err));
    run->at.done = done;
    return run->journal ? qg_journal_write(run->journal, &run->at, err) : QG_OK;
}

qg_status qg_label_wrong(qg_label_run *run, const char *line, qg_err *err)
{
    if (!run->errors && run->errors_path[0])
        QG_TRY(qg_output_open(&run->errors, run->errors_path, 0, err));
    if (run->errors) {
        QG_TRY(qg_output_add(run->errors, qg_str(line), err));
        return qg_output_add(run->errors, qg_str("\n"), err);
    }
    if (run->opt->wrong)
        run->opt->wrong(run->opt->ud, line);
    return QG_OK;
}

qg_status qg_label_finish(qg_label_run *run, qg_err *err)
{
    if (!run->journal)
        return QG_OK;
    QG_TRY(write_meta(run, true, err));
    qg_journal_close(run->journal, true);
    run->journal = NULL;
    return QG_OK;
}

void qg_label_end(qg_label_run *run)
{
    qg_source_close(run->source);
    qg_output_close(run->out);
    qg_output_close(run->errors);
    qg_cache_close(run->cache);
    qg_journal_close(run->journal, false);
    qg_batch_policy_close(&run->policy);
    json_decref(run->identity);
    qg_buf_free(&run->value);
    qg_buf_free(&run->line);
}
