/* Strict JSON over jansson: parse from borrowed bytes, typed getters whose errors name the key.
 *
 * Jansson allocates with plain malloc, not through base/mem.h: its allocator hook is one setting
 * for the whole process and belongs to the program that links us, not to a library.  Trees are
 * therefore invisible to the allocation-fault hook; free them with json_decref.
 * Threads: a tree may be read by many threads (do not incref or decref it meanwhile). */
#ifndef QG_TEXT_JSON_H
#define QG_TEXT_JSON_H

#include "base/slice.h"
#include "base/status.h"

#include <jansson.h>

enum {
    QG_JSON_NUL = 1u << 0,   /* strings may hold U+0000 (keys never) */
    QG_JSON_ANY = 1u << 1,   /* the document may be a scalar, not only an object or array */
    QG_JSON_REALS = 1u << 2, /* every number is read as a double, so that whole ones may have any
                                number of digits */
};

/* Parses one document that fills all of bytes.  Refused with QG_ERR_FORMAT and "line L, column C:
 * why": bad syntax, anything behind the document, keys that repeat, broken UTF-8 or surrogates,
 * numbers that overflow (int64 or double), nesting deeper than QG_MAX_JSON_DEPTH.  *out is a new
 * reference, NULL on failure. */
qg_status qg_json_parse(qg_slice bytes, unsigned flags, json_t **out, qg_err *err);

/* Compact UTF-8, keys in their order, 0-terminated; any value.  Real numbers get at most `digits`
 * significant digits: 17 keeps every double, 9 every float32 and is what our own figures are
 * written with.  Free with qg_mfree; NULL when out of memory or past QG_MAX_TEXT_BYTES. */
char *qg_json_dump_digits(const json_t *value, int digits);
/* The same with 17 digits: what came in goes out unchanged. */
char *qg_json_dump(const json_t *value);

/* Bytes of a string value, borrowed; the empty slice for any other value. */
qg_slice qg_json_slice(const json_t *value);

/* "a string", "an integer", …: for sentences about wrong types. */
const char *qg_json_type_name(const json_t *value);

/* Required members: QG_ERR_FORMAT with `"key" …` when absent or of the wrong type or range.  What
 * *out gets is borrowed from obj.  obj must be an object (checked).  Only JSON integers are ints;
 * num takes integers and reals. */
qg_status qg_json_get_int(const json_t *obj, const char *key, int64_t min, int64_t max,
                          int64_t *out, qg_err *err);
qg_status qg_json_get_num(const json_t *obj, const char *key, double min, double max, double *out,
                          qg_err *err);
qg_status qg_json_get_bool(const json_t *obj, const char *key, bool *out, qg_err *err);
qg_status qg_json_get_str(const json_t *obj, const char *key, qg_slice *out, qg_err *err);
qg_status qg_json_get_object(const json_t *obj, const char *key, json_t **out, qg_err *err);
qg_status qg_json_get_array(const json_t *obj, const char *key, json_t **out, qg_err *err);

/* Optional members: absent or null leaves *out as it was and is QG_OK; else as above. */
qg_status qg_json_opt_int(const json_t *obj, const char *key, int64_t min, int64_t max,
                          int64_t *out, qg_err *err);
qg_status qg_json_opt_num(const json_t *obj, const char *key, double min, double max, double *out,
                          qg_err *err);
qg_status qg_json_opt_bool(const json_t *obj, const char *key, bool *out, qg_err *err);
qg_status qg_json_opt_str(const json_t *obj, const char *key, qg_slice *out, qg_err *err);
qg_status qg_json_opt_object(const json_t *obj, const char *key, json_t **out, qg_err *err);
qg_status qg_json_opt_array(const json_t *obj, const char *key, json_t **out, qg_err *err);

#endif
