/* Results: built on the scheduler thread, owned by the caller, shown as the verdict object. */
#include "engine/engine_int.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/json.h"

/* What qg_result points into; pub is first, so that the public pointer is this one. */
typedef struct box {
    qg_result pub;
    qg_buf text;
    qg_ids ids;
    qg_logprob *logprobs;
} box;

void qg_result_free(qg_result *result)
{
    box *b = (box *)result;
    if (!b)
        return;
    qg_buf_free(&b->text);
    qg_ids_free(&b->ids);
    qg_mfree(b->logprobs);
    qg_mfree(b);
}

static box *new_box(const qg_engine *engine, const qg_job *job)
{
    box *b = qg_calloc(1, sizeof *b);
    if (!b)
        return NULL;
    int64_t now = qg_now_us();
    qg_buf_init(&b->text, QG_MAX_TEXT_BYTES);
    b->pub.role = job->judged == QG_PROMPT ? "user" : "assistant";
    b->pub.model = engine->name;
    b->pub.severity = QG_SEVERITY_UNKNOWN;
    b->pub.source = "model";
    b->pub.refusal = -1;
    b->pub.p_refusal = -1;
    b->pub.n_prompt_tokens = job->n_prompt;
    b->pub.n_cached_tokens = job->n_cached;
    b->pub.queued_us = job->started_us - job->submitted_us;
    b->pub.compute_us = now - job->started_us;
    return b;
}

static qg_result *finish(box *b, qg_status rc)
{
    if (rc != QG_OK) {
        qg_result_free(&b->pub);
        return NULL;
    }
    b->pub.text = qg_buf_slice(&b->text).p;
    b->pub.text_bytes = b->text.n;
    b->pub.ids = b->ids.p;
    b->pub.n_ids = b->ids.n;
    return &b->pub;
}

static void add_category(qg_result *r, int c)
{
    r->categories[r->n_categories++] = qg_category_labels[c];
}

static void set_probabilities(qg_result *r, const qg_verdict *v)
{
    r->has_p = true;
    memcpy(r->p_severity, v->p_severity, sizeof r->p_severity);
    for (int c = 0; c < QG_N_CATEGORIES; c++) {
        if (!(qg_categories_allowed(v->judged) & 1u << c))
            continue;
        r->p_category_names[r->n_p_categories] = qg_category_labels[c];
        r->p_categories[r->n_p_categories++] = v->p_category[c];
    }
    r->p_refusal = v->p_refusal;
}

qg_result *qg_result_of_verdict(const qg_engine *engine, const qg_job *job, const qg_verdict *v)
{
    box *b = new_box(engine, job);
    if (!b)
        return NULL;
    qg_status rc = qg_verdict_text(v, &b->text);
    if (rc == QG_OK && engine->guard && qg_guard_forced(engine->guard, NULL) == QG_OK)
        rc = qg_verdict_ids(v, qg_guard_labels(engine->guard), &b->ids);
    if (rc == QG_OK && engine->n_eos)
        rc = qg_ids_push(&b->ids, engine->eos[0]);
    b->pub.well_formed = true;
    b->pub.finished = true;
    b->pub.severity = (qg_severity)v->severity;
    if (v->category != QG_CATEGORY_NONE)
        add_category(&b->pub, v->category);
    b->pub.refusal = v->refusal;
    set_probabilities(&b->pub, v);
    return finish(b, rc);
}

qg_status qg_result_make(const qg_engine *engine, const char *role, qg_severity severity,
                         const char *category, qg_result **out, qg_err *err)
{
    qg_verdict v = {.judged = strcmp(role, "user") == 0 ? QG_PROMPT : QG_REPLY,
                    .severity = (int)severity,
                    .category = QG_CATEGORY_NONE};
    *out = NULL;
    if (severity != QG_SAFE)
        v.category = category ? qg_category_find(qg_str(category)) : -1;
    if ((unsigned)severity >= QG_N_SEVERITIES || v.category < 0 ||
        (severity == QG_SAFE) != (v.category == QG_CATEGORY_NONE))
        return qg_fail(err, QG_ERR_ARG, "severity and category do not belong together");
    v.refusal = v.judged == QG_REPLY ? 0 : -1;
    v.p_refusal = v.refusal;
    v.p_severity[severity] = 1;
    v.p_category[v.category] = 1;
    qg_job nobody = {.judged = v.judged, .started_us = qg_now_us()};
    nobody.submitted_us = nobody.started_us;
    qg_result *result = qg_result_of_verdict(engine, &nobody, &v);
    if (!result)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    result->source = "rule";
    *out = result;
    return QG_OK;
}

qg_result *qg_result_of_text(const qg_engine *engine, const qg_job *job)
{
    box *b = new_box(engine, job);
    if (!b)
        return NULL;
    const int32_t *ids = job->ids.p + job->n_prompt;
    size_t n = job->ids.n - (size_t)job->n_prompt;
    qg_status rc = qg_tok_decode(engine->tok, ids, n, true, &b->text, NULL);
    if (rc == QG_OK)
        rc = qg_ids_add(&b->ids, ids, n);
    if (rc == QG_OK && job->finished)
        rc = qg_ids_push(&b->ids, job->picked);
    if (job->sampler && rc == QG_OK) {
        b->pub.logprobs = b->logprobs = job->sampler->logprobs; /* moves to the result */
        job->sampler->logprobs = NULL;
    }
    qg_parsed parsed;
    qg_parse_verdict(qg_buf_slice(&b->text), job->finished, &parsed);
    b->pub.finished = job->finished;
    b->pub.well_formed = parsed.severity != QG_SEVERITY_UNKNOWN;
    b->pub.severity = (qg_severity)parsed.severity;
    for (int i = 0; b->pub.well_formed && i < parsed.n_categories; i++)
        add_category(&b->pub, parsed.order[i]);
    if (b->pub.well_formed && job->judged == QG_REPLY)
        b->pub.refusal = parsed.refusal;
    return finish(b, rc);
}

const char *qg_severity_name(qg_severity severity)
{
    return (unsigned)severity < QG_N_SEVERITIES ? qg_severity_labels[severity] : "Unknown";
}

/* ---- the verdict object ---- */

static json_t *probabilities(const qg_result *r)
{
    if (!r->has_p)
        return json_null();
    json_t *severity = json_object(), *categories = json_object(), *p = json_object();
    for (int s = 0; s < QG_N_SEVERITIES; s++)
        json_object_set_new(severity, qg_severity_labels[s], json_real(r->p_severity[s]));
    for (size_t c = 0; c < r->n_p_categories; c++)
        json_object_set_new(categories, r->p_category_names[c], json_real(r->p_categories[c]));
    json_object_set_new(p, "severity", severity);
    json_object_set_new(p, "categories", categories);
    json_object_set_new(p, "refusal", r->p_refusal < 0 ? json_null() : json_real(r->p_refusal));
    return p;
}

/* {"model","first":{"model","severity","p"}} where the second model has judged; {"model","error"}
 * where it could not. */
static json_t *second_opinion(const qg_engine *engine, const qg_result *r)
{
    json_t *o = json_object(), *first = json_object();
    json_object_set_new(first, "model", json_string(engine->name));
    json_object_set_new(first, "severity", json_string(qg_severity_name(r->first_severity)));
    json_object_set_new(first, "p", json_real(r->first_p));
    json_object_set_new(o, "model", json_string(engine->second ? engine->second->name : ""));
    if (r->second == QG_SECOND_FAILED)
        json_object_set_new(o, "error", json_string(qg_status_name(r->second_status)));
    else
        json_object_set(o, "first", first);
    json_decref(first);
    return o;
}

char *qg_result_json(const qg_engine *engine, const qg_result *r)
{
    json_t *o = json_object(), *categories = json_array(), *tokens = json_object();
    const char *refusal = r->refusal < 0 ? NULL : qg_refusal_labels[r->refusal];

    for (size_t i = 0; i < r->n_categories; i++)
        json_array_append_new(categories, json_string(r->categories[i]));
    json_object_set_new(tokens, "input", json_integer(r->n_prompt_tokens));
    json_object_set_new(tokens, "cached", json_integer(r->n_cached_tokens));
    json_object_set_new(o, "role", json_string(r->role));
    json_object_set_new(o, "severity", json_string(qg_severity_name(r->severity)));
    json_object_set_new(o, "categories", categories);
    json_object_set_new(o, "refusal", refusal ? json_string(refusal) : json_null());
    json_object_set_new(o, "p", probabilities(r));
    json_object_set_new(o, "tokens", tokens);
    json_object_set_new(o, "model", json_string(r->model ? r->model : engine->name));
    if (r->second != QG_SECOND_NONE)
        json_object_set_new(o, "second", second_opinion(engine, r));
    if (strcmp(r->source, "model") != 0)
        json_object_set_new(o, "source", json_string(r->source));
    if (!r->well_formed)
        json_object_set_new(o, "text", json_stringn(r->text, r->text_bytes));
    /* Nine digits carry a float32 whole; seventeen would only print its noise. */
    char *text = qg_json_dump_digits(o, 9);
    json_decref(o);
    return text;
}
