#include "batch/plain_verdict.h"

#include "serve/outcome.h"

static const char none[] = "None";

static const char *name_of(int i)
{
    return i < QG_POLICY_CATEGORIES ? qg_category_name((size_t)i) : none;
}

static int index_of(const char *name)
{
    return strcmp(name, none) == 0 ? QG_POLICY_CATEGORIES : qg_policy_category(name);
}

qg_status qg_said_of(qg_said *said, const qg_result *r, qg_err *err)
{
    memset(said, 0, sizeof *said); /* padding too: it is kept in files */
    if (!r->well_formed || r->severity >= QG_SEVERITY_UNKNOWN)
        return qg_fail(err, QG_ERR_INTERNAL, "what the model wrote is not a verdict");
    said->reply = strcmp(r->role, "user") != 0;
    said->severity = (int8_t)r->severity;
    said->refusal = (int8_t)r->refusal;
    said->has_p = r->has_p;
    said->by_rule = strcmp(r->source, "rule") == 0;
    said->tokens = r->n_prompt_tokens;
    said->second = (int8_t)r->second;
    said->second_status = (int8_t)r->second_status;
    said->first_severity = (int8_t)r->first_severity;
    said->first_p = r->first_p;
    said->p_refusal = r->p_refusal;
    memcpy(said->p_severity, r->p_severity, sizeof said->p_severity);
    for (size_t i = 0; i < r->n_categories; i++) {
        int k = index_of(r->categories[i]);
        if (k < 0 || said->n_categories == QG_SAID_CATEGORIES)
            return qg_fail(err, QG_ERR_INTERNAL, "a category without a name");
        said->categories[said->n_categories++] = (int8_t)k;
    }
    for (size_t i = 0; r->has_p && i < r->n_p_categories; i++) {
        int k = index_of(r->p_category_names[i]);
        if (k < 0)
            return qg_fail(err, QG_ERR_INTERNAL, "a category without a name");
        said->allowed |= (uint16_t)(1u << k);
        said->p_category[k] = r->p_categories[i];
    }
    return QG_OK;
}

void qg_said_result(const qg_said *said, qg_result *out)
{
    *out = (qg_result){
        .role = said->reply ? "assistant" : "user",
        .well_formed = true,
        .severity = (qg_severity)said->severity,
        .refusal = said->refusal,
        .has_p = said->has_p,
        .p_refusal = said->p_refusal,
        .source = said->by_rule ? "rule" : "model",
        .text = "",
        .n_prompt_tokens = said->tokens,
        .second = (qg_second)said->second,
        .second_status = (qg_status)said->second_status,
        .first_severity = (qg_severity)said->first_severity,
        .first_p = said->first_p,
    };
    memcpy(out->p_severity, said->p_severity, sizeof out->p_severity);
    for (int i = 0; i < said->n_categories; i++)
        out->categories[out->n_categories++] = name_of(said->categories[i]);
    for (int i = 0; i < QG_SAID_CATEGORIES; i++) {
        if (!(said->allowed & 1u << i))
            continue;
        out->p_category_names[out->n_p_categories] = name_of(i);
        out->p_categories[out->n_p_categories++] = said->p_category[i];
    }
}

static qg_status add_policy(const qg_result *r, const qg_policy_view *view, qg_buf *out)
{
    qg_outcome o;
    qg_outcome_of(&o, view, r);
    const char *category = o.primary >= 0 ? name_of(o.primary) : NULL;
    out->n--; /* the brace */
    QG_TRY(qg_buf_addf(
        out, ",\"policy\":{\"hit\":%s,\"action\":\"%s\",\"category\":", o.hit ? "true" : "false",
        qg_action_name(o.block ? QG_ACTION_BLOCK
                       : o.hit ? QG_ACTION_FLAG
                               : QG_ACTION_ALLOW)));
    return category ? qg_buf_addf(out, "\"%s\"}}", category) : qg_buf_adds(out, "null}}");
}

/* Whose verdict it is: the same engines as gave it, or it would not be in the cache. */
static const char *model_of(const qg_engine *engine, const qg_said *said)
{
    qg_model_info info;
    qg_engine *second = qg_engine_second(engine);
    qg_engine_info(said->second == QG_SECOND_GIVEN && second ? second : engine, &info);
    return info.name;
}

/* The object's first "cached" is that of "tokens": only names of our own stand before it. */
static qg_status add_without_cached(qg_buf *out, const char *json)
{
    static const char key[] = ",\"cached\":";
    const char *at = strstr(json, key);
    if (!at)
        return qg_buf_adds(out, json);
    const char *behind = at + sizeof key - 1;
    QG_TRY(qg_buf_add(out, json, (size_t)(at - json)));
    return qg_buf_adds(out, behind + strspn(behind, "0123456789"));
}

qg_status qg_said_json(const qg_engine *engine, const qg_said *said, const qg_policy_view *view,
                       qg_buf *out, qg_err *err)
{
    qg_result r;
    qg_said_result(said, &r);
    r.model = model_of(engine, said);
    char *json = qg_result_json(engine, &r);
    qg_status rc = json ? add_without_cached(out, json) : QG_ERR_NOMEM;
    qg_free(json);
    if (rc == QG_OK && view)
        rc = add_policy(&r, view, out);
    return rc == QG_OK ? rc : qg_fail(err, rc, "out of memory for a verdict");
}
