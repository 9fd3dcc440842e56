/* tokenizer.json -> qg_tok.  The file is not trusted: every id, length and name is checked before
 * it is used.
 *
 * Of its 11 MB all but a few KB are two tables, model.vocab and model.merges.  They are read where
 * they stand, entry by entry; a tree of them would take ten times as long and 100 MB.  The rest,
 * with the two left empty, becomes a tree.  Whenever something is wrong the whole document is
 * parsed after all, so that broken JSON is told as such, with line and column. */
#include "tok/tok_parts.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/jsonscan.h"
#include "text/nfc.h"
#include "text/utf8.h"

/* A name in a sentence: "%.*s" with SHOW(slice). */
#define SHOW(s) qg_utf8_cut((s), 60), (s).p

typedef struct loader {
    qg_tok *tok;
    qg_slice vocab;      /* the text {"token": id, …} */
    qg_slice merges;     /* the text ["a b", …] or [["a", "b"], …] */
    const json_t *added; /* [{…}, …] or NULL */
    qg_buf room[2];      /* names with escapes, decoded */
    qg_bpe_pair *pairs;  /* [n_pairs] */
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

static qg_status check_id(int64_t n, qg_slice name, int32_t *id, qg_err *err)
{
    if (n < 0 || n >= QG_MAX_TOKENIZER_IDS)
        return qg_fail(err, QG_ERR_FORMAT, "token \"%.*s\" has id %lld, must be from 0 to %d",
                       SHOW(name), (long long)n, QG_MAX_TOKENIZER_IDS - 1);
    *id = (int32_t)n;
    return QG_OK;
}

static qg_status wrong_id(qg_slice name, const char *is, qg_err *err)
{
    return qg_fail(err, QG_ERR_FORMAT, "the id of token \"%.*s\" is %s", SHOW(name), is);
}

static qg_status added_id(const json_t *value, qg_slice name, int32_t *id, qg_err *err)
{
    if (!json_is_integer(value))
        return wrong_id(name, qg_json_type_name(value), err);
    return check_id(json_integer_value(value), name, id, err);
}

/* What a value that is no integer is, by its first byte. */
static const char *type_at(qg_scan *s)
{
    char c = qg_scan_peek(s);
    return c == '"'               ? "a string"
           : c == '{'             ? "an object"
           : c == '['             ? "an array"
           : c == 't' || c == 'f' ? "true or false"
           : c == 'n'             ? "null"
                                  : "a real number";
}

static qg_status broken(qg_err *err)
{
    return qg_fail(err, QG_ERR_FORMAT, "vocabulary or merges are broken");
}

/* Opens the table in text, or takes its next comma, or its end: then *more is false. */
static qg_status next_entry(qg_scan *s, const char *text, char open, char close, bool *more,
                            qg_err *err)
{
    *more = false;
    bool first = s->at == text;
    if (first && !qg_scan_take(s, open))
        return broken(err);
    if (qg_scan_take(s, close))
        return qg_scan_peek(s) ? broken(err) : QG_OK;
    if (!first && !qg_scan_take(s, ','))
        return broken(err);
    *more = true;
    /* a comma before the end is for the reader of entries to refuse: there is no entry */
    return QG_OK;
}

/* The next name and id of the vocabulary; *more false at its end. */
static qg_status next_token(loader *l, qg_scan *s, qg_slice *name, int32_t *id, bool *more)
{
    QG_TRY(next_entry(s, l->vocab.p, '{', '}', more, l->err));
    if (!*more)
        return QG_OK;
    qg_status rc = qg_scan_string(s, &l->room[0], name);
    if (rc != QG_OK)
        return rc == QG_ERR_NOMEM ? no_memory(l->err) : broken(l->err);
    if (!qg_scan_take(s, ':'))
        return broken(l->err);
    int64_t n;
    qg_scan value = *s;
    if (!qg_scan_int(s, &n))
        return wrong_id(*name, type_at(&value), l->err);
    return check_id(n, *name, id, l->err);
}

static qg_scan over(qg_slice text)
{
    return (qg_scan){text.p, text.p + text.n};
}

/* One more than the largest id, and the bytes of all names. */
static qg_status measure(loader *l, int32_t *n_ids, size_t *n_bytes)
{
    qg_scan s = over(l->vocab);
    qg_slice name;
    int32_t id = 0;
    bool more;
    *n_ids = 0;
    *n_bytes = 0;
    for (;;) {
        QG_TRY(next_token(l, &s, &name, &id, &more));
        if (!more)
            break;
        *n_ids = id >= *n_ids ? id + 1 : *n_ids;
        *n_bytes += name.n;
    }
    size_t i;
    json_t *value;
    json_array_foreach (l->added, i, value) {
        QG_TRY(qg_json_get_str(value, "content", &name, l->err));
        QG_TRY(added_id(json_object_get(value, "id"), name, &id, l->err));
        *n_ids = id >= *n_ids ? id + 1 : *n_ids;
        *n_bytes += name.n;
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

static qg_status read_vocab(loader *l)
{
    int32_t n_ids, id = 0;
    size_t n_bytes;
    bool more;
    QG_TRY(measure(l, &n_ids, &n_bytes));
    if (qg_vocab_init(&l->tok->vocab, n_ids, n_bytes) != QG_OK)
        return no_memory(l->err);
    qg_scan s = over(l->vocab);
    for (;;) {
        qg_slice name;
        QG_TRY(next_token(l, &s, &name, &id, &more));
        if (!more)
            return qg_vocab_index(&l->tok->vocab, l->err);
        if (qg_vocab_flags(&l->tok->vocab, id))
            return qg_fail(l->err, QG_ERR_FORMAT, "two tokens have id %d, one is \"%.*s\"", id,
                           SHOW(name));
        QG_TRY(set_token(l, id, name, 0));
    }
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
    char bytes[QG_MAX_TOKEN_BYTES];
    size_t n;
    bool paired;
    QG_TRY(spelling_bytes(token->spelling, bytes, &n, &paired, l->err));
    int32_t known = qg_vocab_find_as(vocab, qg_slice_of(bytes, n), paired);
    if (known >= 0 && known != token->id)
        return qg_fail(l->err, QG_ERR_FORMAT, "id %d, but %d in the vocabulary", token->id, known);
    if (known >= 0) {
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

static bool split_words(qg_slice both, qg_slice *left, qg_slice *right)
{
    const char *blank = memchr(both.p, ' ', both.n);
    if (!blank)
        return false;
    *left = qg_slice_of(both.p, (size_t)(blank - both.p));
    *right = qg_slice_of(blank + 1, both.n - left->n - 1);
    return left->n && right->n && !memchr(right->p, ' ', right->n);
}

/* The two names of a merge in either spelling; QG_ERR_FORMAT when it is neither. */
static qg_status split_merge(loader *l, qg_scan *s, qg_slice *left, qg_slice *right)
{
    if (qg_scan_take(s, '[')) {
        QG_TRY(qg_scan_string(s, &l->room[0], left));
        if (!qg_scan_take(s, ','))
            return QG_ERR_FORMAT;
        QG_TRY(qg_scan_string(s, &l->room[1], right));
        return qg_scan_take(s, ']') && left->n && right->n ? QG_OK : QG_ERR_FORMAT;
    }
    qg_slice both;
    QG_TRY(qg_scan_string(s, &l->room[0], &both));
    return split_words(both, left, right) ? QG_OK : QG_ERR_FORMAT;
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

static qg_status find_pair(const loader *l, size_t i, qg_slice left, qg_slice right,
                           qg_bpe_pair *pair)
{
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

/* Room for one more pair. */
static qg_status grow_pairs(loader *l, size_t *cap)
{
    if (l->n_pairs < *cap)
        return QG_OK;
    size_t want = *cap ? 2 * *cap : 1024;
    qg_bpe_pair *p = qg_realloc_array(l->pairs, want, sizeof *p);
    if (!p)
        return no_memory(l->err);
    l->pairs = p;
    *cap = want;
    return QG_OK;
}

/* The first line of merges.txt, copied along. */
static bool skip_version(qg_scan *s)
{
    static const char version[] = "\"#version";
    if (qg_scan_peek(s) != '"' || (size_t)(s->end - s->at) < sizeof version ||
        memcmp(s->at, version, sizeof version - 1) != 0)
        return false;
    return qg_scan_skip(s);
}

static qg_status read_merges(loader *l)
{
    qg_scan s = over(l->merges);
    size_t cap = 0;
    bool more;
    for (size_t i = 0;; i++) {
        qg_slice left, right;
        QG_TRY(next_entry(&s, l->merges.p, '[', ']', &more, l->err));
        if (!more)
            return QG_OK;
        if (i == 0 && skip_version(&s))
            continue;
        qg_status rc = split_merge(l, &s, &left, &right);
        if (rc != QG_OK)
            return rc == QG_ERR_NOMEM ? no_memory(l->err)
                                      : qg_fail(l->err, rc, "merge %zu is not a pair of tokens", i);
        if (l->n_pairs == QG_MAX_TOKENIZER_IDS)
            return qg_fail(l->err, QG_ERR_FORMAT, "more than %d merges", QG_MAX_TOKENIZER_IDS);
        QG_TRY(grow_pairs(l, &cap));
        QG_TRY(find_pair(l, i, left, right, &l->pairs[l->n_pairs]));
        l->n_pairs++;
    }
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

/* Goes through the document for the two tables; what lies around them is copied.  Its functions
 * give false for what they do not understand. */
typedef struct cutter {
    loader *l;
    const char *done; /* copied up to here */
    qg_buf rest;
    qg_status rc;
} cutter;

static bool cut_table(cutter *c, qg_scan *s, char open, qg_slice *table)
{
    qg_scan_peek(s);
    const char *start = s->at;
    if (!qg_scan_skip(s))
        return false;
    if (*start != open || table->p)
        return true;
    *table = qg_slice_of(start, (size_t)(s->at - start));
    c->rc = qg_buf_add(&c->rest, c->done, (size_t)(start - c->done));
    if (c->rc == QG_OK)
        c->rc = qg_buf_adds(&c->rest, open == '{' ? "{}" : "[]");
    c->done = s->at;
    return c->rc == QG_OK;
}

static bool cut_member(cutter *c, qg_scan *s, qg_slice name, bool outer);

static bool cut_object(cutter *c, qg_scan *s, bool outer)
{
    if (!qg_scan_take(s, '{'))
        return false;
    if (qg_scan_take(s, '}'))
        return true;
    do {
        qg_slice name;
        if (qg_scan_string(s, &c->l->room[0], &name) != QG_OK || !qg_scan_take(s, ':') ||
            !cut_member(c, s, name, outer))
            return false;
    } while (qg_scan_take(s, ','));
    return qg_scan_take(s, '}');
}

static bool cut_member(cutter *c, qg_scan *s, qg_slice name, bool outer)
{
    if (outer && qg_slice_is(name, "model") && qg_scan_peek(s) == '{')
        return cut_object(c, s, false);
    if (!outer && qg_slice_is(name, "vocab"))
        return cut_table(c, s, '{', &c->l->vocab);
    if (!outer && qg_slice_is(name, "merges"))
        return cut_table(c, s, '[', &c->l->merges);
    return qg_scan_skip(s);
}

/* The document without its two tables as a tree; QG_ERR_FORMAT also when it is no JSON. */
static qg_status parse_rest(loader *l, qg_slice json, json_t **root)
{
    cutter c = {.l = l, .done = json.p};
    qg_scan s = over(json);
    qg_buf_init(&c.rest, json.n + 16);
    bool whole = cut_object(&c, &s, true) && !qg_scan_peek(&s);
    if (c.rc == QG_OK)
        c.rc = whole ? qg_buf_add(&c.rest, c.done, (size_t)(json.p + json.n - c.done))
                     : qg_buf_add(&c.rest, json.p, json.n);
    if (c.rc == QG_OK)
        c.rc = qg_json_parse(whole ? qg_buf_slice(&c.rest) : json, 0, root, l->err);
    else
        no_memory(l->err);
    qg_buf_free(&c.rest);
    return c.rc;
}

static qg_status read_tree(loader *l, const json_t *root)
{
    QG_TRY(qg_tok_check_components(root, &l->tok->nfc, l->err));
    const json_t *model = json_object_get(root, "model");
    json_t *table;
    json_t *added = NULL;
    QG_TRY(qg_json_get_object(model, "vocab", &table, l->err));
    QG_TRY(qg_json_get_array(model, "merges", &table, l->err));
    QG_TRY(qg_json_opt_array(root, "added_tokens", &added, l->err));
    if (!l->vocab.p || !l->merges.p)
        return broken(l->err);
    l->added = added;
    QG_TRY(read_vocab(l));
    QG_TRY(read_added(l));
    QG_TRY(check_bytes(&l->tok->vocab, l->err));
    return read_merges(l);
}

static qg_status read_parts(loader *l, qg_slice json)
{
    json_t *root;
    QG_TRY(parse_rest(l, json, &root));
    qg_status rc = read_tree(l, root);
    json_decref(root);
    return rc;
}

static qg_status open_parts(loader *l, qg_slice json)
{
    if (json.n > QG_MAX_TOKENIZER_BYTES)
        return qg_fail(l->err, QG_ERR_FORMAT, "%zu bytes, more than %u", json.n,
                       QG_MAX_TOKENIZER_BYTES);
    qg_status rc = read_parts(l, json);
    if (rc != QG_OK && rc != QG_ERR_NOMEM) {
        json_t *whole;
        qg_err e;
        if (qg_json_parse(json, 0, &whole, &e) == QG_OK)
            json_decref(whole);
        else
            rc = qg_fail(l->err, QG_ERR_FORMAT, "%s", e.msg);
    }
    qg_bpe *bpe = &l->tok->bpe;
    if (rc == QG_OK && (qg_bpe_init(bpe, l->pairs, l->n_pairs) != QG_OK ||
                        qg_bpe_find_chars(bpe, &l->tok->vocab, l->pairs, l->n_pairs) != QG_OK ||
                        qg_begins_init(&l->tok->begins, &l->tok->vocab) != QG_OK))
        rc = no_memory(l->err);
    return rc == QG_OK ? mark_whole(l->tok, l->err) : rc;
}

qg_status qg_tok_open(qg_tok **out, qg_slice json, qg_err *err)
{
    *out = NULL;
    loader l = {.tok = qg_calloc(1, sizeof *l.tok), .err = err};
    if (!l.tok)
        return no_memory(err);
    for (size_t i = 0; i < QG_COUNT(l.room); i++)
        qg_buf_init(&l.room[i], QG_MAX_TOKENIZER_BYTES);
    qg_status rc = open_parts(&l, json);
    qg_mfree(l.pairs);
    for (size_t i = 0; i < QG_COUNT(l.room); i++)
        qg_buf_free(&l.room[i]);
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
    qg_begins_free(&tok->begins);
    qg_added_free(&tok->added);
    qg_mfree(tok);
}
