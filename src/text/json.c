#include "text/json.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "text/utf8.h"

/* Offset of the first bracket that nests too deep, or n.  Jansson parses and frees by recursion
 * and stops only at 2,048 levels; the stack of a small thread needs an earlier end. */
static size_t too_deep_at(qg_slice s)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > QG_MAX_JSON_DEPTH)
                return i;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return s.n;
}

static qg_status fail_too_deep(qg_slice s, size_t at, qg_err *err)
{
    size_t line = 1;
    size_t line_start = 0;
    for (size_t i = 0; i < at; i++) {
        if (s.p[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    return qg_fail(err, QG_ERR_FORMAT, "line %zu, column %zu: JSON nests deeper than %d levels",
                   line, at - line_start + 1, QG_MAX_JSON_DEPTH);
}

/* Jansson's text may quote the input, line breaks, broken UTF-8 and all; a sentence has neither. */
static void one_line(char *text)
{
    bool valid = qg_utf8_valid(qg_str(text));
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7F)
            *text = ' ';
        else if (c >= 0x80 && !valid)
            *text = '?';
    }
}

qg_status qg_json_parse(qg_slice bytes, unsigned flags, json_t **out, qg_err *err)
{
    *out = NULL;
    size_t deep = too_deep_at(bytes);
    if (deep < bytes.n)
        return fail_too_deep(bytes, deep, err);
    size_t how = JSON_REJECT_DUPLICATES;
    if (flags & QG_JSON_NUL)
        how |= JSON_ALLOW_NUL;
    if (flags & QG_JSON_REALS)
        how |= JSON_DECODE_INT_AS_REAL;
    if (flags & QG_JSON_ANY)
        how |= JSON_DECODE_ANY;
    json_error_t e;
    *out = json_loadb(bytes.n ? bytes.p : "", bytes.n, how, &e);
    if (*out)
        return QG_OK;
    if (json_error_code(&e) == json_error_out_of_memory)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for %zu bytes of JSON", bytes.n);
    one_line(e.text);
    return qg_fail(err, QG_ERR_FORMAT, "line %d, column %d: %s", e.line, e.column, e.text);
}

static int dump_piece(const char *p, size_t n, void *arg)
{
    return qg_buf_add(arg, p, n) == QG_OK ? 0 : -1;
}

char *qg_json_dump_digits(const json_t *value, int digits)
{
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits);
    qg_buf b;
    qg_buf_init(&b, QG_MAX_TEXT_BYTES);
    char *text = NULL;
    if (json_dump_callback(value, dump_piece, &b, flags) == 0)
        text = qg_buf_take(&b);
    qg_buf_free(&b);
    return text;
}

char *qg_json_dump(const json_t *value)
{
    return qg_json_dump_digits(value, 17);
}

qg_slice qg_json_slice(const json_t *value)
{
    if (!json_is_string(value))
        return (qg_slice){"", 0};
    return (qg_slice){json_string_value(value), json_string_length(value)};
}

const char *qg_json_type_name(const json_t *value)
{
    if (!value)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "unknown";
}

static qg_status wrong_type(const json_t *value, const char *key, const char *want, qg_err *err)
{
    return qg_fail(err, QG_ERR_FORMAT, "\"%s\" must be %s, not %s", key, want,
                   qg_json_type_name(value));
}

/* The member, or NULL when it is absent (or null, for an optional one). */
static qg_status member(const json_t *obj, const char *key, bool required, json_t **out,
                        qg_err *err)
{
    *out = NULL;
    if (!json_is_object(obj))
        return qg_fail(err, QG_ERR_FORMAT, "\"%s\" was looked for in %s, not in an object", key,
                       qg_json_type_name(obj));
    *out = json_object_get(obj, key);
    if (!*out && required)
        return qg_fail(err, QG_ERR_FORMAT, "\"%s\" is missing", key);
    if (json_is_null(*out) && !required)
        *out = NULL;
    return QG_OK;
}

static qg_status find_int(const json_t *obj, const char *key, bool required, int64_t min,
                          int64_t max, int64_t *out, qg_err *err)
{
    json_t *v;
    QG_TRY(member(obj, key, required, &v, err));
    if (!v)
        return QG_OK;
    if (!json_is_integer(v))
        return wrong_type(v, key, "an integer", err);
    int64_t n = json_integer_value(v);
    if (n < min || n > max)
        return qg_fail(err, QG_ERR_FORMAT, "\"%s\" is %lld, must be from %lld to %lld", key,
                       (long long)n, (long long)min, (long long)max);
    *out = n;
    return QG_OK;
}

static qg_status find_num(const json_t *obj, const char *key, bool required, double min, double max,
                          double *out, qg_err *err)
{
    json_t *v;
    QG_TRY(member(obj, key, required, &v, err));
    if (!v)
        return QG_OK;
    if (!json_is_number(v))
        return wrong_type(v, key, "a number", err);
    double x = json_number_value(v);
    if (!(x >= min && x <= max))
        return qg_fail(err, QG_ERR_FORMAT, "\"%s\" is %g, must be from %g to %g", key, x, min, max);
    *out = x;
    return QG_OK;
}

static qg_status find_bool(const json_t *obj, const char *key, bool required, bool *out,
                           qg_err *err)
{
    json_t *v;
    QG_TRY(member(obj, key, required, &v, err));
    if (!v)
        return QG_OK;
    if (!json_is_boolean(v))
        return wrong_type(v, key, "true or false", err);
    *out = json_is_true(v);
    return QG_OK;
}

static qg_status find_str(const json_t *obj, const char *key, bool required, qg_slice *out,
                          qg_err *err)
{
    json_t *v;
    QG_TRY(member(obj, key, required, &v, err));
    if (!v)
        return QG_OK;
    if (!json_is_string(v))
        return wrong_type(v, key, "a string", err);
    *out = qg_json_slice(v);
    return QG_OK;
}

static qg_status find_tree(const json_t *obj, const char *key, bool required, json_type type,
                           json_t **out, qg_err *err)
{
    json_t *v;
    QG_TRY(member(obj, key, required, &v, err));
    if (!v)
        return QG_OK;
    if (json_typeof(v) != type)
        return wrong_type(v, key, type == JSON_OBJECT ? "an object" : "an array", err);
    *out = v;
    return QG_OK;
}

qg_status qg_json_get_int(const json_t *obj, const char *key, int64_t min, int64_t max,
                          int64_t *out, qg_err *err)
{
    return find_int(obj, key, true, min, max, out, err);
}

qg_status qg_json_opt_int(const json_t *obj, const char *key, int64_t min, int64_t max,
                          int64_t *out, qg_err *err)
{
    return find_int(obj, key, false, min, max, out, err);
}

qg_status qg_json_get_num(const json_t *obj, const char *key, double min, double max, double *out,
                          qg_err *err)
{
    return find_num(obj, key, true, min, max, out, err);
}

qg_status qg_json_opt_num(const json_t *obj, const char *key, double min, double max, double *out,
                          qg_err *err)
{
    return find_num(obj, key, false, min, max, out, err);
}

qg_status qg_json_get_bool(const json_t *obj, const char *key, bool *out, qg_err *err)
{
    return find_bool(obj, key, true, out, err);
}

qg_status qg_json_opt_bool(const json_t *obj, const char *key, bool *out, qg_err *err)
{
    return find_bool(obj, key, false, out, err);
}

qg_status qg_json_get_str(const json_t *obj, const char *key, qg_slice *out, qg_err *err)
{
    return find_str(obj, key, true, out, err);
}

qg_status qg_json_opt_str(const json_t *obj, const char *key, qg_slice *out, qg_err *err)
{
    return find_str(obj, key, false, out, err);
}

qg_status qg_json_get_object(const json_t *obj, const char *key, json_t **out, qg_err *err)
{
    return find_tree(obj, key, true, JSON_OBJECT, out, err);
}

qg_status qg_json_opt_object(const json_t *obj, const char *key, json_t **out, qg_err *err)
{
    return find_tree(obj, key, false, JSON_OBJECT, out, err);
}

qg_status qg_json_get_array(const json_t *obj, const char *key, json_t **out, qg_err *err)
{
    return find_tree(obj, key, true, JSON_ARRAY, out, err);
}

qg_status qg_json_opt_array(const json_t *obj, const char *key, json_t **out, qg_err *err)
{
    return find_tree(obj, key, false, JSON_ARRAY, out, err);
}
