#include "cli/quantize_report.h"

#include "base/limits.h"
#include "base/mem.h"
#include "cli/check_rows.h"
#include "text/json.h"

#include <errno.h>
#include <math.h>

enum { MAX_TEXTS = 4096, COLUMNS = 4096 /* of the vocabulary's logits, spread over it */ };

/* ---- texts ----------------------------------------------------------------------------------- */

static qg_status add_text(cli_texts *t, qg_slice line, qg_err *err)
{
    json_t *row = NULL;
    if (line.n && line.p[0] == '{')
        QG_TRY(qg_json_parse(line, QG_JSON_NUL, &row, err));
    else
        row = json_pack("{s:o}", "prompt", json_stringn(line.p, line.n));
    if (!row)
        return qg_fail(err, QG_ERR_FORMAT, "not UTF-8");
    if (json_array_append_new(t->rows, row) != 0 || t->n == MAX_TEXTS)
        return qg_fail(err, QG_ERR_FORMAT, "more than %d texts", MAX_TEXTS);
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        cli_conversation *at = qg_realloc_array(t->at, cap, sizeof *at);
        if (!at)
            return qg_fail(err, QG_ERR_NOMEM, "out of memory");
        t->at = at;
        t->cap = cap;
    }
    cli_conversation *c = &t->at[t->n];
    QG_TRY(cli_row_messages(row, &t->arena, &c->messages, &c->n, err));
    t->n++;
    return QG_OK;
}

qg_status cli_texts_read(cli_texts *out, const char *path, qg_err *err)
{
    qg_buf bytes;
    *out = (cli_texts){.rows = json_array()};
    qg_arena_init(&out->arena, QG_MAX_TEXT_BYTES);
    qg_buf_init(&bytes, QG_MAX_TEXT_BYTES);
    qg_status rc = cli_read(path, &bytes, err);
    qg_slice all = qg_buf_slice(&bytes);
    for (size_t line = 1; rc == QG_OK && all.n; line++) {
        const char *end = memchr(all.p, '\n', all.n);
        size_t n = end ? (size_t)(end - all.p) : all.n, keep = n;
        if (keep && all.p[keep - 1] == '\r')
            keep--;
        if (keep)
            rc = add_text(out, qg_slice_of(all.p, keep), err);
        if (rc)
            qg_fail_prefix(err, rc, "%s: line %zu", path, line);
        n += end != NULL;
        all = qg_slice_of(all.p + n, all.n - n);
    }
    if (rc == QG_OK && !out->n)
        rc = qg_fail(err, QG_ERR_FORMAT, "%s: no text in it", path);
    qg_buf_free(&bytes);
    if (rc)
        cli_texts_free(out);
    return rc;
}

void cli_texts_free(cli_texts *texts)
{
    if (texts->rows)
        qg_arena_free(&texts->arena);
    json_decref(texts->rows);
    qg_mfree(texts->at);
    *texts = (cli_texts){0};
}

qg_status cli_text_ids(const qg_engine *engine, const cli_conversation *text, qg_ids *ids,
                       qg_err *err)
{
    json_t *list = json_array();
    char *rendered;
    int32_t *p;
    size_t n_bytes, n;
    for (size_t i = 0; i < text->n; i++) {
        const qg_message *m = &text->messages[i];
        json_array_append_new(list, json_pack("{s:s, s:o}", "role", m->role, "content",
                                              json_stringn(m->content.p, m->content.n)));
    }
    json_t *vars = json_pack("{s:o, s:b}", "messages", list, "add_generation_prompt", 1);
    char *json = qg_json_dump(vars);
    json_decref(vars);
    if (!json)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_status rc =
        qg_render(engine, (qg_text){json, strlen(json)}, &rendered, &n_bytes, &p, &n, err);
    qg_mfree(json);
    if (rc)
        return rc;
    qg_free(rendered);
    rc = qg_ids_add(ids, p, n);
    qg_free(p);
    return rc ? qg_fail(err, rc, "out of memory") : QG_OK;
}

/* ---- one model on all texts ------------------------------------------------------------------ */

typedef struct outcome {
    qg_severity severity;
    double p[3];
    char category[64]; /* "" = none */
    int32_t refusal;
    float *logits; /* [width] at the end of the prompt, some of the vocabulary's */
} outcome;

typedef struct outcomes {
    outcome *at; /* [n] */
    size_t n;
    int32_t width; /* logits that were kept */
    bool stream;
    uint64_t weight_bytes;
} outcomes;

static void outcomes_free(outcomes *o)
{
    for (size_t i = 0; o->at && i < o->n; i++)
        qg_mfree(o->at[i].logits);
    qg_mfree(o->at);
}

static qg_status take_logits(qg_engine *engine, const cli_conversation *text, outcomes *all,
                             outcome *to, float *whole, int32_t total, qg_err *err)
{
    qg_ids ids = {0};
    qg_status rc = cli_text_ids(engine, text, &ids, err);
    if (rc == QG_OK) {
        const int32_t last = (int32_t)ids.n - 1;
        const qg_logits_request req = {
            .ids = ids.p, .n_ids = ids.n, .positions = &last, .n_positions = 1};
        rc = qg_logits(engine, &req, whole, err);
    }
    for (int32_t i = 0; rc == QG_OK && i < all->width; i++)
        to->logits[i] = whole[(int64_t)i * total / all->width];
    qg_ids_free(&ids);
    return rc;
}

static qg_status take_verdict(qg_engine *engine, const cli_conversation *text, outcome *to,
                              qg_err *err)
{
    qg_request req;
    qg_result *r;
    qg_request_init(&req);
    req.messages = text->messages;
    req.n_messages = text->n;
    QG_TRY(qg_judge(engine, &req, &r, err));
    to->severity = r->severity;
    memcpy(to->p, r->p_severity, sizeof to->p);
    to->refusal = r->refusal;
    if (r->n_categories)
        snprintf(to->category, sizeof to->category, "%s", r->categories[0]);
    qg_result_free(r);
    return QG_OK;
}

static qg_status judge_all(qg_engine *engine, const cli_texts *texts, bool held_out, outcomes *out,
                           qg_err *err)
{
    qg_model_info info;
    qg_engine_info(engine, &info);
    out->stream = info.stream;
    out->weight_bytes = info.weight_bytes;
    int32_t total = info.vocab_size;
    for (int g = 0; info.stream && g < 4; g++)
        total = (g ? total : 0) + info.n_labels[g];
    out->width = total < COLUMNS ? total : COLUMNS;
    float *whole = qg_calloc((size_t)total, sizeof *whole);
    out->at = qg_calloc(texts->n, sizeof *out->at);
    if (!whole || !out->at) {
        qg_mfree(whole);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    }
    qg_status rc = QG_OK;
    for (size_t i = 0; rc == QG_OK && i < texts->n; i++) {
        if (held_out && !cli_text_held_out(i))
            continue;
        outcome *to = &out->at[out->n++];
        to->logits = qg_calloc((size_t)out->width, sizeof *to->logits);
        rc = to->logits ? take_logits(engine, &texts->at[i], out, to, whole, total, err)
                        : qg_fail(err, QG_ERR_NOMEM, "out of memory");
        if (rc == QG_OK && !info.stream)
            rc = take_verdict(engine, &texts->at[i], to, err);
        if (rc)
            qg_fail_prefix(err, rc, "text %zu", i + 1);
    }
    qg_mfree(whole);
    return rc;
}

static qg_status run_model(const cli_args *args, const char *model, qg_dtype dtype,
                           const cli_texts *texts, bool held_out, outcomes *out, qg_err *err)
{
    qg_options opt;
    qg_engine *engine;
    cli_engine_options(args, QG_PART_ALL, &opt);
    opt.model = model;
    opt.dtype = dtype;
    opt.cache = NULL;
    QG_TRY(qg_engine_open(&engine, &opt, err));
    qg_status rc = judge_all(engine, texts, held_out, out, err);
    qg_engine_close(engine);
    return rc;
}

/* ---- the two beside each other --------------------------------------------------------------- */

typedef struct difference {
    double error2, sum, sum2, largest, p_sum, p_largest;
    size_t n, severity, category, refusal;
    json_t *flips;
} difference;

static void compare_logits(difference *d, const outcome *a, const outcome *b, int32_t width)
{
    for (int32_t i = 0; i < width; i++, d->n++) {
        const double x = (double)a->logits[i], e = (double)b->logits[i] - x;
        d->error2 += e * e;
        d->sum += x;
        d->sum2 += x * x;
        d->largest = fmax(d->largest, fabs(e));
    }
}

static void compare_verdicts(difference *d, const outcome *a, const outcome *b, size_t text)
{
    double most = 0;
    for (int i = 0; i < 3; i++)
        most = fmax(most, fabs(a->p[i] - b->p[i]));
    d->p_sum += most;
    d->p_largest = fmax(d->p_largest, most);
    d->category += strcmp(a->category, b->category) != 0;
    d->refusal += a->refusal != b->refusal;
    if (a->severity == b->severity)
        return;
    d->severity++;
    json_array_append_new(d->flips, json_pack("{s:I, s:s, s:s, s:f, s:f}", "text", (json_int_t)text,
                                              "from", qg_severity_name(a->severity), "to",
                                              qg_severity_name(b->severity), "p_before",
                                              a->p[a->severity], "p_after", b->p[a->severity]));
}

static json_t *report_json(const cli_args *args, const outcomes *a, const outcomes *b,
                           const difference *d)
{
    const double n = (double)d->n, mean = d->sum / n;
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:b, s:I, s:{s:I, s:I}, s:{s:f, s:f, s:f}}", "model",
                  args->positional[0], "out", args->positional[1], "dtype", args->dtype,
                  "calibrated", args->calibrate != NULL, "texts", (json_int_t)a->n, "weight_bytes",
                  "bfloat16", (json_int_t)a->weight_bytes, args->dtype, (json_int_t)b->weight_bytes,
                  "logits", "rms_error", sqrt(d->error2 / n), "largest_error", d->largest,
                  "standard_deviation", sqrt(fmax(d->sum2 / n - mean * mean, 0)));
    if (o && !a->stream)
        json_object_set_new(
            o, "verdicts",
            json_pack("{s:I, s:I, s:I, s:f, s:f, s:O}", "severity_changed", (json_int_t)d->severity,
                      "category_changed", (json_int_t)d->category, "refusal_changed",
                      (json_int_t)d->refusal, "p_mean_difference", d->p_sum / (double)a->n,
                      "p_largest_difference", d->p_largest, "changed", d->flips));
    return o;
}

static qg_status write_report(const char *path, const json_t *report, qg_err *err)
{
    if (!strcmp(path, "-")) {
        cli_print_json(report);
        return QG_OK;
    }
    FILE *f = fopen(path, "w");
    bool ok = f && json_dumpf(report, f, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) == 0 &&
              fputc('\n', f) != EOF;
    ok = f && fclose(f) == 0 && ok;
    return ok ? QG_OK : qg_fail(err, QG_ERR_IO, "%s: %s", path, strerror(errno));
}

static void print_summary(const cli_args *args, const outcomes *a, const difference *d)
{
    if (!strcmp(args->report, "-"))
        return;
    printf("%zu texts, %s beside bfloat16: logits off by %.3g (root mean square)", a->n,
           args->dtype, sqrt(d->error2 / (double)d->n));
    if (!a->stream)
        printf(", %zu severities and %zu categories differ, probabilities by %.3g on average",
               d->severity, d->category, d->p_sum / (double)a->n);
    printf("\n");
}

qg_status cli_quantize_report(const cli_args *args, qg_dtype dtype, const cli_texts *texts,
                              bool held_out, qg_err *err)
{
    outcomes before = {0}, after = {0};
    if (held_out && texts->n < 4)
        return qg_fail(err, QG_ERR_ARG, "%s: too few texts to keep some for the report",
                       args->calibrate);
    qg_status rc =
        run_model(args, args->positional[0], QG_DTYPE_BF16, texts, held_out, &before, err);
    if (rc == QG_OK)
        rc = run_model(args, args->positional[1], dtype, texts, held_out, &after, err);
    if (rc == QG_OK) {
        difference d = {.flips = json_array()};
        for (size_t i = 0; i < before.n; i++) {
            compare_logits(&d, &before.at[i], &after.at[i], before.width);
            if (!before.stream)
                compare_verdicts(&d, &before.at[i], &after.at[i], held_out ? 4 * i + 4 : i + 1);
        }
        json_t *report = report_json(args, &before, &after, &d);
        rc = report ? write_report(args->report, report, err)
                    : qg_fail(err, QG_ERR_FORMAT, "a name is not UTF-8");
        if (rc == QG_OK)
            print_summary(args, &before, &d);
        json_decref(report);
        json_decref(d.flips);
    }
    outcomes_free(&before);
    outcomes_free(&after);
    return rc;
}
