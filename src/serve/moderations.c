/* POST /v1/moderations: the OpenAI moderations endpoint, 13 categories and the model's own nine. */
#include "serve/outcome.h"

#include <stdio.h>

typedef struct moderations_job {
    qg_serve_job job; /* first */
    qg_slice model, policy;
} moderations_job;

/* Names that clients cannot be talked out of. */
static bool is_alias(qg_slice model)
{
    static const char *const aliases[] = {"omni-moderation-latest", "omni-moderation-2024-09-26",
                                          "text-moderation-latest", "text-moderation-stable"};
    for (size_t i = 0; i < QG_COUNT(aliases); i++)
        if (qg_slice_is(model, aliases[i]))
            return true;
    return false;
}

/* An array is a list of texts, or the parts of a single one. */
static qg_status read_list(qg_serve_job *job, const json_t *list)
{
    size_t i;
    json_t *item;
    if (json_is_object(json_array_get(list, 0))) {
        qg_text text;
        QG_TRY(qg_content_read(&job->arena, list, "body.input", &text, &job->fault));
        QG_TRY(qg_serve_asks(job, 1, "body.input"));
        return qg_serve_ask_text(job, 0, "user", qg_slice_of(text.p, text.n));
    }
    QG_TRY(qg_serve_asks(job, json_array_size(list), "body.input"));
    json_array_foreach (list, i, item) {
        if (!json_is_string(item))
            return qg_fault_set(&job->fault, QG_ERR_FORMAT,
                                "input must be a string, strings, or text parts.", "body.input.%zu",
                                i);
        QG_TRY(qg_serve_ask_text(job, i, "user", qg_json_slice(item)));
    }
    return QG_OK;
}

static qg_status moderations_read(qg_serve_job *job)
{
    moderations_job *m = (moderations_job *)job;
    const json_t *input = json_object_get(job->root, "input");
    qg_policy_view view = job->view;
    QG_TRY(qg_body_opt_str(job->root, "body", "model", &m->model, &job->fault));
    QG_TRY(qg_body_opt_str(job->root, "body", "policy", &m->policy, &job->fault));
    if (!qg_view_choose(&view, m->policy))
        return qg_fault_set(&job->fault, QG_ERR_ARG, "policy must be strict or loose.",
                            "body.policy");
    if (!is_alias(m->model))
        QG_TRY(qg_serve_check_model(job));
    if (json_is_array(input))
        return read_list(job, input);
    if (!json_is_string(input))
        return qg_fault_set(&job->fault, QG_ERR_FORMAT,
                            "input must be a string, strings, or text parts.", "body.input");
    QG_TRY(qg_serve_asks(job, 1, "body.input"));
    return qg_serve_ask_text(job, 0, "user", qg_json_slice(input));
}

/* ---- the answer ---- */

typedef struct entry {
    const char *key;
    bool hit;
    double score;
} entry;

/* The 13, then the nine: a category is as probable as the most probable harm behind it. */
static size_t list_entries(const qg_serve_options *opt, const qg_outcome *o, entry *out)
{
    size_t n = 0;
    for (int k = 0; k < QG_N_OPENAI; k++) {
        entry e = {.key = qg_openai_categories[k]};
        for (int i = 0; i < QG_N_HARMS; i++) {
            unsigned bits =
                qg_harms[i].openai | (opt->bare_categories ? 0 : qg_harms[i].openai_wide);
            if (!(bits & 1u << k))
                continue;
            e.hit |= i == o->primary;
            e.score = o->category[i] > e.score ? o->category[i] : e.score;
        }
        out[n++] = e;
    }
    for (int i = 0; i < QG_N_HARMS && !opt->no_own_categories; i++)
        out[n++] = (entry){qg_harms[i].key, i == o->primary, o->category[i]};
    /* A hit of no category is still one for those who look at the categories only. */
    enum { ILLICIT = 4 };
    if (o->hit && o->primary < 0 && !opt->bare_categories) {
        out[ILLICIT].hit = true;
        out[ILLICIT].score = o->score;
    }
    return n;
}

/* Some callers name the first category that is true: the true ones come first, the model's own
 * before those of OpenAI. */
static json_t *result_json(const qg_serve_options *opt, const qg_outcome *o)
{
    entry list[QG_N_OPENAI + QG_N_HARMS];
    size_t n = list_entries(opt, o, list);
    json_t *hits = json_object(), *scores = json_object(), *types = json_object();
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n; i++) {
            const entry *e = &list[pass == 0 ? n - 1 - i : i];
            if (e->hit != (pass == 0))
                continue;
            json_object_set_new(hits, e->key, json_boolean(e->hit));
            json_object_set_new(scores, e->key, json_real(e->score));
            json_object_set_new(types, e->key, json_pack("[s]", "text"));
        }
    return json_pack("{s:b,s:o,s:o,s:o}", "flagged", (int)o->hit, "categories", hits,
                     "category_scores", scores, "category_applied_input_types", types);
}

static void moderations_answer(qg_serve_job *job)
{
    moderations_job *m = (moderations_job *)job;
    const char *name = job->house->names[0];
    qg_slice model = m->model.n ? m->model : qg_str(name);
    char id[QG_HTTP_VALUE_BYTES + 8];
    qg_policy_view view = job->view;
    json_t *results = json_array();
    snprintf(id, sizeof id, "modr-%s", qg_http_id(job->req));
    qg_view_choose(&view, m->policy);
    for (size_t i = 0; results && i < job->n_asks; i++) {
        qg_outcome outcome;
        qg_outcome_of(&outcome, &view, job->asks[i].result);
        if (json_array_append_new(results, result_json(job->srv->opt, &outcome))) {
            json_decref(results);
            results = NULL;
        }
    }
    qg_serve_reply(
        job, json_pack("{s:s,s:s%,s:o}", "id", id, "model", model.p, model.n, "results", results));
}

void qg_serve_moderations(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(moderations_job),
                                          .read = moderations_read,
                                          .answer = moderations_answer,
                                          .opens = true};
    qg_serve_judge(srv, req, &how);
}
