/* POST /contentsafety/text:analyze, text:shieldPrompt: Azure AI Content Safety. */
#include "serve/outcome.h"

static const char *const azure_categories[4] = {"Hate", "Sexual", "SelfHarm", "Violence"};

static qg_status analyze_read(qg_serve_job *job)
{
    qg_slice text;
    QG_TRY(qg_body_get_str(job->root, "body", "text", &text, &job->fault));
    QG_TRY(qg_serve_asks(job, 1, "body"));
    return qg_serve_ask_text(job, 0, "user", text);
}

/* Clients block from 2 (LiteLLM) or 4 on: a hit is 4 or 6, and what is none is 0. */
static int severity_of(const qg_outcome *o, int category, bool bare)
{
    bool hit = o->hit && o->primary < 0 && category == 3 && !bare;
    for (int i = 0; i < QG_N_HARMS; i++) {
        if (qg_harms[i].azure != category || (qg_harms[i].azure_wide && bare))
            continue;
        hit |= i == o->primary;
    }
    if (hit)
        return strcmp(o->severity, "Controversial") ? 6 : 4;
    return 0;
}

static bool wanted(const json_t *list, const char *name)
{
    size_t i;
    const json_t *one;
    json_array_foreach (list, i, one)
        if (qg_slice_is(qg_json_slice(one), name))
            return true;
    return json_array_size(list) == 0;
}

static void analyze_answer(qg_serve_job *job)
{
    const json_t *asked = json_object_get(job->root, "categories");
    json_t *list = json_array();
    qg_outcome o;
    qg_serve_outcome(job, 0, &o);
    for (int k = 0; k < 4; k++)
        if (wanted(asked, azure_categories[k]))
            json_array_append_new(
                list, json_pack("{s:s,s:i}", "category", azure_categories[k], "severity",
                                severity_of(&o, k, job->srv->opt->bare_categories)));
    qg_serve_reply(job, json_pack("{s:[],s:o}", "blocklistsMatch", "categoriesAnalysis", list));
}

static qg_status shield_read(qg_serve_job *job)
{
    json_t *documents = NULL, *text;
    qg_slice prompt = {NULL, 0};
    size_t i;
    QG_TRY(qg_body_opt_str(job->root, "body", "userPrompt", &prompt, &job->fault));
    QG_TRY(qg_body_opt_array(job->root, "body", "documents", &documents, &job->fault));
    QG_TRY(qg_serve_asks(job, (prompt.p != NULL) + json_array_size(documents), "body.documents"));
    if (job->n_asks == 0)
        return qg_fault_set(&job->fault, QG_ERR_ARG, "userPrompt and documents are missing.",
                            "body.userPrompt");
    if (prompt.p)
        QG_TRY(qg_serve_ask_text(job, 0, "user", prompt));
    json_array_foreach (documents, i, text) {
        if (!json_is_string(text))
            return qg_fault_set(&job->fault, QG_ERR_FORMAT, "documents must be strings.",
                                "body.documents.%zu", i);
        QG_TRY(qg_serve_ask_text(job, (prompt.p != NULL) + i, "user", qg_json_slice(text)));
    }
    return QG_OK;
}

static json_t *attack(const qg_serve_job *job, size_t i)
{
    qg_outcome o;
    qg_serve_outcome(job, i, &o);
    bool jailbreak = o.primary >= 0 && strcmp(qg_harms[o.primary].key, "jailbreak") == 0;
    return json_pack("{s:b}", "attackDetected", (int)jailbreak);
}

static void shield_answer(qg_serve_job *job)
{
    bool prompt = json_is_string(json_object_get(job->root, "userPrompt"));
    json_t *list = json_array();
    for (size_t i = prompt; i < job->n_asks; i++)
        json_array_append_new(list, attack(job, i));
    qg_serve_reply(job, json_pack("{s:o*,s:o}", "userPromptAnalysis",
                                  prompt ? attack(job, 0) : NULL, "documentsAnalysis", list));
}

void qg_serve_azure_analyze(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(qg_serve_job),
                                          .read = analyze_read,
                                          .answer = analyze_answer,
                                          .opens = true};
    qg_serve_judge(srv, req, &how);
}

void qg_serve_azure_shield(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {
        .size = sizeof(qg_serve_job), .read = shield_read, .answer = shield_answer, .opens = true};
    qg_serve_judge(srv, req, &how);
}
