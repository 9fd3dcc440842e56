/* What is so: labels of rows, and verdicts that label wrote into them. */
#define _GNU_SOURCE
#include "batch/eval.h"

#include <strings.h>

static int severity_of(const json_t *value)
{
    const char *text = json_string_value(value);
    for (int i = 0; text && i < QG_EVAL_LEVELS; i++)
        if (strcasecmp(text, qg_severity_name((qg_severity)i)) == 0)
            return i;
    return -1;
}

static int category_of(const json_t *value)
{
    const char *text = json_string_value(value);
    if (text && strcmp(text, "None") == 0)
        return QG_EVAL_NONE;
    return text ? qg_policy_category(text) : -1;
}

static void read_categories(qg_eval_row *row, const json_t *list)
{
    size_t i;
    json_t *item;
    row->category = row->severity == QG_SAFE ? QG_EVAL_NONE : -1;
    json_array_foreach (list, i, item) {
        int k = category_of(item);
        if (k >= 0 && k < QG_EVAL_NONE)
            row->categories |= (uint16_t)(1u << k);
        if (i == 0 && row->severity != QG_SAFE)
            row->category = (int8_t)k;
    }
}

static const char *copy_id(const json_t *value, qg_arena *arena)
{
    size_t n = json_string_length(value);
    char *id = json_is_string(value) ? qg_arena_alloc(arena, n + 1) : NULL;
    if (id)
        memcpy(id, json_string_value(value), n + 1);
    return id ? id : "";
}

qg_status qg_gold_read(qg_eval_row *row, const json_t *root, qg_arena *arena, qg_err *err)
{
    const char *label = json_string_value(json_object_get(root, "label"));
    bool safe = label && strcasecmp(label, "safe") == 0;
    bool unsafe = label && strcasecmp(label, "unsafe") == 0;
    row->severity = (int8_t)severity_of(json_object_get(root, "severity"));
    row->id = copy_id(json_object_get(root, "id"), arena);
    if (safe || unsafe) {
        row->unsafe[QG_STRICT] = row->unsafe[QG_LOOSE] = unsafe;
    } else if (!label && row->severity >= 0) {
        row->unsafe[QG_STRICT] = row->severity != QG_SAFE;
        row->unsafe[QG_LOOSE] = row->severity == QG_UNSAFE;
    } else {
        return qg_fail(err, QG_ERR_FORMAT,
                       "the row has neither \"label\" (safe, unsafe) nor \"severity\" (Safe, "
                       "Controversial, Unsafe)");
    }
    read_categories(row, json_object_get(root, "categories"));
    return QG_OK;
}

/* ---- verdicts -------------------------------------------------------------------------------- */

static void read_probabilities(qg_said *said, const json_t *p)
{
    const json_t *severity = json_object_get(p, "severity");
    const json_t *categories = json_object_get(p, "categories");
    said->has_p = json_is_object(severity);
    for (int i = 0; i < QG_EVAL_LEVELS; i++)
        said->p_severity[i] =
            json_number_value(json_object_get(severity, qg_severity_name((qg_severity)i)));
    for (int i = 0; i < QG_SAID_CATEGORIES; i++) {
        const char *name = i < QG_EVAL_NONE ? qg_category_name((size_t)i) : "None";
        const json_t *value = json_object_get(categories, name);
        if (value)
            said->allowed |= (uint16_t)(1u << i);
        said->p_category[i] = json_number_value(value);
    }
    said->p_refusal = json_number_value(json_object_get(p, "refusal"));
}

static void read_second(qg_said *said, const json_t *second)
{
    const json_t *first = json_object_get(second, "first");
    int severity = severity_of(json_object_get(first, "severity"));
    if (second)
        said->second = severity < 0 ? QG_SECOND_FAILED : QG_SECOND_GIVEN;
    said->first_severity = (int8_t)(severity < 0 ? said->severity : severity);
    said->first_p = json_number_value(json_object_get(first, "p"));
}

qg_status qg_gold_verdict(qg_said *said, const json_t *root, qg_err *err)
{
    const json_t *v = json_object_get(root, "qguard");
    const char *role = json_string_value(json_object_get(v, "role"));
    const char *refusal = json_string_value(json_object_get(v, "refusal"));
    const char *source = json_string_value(json_object_get(v, "source"));
    int severity = severity_of(json_object_get(v, "severity"));
    size_t i;
    json_t *item;
    memset(said, 0, sizeof *said);
    if (severity < 0 || !role)
        return qg_fail(err, QG_ERR_FORMAT, "\"qguard\": not a verdict");
    said->severity = (int8_t)severity;
    said->reply = strcmp(role, "user") != 0;
    said->refusal = (int8_t)(refusal ? strcmp(refusal, "Yes") == 0 : -1);
    said->by_rule = source && strcmp(source, "rule") == 0;
    json_array_foreach (json_object_get(v, "categories"), i, item) {
        int k = category_of(item);
        if (k < 0 || said->n_categories == QG_SAID_CATEGORIES)
            return qg_fail(err, QG_ERR_FORMAT, "\"qguard\": a category without a name");
        said->categories[said->n_categories++] = (int8_t)k;
    }
    read_probabilities(said, json_object_get(v, "p"));
    read_second(said, json_object_get(v, "second"));
    return QG_OK;
}
