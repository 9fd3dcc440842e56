/* POST /guardrail/{id}/version/{version}/apply: ApplyGuardrail of Amazon Bedrock.  Signatures are
 * not looked at; with an API key set, clients send it as their bearer token. */
#include "serve/outcome.h"
#include "text/utf8.h"

enum { HATE = 1, SEXUAL, VIOLENCE, MISCONDUCT, PROMPT_ATTACK, N_TYPES };

static const char *const types[N_TYPES] = {"INSULTS",  "HATE",       "SEXUAL",
                                           "VIOLENCE", "MISCONDUCT", "PROMPT_ATTACK"};

/* In the order of qg_harms.  What Bedrock has no word for is misconduct. */
static const int type_of_harm[QG_N_HARMS] = {VIOLENCE,   MISCONDUCT, SEXUAL,
                                             MISCONDUCT, VIOLENCE,   HATE,
                                             MISCONDUCT, MISCONDUCT, PROMPT_ATTACK};

/* Every block is judged, also those that are qualified as context: none of them goes by unseen. */
static qg_status bedrock_read(qg_serve_job *job)
{
    json_t *content;
    qg_slice source, text;
    QG_TRY(qg_body_get_str(job->root, "body", "source", &source, &job->fault));
    QG_TRY(qg_body_get_array(job->root, "body", "content", &content, &job->fault));
    bool input = qg_slice_is(source, "INPUT");
    if (!input && !qg_slice_is(source, "OUTPUT"))
        return qg_fault_set(&job->fault, QG_ERR_ARG, "source must be INPUT or OUTPUT.",
                            "body.source");
    QG_TRY(qg_serve_asks(job, json_array_size(content), "body.content"));
    for (size_t i = 0; i < job->n_asks; i++) {
        json_t *holder = json_object_get(json_array_get(content, i), "text");
        if (!json_is_object(holder))
            return qg_fault_set(&job->fault, QG_ERR_ARG, "Only blocks of text can be judged.",
                                "body.content.%zu", i);
        QG_TRY(qg_body_get_str(holder, "body.content.text", "text", &text, &job->fault));
        QG_TRY(qg_serve_ask_text(job, i, input ? "user" : "assistant", text));
    }
    return QG_OK;
}

/* What all blocks together come to. */
typedef struct summary {
    double score[N_TYPES]; /* the highest of a hit */
    bool hit[N_TYPES], blocked[N_TYPES];
    bool block;
    const char *message;
} summary;

static void summarize(const qg_serve_job *job, summary *s)
{
    *s = (summary){.block = false};
    for (size_t i = 0; i < job->n_asks; i++) {
        qg_outcome o;
        qg_serve_outcome(job, i, &o);
        s->message = o.message;
        if (!o.hit)
            continue;
        int k = o.primary >= 0 ? type_of_harm[o.primary] : MISCONDUCT;
        s->hit[k] = true;
        s->blocked[k] |= o.block;
        s->block |= o.block;
        if (o.score > s->score[k])
            s->score[k] = o.score;
    }
}

static json_t *filters(const summary *s, bool full)
{
    json_t *list = json_array();
    for (int k = 0; k < N_TYPES; k++)
        if (full || s->hit[k])
            json_array_append_new(
                list, json_pack("{s:s,s:s,s:s,s:s,s:b}", "type", types[k], "confidence",
                                !s->hit[k]           ? "NONE"
                                : s->score[k] > 0.75 ? "HIGH"
                                                     : "MEDIUM",
                                "filterStrength", "HIGH", "action",
                                s->blocked[k] ? "BLOCKED" : "NONE", "detected", (int)s->hit[k]));
    return list;
}

/* A unit is a thousand characters of a text, as they are counted for bills. */
static json_int_t units(const qg_serve_job *job, json_int_t *characters)
{
    json_int_t n = 0;
    *characters = 0;
    for (size_t i = 0; i < job->n_asks; i++) {
        const qg_request *r = &job->asks[i].request;
        const qg_text *text = &r->messages[r->n_messages - 1].content;
        json_int_t count = (json_int_t)qg_utf8_count(qg_slice_of(text->p, text->n));
        *characters += count;
        n += (count + 999) / 1000;
    }
    return n;
}

static void bedrock_answer(qg_serve_job *job)
{
    summary s;
    json_int_t characters, n = units(job, &characters);
    bool full = qg_slice_is(qg_json_slice(json_object_get(job->root, "outputScope")), "FULL");
    summarize(job, &s);
    json_t *found = filters(&s, full);
    json_t *assessments = json_array();
    if (json_array_size(found))
        json_array_append_new(assessments,
                              json_pack("{s:{s:O}}", "contentPolicy", "filters", found));
    json_decref(found);
    json_t *outputs = s.block ? json_pack("[{s:s}]", "text", s.message) : json_array();
    json_t *usage =
        json_pack("{s:i,s:I,s:i,s:i,s:i,s:i}", "topicPolicyUnits", 0, "contentPolicyUnits", n,
                  "wordPolicyUnits", 0, "sensitiveInformationPolicyUnits", 0,
                  "sensitiveInformationPolicyFreeUnits", 0, "contextualGroundingPolicyUnits", 0);
    qg_serve_reply(job, json_pack("{s:s,s:s,s:o,s:o,s:o,s:{s:{s:I,s:I}}}", "action",
                                  s.block ? "GUARDRAIL_INTERVENED" : "NONE", "actionReason",
                                  s.block ? "Guardrail blocked." : "No action.", "outputs", outputs,
                                  "assessments", assessments, "usage", usage, "guardrailCoverage",
                                  "textCharacters", "guarded", characters, "total", characters));
}

json_t *qg_serve_bedrock_error(qg_serve_error *e)
{
    const char *type = e->status == 429                       ? "ThrottlingException"
                       : e->status == 401 || e->status == 403 ? "AccessDeniedException"
                       : e->status == 404                     ? "ResourceNotFoundException"
                       : e->status < 500                      ? "ValidationException"
                                                              : "InternalServerException";
    return json_pack("{s:s,s:s}", "__type", type, "message", e->message);
}

void qg_serve_bedrock(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(qg_serve_job),
                                          .read = bedrock_read,
                                          .answer = bedrock_answer,
                                          .error = qg_serve_bedrock_error,
                                          .opens = true};
    qg_serve_judge(srv, req, &how);
}
