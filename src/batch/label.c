/* One row after the other: verdicts into the line, the line into the output, and from time to time
 * a checkpoint. */
#define _GNU_SOURCE
#include "batch/label_int.h"

#include "base/limits.h"
#include "base/mem.h"
#include "serve/outcome.h"
#include "serve/windows.h"

enum { TELL_US = 500000 };

/* ---- the verdict ----------------------------------------------------------------------------- */

static qg_status add_windows(const qg_verdict_of *v, qg_buf *out)
{
    out->n--; /* the brace */
    QG_TRY(qg_buf_addf(out, ",\"windows\":{\"n\":%zu,\"decided_by\":", v->n_windows));
    if (v->decided_by < 0) /* a rule, of the whole text */
        return qg_buf_adds(out, "null}}");
    return qg_buf_addf(out, "%lld,\"begin\":%llu,\"end\":%llu}}", (long long)v->decided_by,
                       (unsigned long long)v->begin, (unsigned long long)v->end);
}

static bool worse(const qg_label_run *run, const qg_said *a, const qg_said *b)
{
    qg_result of_a, of_b;
    qg_said_result(a, &of_a);
    qg_said_result(b, &of_b);
    return qg_window_worse(&run->policy.view, &of_a, &of_b);
}

/* Into run->value: an object, or a list where the row has one.  worst: of all of them. */
static qg_status add_verdicts(qg_label_run *run, const qg_item *item, qg_said *worst, qg_err *err)
{
    const qg_policy_view *view = run->policy.policy ? &run->policy.view : NULL;
    qg_buf *out = &run->value;
    qg_verdict_of v;
    out->n = 0;
    for (size_t i = 0; i < item->row.n; i++) {
        qg_item_verdict(item, i, &run->policy.view, &v);
        if (item->row.list)
            QG_TRY(qg_buf_adds(out, i ? "," : "["));
        QG_TRY(qg_said_json(run->opt->engine, &v.said, view, out, err));
        run->asked_again += v.said.second != QG_SECOND_NONE;
        run->not_answered += v.said.second == QG_SECOND_FAILED;
        if (v.n_windows)
            QG_TRY(add_windows(&v, out));
        if (i == 0 || worse(run, &v.said, worst))
            *worst = v.said;
    }
    return item->row.list ? qg_buf_adds(out, "]") : QG_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static bool is_hit(const qg_label_run *run, const qg_said *said)
{
    qg_result r;
    qg_outcome o;
    qg_said_result(said, &r);
    qg_outcome_of(&o, &run->policy.view, &r);
    return o.hit;
}

/* The row's verdict is there: counts it and writes it where it is wanted.  *why: why it cannot be
 * written, which is the row's fault. */
static qg_status write_row(qg_label_run *run, const qg_item *item, qg_status *why, qg_err *reason,
                           qg_err *err)
{
    qg_said worst = {.severity = 0};
    qg_counts *c = &run->at.counts;
    *why = add_verdicts(run, item, &worst, reason);
    if (*why != QG_OK)
        return QG_OK;
    bool kept = qg_where_holds(&run->opt->where, &worst, &run->policy.view);
    run->line.n = 0;
    if (kept)
        *why = qg_row_label(qg_slice_of(item->line, item->n), qg_buf_slice(&run->value), &run->line,
                            reason);
    if (kept && *why == QG_OK)
        *why = qg_buf_adds(&run->line, "\n");
    if (*why != QG_OK)
        return QG_OK;
    c->judged++;
    c->kept += kept;
    c->severity[(int)worst.severity]++;
    c->hits += is_hit(run, &worst);
    run->bytes_since_cut += (int64_t)run->line.n;
    return kept ? qg_output_add(run->out, qg_buf_slice(&run->line), err) : QG_OK;
}

static qg_status write_wrong(qg_label_run *run, const qg_item *item, qg_status rc,
                             const qg_err *why, qg_err *err)
{
    json_t *o = json_pack("{s:I,s:{s:s,s:s}}", "line", (json_int_t)item->place.number, "error",
                          "code", qg_status_name(rc), "message", why->msg);
    if (!o)
        o = json_pack("{s:I,s:{s:s,s:s}}", "line", (json_int_t)item->place.number, "error", "code",
                      qg_status_name(rc), "message", "the sentence is not UTF-8");
    char *line = o ? qg_json_dump(o) : NULL;
    json_decref(o);
    run->at.counts.failed++;
    qg_status done =
        line ? qg_label_wrong(run, line, err) : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(line);
    return done;
}

/* ---- from time to time ----------------------------------------------------------------------- */

static void tell(qg_label_run *run, const qg_item *item, int64_t now)
{
    uint64_t size = qg_source_size(run->source);
    if (!run->opt->tell || now - run->told_us < TELL_US)
        return;
    run->told_us = now;
    if (run->lines <= 1)
        run->raw_begin = item->raw;
    qg_label_progress p = {.counts = run->at.counts,
                           .lines = run->lines,
                           .elapsed_us = now - run->start_us,
                           .part = -1,
                           .left_us = -1};
    if (size)
        p.part = (double)item->raw / (double)size;
    double done = size ? (double)(item->raw - run->raw_begin) / (double)size : 0;
    if (done > 0.001 && p.part <= 1)
        p.left_us = (int64_t)((double)p.elapsed_us / done * (1 - p.part));
    run->opt->tell(run->opt->ud, &p);
}

/* Members of a packed output end after so many rows or bytes, and only there can it be gone on
 * with; that decides its bytes, so no clock may. */
static qg_status cut_if_due(qg_label_run *run, bool *cut, qg_err *err)
{
    run->rows_since_cut++;
    *cut = run->rows_since_cut >= QG_CUT_ROWS || run->bytes_since_cut >= QG_CUT_BYTES;
    if (!*cut)
        return QG_OK;
    run->rows_since_cut = run->bytes_since_cut = 0;
    return qg_output_cut(run->out, err);
}

static qg_status after_row(qg_label_run *run, const qg_item *item, qg_err *err)
{
    int64_t now = qg_now_us();
    bool cut;
    QG_TRY(cut_if_due(run, &cut, err));
    if ((cut || !qg_output_is_packed(run->out)) &&
        now - run->synced_us >= (int64_t)run->opt->checkpoint_ms * 1000) {
        QG_TRY(qg_label_checkpoint(run, false, err));
        run->synced_us = qg_now_us(); /* a slow disk is not asked again at once */
    }
    tell(run, item, now);
    return QG_OK;
}

static qg_status take_row(qg_label_run *run, const qg_item *item, qg_err *err)
{
    qg_status why = item->status;
    qg_err reason = item->err;
    run->lines++;
    run->at.counts.lines++;
    if (why == QG_OK) {
        qg_fail(&reason, QG_ERR_NOMEM, "out of memory");
        QG_TRY(write_row(run, item, &why, &reason, err));
    }
    if (why != QG_OK)
        QG_TRY(write_wrong(run, item, why, &reason, err));
    run->at.in = item->place;
    return after_row(run, item, err);
}

static qg_status take(void *ud, const qg_item *item, qg_err *err)
{
    qg_label_run *run = ud;
    qg_status rc = take_row(run, item, err);
    run->broken = rc != QG_OK;
    return rc;
}

/* ---- the run --------------------------------------------------------------------------------- */

static qg_status judge_all(qg_label_run *run, qg_err *err)
{
    const qg_label_options *o = run->opt;
    const qg_pipeline_options pipeline = {
        .engine = o->engine,
        .decode = o->decode,
        .concurrency = o->concurrency,
        .rules = run->policy.rules,
        .view = &run->policy.view,
        .fields = o->fields,
        .shard = o->shard,
        .n_shards = o->n_shards,
        .cache = run->cache,
    };
    run->start_us = run->synced_us = run->told_us = qg_now_us();
    qg_status rc = qg_pipeline_run(&pipeline, run->source, take, run, err);
    if (rc != QG_OK) {
        /* What was taken stands; a packed output ends where it was cut. */
        if (!run->broken && !qg_output_is_packed(run->out))
            qg_label_checkpoint(run, false, NULL);
        return rc;
    }
    QG_TRY(qg_output_cut(run->out, err));
    return qg_label_checkpoint(run, true, err);
}

qg_status qg_label(const qg_label_options *opt, qg_label_summary *summary, qg_err *err)
{
    qg_label_run run = {.opt = opt};
    *summary = (qg_label_summary){.resumed = false};
    qg_buf_init(&run.value, QG_MAX_TEXT_BYTES);
    qg_buf_init(&run.line, QG_MAX_TEXT_BYTES);
    qg_status rc = qg_batch_policy_open(&run.policy, opt->policy, opt->engine, err);
    if (rc == QG_OK)
        rc = qg_label_begin(&run, summary, err);
    if (rc == QG_OK && !summary->nothing_left)
        rc = judge_all(&run, err);
    if (rc == QG_OK)
        rc = qg_label_finish(&run, err);
    if (run.start_us)
        summary->judging_us = qg_now_us() - run.start_us;
    summary->counts = run.at.counts;
    summary->asked_again = run.asked_again;
    summary->not_answered = run.not_answered;
    if (run.at.counts.failed)
        memcpy(summary->errors, run.errors_path, sizeof summary->errors);
    qg_label_end(&run);
    return rc;
}
