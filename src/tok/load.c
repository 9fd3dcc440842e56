/* tokenizer.json -> qg_tok.  The file is not trusted: every id, length and name is checked before
 * it is used.  The JSON tree is gone before the large tables are made. */
#include "tok/tok_parts.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/nfc.h"
#include "text/utf8.h"

/* A name in a sentence: "%.*s" with SHOW(slice). */
#define SHOW(s) qg_utf8_cut((s), 60), (s).p

typedef struct loader {
    qg_tok *tok;
    const json_t *vocab;  /* {"token": id, …} */
    const json_t *merges; /* ["a b", …] or [["a", "b"], …] */
    const json_t *added;  /* [{…}, …] or NULL */
    qg_bpe_pair *pairs;   /* [n_pairs] */
    size_t n_pairs;
    qg_err *err;
} loader;

static qg_status no_memory(qg_err *err)
{
    return qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

/* Bytes that a spelling stands for, into out [QG_MAX_TOKEN_BYTES]: those of the byte alphabet, if
 * all its characters are in it (*paired), else its own UTF-8; the reference decodes so. */
static qg_status spelling_bytes(qg_slice s, char *out, size_t *n, bool *paired, qg_err *err)
{
    *paired = s.n > 0;
    *n = 0;
    for (size_t i = 0, step; i < s.n && *paired; i += step) {
        int byte = qg_tok_alphabet_byte(qg_utf8_at(s.p + i, &step));
        *paired = byte >= 0;
        if (*paired && *n < QG_MAX_TOKEN_BYTES)
            out[*n] = (char)byte;
        ++*n;
    }
    if (!*paired)
        *n = s.n;
    if (*n > QG_MAX_TOKEN_BYTES)
        return qg_fail(err, QG_ERR_FORMAT, "token \"%.*s\" has %zu bytes, more than %d", SHOW(s),
                       *n, QG_MAX_TOKEN_BYTES);
    if (!*paired && s.n)
        memcpy(out, s.p, s.n);
    return QG_OK;
}

/* ---- vocabulary ------------------------------------------------------------------------------ */

static qg_status read_id(const json_t *value, qg_slice name, int32_t *id, qg_err *err)
{
    if (!json_is_integer(value))
        return qg_fail(err, QG_ERR_FORMAT, "the id of token \"%.*s\" is %s", SHOW(name),
                       qg_json_type_name(value));
    int64_t n = json_integer_value(value);
    if (n < 0 || n >= QG_MAX_TOKENIZER_IDS)
        return qg_fail(err, QG_ERR_FORMAT, "token \"%.*s\" has id %lld, must be from 0 to %d",
                       SHOW(name), (long long)n, QG_MAX_TOKENIZER_IDS - 1);
    *id = (int32_t)n;
    return QG_OK;
}

/* One more than the largest id, and the bytes of all names. */
static qg_status measure(const loader *l, int32_t *n_ids, size_t *n_bytes)
{
    const char *name;
    json_t *value;
    int32_t id = 0;
    *n_ids = 0;
    *n_bytes = 0;
    json_object_foreach ((json_t *)(uintptr_t)l->vocab, name, value) {
        QG_TRY(read_id(value, qg_str(name), &id, l->err));
        *n_ids = id >= *n_ids ? id + 1 : *n_ids;
        *n_bytes += strlen(name);
    }
    size_t i;
    json_array_foreach (l->added, i, value) {
        qg_slice content;
        QG_TRY(qg_json_get_str(value, "content", &content, l->err));
        QG_TRY(read_id(json_object_get(value, "id"), content, &id, l->err));
        *n_ids = id >= *n_ids ? id + 1 : *n_ids;
        *n_bytes += content.n;
    }
    return *n_ids ? QG_OK : qg_fail(l->err, QG_ERR_FORMAT, "the vocabulary is empty");
}

static qg_status set_token(const loader *l, int32_t id, qg_slice name, unsigned flags)
{
    char bytes[QG_MAX_TOKEN_BYTES];
    size_t n;
    bool paired;
    QG_TRY(spelling_bytes(name, bytes, &n, &paired, l->err));
    if (paired && !(flags & QG_TOKEN_ADDED))
        flags |= QG_TOKEN_PAIRED;
    if (qg_vocab_set(&l->tok->vocab, id, qg_slice_of(bytes, n), flags) != QG_OK)
        return no_memory(l->err);
    return QG_OK;
}

static qg_status read_vocab(const loader *l)
{
    int32_t n_ids;
    size_t n_bytes;
    QG_TRY(measure(l, &n_ids, &n_bytes));
    if (qg_vocab_init(&l->tok->vocab, n_ids, n_bytes) != QG_OK)
        return no_memory(l->err);
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)l->vocab, name, value) {
        int32_t id = (int32_t)json_integer_value(value);
        if (qg_vocab_flags(&l->tok->vocab, id))
            return qg_fail(l->err, QG_ERR_FORMAT, "two tokens have id %d, one is \"%.*s\"", id,
                           SHOW(qg_str(name)));
        QG_TRY(set_token(l, id, qg_str(name), 0));
    }
    return QG_OK;
}

/* ---- added tokens ---------------------------------------------------------------------------- */

static qg_status added_flags(const json_t *entry, qg_added_token *token, bool *special, qg_err *err)
{
    static const char *const refused[] = {"single_word", "lstrip", "rstrip"};
    for (size_t i = 0; i < QG_COUNT(refused); i++) {
        bool set = false;
        QG_TRY(qg_json_opt_bool(entry, refused[i], &set, err));
        if (set)
            return qg_fail(err, QG_ERR_UNSUPPORTED, "\"%s\": true is not supported", refused[i]);
    }
    *special = false;
    QG_TRY(qg_json_opt_bool(entry, "special", special, err));
    bool normalized = !*special;
    QG_TRY(qg_json_opt_bool(entry, "normalized", &normalized, err));
    token->kind = normalized ? QG_ADDED_NORMALIZED : QG_ADDED_RAW;
    if (normalized && qg_nfc_stable_prefix(token->spelling) < token->spelling.n)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "\"normalized\": true is not supported for this spelling");
    return QG_OK;
}

/* An added token may also stand in the vocabulary, then with the same id. */
static qg_status place_added(const loader *l, const qg_added_token *token, bool special)
{
    qg_vocab *vocab = &l->tok->vocab;
    unsigned flags = QG_TOKEN_ADDED | (special ? QG_TOKEN_SPECIAL : 0);
    const json_t *known = json_object_get(l->vocab, token->spelling.p);
    if (known && json_integer_value(known) != token->id)
        return qg_fail(l->err, QG_ERR_FORMAT, "id %d, but %lld in the vocabulary", token->id,
                       (long long)json_integer_value(known));
    if (known) {
        vocab->token[token->id].flags |= (uint16_t)flags;
        return QG_OK;
    }
    if (qg_vocab_flags(vocab, token->id))
        return qg_fail(l->err, QG_ERR_FORMAT, "id %d belongs to another token", token->id);
    return set_token(l, token->id, token->spelling, flags);
}

static qg_status read_added_one(const loader *l, const json_t *entry, qg_added_token *token)
{
    bool special;
    QG_TRY(qg_json_get_str(entry, "content", &token->spelling, l->err));
    token->id = (int32_t)json_integer_value(json_object_get(entry, "id"));
    qg_status rc = QG_OK;
    if (token->spelling.n == 0 || token->spelling.n > QG_MAX_TOKEN_BYTES)
        rc = qg_fail(l->err, QG_ERR_FORMAT, "its spelling has %zu bytes, must have 1 to %d",
                     token->spelling.n, QG_MAX_TOKEN_BYTES);
    if (rc == QG_OK)
        rc = added_flags(entry, token, &special, l->err);
    if (rc == QG_OK)
        rc = place_added(l, token, special);
    return rc == QG_OK ? QG_OK
                       : qg_fail_prefix(l->err, rc, "added token \"%.*s\"", SHOW(token->spelling));
}

static qg_status read_added(const loader *l)
{
    size_t n = json_array_size(l->added);
    qg_added_token *tokens = qg_calloc(n, sizeof *tokens);
    if (!tokens)
        return no_memory(l->err);
    qg_status rc = QG_OK;
    for (size_t i = 0; i < n && rc == QG_OK; i++)
        rc = read_added_one(l, json_array_get(l->added, i), &tokens[i]);
    if (rc == QG_OK)
        rc = qg_added_init(&l->tok->added, tokens, n, l->err);
    qg_mfree(tokens);
    return rc;
}

/* ---- merges ---------------------------------------------------------------------------------- */

/* The two names of a merge in either spelling; false when it is neither. */
static bool split_merge(const json_t *merge, qg_slice *left, qg_slice *right)
{
    if (json_is_array(merge)) {
        *left = qg_json_slice(json_array_get(merge, 0));
        *right = qg_json_slice(json_array_get(merge, 1));
        return json_array_size(merge) == 2 && left->n && right->n;
    }
    qg_slice both = qg_json_slice(merge);
    const char *blank = memchr(both.p, ' ', both.n);
    if (!blank)
        return false;
    *left = qg_slice_of(both.p, (size_t)(blank - both.p));
    *right = qg_slice_of(blank + 1, both.n - left->n - 1);
    return left->n && right->n && !memchr(right->p, ' ', right->n);
}

/* The token of a name: its id, with its bytes behind the n in out [2 * QG_MAX_TOKEN_BYTES]. */
static int32_t append_part(const loader *l, qg_slice name, char *out, size_t *n)
{
    size_t added;
    bool paired;
    if (spelling_bytes(name, out + *n, &added, &paired, NULL) != QG_OK || !paired)
        return -1;
    int32_t id = qg_vocab_find(&l->tok->vocab, qg_slice_of(out + *n, added));
    *n += added;
    return id;
}

static qg_status read_merge(const loader *l, size_t i, const json_t *merge, qg_bpe_pair *pair)
{
    qg_slice left;
    qg_slice right;
    if (!split_merge(merge, &left, &right))
        return qg_fail(l->err, QG_ERR_FORMAT, "merge %zu is not a pair of tokens", i);
    char bytes[2 * QG_MAX_TOKEN_BYTES];
    size_t n = 0;
    pair->left = append_part(l, left, bytes, &n);
    pair->right = pair->left < 0 ? -1 : append_part(l, right, bytes, &n);
    pair->joined = pair->right < 0 ? -1 : qg_vocab_find(&l->tok->vocab, qg_slice_of(bytes, n));
    if (pair->joined >= 0)
        return QG_OK;
    return qg_fail(l->err, QG_ERR_FORMAT, "merge %zu: %s of \"%.*s\" and \"%.*s\" is no token", i,
                   pair->left < 0    ? "the first"
                   : pair->right < 0 ? "the second"
                                     : "the joint",
                   SHOW(left), SHOW(right));
}

static qg_status read_merges(loader *l)
{
    size_t n = json_array_size(l->merges);
    if (n > QG_MAX_TOKENIZER_IDS)
        return qg_fail(l->err, QG_ERR_FORMAT, "%zu merges, more than %d", n, QG_MAX_TOKENIZER_IDS);
    l->pairs = qg_realloc_array(NULL, n, sizeof *l->pairs);
    if (!l->pairs)
        return no_memory(l->err);
    size_t i;
    json_t *merge;
    json_array_foreach (l->merges, i, merge) {
        if (i == 0 && json_is_string(merge) && !strncmp(json_string_value(merge), "#version", 8))
            continue; /* the first line of merges.txt, copied along */
        QG_TRY(read_merge(l, i, merge, &l->pairs[l->n_pairs]));
        l->n_pairs++;
    }
    return QG_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Without a token for a byte the reference drops it silently; text that nobody judges is not for a
 * guard.  Bytes that no UTF-8 has need no token. */
static qg_status check_bytes(const qg_vocab *vocab, qg_err *err)
{
    for (unsigned b = 0; b <= 0xF4; b++)
        if (vocab->byte_id[b] < 0 && b != 0xC0 && b != 0xC1)
            return qg_fail(err, QG_ERR_UNSUPPORTED, "the vocabulary has no token for byte %02X", b);
    return QG_OK;
}

/* A piece that is spelt like a token becomes that token only if its merges lead there. */
static qg_status mark_whole(qg_tok *tok, qg_err *err)
{
    qg_ids ids = {0};
    qg_status rc = QG_OK;
    for (int32_t id = 0; id < tok->vocab.n_ids && rc == QG_OK; id++) {
        if (!(tok->vocab.token[id].flags & QG_TOKEN_PAIRED))
            continue;
        ids.n = 0;
        rc = qg_bpe_encode(&tok->bpe, &tok->vocab, qg_vocab_bytes(&tok->vocab, id), &ids);
        if (rc == QG_OK && ids.n == 1 && ids.p[0] == id)
            tok->vocab.token[id].flags |= QG_TOKEN_WHOLE;
    }
    qg_ids_free(&ids);
    return rc == QG_OK ? QG_OK : no_memory(err);
}

static qg_status read_tree(loader *l, const json_t *root)
{
    QG_TRY(qg_tok_check_components(root, &l->tok->nfc, l->err));
    const json_t *model = json_object_get(root, "model");
    json_t *vocab;
    json_t *merges;
    json_t *added = NULL;
    QG_TRY(qg_json_get_object(model, "vocab", &vocab, l->err));
    QG_TRY(qg_json_get_array(model, "merges", &merges, l->err));
    QG_TRY(qg_json_opt_array(root, "added_tokens", &added, l->err));
    l->vocab = vocab;
    l->merges = merges;
    l->added = added;
    QG_TRY(read_vocab(l));
    QG_TRY(read_added(l));
    QG_TRY(qg_vocab_index(&l->tok->vocab, l->err));
    QG_TRY(check_bytes(&l->tok->vocab, l->err));
    return read_merges(l);
}

static qg_status open_parts(loader *l, qg_slice json)
{
    if (json.n > QG_MAX_TOKENIZER_BYTES)
        return qg_fail(l->err, QG_ERR_FORMAT, "%zu bytes, more than %u", json.n,
                       QG_MAX_TOKENIZER_BYTES);
    json_t *root;
    QG_TRY(qg_json_parse(json, 0, &root, l->err));
    qg_status rc = read_tree(l, root);
    json_decref(root);
    if (rc == QG_OK && qg_bpe_init(&l->tok->bpe, l->pairs, l->n_pairs) != QG_OK)
        rc = no_memory(l->err);
    return rc == QG_OK ? mark_whole(l->tok, l->err) : rc;
}

qg_status qg_tok_open(qg_tok **out, qg_slice json, qg_err *err)
{
    *out = NULL;
    loader l = {.tok = qg_calloc(1, sizeof *l.tok), .err = err};
    if (!l.tok)
        return no_memory(err);
    qg_status rc = open_parts(&l, json);
    qg_mfree(l.pairs);
    if (rc != QG_OK) {
        qg_tok_close(l.tok);
        return qg_fail_prefix(err, rc, "tokenizer.json");
    }
    *out = l.tok;
    return QG_OK;
}

void qg_tok_close(qg_tok *tok)
{
    if (!tok)
        return;
    qg_vocab_free(&tok->vocab);
    qg_bpe_free(&tok->bpe);
    qg_added_free(&tok->added);
    qg_mfree(tok);
}
