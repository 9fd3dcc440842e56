/* What a tokenizer.json may ask for besides its vocabulary.  Whatever would change an id or a text
 * and is not done here is refused by its name; what changes neither is passed over: truncation and
 * padding (the reference's callers switch them off), trim_offsets, and the options of the ByteLevel
 * post-processor and decoder, which concern offsets only. */
#include "text/utf8.h"
#include "tok/pretok.h"
#include "tok/tok_parts.h"

static qg_status unsupported(qg_err *err, const char *where, const char *what)
{
    return qg_fail(err, QG_ERR_UNSUPPORTED, "%s: %.*s is not supported", where,
                   qg_utf8_cut(qg_str(what), 60), what);
}

/* component must be an object with this "type". */
static qg_status want_type(const json_t *component, const char *where, const char *type,
                           qg_err *err)
{
    if (json_is_null(component) || !component)
        return unsupported(err, where, "null");
    qg_slice is;
    qg_status rc = qg_json_get_str(component, "type", &is, err);
    if (rc != QG_OK)
        return qg_fail_prefix(err, rc, "%s", where);
    return qg_slice_is(is, type) ? QG_OK : unsupported(err, where, is.p);
}

static qg_status want_bool(const json_t *component, const char *where, const char *key,
                           bool when_absent, bool want, qg_err *err)
{
    bool is = when_absent;
    qg_status rc = qg_json_opt_bool(component, key, &is, err);
    if (rc != QG_OK)
        return qg_fail_prefix(err, rc, "%s", where);
    if (is == want)
        return QG_OK;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "%s: \"%s\": %s is not supported", where, key,
                   is ? "true" : "false");
}

/* Absent, null or "". */
static qg_status want_empty(const json_t *component, const char *where, const char *key,
                            qg_err *err)
{
    const json_t *v = json_object_get(component, key);
    if (!v || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0))
        return QG_OK;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "%s: \"%s\" is not supported", where, key);
}

static qg_status check_normalizer(const json_t *root, bool *nfc, qg_err *err)
{
    const json_t *n = json_object_get(root, "normalizer");
    *nfc = n && !json_is_null(n);
    if (!*nfc)
        return QG_OK;
    const json_t *list = json_object_get(n, "normalizers");
    if (!list)
        return want_type(n, "normalizer", "NFC", err);
    QG_TRY(want_type(n, "normalizer", "Sequence", err));
    if (!json_is_array(list))
        return qg_fail(err, QG_ERR_FORMAT, "normalizer: \"normalizers\" must be an array");
    *nfc = json_array_size(list) > 0;
    size_t i;
    json_t *one;
    json_array_foreach (list, i, one)
        QG_TRY(want_type(one, "normalizer", "NFC", err));
    return QG_OK;
}

static qg_status check_split(const json_t *split, qg_err *err)
{
    static const char where[] = "pre_tokenizer: Split";
    QG_TRY(want_type(split, "pre_tokenizer", "Split", err));
    const json_t *pattern = json_object_get(split, "pattern");
    qg_slice regex;
    qg_status rc = qg_json_get_str(pattern, "Regex", &regex, err);
    if (rc != QG_OK)
        return qg_fail_prefix(err, rc, "%s: pattern", where);
    if (!qg_slice_is(regex, qg_pretok_pattern))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "%s: pattern %.*s is not supported (that of Qwen2 and Qwen3 is)", where,
                       qg_utf8_cut(regex, 200), regex.p);
    qg_slice behavior;
    rc = qg_json_get_str(split, "behavior", &behavior, err);
    if (rc != QG_OK)
        return qg_fail_prefix(err, rc, "%s", where);
    if (!qg_slice_is(behavior, "Isolated"))
        return unsupported(err, "pre_tokenizer: Split: behavior", behavior.p);
    return want_bool(split, where, "invert", false, false, err);
}

static qg_status check_pre_tokenizer(const json_t *root, qg_err *err)
{
    static const char where[] = "pre_tokenizer: ByteLevel";
    const json_t *pre = json_object_get(root, "pre_tokenizer");
    QG_TRY(want_type(pre, "pre_tokenizer", "Sequence", err));
    json_t *list;
    qg_status rc = qg_json_get_array(pre, "pretokenizers", &list, err);
    if (rc != QG_OK)
        return qg_fail_prefix(err, rc, "pre_tokenizer");
    if (json_array_size(list) != 2)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "pre_tokenizer: a sequence of %zu is not supported (Split, ByteLevel is)",
                       json_array_size(list));
    QG_TRY(check_split(json_array_get(list, 0), err));
    const json_t *bytes = json_array_get(list, 1);
    QG_TRY(want_type(bytes, "pre_tokenizer", "ByteLevel", err));
    QG_TRY(want_bool(bytes, where, "add_prefix_space", false, false, err));
    return want_bool(bytes, where, "use_regex", true, false, err);
}

static qg_status check_model(const json_t *root, qg_err *err)
{
    json_t *model;
    QG_TRY(qg_json_get_object(root, "model", &model, err));
    if (json_object_get(model, "type")) /* files of old versions have none */
        QG_TRY(want_type(model, "model", "BPE", err));
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return unsupported(err, "model", "\"dropout\"");
    QG_TRY(want_empty(model, "model", "unk_token", err));
    QG_TRY(want_empty(model, "model", "continuing_subword_prefix", err));
    QG_TRY(want_empty(model, "model", "end_of_word_suffix", err));
    QG_TRY(want_bool(model, "model", "fuse_unk", false, false, err));
    QG_TRY(want_bool(model, "model", "byte_fallback", false, false, err));
    return want_bool(model, "model", "ignore_merges", false, false, err);
}

qg_status qg_tok_check_components(const json_t *root, bool *nfc, qg_err *err)
{
    if (!json_is_object(root))
        return qg_fail(err, QG_ERR_FORMAT, "the document must be an object");
    QG_TRY(check_normalizer(root, nfc, err));
    QG_TRY(check_pre_tokenizer(root, err));
    const json_t *post = json_object_get(root, "post_processor");
    if (post && !json_is_null(post))
        QG_TRY(want_type(post, "post_processor", "ByteLevel", err));
    QG_TRY(want_type(json_object_get(root, "decoder"), "decoder", "ByteLevel", err));
    return check_model(root, err);
}
