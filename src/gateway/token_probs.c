#include "gateway/token_probs.h"

#include "base/mem.h"
#include "gateway/jstr.h"
#include "text/json.h"
#include "text/utf8.h"

static json_t *parse(qg_slice json)
{
    json_t *tree = NULL;
    return qg_json_parse(json, QG_JSON_NUL, &tree, NULL) == QG_OK ? tree : NULL;
}

/* ---- the forms --------------------------------------------------------------------------------
 */

/* One of the names, or its value says nothing. */
static bool is_known(const char *key, const json_t *value, const char *const *names)
{
    while (*names && strcmp(*names, key) != 0)
        names++;
    return *names || json_is_null(value) || json_is_number(value) || json_is_boolean(value);
}

static bool knows(const json_t *object, const char *const *names)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)object, key, value)
        if (!is_known(key, value, names))
            return false;
    return true;
}

static bool all_numbers(const json_t *list)
{
    size_t i;
    json_t *value;
    json_array_foreach (list, i, value)
        if (!json_is_number(value) && !json_is_null(value))
            return false;
    return true;
}

static bool tokens_known(const json_t *list, bool others)
{
    static const char *const names[] = {"token", "bytes", "top_logprobs", NULL};
    size_t i;
    json_t *token;
    json_array_foreach (list, i, token) {
        const json_t *spelt = json_object_get(token, "token");
        if (!json_is_object(token)) {
            if (json_is_string(token) || json_is_number(token))
                continue; /* of completions; ids */
            return false;
        }
        const json_t *bytes = json_object_get(token, "bytes");
        const json_t *top = json_object_get(token, "top_logprobs");
        if (!knows(token, names) || (spelt && !json_is_string(spelt)) ||
            (bytes && !json_is_null(bytes) && !json_is_array(bytes)) || !all_numbers(bytes) ||
            (top && !json_is_null(top) && (!others || !json_is_array(top))) ||
            !tokens_known(top, false))
            return false;
    }
    return true;
}

/* Completions: names are the alternatives. */
static bool names_known(const json_t *top)
{
    static const char *const none[] = {NULL};
    size_t i;
    json_t *map;
    if (top && !json_is_null(top) && !json_is_array(top))
        return false;
    json_array_foreach (top, i, map)
        if (!json_is_null(map) && (!json_is_object(map) || !knows(map, none)))
            return false;
    return true;
}

static const char *const lists[] = {"content", "refusal", "tokens"};

static bool known(const json_t *tree)
{
    static const char *const names[] = {"content",     "refusal",      "tokens", "token_logprobs",
                                        "text_offset", "top_logprobs", NULL};
    bool any = json_is_array(tree);
    if (any)
        return tokens_known(tree, true);
    for (size_t i = 0; i < QG_COUNT(lists); i++) {
        const json_t *list = json_object_get(tree, lists[i]);
        any |= json_is_array(list);
        if ((list && !json_is_null(list) && !json_is_array(list)) || !tokens_known(list, true))
            return false;
    }
    return any && knows(tree, names) && all_numbers(json_object_get(tree, "token_logprobs")) &&
           all_numbers(json_object_get(tree, "text_offset")) &&
           names_known(json_object_get(tree, "top_logprobs"));
}

/* ---- what they say ----------------------------------------------------------------------------
 */

static qg_slice spelt(const json_t *token)
{
    return qg_json_slice(json_is_string(token) ? token : json_object_get(token, "token"));
}

/* Bytes of one token: its "bytes" where they are given, since "token" may be lossy. */
static qg_status add_token(const json_t *token, qg_buf *out)
{
    const json_t *bytes = json_object_get(token, "bytes");
    size_t i;
    json_t *value;
    if (!json_is_array(bytes))
        return qg_buf_add(out, spelt(token).p, spelt(token).n);
    json_array_foreach (bytes, i, value) {
        char c = (char)(json_integer_value(value) & 255);
        QG_TRY(qg_buf_add(out, &c, 1));
    }
    return QG_OK;
}

/* Alternatives are words apart. */
static qg_status add_other(qg_slice s, qg_buf *others)
{
    if (s.n == 0)
        return QG_OK;
    if (s.p[0] != ' ')
        QG_TRY(qg_buf_add(others, " ", 1));
    return qg_buf_add(others, s.p, s.n);
}

/* What its "token" says when that is not what its bytes are. */
static qg_status add_spelling(const json_t *token, qg_slice bytes, qg_buf *room, qg_buf *others)
{
    qg_slice s = spelt(token);
    room->n = 0;
    if (qg_slice_eq(s, bytes))
        return QG_OK;
    QG_TRY(qg_utf8_lossy(bytes, room));
    return qg_slice_eq(s, qg_buf_slice(room)) ? QG_OK : add_other(s, others);
}

typedef struct rooms {
    qg_buf own, other, lossy;
} rooms;

static qg_status read_token(const json_t *token, rooms *r, qg_buf *out, qg_buf *others)
{
    size_t i;
    json_t *other;
    r->own.n = 0;
    QG_TRY(add_token(token, &r->own));
    QG_TRY(qg_buf_add(out, r->own.p, r->own.n));
    QG_TRY(add_spelling(token, qg_buf_slice(&r->own), &r->lossy, others));
    json_array_foreach (json_object_get(token, "top_logprobs"), i, other) {
        r->other.n = r->lossy.n = 0;
        QG_TRY(add_token(other, &r->other));
        QG_TRY(add_spelling(other, qg_buf_slice(&r->other), &r->lossy, others));
        if (qg_slice_eq(qg_buf_slice(&r->other), qg_buf_slice(&r->own)))
            continue;
        r->lossy.n = 0;
        QG_TRY(qg_utf8_lossy(qg_buf_slice(&r->other), &r->lossy));
        QG_TRY(add_other(qg_buf_slice(&r->lossy), others));
    }
    return QG_OK;
}

static qg_status read_list(const json_t *list, rooms *r, qg_buf *out, qg_buf *others)
{
    size_t i;
    json_t *token;
    json_array_foreach (list, i, token)
        QG_TRY(read_token(token, r, out, others));
    return QG_OK;
}

static qg_status read_names(const json_t *tree, qg_buf *others)
{
    const json_t *tokens = json_object_get(tree, "tokens");
    size_t i;
    json_t *map, *value;
    const char *key;
    json_array_foreach (json_object_get(tree, "top_logprobs"), i, map)
        json_object_foreach (map, key, value)
            if (!qg_slice_eq(qg_str(key), spelt(json_array_get(tokens, i))))
                QG_TRY(add_other(qg_str(key), others));
    return QG_OK;
}

static qg_status read_tree(const json_t *tree, qg_buf *out, qg_buf *others)
{
    rooms r;
    qg_status rc = QG_OK;
    qg_buf_init(&r.own, 1u << 20);
    qg_buf_init(&r.other, 1u << 20);
    qg_buf_init(&r.lossy, 4u << 20);
    if (json_is_array(tree))
        rc = read_list(tree, &r, out, others);
    for (size_t i = 0; i < QG_COUNT(lists) && rc == QG_OK; i++)
        rc = read_list(json_object_get(tree, lists[i]), &r, out, others);
    if (rc == QG_OK)
        rc = read_names(tree, others);
    qg_buf_free(&r.own);
    qg_buf_free(&r.other);
    qg_buf_free(&r.lossy);
    return rc;
}

qg_status qg_token_probs_text(qg_slice json, qg_buf *out, qg_buf *others)
{
    json_t *tree = parse(json);
    qg_status rc = known(tree) ? read_tree(tree, out, others) : qg_jstr_decode(json, others);
    json_decref(tree);
    return rc;
}

/* ---- trimming -------------------------------------------------------------------------------- */

/* How many tokens of the list lie in the first *n bytes; takes them off. */
static qg_status count_tokens(const json_t *list, size_t *n, size_t *count)
{
    qg_buf token;
    qg_status rc = QG_OK;
    qg_buf_init(&token, 1u << 20);
    for (*count = 0; *count < json_array_size(list); ++*count) {
        token.n = 0;
        rc = add_token(json_array_get(list, *count), &token);
        if (rc != QG_OK || token.n > *n)
            break;
        *n -= token.n;
    }
    qg_buf_free(&token);
    return rc;
}

static void shorten(json_t *list, size_t count)
{
    while (json_array_size(list) > count)
        json_array_remove(list, json_array_size(list) - 1);
}

static qg_status trim(json_t *tree, size_t n)
{
    static const char *const columns[] = {"tokens", "token_logprobs", "text_offset",
                                          "top_logprobs"};
    size_t count;
    if (json_is_array(tree)) {
        QG_TRY(count_tokens(tree, &n, &count));
        shorten(tree, count);
        return QG_OK;
    }
    QG_TRY(count_tokens(json_object_get(tree, "content"), &n, &count));
    shorten(json_object_get(tree, "content"), count);
    QG_TRY(count_tokens(json_object_get(tree, "refusal"), &n, &count));
    shorten(json_object_get(tree, "refusal"), count);
    QG_TRY(count_tokens(json_object_get(tree, "tokens"), &n, &count));
    for (size_t i = 0; i < QG_COUNT(columns); i++)
        shorten(json_object_get(tree, columns[i]), count);
    return QG_OK;
}

qg_status qg_token_probs_trim(qg_slice json, size_t n, qg_buf *out)
{
    json_t *tree = parse(json);
    qg_status rc = QG_OK;
    if (!known(tree)) {
        json_decref(tree);
        return qg_buf_adds(out, "null");
    }
    rc = trim(tree, n);
    char *text = rc == QG_OK ? qg_json_dump(tree) : NULL;
    json_decref(tree);
    if (text)
        rc = qg_buf_adds(out, text);
    else if (rc == QG_OK)
        rc = QG_ERR_NOMEM;
    qg_mfree(text);
    return rc;
}
