/* The values of the template language, shaped after Python's because templates are written for it.
 * Values live in the arena of one rendering (constants: in the template's) and never change once
 * made, namespaces and generators excepted. */
#ifndef QG_TMPL_VALUE_H
#define QG_TMPL_VALUE_H

#include "base/slice.h"
#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qg_run qg_run;

typedef enum qg_vkind {
    QG_V_UNDEF, /* s: what was looked for, for the sentence when it is used */
    QG_V_NONE,
    QG_V_BOOL,
    QG_V_INT, /* 64 bits; results beyond them are errors, where Python would go on */
    QG_V_FLOAT,
    QG_V_STR,
    QG_V_LIST, /* these five share qg_vlist */
    QG_V_TUPLE,
    QG_V_RANGE,
    QG_V_VIEW, /* dict.keys(), .values(), .items() */
    QG_V_GEN,  /* what filters like map give: can be walked once, is always true */
    QG_V_DICT,
    QG_V_NS,     /* namespace(): a dict whose members can be set */
    QG_V_LOOP,   /* the loop variable */
    QG_V_FUNC,   /* range, namespace, … */
    QG_V_METHOD, /* "x".upper, not yet called */
    QG_V_MACRO,
} qg_vkind;

/* Where a value came from.  input: out of the variables given to the rendering.  Strings that are
 * put together from both kinds carry a map with one byte per byte of text (1 = input); input is
 * then true as well.  Whatever derives from input in a way that is not tracked is input. */
typedef struct qg_val {
    uint8_t kind;
    bool input;
    union {
        bool b;
        int64_t i;
        double f;
        struct {
            const char *p; /* UTF-8, not 0-terminated */
            size_t n;
            const uint8_t *map; /* [n] or NULL: all bytes alike */
        } s;
        struct qg_vlist *list;
        struct qg_vdict *dict;
        struct qg_loop *loop;
        struct qg_bound *bound;
        struct qg_macro *macro;
        const struct qg_builtin *func;
    };
} qg_val;

typedef struct qg_vlist {
    qg_val *v;
    size_t n, cap;
    size_t pos;       /* GEN: the first n that were taken */
    const char *name; /* VIEW: as Python prints it, "dict_items" */
    int64_t range[3]; /* RANGE: start, stop, step */
} qg_vlist;

typedef struct qg_vpair {
    qg_val key, val;
} qg_vpair;

typedef struct qg_vdict {
    qg_vpair *v; /* in order of insertion */
    size_t n, cap;
} qg_vdict;

/* ---- making ---------------------------------------------------------------------------------- */

static inline qg_val qg_v_none(void)
{
    return (qg_val){.kind = QG_V_NONE};
}

static inline qg_val qg_v_bool(bool b)
{
    return (qg_val){.kind = QG_V_BOOL, .b = b};
}

static inline qg_val qg_v_int(int64_t i)
{
    return (qg_val){.kind = QG_V_INT, .i = i};
}

static inline qg_val qg_v_float(double f)
{
    return (qg_val){.kind = QG_V_FLOAT, .f = f};
}

/* Borrowed bytes, none of them input. */
static inline qg_val qg_v_str(qg_slice s)
{
    return (qg_val){.kind = QG_V_STR, .s = {.p = s.p, .n = s.n}};
}

static inline qg_val qg_v_undef(qg_slice name)
{
    return (qg_val){.kind = QG_V_UNDEF, .s = {.p = name.p, .n = name.n}};
}

static inline qg_slice qg_v_slice(const qg_val *v)
{
    return (qg_slice){v->s.p, v->s.n};
}

static inline bool qg_v_is_list(const qg_val *v)
{
    return v->kind >= QG_V_LIST && v->kind <= QG_V_GEN;
}

/* bool, int or float: bools count as 0 and 1 in arithmetic, as in Python. */
static inline bool qg_v_is_number(const qg_val *v)
{
    return v->kind >= QG_V_BOOL && v->kind <= QG_V_FLOAT;
}

static inline bool qg_v_is_integral(const qg_val *v)
{
    return v->kind == QG_V_BOOL || v->kind == QG_V_INT;
}

static inline int64_t qg_v_integer(const qg_val *v)
{
    return v->kind == QG_V_BOOL ? v->b : v->i;
}

static inline double qg_v_double(const qg_val *v)
{
    return v->kind == QG_V_FLOAT ? v->f : (double)qg_v_integer(v);
}

/* Empty list of a kind with room for cap elements. */
qg_status qg_val_list(qg_run *r, qg_vkind kind, size_t cap, qg_val *out);
/* Appends (list is being made: nobody else has seen it). */
qg_status qg_val_push(qg_run *r, qg_val *list, qg_val item);
qg_status qg_val_dict(qg_run *r, qg_vkind kind, size_t cap, qg_val *out);
/* Sets a member, in place if the key is there.  Keys that Python cannot hash are an error. */
qg_status qg_val_set(qg_run *r, qg_val *dict, qg_val key, qg_val val);
/* The member, or NULL in *out. */
qg_status qg_val_find(qg_run *r, const qg_val *dict, const qg_val *key, const qg_val **out);
/* The same for a string key; no error is possible. */
const qg_val *qg_val_member(const qg_vdict *dict, qg_slice key);

/* JSON -> input value; strings are borrowed from json. */
qg_status qg_val_from_json(qg_run *r, const json_t *json, unsigned depth, qg_val *out);

/* ---- asking ---------------------------------------------------------------------------------- */

/* Python's name of the type, for sentences: "str", "NoneType", … */
const char *qg_val_type(const qg_val *v);
bool qg_val_truth(const qg_val *v);
/* Python's ==, which never raises. */
qg_status qg_val_equal(qg_run *r, const qg_val *a, const qg_val *b, bool *out);
/* <0, 0, >0 for things that have an order; else QG_ERR_TEMPLATE.  *nan is set when a NaN makes
 * every comparison false. */
qg_status qg_val_compare(qg_run *r, const qg_val *a, const qg_val *b, int *out, bool *nan);
/* needle in hay */
qg_status qg_val_contains(qg_run *r, const qg_val *hay, const qg_val *needle, bool *out);
/* The elements as a list that must not be changed: lists and tuples themselves, characters of a
 * string, keys of a dict, nothing of an undefined, the rest of a generator (used up by this).
 * Others are an error. */
qg_status qg_val_items(qg_run *r, const qg_val *v, qg_vlist **out);
/* Whether any part of v is input. */
qg_status qg_val_tainted(qg_run *r, const qg_val *v, bool *out);

/* ---- printing (show.c) ----------------------------------------------------------------------- */

/* Python's str(): strings as they are, everything else as a new string. */
qg_status qg_val_str(qg_run *r, const qg_val *v, qg_val *out);

typedef struct qg_json_style {
    bool ascii, sort_keys;
    bool lines; /* one element per line, indented by pad */
    qg_slice pad, item_sep, key_sep;
} qg_json_style;

/* json.dumps */
qg_status qg_val_json(qg_run *r, const qg_val *v, const qg_json_style *style, qg_val *out);
/* Shortest digits that give the number back, as Python's repr(); out [32], 0-terminated. */
void qg_float_repr(double f, char out[32]);
/* Python's float(): surrounding blanks, underscores between digits, nan, inf.  False: not a number.
 */
bool qg_float_parse(qg_slice s, double *out);
/* Python's int() of a string in base 10.  0: not a number; 1: fine; -1: beyond 64 bits. */
int qg_int_parse(qg_slice s, int64_t *out);

#endif
