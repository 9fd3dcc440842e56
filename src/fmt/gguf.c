#include "fmt/gguf.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <string.h>

static const char magic[] = {'G', 'G', 'U', 'F'};

typedef struct cursor {
    const uint8_t *at, *end;
} cursor;

bool qg_gguf_is(qg_slice bytes)
{
    return bytes.n >= sizeof magic && memcmp(bytes.p, magic, sizeof magic) == 0;
}

static qg_status cut_short(qg_err *err)
{
    return qg_fail(err, QG_ERR_FORMAT, "the header runs past the end of the file: cut short?");
}

static uint64_t little(const uint8_t *p, int n)
{
    uint64_t x = 0;
    while (n-- > 0)
        x = x << 8 | p[n];
    return x;
}

/* n bytes, 1, 2, 4 or 8, as a number. */
static qg_status take(cursor *c, int n, uint64_t *out, qg_err *err)
{
    *out = 0;
    if (c->end - c->at < n)
        return cut_short(err);
    *out = little(c->at, n);
    c->at += n;
    return QG_OK;
}

static qg_status take_string(cursor *c, qg_slice *out, qg_err *err)
{
    uint64_t n;
    QG_TRY(take(c, 8, &n, err));
    if (n > (uint64_t)(c->end - c->at))
        return cut_short(err);
    *out = qg_slice_of((const char *)c->at, (size_t)n);
    c->at += n;
    return QG_OK;
}

/* Keys and names go into sentences and reports. */
static qg_status take_name(cursor *c, const char *what, qg_slice *out, qg_err *err)
{
    QG_TRY(take_string(c, out, err));
    if (out->n < 1 || out->n > QG_MAX_TENSOR_NAME)
        return qg_fail(err, QG_ERR_FORMAT, "%s has %zu bytes, must have from 1 to %d", what, out->n,
                       QG_MAX_TENSOR_NAME);
    for (size_t i = 0; i < out->n; i++)
        if (out->p[i] <= ' ' || out->p[i] > '~')
            return qg_fail(err, QG_ERR_FORMAT, "%s holds byte %02X", what, (uint8_t)out->p[i]);
    return QG_OK;
}

/* ---- metadata -------------------------------------------------------------------------------- */

/* Bytes of one; 0 for strings and lists. */
static const uint8_t type_bytes[QG_GGUF_N_TYPES] = {
    [QG_GGUF_U8] = 1,  [QG_GGUF_I8] = 1,  [QG_GGUF_U16] = 2, [QG_GGUF_I16] = 2,
    [QG_GGUF_U32] = 4, [QG_GGUF_I32] = 4, [QG_GGUF_F32] = 4, [QG_GGUF_BOOL] = 1,
    [QG_GGUF_U64] = 8, [QG_GGUF_I64] = 8, [QG_GGUF_F64] = 8,
};

static qg_status take_type(cursor *c, uint32_t *type, qg_err *err)
{
    uint64_t t;
    QG_TRY(take(c, 4, &t, err));
    if (t >= QG_GGUF_N_TYPES)
        return qg_fail(err, QG_ERR_FORMAT, "a value of type %" PRIu64 ", which there is not", t);
    *type = (uint32_t)t;
    return QG_OK;
}

static qg_status skip_items(cursor *c, const qg_gguf_value *v, qg_err *err)
{
    const uint64_t left = (uint64_t)(c->end - c->at), size = type_bytes[v->type];
    if (v->type == QG_GGUF_STRING) {
        qg_slice s;
        if (v->n > left / 8)
            return cut_short(err);
        for (uint64_t i = 0; i < v->n; i++)
            QG_TRY(take_string(c, &s, err));
        return QG_OK;
    }
    if (v->n > left / size)
        return cut_short(err);
    c->at += v->n * size;
    return QG_OK;
}

static qg_status take_value(cursor *c, qg_gguf_value *v, qg_err *err)
{
    v->n = 1;
    QG_TRY(take_type(c, &v->type, err));
    if (v->type == QG_GGUF_ARRAY) {
        v->list = true;
        QG_TRY(take_type(c, &v->type, err));
        QG_TRY(take(c, 8, &v->n, err));
        if (v->type == QG_GGUF_ARRAY)
            return qg_fail(err, QG_ERR_UNSUPPORTED, "a list of lists is not supported");
    }
    v->at = c->at;
    return skip_items(c, v, err);
}

static bool same(qg_slice a, qg_slice b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

static qg_status take_values(qg_gguf *g, cursor *c, size_t n, qg_err *err)
{
    g->values = qg_calloc(n, sizeof *g->values);
    if (!g->values)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (; g->n_values < n; g->n_values++) {
        qg_gguf_value *v = &g->values[g->n_values];
        QG_TRY(take_name(c, "a key", &v->key, err));
        for (size_t i = 0; i < g->n_values; i++)
            if (same(g->values[i].key, v->key))
                return qg_fail(err, QG_ERR_FORMAT, "%.*s is there twice", (int)v->key.n, v->key.p);
        qg_status rc = take_value(c, v, err);
        if (rc)
            return qg_fail_prefix(err, rc, "%.*s", (int)v->key.n, v->key.p);
    }
    return QG_OK;
}

const qg_gguf_value *qg_gguf_find(const qg_gguf *gguf, const char *key)
{
    for (size_t i = 0; i < gguf->n_values; i++)
        if (qg_slice_is(gguf->values[i].key, key))
            return &gguf->values[i];
    return NULL;
}

static qg_status wrong(const qg_gguf *g, const char *key, const char *what, qg_err *err)
{
    return qg_fail(err, QG_ERR_FORMAT, "%s: %s %s", g->file, key, what);
}

static bool is_integer(const qg_gguf_value *v)
{
    return !v->list && type_bytes[v->type] && v->type != QG_GGUF_BOOL && v->type != QG_GGUF_F32 &&
           v->type != QG_GGUF_F64;
}

qg_status qg_gguf_int(const qg_gguf *gguf, const char *key, int64_t max, int64_t *out, qg_err *err)
{
    const qg_gguf_value *v = qg_gguf_find(gguf, key);
    if (!v)
        return QG_OK;
    if (!is_integer(v))
        return wrong(gguf, key, "must be an integer", err);
    const int bytes = type_bytes[v->type];
    const bool is_signed = v->type == QG_GGUF_I8 || v->type == QG_GGUF_I16 ||
                           v->type == QG_GGUF_I32 || v->type == QG_GGUF_I64;
    const uint64_t n = little(v->at, bytes);
    if ((is_signed && n >> (8 * bytes - 1)) || n > (uint64_t)max)
        return qg_fail(err, QG_ERR_FORMAT, "%s: %s must be from 0 to %" PRId64, gguf->file, key,
                       max);
    *out = (int64_t)n;
    return QG_OK;
}

qg_status qg_gguf_num(const qg_gguf *gguf, const char *key, double *out, qg_err *err)
{
    const qg_gguf_value *v = qg_gguf_find(gguf, key);
    float f;
    if (!v)
        return QG_OK;
    if (v->list || (v->type != QG_GGUF_F32 && v->type != QG_GGUF_F64))
        return wrong(gguf, key, "must be a real number", err);
    if (v->type == QG_GGUF_F64)
        memcpy(out, v->at, sizeof *out);
    memcpy(&f, v->at, sizeof f);
    *out = v->type == QG_GGUF_F32 ? (double)f : *out;
    return QG_OK;
}

qg_status qg_gguf_bool(const qg_gguf *gguf, const char *key, bool *out, qg_err *err)
{
    const qg_gguf_value *v = qg_gguf_find(gguf, key);
    if (!v)
        return QG_OK;
    if (v->list || v->type != QG_GGUF_BOOL || *v->at > 1)
        return wrong(gguf, key, "must be true or false", err);
    *out = *v->at;
    return QG_OK;
}

qg_status qg_gguf_str(const qg_gguf *gguf, const char *key, qg_slice *out, qg_err *err)
{
    const qg_gguf_value *v = qg_gguf_find(gguf, key);
    if (!v)
        return QG_OK;
    if (v->list || v->type != QG_GGUF_STRING)
        return wrong(gguf, key, "must be a string", err);
    const uint8_t *at = v->at;
    *out = qg_gguf_next(&at);
    if (!qg_utf8_valid(*out) || (out->n && memchr(out->p, 0, out->n)))
        return wrong(gguf, key, "is not UTF-8 text", err);
    return QG_OK;
}

qg_slice qg_gguf_next(const uint8_t **at)
{
    const qg_slice s = {(const char *)*at + 8, (size_t)little(*at, 8)};
    *at += 8 + s.n;
    return s;
}

int32_t qg_gguf_i32(const qg_gguf_value *list, uint64_t i)
{
    return (int32_t)(uint32_t)little(list->at + 4 * i, 4);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static qg_status take_tensor(cursor *c, qg_gguf_tensor *t, qg_err *err)
{
    uint64_t n;
    QG_TRY(take_name(c, "a tensor's name", &t->name, err));
    QG_TRY(take(c, 4, &n, err));
    if (n < 1 || n > QG_COUNT(t->dim))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "%.*s: %" PRIu64 " dimensions, 1 to %zu can be read", (int)t->name.n,
                       t->name.p, n, QG_COUNT(t->dim));
    t->n_dims = (int32_t)n;
    for (int i = 0; i < (int)QG_COUNT(t->dim); i++) {
        t->dim[i] = 1;
        if (i < t->n_dims)
            QG_TRY(take(c, 8, &t->dim[i], err));
    }
    QG_TRY(take(c, 4, &n, err));
    t->type = (uint32_t)n;
    return take(c, 8, &t->offset, err);
}

static qg_status take_tensors(qg_gguf *g, cursor *c, size_t n, qg_err *err)
{
    g->tensors = qg_calloc(n, sizeof *g->tensors);
    if (!g->tensors)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (; g->n_tensors < n; g->n_tensors++)
        QG_TRY(take_tensor(c, &g->tensors[g->n_tensors], err));
    return QG_OK;
}

/* ---- the header ------------------------------------------------------------------------------ */

static qg_status check_version(cursor *c, qg_slice bytes, qg_err *err)
{
    uint64_t version;
    if (!qg_gguf_is(bytes))
        return qg_fail(err, QG_ERR_FORMAT, "no GGUF file: it does not begin with \"GGUF\"");
    c->at += sizeof magic;
    QG_TRY(take(c, 4, &version, err));
    if (version && !(version & 0xffffffu))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "a big-endian file; only little-endian ones can be read");
    if (version < 2 || version > 3)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "GGUF version %" PRIu64 "; versions 2 and 3 can be read", version);
    return QG_OK;
}

/* Smallest entries: a key of one byte with a byte, a tensor of one dimension. */
static qg_status take_counts(cursor *c, uint64_t *n_tensors, uint64_t *n_values, qg_err *err)
{
    QG_TRY(take(c, 8, n_tensors, err));
    QG_TRY(take(c, 8, n_values, err));
    if (*n_tensors > QG_MAX_TENSORS || *n_values > QG_MAX_GGUF_VALUES)
        return qg_fail(err, QG_ERR_FORMAT,
                       "%" PRIu64 " tensors and %" PRIu64 " values; the limits are %d and %d",
                       *n_tensors, *n_values, QG_MAX_TENSORS, QG_MAX_GGUF_VALUES);
    const uint64_t left = (uint64_t)(c->end - c->at);
    return *n_values > left / 14 || *n_tensors > left / 33 ? cut_short(err) : QG_OK;
}

static qg_status find_data(qg_gguf *g, const cursor *c, qg_err *err)
{
    int64_t align = 32;
    QG_TRY(qg_gguf_int(g, "general.alignment", QG_MAX_GGUF_ALIGN, &align, err));
    if (align < 1 || (align & (align - 1)))
        return wrong(g, "general.alignment", "must be a power of two", err);
    size_t at = (size_t)(c->at - (const uint8_t *)g->bytes.p);
    at = (at + (size_t)align - 1) / (size_t)align * (size_t)align;
    g->data = at < g->bytes.n ? qg_slice_of(g->bytes.p + at, g->bytes.n - at) : qg_slice_of("", 0);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const qg_gguf_tensor *t = &g->tensors[i];
        if (t->offset % (uint64_t)align)
            return qg_fail(err, QG_ERR_FORMAT,
                           "%s: %.*s: offset %" PRIu64 " is no multiple of the alignment %" PRId64,
                           g->file, (int)t->name.n, t->name.p, t->offset, align);
    }
    return QG_OK;
}

static qg_status check_whole(const qg_gguf *g, qg_err *err)
{
    int64_t parts = 0;
    QG_TRY(qg_gguf_int(g, "split.count", 65535, &parts, err));
    if (parts > 1)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "%s: one of the %" PRId64 " parts of a split model: join them first "
                       "(llama-gguf-split --merge)",
                       g->file, parts);
    return QG_OK;
}

static qg_status read_header(qg_gguf *g, qg_err *err)
{
    const uint8_t *p = (const uint8_t *)g->bytes.p;
    cursor c = {p, p + g->bytes.n};
    uint64_t n_tensors = 0, n_values = 0;
    qg_status rc = check_version(&c, g->bytes, err);
    if (rc == QG_OK)
        rc = take_counts(&c, &n_tensors, &n_values, err);
    if (rc == QG_OK)
        rc = take_values(g, &c, (size_t)n_values, err);
    if (rc == QG_OK)
        rc = take_tensors(g, &c, (size_t)n_tensors, err);
    if (rc)
        return qg_fail_prefix(err, rc, "%s", g->file);
    QG_TRY(check_whole(g, err));
    return find_data(g, &c, err);
}

qg_status qg_gguf_open(qg_gguf *out, const char *file, qg_slice bytes, qg_err *err)
{
    *out = (qg_gguf){.file = file, .bytes = bytes};
    qg_status rc = read_header(out, err);
    if (rc)
        qg_gguf_close(out);
    return rc;
}

void qg_gguf_close(qg_gguf *gguf)
{
    qg_mfree(gguf->values);
    qg_mfree(gguf->tensors);
    *gguf = (qg_gguf){0};
}
