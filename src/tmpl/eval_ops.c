/* Operators: arithmetic, comparison, slices. */
#include "base/limits.h"
#include "tmpl/run.h"

#include <math.h>

static qg_status no_operator(qg_run *r, int op, const qg_val *a, const qg_val *b)
{
    if (a->kind == QG_V_UNDEF || b->kind == QG_V_UNDEF)
        return qg_run_undefined(r, a->kind == QG_V_UNDEF ? a : b);
    if (op == QG_T_ADD && a->kind == QG_V_STR)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "can only concatenate str (not \"%s\") to str",
                           qg_val_type(b));
    if (op == QG_T_MOD && a->kind == QG_V_STR)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "formatting with %% is not supported");
    return qg_run_fail(r, QG_ERR_TEMPLATE, "no %s between '%s' and '%s'", qg_tok_name(op),
                       qg_val_type(a), qg_val_type(b));
}

static qg_status too_large(qg_run *r)
{
    return qg_run_fail(r, QG_ERR_TEMPLATE, "an integer beyond 64 bits");
}

static qg_status by_zero(qg_run *r)
{
    return qg_run_fail(r, QG_ERR_TEMPLATE, "division by zero");
}

static bool int_power(int64_t base, int64_t exp, int64_t *out)
{
    *out = 1;
    for (; exp > 0; exp >>= 1) {
        if ((exp & 1) && __builtin_mul_overflow(*out, base, out))
            return false;
        if (exp > 1 && __builtin_mul_overflow(base, base, &base))
            return false;
    }
    return true;
}

static qg_status integers(qg_run *r, int op, int64_t a, int64_t b, qg_val *out)
{
    int64_t i = 0;
    bool over = false;
    switch (op) {
    case QG_T_ADD:
        over = __builtin_add_overflow(a, b, &i);
        break;
    case QG_T_SUB:
        over = __builtin_sub_overflow(a, b, &i);
        break;
    case QG_T_MUL:
        over = __builtin_mul_overflow(a, b, &i);
        break;
    case QG_T_POW:
        over = !int_power(a, b, &i);
        break;
    default: /* // and %: rounded down, the remainder has the sign of b */
        if (b == 0)
            return by_zero(r);
        over = a == INT64_MIN && b == -1;
        if (over && op == QG_T_MOD) {
            over = false;
        } else if (!over) {
            int64_t rest = a % b;
            bool down = rest != 0 && (rest < 0) != (b < 0);
            i = op == QG_T_MOD ? (down ? rest + b : rest) : a / b - down;
        }
        break;
    }
    if (over)
        return too_large(r);
    *out = qg_v_int(i);
    return QG_OK;
}

static double float_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m != 0 && (m < 0) != (b < 0))
        m += b;
    return m == 0 ? copysign(0, b) : m;
}

static double float_floordiv(double a, double b)
{
    double m = fmod(a, b), q = (a - m) / b;
    if (m != 0 && (m < 0) != (b < 0))
        q -= 1;
    if (q == 0)
        return copysign(0, a / b);
    double down = floor(q);
    return q - down > 0.5 ? down + 1 : down;
}

static qg_status floats(qg_run *r, int op, double a, double b, qg_val *out)
{
    double f = 0;
    bool divides = op == QG_T_DIV || op == QG_T_FLOORDIV || op == QG_T_MOD;
    if ((divides && b == 0) || (op == QG_T_POW && a == 0 && b < 0))
        return by_zero(r);
    switch (op) {
    case QG_T_ADD:
        f = a + b;
        break;
    case QG_T_SUB:
        f = a - b;
        break;
    case QG_T_MUL:
        f = a * b;
        break;
    case QG_T_DIV:
        f = a / b;
        break;
    case QG_T_FLOORDIV:
        f = float_floordiv(a, b);
        break;
    case QG_T_MOD:
        f = float_mod(a, b);
        break;
    default:
        f = pow(a, b);
        if ((isinf(f) && !isinf(a) && !isinf(b)) || (isnan(f) && !isnan(a) && !isnan(b)))
            return qg_run_fail(r, QG_ERR_TEMPLATE, "a power beyond what a float holds");
        break;
    }
    *out = qg_v_float(f);
    return QG_OK;
}

static qg_status numbers(qg_run *r, int op, const qg_val *a, const qg_val *b, qg_val *out)
{
    bool input = a->input || b->input;
    bool real = op == QG_T_DIV || !qg_v_is_integral(a) || !qg_v_is_integral(b) ||
                (op == QG_T_POW && qg_v_integer(b) < 0);
    if (real)
        QG_TRY(floats(r, op, qg_v_double(a), qg_v_double(b), out));
    else
        QG_TRY(integers(r, op, qg_v_integer(a), qg_v_integer(b), out));
    out->input = input;
    return QG_OK;
}

static qg_status repeat(qg_run *r, const qg_val *seq, int64_t times, qg_val *out)
{
    size_t n = seq->kind == QG_V_STR ? seq->s.n : seq->list->n;
    if (n == 0 || times < 0)
        times = 0;
    QG_TRY(
        qg_run_spend(r, (uint64_t)times > QG_MAX_TMPL_STEPS ? QG_MAX_TMPL_STEPS : (size_t)times));
    if (seq->kind == QG_V_STR) {
        qg_sb b = {0};
        for (int64_t i = 0; i < times; i++)
            QG_TRY(qg_sb_add(r, &b, seq));
        *out = qg_sb_done(&b);
        return QG_OK;
    }
    qg_val list;
    QG_TRY(qg_val_list(r, seq->kind, 0, &list));
    list.input = seq->input;
    for (int64_t i = 0; i < times; i++) {
        QG_TRY(qg_run_spend(r, n));
        for (size_t k = 0; k < n; k++)
            QG_TRY(qg_val_push(r, &list, seq->list->v[k]));
    }
    *out = list;
    return QG_OK;
}

static qg_status join_lists(qg_run *r, const qg_val *a, const qg_val *b, qg_val *out)
{
    size_t n = a->list->n, m = b->list->n;
    qg_val list;
    QG_TRY(qg_run_spend(r, n + m));
    QG_TRY(qg_val_list(r, a->kind, n + m, &list));
    if (n)
        memcpy(list.list->v, a->list->v, n * sizeof(qg_val));
    if (m)
        memcpy(list.list->v + n, b->list->v, m * sizeof(qg_val));
    list.list->n = n + m;
    list.input = a->input || b->input;
    *out = list;
    return QG_OK;
}

static bool is_sequence(const qg_val *v)
{
    return v->kind == QG_V_STR || v->kind == QG_V_LIST || v->kind == QG_V_TUPLE;
}

qg_status qg_eval_binary(qg_run *r, int op, const qg_val *a, const qg_val *b, qg_val *out)
{
    if (qg_v_is_number(a) && qg_v_is_number(b))
        return numbers(r, op, a, b, out);
    if (op == QG_T_ADD && a->kind == b->kind && is_sequence(a)) {
        if (a->kind != QG_V_STR)
            return join_lists(r, a, b, out);
        qg_sb sb = {0};
        QG_TRY(qg_sb_reserve(r, &sb, a->s.n + b->s.n));
        QG_TRY(qg_sb_add(r, &sb, a));
        QG_TRY(qg_sb_add(r, &sb, b));
        *out = qg_sb_done(&sb);
        return QG_OK;
    }
    if (op == QG_T_MUL && is_sequence(a) && qg_v_is_integral(b))
        return repeat(r, a, qg_v_integer(b), out);
    if (op == QG_T_MUL && is_sequence(b) && qg_v_is_integral(a))
        return repeat(r, b, qg_v_integer(a), out);
    return no_operator(r, op, a, b);
}

/* ---- comparison ------------------------------------------------------------------------------ */

static qg_status compare(qg_run *r, int op, const qg_val *a, const qg_val *b, bool *out)
{
    if (op == QG_T_EQ || op == QG_T_NE) {
        QG_TRY(qg_val_equal(r, a, b, out));
        *out = *out == (op == QG_T_EQ);
        return QG_OK;
    }
    if (op == QG_T_IN || op == QG_T_NOTIN) {
        QG_TRY(qg_val_contains(r, b, a, out));
        *out = *out == (op == QG_T_IN);
        return QG_OK;
    }
    int order;
    bool nan;
    QG_TRY(qg_val_compare(r, a, b, &order, &nan));
    *out = op == QG_T_LT   ? order < 0
           : op == QG_T_LE ? order <= 0
           : op == QG_T_GT ? order > 0
                           : order >= 0;
    *out = *out && !nan;
    return QG_OK;
}

/* a < b < c holds when every neighbouring pair does. */
qg_status qg_eval_compare(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val left, right;
    bool holds = true;
    QG_TRY(qg_eval(r, n->a, &left));
    for (uint32_t i = 0; holds && i < n->n; i++) {
        QG_TRY(qg_eval(r, n->v[i]->a, &right));
        r->line = n->line;
        QG_TRY(compare(r, n->v[i]->op, &left, &right, &holds));
        left = right;
    }
    *out = qg_v_bool(holds);
    return QG_OK;
}

/* ---- slices ---------------------------------------------------------------------------------- */

static qg_status bound(qg_run *r, const qg_node *n, int64_t *out, bool *given)
{
    qg_val v;
    *given = false;
    if (!n)
        return QG_OK;
    QG_TRY(qg_eval(r, n, &v));
    if (v.kind == QG_V_NONE)
        return QG_OK;
    if (!qg_v_is_integral(&v))
        return qg_run_fail(r, QG_ERR_TEMPLATE, "slice bounds are integers, not '%s'",
                           qg_val_type(&v));
    *out = qg_v_integer(&v);
    *given = true;
    return QG_OK;
}

/* Python's slice.indices(): negative bounds count from the end, all are brought into range. */
static int64_t clamp(int64_t i, int64_t n, int64_t step)
{
    if (i < 0)
        i = i < -n ? -1 : i + n;
    if (i < 0)
        return step < 0 ? -1 : 0;
    return i >= n ? (step < 0 ? n - 1 : n) : i;
}

static qg_status slice_list(qg_run *r, const qg_val *seq, int64_t from, int64_t to, int64_t step,
                            qg_val *out)
{
    qg_val list;
    QG_TRY(qg_val_list(r, seq->kind, 0, &list));
    list.input = seq->input;
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
        QG_TRY(qg_run_spend(r, 1));
        QG_TRY(qg_val_push(r, &list, seq->list->v[i]));
        if (step > 0 ? step >= to - i : step <= to - i)
            break; /* the next would be outside; i + step might overflow */
    }
    const int64_t *range = seq->list->range; /* wraps only where its elements would */
    list.list->range[0] = (int64_t)((uint64_t)range[0] + (uint64_t)from * (uint64_t)range[2]);
    list.list->range[1] = (int64_t)((uint64_t)range[0] + (uint64_t)to * (uint64_t)range[2]);
    list.list->range[2] = (int64_t)((uint64_t)range[2] * (uint64_t)step);
    *out = list;
    return QG_OK;
}

qg_status qg_eval_slice(qg_run *r, const qg_node *n, qg_val *out)
{
    qg_val seq;
    int64_t b[3] = {0, 0, 1};
    bool given[3];
    QG_TRY(qg_eval(r, n->a, &seq));
    for (int i = 0; i < 3; i++)
        QG_TRY(bound(r, n->v[i], &b[i], &given[i]));
    r->line = n->line;
    if (seq.kind == QG_V_UNDEF)
        return qg_run_undefined(r, &seq);
    if (!is_sequence(&seq) && seq.kind != QG_V_RANGE)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "'%s' object cannot be sliced", qg_val_type(&seq));
    int64_t step = given[2] ? b[2] : 1;
    if (step == 0)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "slice step cannot be zero");
    int64_t len = (int64_t)(seq.kind == QG_V_STR ? qg_ustr_length(&seq) : seq.list->n);
    int64_t from = given[0] ? clamp(b[0], len, step) : step < 0 ? len - 1 : 0;
    int64_t to = given[1] ? clamp(b[1], len, step) : step < 0 ? -1 : len;
    if (seq.kind == QG_V_STR)
        return qg_ustr_slice(r, &seq, from, to, step, out);
    return slice_list(r, &seq, from, to, step, out);
}
