/* One rendering: its memory, its budget, its scopes.  Private to the room. */
#ifndef QG_TMPL_RUN_H
#define QG_TMPL_RUN_H

#include "base/arena.h"
#include "tmpl/ast.h"
#include "tmpl/tmpl.h"
#include "tmpl/ustr.h"
#include "tmpl/value.h"

typedef struct qg_slot {
    uint32_t name;
    qg_val val;
} qg_slot;

/* One scope.  Scopes of loops and macros hang below the one they are written in. */
typedef struct qg_frame {
    struct qg_frame *outer;
    qg_slot *v;
    uint32_t n, cap;
    bool kept; /* a macro remembers it: the next turn of the loop needs a new one */
} qg_frame;

typedef enum qg_flow { QG_FLOW_ON, QG_FLOW_BREAK, QG_FLOW_CONTINUE } qg_flow;

struct qg_run {
    const qg_tmpl *tmpl;
    const json_t *vars;
    qg_arena arena;
    qg_err *err;
    uint64_t steps;
    uint32_t line, depth;
    qg_frame *top;
    qg_val *globals; /* [n_names] converted on first use */
    bool *global_known;
    qg_flow flow;
    qg_val hole;    /* subject of the filters behind {% filter %} and {% set x | … %} */
    qg_sb *capture; /* where output goes; NULL: to out */
    qg_rendered *out;
};

typedef struct qg_loop {
    const qg_node *stmt; /* the for statement */
    qg_frame *frame;     /* the scope outside of it, where the loop's filter is evaluated */
    const qg_vlist *src; /* what is looped over, and how much of it was looked at */
    size_t at;
    qg_val kept;  /* a list: those that passed the filter (src itself when there is none) */
    size_t index; /* turn, from 0 */
} qg_loop;

typedef struct qg_macro {
    const qg_node *def;
    qg_frame *frame; /* scope it was defined in */
} qg_macro;

typedef struct qg_bound {
    qg_val self;
    const struct qg_builtin *method;
} qg_bound;

/* Arguments of a call: positional ones, then named ones. */
typedef struct qg_args {
    const qg_val *v;
    const qg_slice *names; /* [n - n_pos] names of v[n_pos..] */
    size_t n, n_pos;
} qg_args;

typedef qg_status qg_builtin_fn(qg_run *r, const qg_val *self, const qg_args *args, qg_val *out);

/* A filter, test, function or method.  params: names in order, separated by blanks, "/name" when
 * it has no name to the caller; "*" lets any arguments pass; need: how many must be there. */
typedef struct qg_builtin {
    const char *name;
    qg_builtin_fn *fn;
    const char *params;
    uint8_t need;
} qg_builtin;

/* Rows of a table end with a NULL name. */
extern const qg_builtin qg_text_filters[], qg_list_filters[], qg_pick_filters[], qg_str_methods[];
const qg_builtin *qg_builtin_find(const qg_builtin *rows, qg_slice name);
const qg_builtin *qg_filter_find(qg_slice name);
const qg_builtin *qg_test_find(qg_slice name);
const qg_builtin *qg_function_find(qg_slice name);
/* Method of a value, or NULL; any_type: whether some type has a method of this name. */
const qg_builtin *qg_method_find(const qg_val *self, qg_slice name);
bool qg_method_exists(qg_slice name);
/* Attributes that exist in Python but that the reference's sandbox hides. */
bool qg_method_hidden(const qg_val *self, qg_slice name);

/* Sentence "template line N: …", QG_ERR_TEMPLATE or another code. */
qg_status qg_run_fail(qg_run *r, qg_status rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes n steps from the budget: QG_ERR_TOO_LONG when it is used up. */
qg_status qg_run_spend(qg_run *r, size_t n);
/* n * size bytes from the rendering's arena, not initialised.  NULL: return r->arena.why, the
 * sentence is written. */
void *qg_run_alloc(qg_run *r, size_t n, size_t size);
/* "x is undefined", for operations that the reference refuses on undefined values. */
qg_status qg_run_undefined(qg_run *r, const qg_val *v);

/* ---- scopes (scope.c) ------------------------------------------------------------------------ */

/* An empty scope inside outer. */
qg_status qg_scope_new(qg_run *r, qg_frame *outer, qg_frame **out);
/* Gives name a value in f itself. */
qg_status qg_scope_set(qg_run *r, qg_frame *f, uint32_t name, qg_val val);
/* Looks a name up from the current scope outwards, then among variables and functions; undefined
 * when it is nowhere. */
qg_status qg_scope_get(qg_run *r, const qg_node *name, qg_val *out);

/* ---- evaluation ------------------------------------------------------------------------------ */

qg_status qg_eval(qg_run *r, const qg_node *n, qg_val *out);
qg_status qg_eval_binary(qg_run *r, int op, const qg_val *a, const qg_val *b, qg_val *out);
qg_status qg_eval_compare(qg_run *r, const qg_node *n, qg_val *out);
qg_status qg_eval_slice(qg_run *r, const qg_node *n, qg_val *out);
qg_status qg_eval_call(qg_run *r, const qg_node *n, qg_val *out);
qg_status qg_eval_args(qg_run *r, const qg_node *n, qg_args *out);
/* Checks args against b's parameters and calls it. */
qg_status qg_builtin_call(qg_run *r, const qg_builtin *b, const qg_val *self, const qg_args *args,
                          qg_val *out);
qg_status qg_macro_call(qg_run *r, const qg_macro *m, const qg_args *args, qg_val *out);
qg_status qg_exec(qg_run *r, const qg_node *body);
/* Evaluates body with its output caught in a string. */
qg_status qg_exec_capture(qg_run *r, const qg_node *body, qg_val *out);
qg_status qg_assign(qg_run *r, const qg_node *target, const qg_val *val);

/* obj.name and obj[key], undefined when missing. */
qg_status qg_get_attr(qg_run *r, const qg_val *obj, qg_slice name, qg_val *out);
qg_status qg_get_item(qg_run *r, const qg_val *obj, const qg_val *key, qg_val *out);
/* "a.b.0" as filters take it in attribute=…; or a number. */
qg_status qg_get_path(qg_run *r, const qg_val *obj, const qg_val *path, qg_val *out);
qg_status qg_loop_attr(qg_run *r, qg_loop *loop, qg_slice name, qg_val *out);
/* Brings the next element that passes the filter into loop->kept; *got false at the end. */
qg_status qg_loop_pull(qg_run *r, qg_loop *loop, bool *got);

/* The argument at place i of b's parameters or of that name, or NULL. */
const qg_val *qg_arg(const qg_args *args, size_t i, const char *name);
/* Sorts by key; stable, also when reversed.  Errors when two keys have no order. */
qg_status qg_sort_pairs(qg_run *r, qg_vpair *v, size_t n, bool reverse);
/* str.strip() with its optional argument chars. */
qg_status qg_strip_args(qg_run *r, const qg_val *s, const qg_args *a, int sides, qg_val *out);
/* len(); error for what has none. */
qg_status qg_val_length(qg_run *r, const qg_val *v, size_t *out);
/* Typed: fall is used when absent.  Errors name the argument. */
qg_status qg_arg_int(qg_run *r, const qg_args *a, size_t i, const char *name, int64_t fall,
                     int64_t *out);
qg_status qg_arg_str(qg_run *r, const qg_args *a, size_t i, const char *name, qg_val *out);
bool qg_arg_true(const qg_args *a, size_t i, const char *name, bool fall);

#endif
