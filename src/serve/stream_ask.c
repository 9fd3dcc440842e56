#include "serve/stream_ask.h"

#include "base/limits.h"
#include "base/mem.h"

/* One of the three roles, as a string that lives for ever. */
static const char *role_of(qg_slice role)
{
    static const char *const roles[] = {"user", "assistant", "system"};
    for (size_t i = 0; i < QG_COUNT(roles); i++)
        if (qg_slice_is(role, roles[i]))
            return roles[i];
    return NULL;
}

static qg_status read_role(const json_t *from, const char **role, qg_err *err)
{
    qg_slice name = {NULL, 0};
    QG_TRY(qg_json_opt_str(from, "role", &name, err));
    if (name.p && !(*role = role_of(name)))
        return qg_fail(err, QG_ERR_ARG, "\"role\" must be user, assistant or system");
    return QG_OK;
}

static qg_status read_ids(const json_t *root, qg_ids *ids, bool *given, qg_err *err)
{
    json_t *list = NULL, *item;
    size_t i;
    QG_TRY(qg_json_opt_array(root, "token_ids", &list, err));
    if (!list)
        QG_TRY(qg_json_opt_array(root, "ids", &list, err));
    *given = list != NULL;
    json_array_foreach (list, i, item) {
        json_int_t v = json_integer_value(item);
        if (!json_is_integer(item) || v < 0 || v > INT32_MAX)
            return qg_fail(err, QG_ERR_FORMAT, "token_ids[%zu] is not a token id", i);
        QG_TRY(qg_ids_push(ids, (int32_t)v));
    }
    return QG_OK;
}

/* {"unsafe":x,"categories":{"Violent":x,…}} */
static qg_status read_thresholds(const json_t *root, qg_thresholds *t, qg_err *err)
{
    json_t *given = NULL, *by_name = NULL, *value;
    const char *name;
    QG_TRY(qg_json_opt_object(root, "thresholds", &given, err));
    if (!given)
        return QG_OK;
    QG_TRY(qg_json_opt_num(given, "unsafe", 0, 1, &t->unsafe, err));
    QG_TRY(qg_json_opt_object(given, "categories", &by_name, err));
    json_object_foreach (by_name, name, value) {
        size_t i = 0;
        const char *known;
        while ((known = qg_category_name(i)) && strcmp(known, name) != 0)
            i++;
        if (!known || i >= QG_MAX_CATEGORIES)
            return qg_fail(err, QG_ERR_ARG, "thresholds.categories: \"%.64s\" is no category",
                           name);
        QG_TRY(qg_json_get_num(by_name, name, 0, 1, &t->category[i], err));
    }
    return QG_OK;
}

static qg_status read_mode(const json_t *root, qg_thresholds *t, qg_err *err)
{
    qg_slice mode = {NULL, 0};
    QG_TRY(qg_json_opt_str(root, "mode", &mode, err));
    if (mode.p && !qg_slice_is(mode, "strict") && !qg_slice_is(mode, "loose"))
        return qg_fail(err, QG_ERR_ARG, "\"mode\" must be strict or loose");
    t->loose = mode.p && qg_slice_is(mode, "loose");
    return read_thresholds(root, t, err);
}

/* Each message is a turn of its own and ends with it. */
static qg_status read_message(const json_t *m, qg_append *a, qg_err *err)
{
    qg_slice content = {NULL, 0};
    if (!json_is_object(m))
        return qg_fail(err, QG_ERR_FORMAT, "expected an object");
    QG_TRY(read_role(m, &a->role, err));
    if (!a->role)
        return qg_fail(err, QG_ERR_FORMAT, "\"role\" is missing");
    QG_TRY(qg_json_get_str(m, "content", &content, err));
    a->content = (qg_text){content.p, content.n};
    a->end = true;
    return QG_OK;
}

static qg_status read_context(qg_stream_ask *ask, const json_t *list, qg_err *err)
{
    size_t i;
    json_t *m;
    json_array_foreach (list, i, m) {
        qg_append *a = &ask->appends[ask->n];
        qg_append_init(a);
        qg_status rc = read_message(m, a, err);
        if (rc != QG_OK)
            return qg_fail_prefix(err, rc, "messages[%zu]", i);
        ask->n++;
    }
    return QG_OK;
}

/* What the object itself appends; *something tells whether it does. */
static qg_status read_own(qg_stream_ask *ask, const char *role, bool *something, qg_err *err)
{
    qg_slice content = {NULL, 0};
    qg_append *a = &ask->appends[ask->n];
    bool with_ids;
    qg_append_init(a);
    QG_TRY(qg_json_opt_str(ask->root, "content", &content, err));
    QG_TRY(read_ids(ask->root, &ask->ids, &with_ids, err));
    QG_TRY(qg_json_opt_bool(ask->root, "end", &a->end, err));
    if (content.p && with_ids)
        return qg_fail(err, QG_ERR_ARG, "content and token_ids exclude each other");
    static const int32_t none[1];
    /* An empty piece with a role opens that role's turn. */
    *something = content.n || ask->ids.n || a->end || (ask->role && (content.p || with_ids));
    /* The end alone closes whatever turn is open. */
    a->role = ask->role || content.n || ask->ids.n ? role : NULL;
    a->content = (qg_text){content.p, content.n};
    if (with_ids)
        a->ids = ask->ids.n ? ask->ids.p : none;
    a->n_ids = ask->ids.n;
    ask->n += *something;
    ask->empty = !*something && (content.p || with_ids);
    *something = *something || ask->empty;
    return QG_OK;
}

/* {"rollback":N}: forgets the token N and all behind it; alone it appends nothing. */
static qg_status read_rollback(qg_stream_ask *ask, bool *something, qg_err *err)
{
    const json_t *value = json_object_get(ask->root, "rollback");
    json_int_t index = json_integer_value(value);
    if (!value || json_is_null(value))
        return QG_OK;
    if (!json_is_integer(value) || index < 0 || index > INT32_MAX)
        return qg_fail(err, QG_ERR_FORMAT, "\"rollback\" must be the index of a token");
    ask->rollback = (int32_t)index;
    if (ask->n == 0)
        qg_append_init(&ask->appends[ask->n++]);
    ask->empty = false;
    *something = true;
    return QG_OK;
}

static qg_status read_first(qg_stream_ask *ask, json_t **context, qg_err *err)
{
    QG_TRY(qg_json_opt_str(ask->root, "model", &ask->model, err));
    QG_TRY(read_mode(ask->root, &ask->thresholds, err));
    ask->has_thresholds =
        json_object_get(ask->root, "mode") || json_object_get(ask->root, "thresholds");
    QG_TRY(qg_json_opt_array(ask->root, "messages", context, err));
    if (json_array_size(*context) > QG_MAX_MESSAGES)
        return qg_fail(err, QG_ERR_TOO_LONG, "more than %d messages", QG_MAX_MESSAGES);
    return QG_OK;
}

qg_status qg_stream_ask_read(qg_stream_ask *ask, qg_slice text, bool first, const char *role,
                             qg_err *err)
{
    json_t *context = NULL;
    bool something = false;
    *ask = (qg_stream_ask){.rollback = -1};
    qg_thresholds_init(&ask->thresholds);
    QG_TRY(qg_json_parse(text, QG_JSON_NUL, &ask->root, err));
    if (!json_is_object(ask->root))
        return qg_fail(err, QG_ERR_FORMAT, "expected a JSON object");
    if (first)
        QG_TRY(read_first(ask, &context, err));
    QG_TRY(read_role(ask->root, &ask->role, err));
    ask->appends = qg_calloc(json_array_size(context) + 1, sizeof *ask->appends);
    if (!ask->appends)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    QG_TRY(read_context(ask, context, err));
    if (ask->role)
        role = ask->role;
    QG_TRY(read_own(ask, role ? role : "assistant", &something, err));
    if (!first)
        QG_TRY(read_rollback(ask, &something, err));
    /* A misspelt key must not look as if its text had been judged. */
    if (!something && !first)
        return qg_fail(err, QG_ERR_FORMAT, "nothing to append: no content, token_ids or end");
    return QG_OK;
}

void qg_stream_ask_free(qg_stream_ask *ask)
{
    json_decref(ask->root);
    qg_ids_free(&ask->ids);
    qg_mfree(ask->appends);
    *ask = (qg_stream_ask){0};
}
