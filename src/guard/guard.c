#include "guard/guard.h"

#include "base/limits.h"
#include "base/mem.h"

struct qg_guard {
    const qg_tok *tok;
    const qg_tmpl *tmpl;
    qg_status forced; /* QG_OK, or why labels and trees are not to be used */
    qg_err forced_err;
    qg_labels labels;
    qg_answers answers;
    qg_tree tree[2];  /* [qg_judged] */
    qg_ids prefix[2]; /* [qg_judged] */
};

qg_judged qg_guard_judged(const qg_message *messages, size_t n_messages)
{
    bool user = n_messages && !strcmp(messages[n_messages - 1].role, "user");
    return user ? QG_PROMPT : QG_REPLY;
}

static qg_status add_message(json_t *list, const qg_message *m, size_t index, qg_err *err)
{
    json_t *role = m->role ? json_string(m->role) : NULL;
    json_t *content = m->content.p || !m->content.n
                          ? json_stringn(m->content.p ? m->content.p : "", m->content.n)
                          : NULL;
    json_t *message = json_object();
    qg_status rc = QG_OK;

    if (!role || !content)
        rc = qg_fail(err, QG_ERR_ARG, "messages[%zu].%s is not valid UTF-8", index,
                     role ? "content" : "role");
    else if (!message || json_object_set(message, "role", role) ||
             json_object_set(message, "content", content) || json_array_append(list, message))
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    json_decref(role);
    json_decref(content);
    json_decref(message);
    return rc;
}

static qg_status make_vars(json_t **out, const qg_message *messages, size_t n_messages,
                           bool generation, qg_err *err)
{
    json_t *vars = json_object(), *list = json_array();
    qg_status rc = QG_OK;

    *out = NULL;
    for (size_t i = 0; i < n_messages && list && rc == QG_OK; i++)
        rc = add_message(list, &messages[i], i, err);
    if (rc == QG_OK &&
        (!vars || !list || json_object_set(vars, "messages", list) ||
         json_object_set_new(vars, "add_generation_prompt", json_boolean(generation))))
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    json_decref(list);
    if (rc == QG_OK)
        *out = vars;
    else
        json_decref(vars);
    return rc;
}

static qg_status encode(const qg_guard *guard, const qg_rendered *r, qg_special special,
                        qg_ids *ids, qg_err *err)
{
    qg_slice text = qg_buf_slice(&r->text);
    if (special == QG_SPECIAL_PARSE)
        return qg_tok_encode(guard->tok, text, true, ids, err);
    return qg_tok_encode_spans(guard->tok, text, r->spans, r->n_spans, ids, err);
}

qg_status qg_guard_render(const qg_guard *guard, const json_t *vars, qg_special special,
                          qg_buf *text, qg_ids *ids, qg_err *err)
{
    qg_rendered r = {0};
    qg_status rc = qg_tmpl_render(guard->tmpl, vars, &r, err);
    if (rc == QG_OK && ids)
        rc = encode(guard, &r, special, ids, err);
    if (rc == QG_OK && text) {
        rc = qg_buf_add(text, r.text.p, r.text.n);
        if (rc != QG_OK)
            qg_fail(err, rc, "rendered text of %zu bytes does not fit", r.text.n);
    }
    qg_rendered_free(&r);
    return rc;
}

/* ---- is what is judged shown? ----
 * A template may drop messages: Qwen3Guard's own drops a first one of the assistant, and later ones
 * of system or tool.  The conversation that is left over would be judged in its place. */

static qg_slice without_end(qg_slice text)
{
    while (text.n && strchr(" \t\r\n", text.p[text.n - 1]))
        text.n--;
    return text;
}

/* The usual case: the last input in the text ends with content. */
static bool ends_with(const qg_rendered *r, qg_slice content)
{
    for (size_t i = r->n_spans; i-- > 0;) {
        size_t from = i ? r->spans[i - 1].end : 0;
        qg_slice input = without_end(qg_slice_of(r->text.p + from, r->spans[i].end - from));
        if (r->spans[i].input && input.n)
            return input.n >= content.n &&
                   memcmp(input.p + input.n - content.n, content.p, content.n) == 0;
    }
    return false;
}

static size_t input_bytes(const qg_rendered *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_spans; i++)
        n += r->spans[i].input ? r->spans[i].end - (i ? r->spans[i - 1].end : 0) : 0;
    return n;
}

/* The sure way: does the text hold less of the caller's when the last content is empty? */
static qg_status check_shown(const qg_guard *guard, const qg_rendered *r, const json_t *vars,
                             const qg_message *messages, size_t n_messages, qg_err *err)
{
    const qg_message *last = &messages[n_messages - 1];
    qg_slice content = without_end(qg_slice_of(last->content.p, last->content.n));
    qg_rendered without = {0};
    if (content.n == 0 || ends_with(r, content))
        return QG_OK;
    json_t *list = json_object_get(vars, "messages");
    if (json_object_set_new(json_array_get(list, n_messages - 1), "content", json_string("")))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_status rc = qg_tmpl_render(guard->tmpl, vars, &without, err);
    if (rc == QG_OK && input_bytes(&without) >= input_bytes(r))
        rc = qg_fail(err, QG_ERR_TEMPLATE,
                     "messages[%zu], of role %.64s, is not shown to the model by its chat "
                     "template there, so it cannot be judged",
                     n_messages - 1, last->role);
    qg_rendered_free(&without);
    return rc;
}

qg_status qg_guard_prompt(const qg_guard *guard, const qg_message *messages, size_t n_messages,
                          qg_special special, qg_ids *ids, qg_err *err)
{
    json_t *vars;
    size_t before = ids->n;

    if (!n_messages)
        return qg_fail(err, QG_ERR_ARG, "messages must not be empty");
    QG_TRY(make_vars(&vars, messages, n_messages, true, err));
    qg_rendered r = {0};
    qg_status rc = qg_tmpl_render(guard->tmpl, vars, &r, err);
    if (rc == QG_OK)
        rc = check_shown(guard, &r, vars, messages, n_messages, err);
    if (rc == QG_OK)
        rc = encode(guard, &r, special, ids, err);
    qg_rendered_free(&r);
    json_decref(vars);
    if (rc == QG_OK && ids->n == before)
        rc = qg_fail(err, QG_ERR_TEMPLATE, "the template renders nothing for these messages");
    return rc;
}

qg_status qg_guard_turns(const qg_guard *guard, const qg_message *messages, size_t n_messages,
                         qg_buf *text, qg_err *err)
{
    json_t *vars;
    QG_TRY(make_vars(&vars, messages, n_messages, false, err));
    qg_status rc = qg_guard_render(guard, vars, QG_SPECIAL_TEXT, text, NULL, err);
    json_decref(vars);
    return rc;
}

static void keep_common(qg_ids *prefix, const qg_ids *other, bool first)
{
    if (first) {
        qg_ids_free(prefix);
        if (qg_ids_add(prefix, other->p, other->n) != QG_OK)
            qg_ids_free(prefix);
        return;
    }
    size_t n = 0;
    while (n < prefix->n && n < other->n && prefix->p[n] == other->p[n])
        n++;
    prefix->n = n;
}

/* Renders contents that begin in as many ways as text can (letter, blank, digit, mark, line break,
 * other script, nothing) and keeps what their ids have in common.  It is only a hint for the cache,
 * which compares ids anyway: a template that raises here simply has no prefix. */
static void find_prefix(qg_guard *guard, qg_judged judged)
{
    static const char *const contents[] = {"a",    " b",           "7", "?!",
                                           "\n\n", "\xe4\xb8\xad", "",  "Zebra"};
    qg_ids *prefix = &guard->prefix[judged];

    for (size_t i = 0; i < QG_COUNT(contents); i++) {
        const qg_text text = {contents[i], strlen(contents[i])};
        const qg_message turns[] = {{"user", text}, {"assistant", text}};
        qg_ids ids = {0};
        qg_status rc =
            qg_guard_prompt(guard, turns, judged == QG_REPLY ? 2 : 1, QG_SPECIAL_TEXT, &ids, NULL);
        if (rc == QG_OK)
            keep_common(prefix, &ids, i == 0);
        else
            prefix->n = 0;
        qg_ids_free(&ids);
    }
}

static qg_status init_forced(qg_guard *guard, qg_err *err)
{
    QG_TRY(qg_labels_init(&guard->labels, guard->tok, err));
    QG_TRY(qg_tree_init(&guard->tree[QG_PROMPT], &guard->labels, QG_PROMPT, err));
    QG_TRY(qg_tree_init(&guard->tree[QG_REPLY], &guard->labels, QG_REPLY, err));
    qg_answers_init(&guard->answers, &guard->labels);
    return QG_OK;
}

qg_status qg_guard_open(qg_guard **out, const qg_tok *tok, const qg_tmpl *tmpl, qg_err *err)
{
    qg_guard *guard = qg_calloc(1, sizeof *guard);
    *out = NULL;
    if (!guard)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    guard->tok = tok;
    guard->tmpl = tmpl;
    guard->forced = init_forced(guard, &guard->forced_err);
    if (guard->forced == QG_ERR_NOMEM) {
        qg_guard_close(guard);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    }
    find_prefix(guard, QG_PROMPT);
    find_prefix(guard, QG_REPLY);
    *out = guard;
    return QG_OK;
}

void qg_guard_close(qg_guard *guard)
{
    if (!guard)
        return;
    qg_ids_free(&guard->prefix[QG_PROMPT]);
    qg_ids_free(&guard->prefix[QG_REPLY]);
    qg_mfree(guard);
}

qg_status qg_guard_forced(const qg_guard *guard, qg_err *err)
{
    return guard->forced == QG_OK ? QG_OK
                                  : qg_fail(err, guard->forced, "%s", guard->forced_err.msg);
}

const qg_ids *qg_guard_prefix(const qg_guard *guard, qg_judged judged)
{
    return &guard->prefix[judged];
}

const qg_labels *qg_guard_labels(const qg_guard *guard)
{
    return &guard->labels;
}

const qg_tree *qg_guard_tree(const qg_guard *guard, qg_judged judged)
{
    return &guard->tree[judged];
}

const qg_answers *qg_guard_answers(const qg_guard *guard)
{
    return &guard->answers;
}
