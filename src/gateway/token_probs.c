#include "gateway/token_probs.h"

#include "base/mem.h"
#include "text/json.h"

enum { TOKEN_BYTES = 128 }; /* Qwen3's longest token is 128 blanks */

/* Bytes of one token: its "bytes" where they are given, since "token" may be lossy. */
static qg_status add_token(const json_t *token, qg_buf *out)
{
    const json_t *bytes = json_object_get(token, "bytes");
    size_t i;
    json_t *value;
    if (!json_is_array(bytes)) {
        qg_slice s = qg_json_slice(json_is_string(token) ? token : json_object_get(token, "token"));
        return qg_buf_add(out, s.p, s.n);
    }
    json_array_foreach (bytes, i, value) {
        char c = (char)(json_integer_value(value) & 255);
        QG_TRY(qg_buf_add(out, &c, 1));
    }
    return QG_OK;
}

static qg_status add_long(qg_slice s, qg_buf *out)
{
    return s.n > TOKEN_BYTES ? qg_buf_add(out, s.p, s.n) : QG_OK;
}

/* What could have stood there, where it is no token; and a token that its bytes contradict. */
static qg_status add_others(const json_t *token, qg_buf *out)
{
    const json_t *top = json_object_get(token, "top_logprobs");
    size_t i;
    json_t *other;
    QG_TRY(add_long(qg_json_slice(json_object_get(token, "token")), out));
    json_array_foreach (top, i, other)
        QG_TRY(add_long(qg_json_slice(json_object_get(other, "token")), out));
    return QG_OK;
}

static qg_status add_list(const json_t *list, bool others, qg_buf *out)
{
    size_t i;
    json_t *token;
    json_array_foreach (list, i, token)
        QG_TRY(others ? add_others(token, out) : add_token(token, out));
    return QG_OK;
}

/* Completions: names are the alternatives. */
static qg_status add_names(const json_t *top, qg_buf *out)
{
    size_t i;
    json_t *map;
    const char *key;
    json_t *value;
    json_array_foreach (top, i, map)
        json_object_foreach (map, key, value)
            QG_TRY(add_long(qg_str(key), out));
    return QG_OK;
}

static json_t *parse(qg_slice json)
{
    json_t *tree = NULL;
    return qg_json_parse(json, QG_JSON_NUL, &tree, NULL) == QG_OK ? tree : NULL;
}

static bool known(const json_t *tree)
{
    return json_is_array(tree) || json_is_array(json_object_get(tree, "content")) ||
           json_is_array(json_object_get(tree, "refusal")) ||
           json_is_array(json_object_get(tree, "tokens"));
}

qg_status qg_token_probs_text(qg_slice json, qg_buf *out, bool *form)
{
    json_t *tree = parse(json);
    static const char *const lists[] = {"content", "refusal", "tokens"};
    qg_status rc = QG_OK;
    *form = known(tree);
    if (!*form)
        rc = qg_buf_add(out, json.p, json.n);
    for (int others = 0; *form && others < 2 && rc == QG_OK; others++) {
        if (json_is_array(tree))
            rc = add_list(tree, others, out);
        for (size_t i = 0; i < QG_COUNT(lists) && rc == QG_OK; i++)
            rc = add_list(json_object_get(tree, lists[i]), others, out);
    }
    if (*form && rc == QG_OK)
        rc = add_names(json_object_get(tree, "top_logprobs"), out);
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
