#include "fmt/safetensors.h"

#include "base/limits.h"
#include "base/mem.h"
#include "fmt/jsonfile.h"
#include "text/json.h"

#include <inttypes.h>
#include <stdlib.h>

static const struct {
    const char *name;
    qg_dtype dtype;
    size_t size;
} dtypes[] = {{"BF16", QG_DTYPE_BF16, 2}, {"F32", QG_DTYPE_F32, 4}, {"F16", QG_DTYPE_F16, 2}};

size_t qg_dtype_size(qg_dtype dtype)
{
    for (size_t i = 0; i < QG_COUNT(dtypes); i++)
        if (dtypes[i].dtype == dtype)
            return dtypes[i].size;
    return 0;
}

const char *qg_dtype_name(qg_dtype dtype)
{
    for (size_t i = 0; i < QG_COUNT(dtypes); i++)
        if (dtypes[i].dtype == dtype)
            return dtypes[i].name;
    return "?";
}

const char *qg_tensor_format(const qg_tensor *t)
{
    return t->blocks ? t->blocks->name : qg_dtype_name(t->dtype);
}

/* Bytes that mean something only to who wrote them: packed matrices. */
static const qg_blocks raw = {.name = "U8", .elements = 1, .bytes = 1};

static qg_status read_dtype(qg_tensor *t, const json_t *entry, qg_err *err)
{
    qg_slice s;

    QG_TRY(qg_json_get_str(entry, "dtype", &s, err));
    for (size_t i = 0; i < QG_COUNT(dtypes); i++) {
        if (qg_slice_is(s, dtypes[i].name)) {
            t->dtype = dtypes[i].dtype;
            return QG_OK;
        }
    }
    if (qg_slice_is(s, raw.name)) {
        t->blocks = &raw;
        return QG_OK;
    }
    return qg_fail(err, QG_ERR_UNSUPPORTED, "dtype \"%.40s\"; BF16, F16 and F32 can be read", s.p);
}

/* Dimensions and, from them, the bytes the tensor must have. */
static qg_status read_shape(qg_tensor *t, const json_t *entry, qg_err *err)
{
    json_t *shape, *v;
    size_t i;

    QG_TRY(qg_json_get_array(entry, "shape", &shape, err));
    if (json_array_size(shape) > QG_COUNT(t->dim))
        return qg_fail(err, QG_ERR_UNSUPPORTED, "%zu dimensions, at most %zu can be read",
                       json_array_size(shape), QG_COUNT(t->dim));
    t->n_dims = (int32_t)json_array_size(shape);
    t->bytes = t->blocks ? 1 : qg_dtype_size(t->dtype);
    for (i = 0; i < QG_COUNT(t->dim); i++)
        t->dim[i] = 1;
    json_array_foreach (shape, i, v) {
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return qg_fail(err, QG_ERR_FORMAT, "\"shape\" must hold integers from 0 up");
        t->dim[i] = json_integer_value(v);
        if (!qg_mul_size(t->bytes, (size_t)t->dim[i], &t->bytes))
            return qg_fail(err, QG_ERR_FORMAT, "\"shape\" has more elements than memory can hold");
    }
    return QG_OK;
}

static qg_status read_offsets(qg_tensor *t, const json_t *entry, qg_slice data, qg_err *err)
{
    json_t *pair;

    QG_TRY(qg_json_get_array(entry, "data_offsets", &pair, err));
    const json_t *lo = json_array_get(pair, 0), *hi = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(lo) || !json_is_integer(hi) ||
        json_integer_value(lo) < 0 || json_integer_value(hi) < json_integer_value(lo))
        return qg_fail(err, QG_ERR_FORMAT, "\"data_offsets\" must be two rising integers");
    uint64_t from = (uint64_t)json_integer_value(lo), to = (uint64_t)json_integer_value(hi);
    if (to > data.n)
        return qg_fail(err, QG_ERR_FORMAT,
                       "ends at byte %" PRIu64 " of the data, but the file holds %zu: cut short?",
                       to, data.n);
    if (to - from != t->bytes)
        return qg_fail(err, QG_ERR_FORMAT, "%" PRIu64 " bytes, but its shape and dtype need %zu",
                       to - from, t->bytes);
    t->data = data.p + from;
    return QG_OK;
}

/* Keys of an entry beyond the three mean nothing in the format: a sign of another version. */
static qg_status read_entry(qg_tensor *t, const json_t *entry, qg_slice data, qg_err *err)
{
    if (!json_is_object(entry))
        return qg_fail(err, QG_ERR_FORMAT, "%s, must be an object", qg_json_type_name(entry));
    if (json_object_size(entry) != 3)
        return qg_fail(err, QG_ERR_FORMAT,
                       "must have exactly \"dtype\", \"shape\" and \"data_offsets\"");
    QG_TRY(read_dtype(t, entry, err));
    QG_TRY(read_shape(t, entry, err));
    return read_offsets(t, entry, data, err);
}

static qg_status check_metadata(const json_t *meta, qg_err *err)
{
    const char *key;
    json_t *v;

    if (!json_is_object(meta))
        return qg_fail(err, QG_ERR_FORMAT, "must be an object");
    json_object_foreach ((json_t *)(uintptr_t)meta, key, v) {
        if (!json_is_string(v))
            return qg_fail(err, QG_ERR_FORMAT, "\"%.60s\" must be a string", key);
    }
    return QG_OK;
}

static bool is_metadata(const char *key)
{
    return strcmp(key, "__metadata__") == 0;
}

/* Room for all names and tensors; also where hopeless names are refused. */
static qg_status make_room(qg_shard *s, json_t *header, qg_err *err)
{
    const char *key;
    json_t *v;
    size_t bytes = 0, n = 0;

    json_object_foreach (header, key, v) {
        size_t len = strlen(key);
        if (is_metadata(key))
            continue;
        if (len == 0 || len > QG_MAX_TENSOR_NAME)
            return qg_fail(err, QG_ERR_FORMAT,
                           "a tensor's name has %zu bytes, must have from 1 to %d", len,
                           QG_MAX_TENSOR_NAME);
        bytes += len + 1;
        n++;
    }
    if (n > QG_MAX_TENSORS)
        return qg_fail(err, QG_ERR_FORMAT, "%zu tensors, more than the limit of %d", n,
                       QG_MAX_TENSORS);
    s->names = qg_malloc(bytes);
    s->tensors = qg_calloc(n, sizeof *s->tensors);
    if (!s->names || !s->tensors)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    return QG_OK;
}

static qg_status read_entries(qg_shard *s, json_t *header, qg_slice data, qg_err *err)
{
    const char *key;
    json_t *v;
    char *name = s->names;

    json_object_foreach (header, key, v) {
        qg_tensor *t = &s->tensors[s->n_tensors];
        qg_status rc;
        if (is_metadata(key)) {
            rc = check_metadata(v, err);
        } else {
            rc = read_entry(t, v, data, err);
            t->file = s->file;
            t->name = name;
            s->n_tensors++;
            size_t len = strlen(key) + 1;
            memcpy(name, key, len);
            name += len;
        }
        if (rc)
            return qg_fail_prefix(err, rc, "%s", key);
    }
    return QG_OK;
}

/* By place in the file; an empty tensor stands before the one that starts where it does. */
static int by_data(const void *a, const void *b)
{
    const qg_tensor *x = a, *y = b;
    uintptr_t xp = (uintptr_t)x->data, yp = (uintptr_t)y->data;

    if (xp != yp)
        return xp < yp ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static qg_status check_cover(const qg_shard *s, qg_slice data, qg_err *err)
{
    const char *last = "the header";
    size_t at = 0;

    for (size_t i = 0; i < s->n_tensors; i++) {
        const qg_tensor *t = &s->tensors[i];
        size_t from = (size_t)((const char *)t->data - data.p);
        if (from < at)
            return qg_fail(err, QG_ERR_FORMAT, "%s: its bytes overlap those of %s", t->name, last);
        if (from > at)
            return qg_fail(err, QG_ERR_FORMAT, "%s: %zu bytes before it belong to no tensor",
                           t->name, from - at);
        at = from + t->bytes;
        last = t->name;
    }
    if (at != data.n)
        return qg_fail(err, QG_ERR_FORMAT, "%zu bytes behind %s belong to no tensor", data.n - at,
                       last);
    return QG_OK;
}

/* Little endian, as the format says. */
static uint64_t le64(const uint8_t *p)
{
    uint64_t x = 0;

    for (int i = 7; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

static qg_status split_file(qg_slice file, qg_slice *header, qg_slice *data, qg_err *err)
{
    if (file.n < 8)
        return qg_fail(err, QG_ERR_FORMAT, "%zu bytes, too short for a safetensors file", file.n);
    uint64_t n = le64((const uint8_t *)file.p);
    if (n > QG_ST_HEADER_MAX)
        return qg_fail(err, QG_ERR_FORMAT, "header of %" PRIu64 " bytes, more than the limit of %u",
                       n, QG_ST_HEADER_MAX);
    if (n > file.n - 8)
        return qg_fail(err, QG_ERR_FORMAT,
                       "header of %" PRIu64 " bytes in a file of %zu: cut short?", n, file.n);
    *header = (qg_slice){file.p + 8, (size_t)n};
    *data = (qg_slice){file.p + 8 + n, file.n - 8 - (size_t)n};
    if (n == 0 || header->p[0] != '{')
        return qg_fail(err, QG_ERR_FORMAT, "the header is no JSON object");
    return QG_OK;
}

qg_status qg_shard_open(qg_shard *out, const char *file, qg_map map, qg_err *err)
{
    qg_slice header = {0}, data = {0};
    json_t *root = NULL;
    qg_status rc;

    *out = (qg_shard){.map = map, .file = qg_memdup0(file, strlen(file))};
    if (!out->file) {
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
        goto out;
    }
    rc = split_file((qg_slice){(const char *)map.data, map.size}, &header, &data, err);
    if (rc)
        goto out;
    rc = qg_json_parse(header, 0, &root, err);
    if (rc) {
        qg_fail_prefix(err, rc, "header");
        goto out;
    }
    rc = make_room(out, root, err);
    if (rc)
        goto out;
    rc = read_entries(out, root, data, err);
    if (rc)
        goto out;
    if (out->n_tensors)
        qsort(out->tensors, out->n_tensors, sizeof *out->tensors, by_data);
    rc = check_cover(out, data, err);
out:
    json_decref(root);
    if (rc) {
        qg_fail_prefix(err, rc, "%s", file);
        qg_shard_close(out);
    }
    return rc;
}

void qg_shard_close(qg_shard *shard)
{
    qg_map_close(&shard->map);
    qg_mfree(shard->file);
    qg_mfree(shard->names);
    qg_mfree(shard->tensors);
    *shard = (qg_shard){0};
}
