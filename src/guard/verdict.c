#include "guard/verdict.h"

#include <math.h>
#include <stdlib.h>

static void answers_add(qg_answers *a, const qg_piece *piece)
{
    for (int32_t i = 0; i < piece->n; i++) {
        int32_t at = 0;
        while (at < a->n && a->ids[at] < piece->ids[i])
            at++;
        if (at < a->n && a->ids[at] == piece->ids[i])
            continue;
        memmove(a->ids + at + 1, a->ids + at, (size_t)(a->n - at) * sizeof *a->ids);
        a->ids[at] = piece->ids[i];
        a->n++;
    }
}

void qg_answers_init(qg_answers *answers, const qg_labels *labels)
{
    answers->n = 0;
    for (int i = 0; i < QG_N_SEVERITIES; i++)
        answers_add(answers, &labels->severity[i]);
    for (int i = 0; i < QG_N_CATEGORIES; i++)
        answers_add(answers, &labels->category[i]);
    for (int i = 0; i < 2; i++)
        answers_add(answers, &labels->answer[i]);
}

static int32_t column(const qg_answers *a, int32_t id)
{
    int32_t lo = 0, hi = a->n;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (a->ids[mid] < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* What one reading of a group works on. */
typedef struct reader {
    const qg_tree *tree;
    const qg_answers *answers;
    const float *logits;
    double *p; /* [label] */
} reader;

static float logit(const reader *r, int32_t node, int32_t id)
{
    int32_t row = node == QG_TREE_ROOT ? 0 : r->tree->nodes[node].read;
    return r->logits[(int64_t)row * r->answers->n + column(r->answers, id)];
}

/* Gives the labels of the group below node their share of mass.  Walks as tree.c's plant() does:
 * the labels part where their next tokens differ, and each token's share is its softmax among them.
 */
static qg_status split(const reader *r, int32_t node, int32_t depth, qg_group group, double mass,
                       qg_err *err)
{
    double top = -INFINITY, sum = 0;
    unsigned firsts = 0; /* one label per distinct next token */

    for (unsigned rest = group.allowed; rest; rest &= rest - 1) {
        int i = __builtin_ctz(rest);
        int32_t id = group.pieces[i].ids[depth];
        bool seen = false;
        for (unsigned f = firsts; f; f &= f - 1)
            seen |= group.pieces[__builtin_ctz(f)].ids[depth] == id;
        if (seen)
            continue;
        float x = logit(r, node, id);
        if (!isfinite(x))
            return qg_fail(err, QG_ERR_INTERNAL, "a logit is not a finite number");
        firsts |= 1u << i;
        top = x > top ? x : top;
    }
    for (unsigned f = firsts; f; f &= f - 1)
        sum += exp(logit(r, node, group.pieces[__builtin_ctz(f)].ids[depth]) - top);
    for (unsigned f = firsts; f; f &= f - 1) {
        int32_t id = group.pieces[__builtin_ctz(f)].ids[depth];
        double share = mass * (exp(logit(r, node, id) - top) / sum);
        qg_group same = {group.pieces, 0};
        for (unsigned rest = group.allowed; rest; rest &= rest - 1)
            if (group.pieces[__builtin_ctz(rest)].ids[depth] == id)
                same.allowed |= rest & -rest;
        if (same.allowed & (same.allowed - 1))
            QG_TRY(split(r, qg_tree_child(r->tree, node, id), depth + 1, same, share, err));
        else
            r->p[__builtin_ctz(same.allowed)] = share;
    }
    return QG_OK;
}

static qg_status read_group(reader r, int32_t node, qg_group group, double *p, qg_err *err)
{
    r.p = p;
    return split(&r, node, 0, group, 1.0, err);
}

static int argmax(const double *p, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (p[i] > p[best])
            best = i;
    return best;
}

static qg_status read_categories(qg_verdict *v, const reader *r, const qg_labels *labels,
                                 qg_err *err)
{
    const qg_group group = {labels->category, qg_categories_allowed(v->judged)};
    memset(v->p_category, 0, sizeof v->p_category);
    for (int s = 0; s < QG_N_SEVERITIES; s++) {
        double p[QG_N_CATEGORIES] = {0};
        QG_TRY(read_group(*r, r->tree->category_at[s], group, p, err));
        for (int c = 0; c < QG_N_CATEGORIES; c++)
            v->p_category[c] += v->p_severity[s] * p[c];
        if (s == v->severity)
            v->category = argmax(p, QG_N_CATEGORIES);
    }
    return QG_OK;
}

static qg_status read_refusal(qg_verdict *v, const reader *r, qg_tree *tree,
                              const qg_labels *labels, bool *more, qg_err *err)
{
    double p[2];
    int32_t node = qg_tree_refusal_at(tree, labels, v->severity, v->category);
    if (node == QG_TREE_ROOT) {
        *more = true;
        return qg_tree_add_refusal(tree, labels, v->severity, v->category, err);
    }
    QG_TRY(read_group(*r, node, (qg_group){labels->answer, 3}, p, err));
    v->refusal = argmax(p, 2);
    v->p_refusal = p[1];
    return QG_OK;
}

qg_status qg_verdict_read(qg_verdict *v, qg_judged judged, qg_tree *tree, const qg_labels *labels,
                          const qg_answers *answers, const float *logits, bool *more, qg_err *err)
{
    const reader r = {.tree = tree, .answers = answers, .logits = logits};
    const qg_group group = {labels->severity, (1u << QG_N_SEVERITIES) - 1};

    *more = false;
    *v = (qg_verdict){.judged = judged, .refusal = -1, .p_refusal = -1};
    QG_TRY(read_group(r, QG_TREE_ROOT, group, v->p_severity, err));
    v->severity = argmax(v->p_severity, QG_N_SEVERITIES);
    QG_TRY(read_categories(v, &r, labels, err));
    return judged == QG_REPLY ? read_refusal(v, &r, tree, labels, more, err) : QG_OK;
}

qg_status qg_verdict_ids(const qg_verdict *v, const qg_labels *labels, qg_ids *ids)
{
    const qg_piece *pieces[] = {
        &labels->safety,     &labels->severity[v->severity],
        &labels->categories, &labels->category[v->category],
        &labels->refusal,    &labels->answer[v->refusal == 1],
    };
    size_t n = v->refusal < 0 ? 4 : 6;
    for (size_t i = 0; i < n; i++)
        QG_TRY(qg_ids_add(ids, pieces[i]->ids, (size_t)pieces[i]->n));
    return QG_OK;
}

qg_status qg_verdict_text(const qg_verdict *v, qg_buf *text)
{
    QG_TRY(qg_buf_addf(text, "Safety: %s\nCategories: %s", qg_severity_labels[v->severity],
                       qg_category_labels[v->category]));
    if (v->refusal >= 0)
        QG_TRY(qg_buf_addf(text, "\nRefusal: %s", qg_refusal_labels[v->refusal]));
    return QG_OK;
}
