/* The token tree and the verdict read from it, on hand-made labels and logits. */
#include "unit.h"

#include "guard/verdict.h"

#include <math.h>

static void piece(qg_piece *p, int n, ...)
{
    va_list ap;
    va_start(ap, n);
    p->n = n;
    for (int i = 0; i < n; i++)
        p->ids[i] = va_arg(ap, int32_t);
    va_end(ap);
}

/* As the real tokenizer: Controversial has three tokens, first tokens differ. */
static void plain_labels(qg_labels *l)
{
    memset(l, 0, sizeof *l);
    piece(&l->safety, 2, 1, 2);
    piece(&l->severity[QG_SAFE], 1, 10);
    piece(&l->severity[QG_CONTROVERSIAL], 3, 11, 12, 13);
    piece(&l->severity[QG_UNSAFE], 1, 14);
    piece(&l->categories, 3, 3, 4, 2);
    for (int c = 0; c < QG_N_CATEGORIES; c++)
        piece(&l->category[c], c % 2 ? 1 : 2, 20 + c, 40 + c);
    piece(&l->refusal, 3, 3, 5, 2);
    piece(&l->answer[0], 1, 60);
    piece(&l->answer[1], 1, 61);
}

static void the_tree_holds_every_branch_once(void **state)
{
    (void)state;
    qg_labels l;
    static qg_tree t;
    plain_labels(&l);
    assert_int_equal(qg_tree_init(&t, &l, QG_PROMPT, NULL), QG_OK);
    assert_int_equal(t.n_nodes, 3 * 3 + 5); /* three category leads, five severity tokens */
    assert_int_equal(t.n_reads, 1 + 3);
    for (int32_t i = 0; i < t.n_nodes; i++)
        assert_true(t.nodes[i].parent < i);
    assert_int_equal(t.nodes[t.category_at[QG_CONTROVERSIAL]].depth, 5);

    assert_int_equal(qg_tree_init(&t, &l, QG_REPLY, NULL), QG_OK);
    assert_int_equal(t.n_nodes, 14 + 1 + 3); /* None (one token) and the refusal lead behind Safe */
    assert_int_equal(t.n_reads, 5);
    assert_true(qg_tree_refusal_at(&t, &l, QG_SAFE, QG_CATEGORY_NONE) >= 0);
    assert_int_equal(qg_tree_refusal_at(&t, &l, QG_UNSAFE, 0), QG_TREE_ROOT);
}

static float *row_of(float *logits, const qg_tree *t, int32_t node, int32_t n)
{
    return logits + (node == QG_TREE_ROOT ? 0 : t->nodes[node].read) * n;
}

static void set(float *row, const qg_answers *a, int32_t id, double p)
{
    for (int32_t i = 0; i < a->n; i++)
        if (a->ids[i] == id)
            row[i] = (float)log(p) + 3.0f; /* any constant shift must not matter */
}

static void a_prompt_is_read_in_one_pass(void **state)
{
    (void)state;
    qg_labels l;
    static qg_tree t;
    static qg_answers a;
    float logits[4096];
    qg_verdict v;
    bool more;

    plain_labels(&l);
    qg_answers_init(&a, &l);
    assert_int_equal(qg_tree_init(&t, &l, QG_PROMPT, NULL), QG_OK);
    for (size_t i = 0; i < COUNT(logits); i++)
        logits[i] = -9;
    float *root = row_of(logits, &t, QG_TREE_ROOT, a.n);
    set(root, &a, 10, 0.2);
    set(root, &a, 11, 0.3);
    set(root, &a, 14, 0.5);
    for (int s = 0; s < 3; s++) {
        float *row = row_of(logits, &t, t.category_at[s], a.n);
        for (int c = 0; c < QG_N_CATEGORIES; c++)
            set(row, &a, 20 + c, c == s ? 0.55 : 0.05);
    }
    assert_int_equal(qg_verdict_read(&v, QG_PROMPT, &t, &l, &a, logits, &more, NULL), QG_OK);
    assert_false(more);
    assert_int_equal(v.severity, QG_UNSAFE);
    assert_int_equal(v.category, QG_UNSAFE); /* index 2 by construction */
    assert_int_equal(v.refusal, -1);
    assert_true(fabs(v.p_severity[QG_SAFE] - 0.2) < 1e-6);
    assert_true(fabs(v.p_severity[QG_CONTROVERSIAL] - 0.3) < 1e-6);
    /* over all severities: 0.5*0.55 + 0.5*0.05 */
    assert_true(fabs(v.p_category[2] - 0.3) < 1e-6);
    double sum = 0;
    for (int c = 0; c < QG_N_CATEGORIES; c++)
        sum += v.p_category[c];
    assert_true(fabs(sum - 1) < 1e-9);

    row_of(logits, &t, t.category_at[0], a.n)[0] = NAN;
    for (int32_t i = 0; i < a.n; i++)
        row_of(logits, &t, t.category_at[0], a.n)[i] = NAN;
    assert_int_equal(qg_verdict_read(&v, QG_PROMPT, &t, &l, &a, logits, &more, NULL),
                     QG_ERR_INTERNAL);
}

static void a_reply_asks_for_the_branch_it_needs(void **state)
{
    (void)state;
    qg_labels l;
    static qg_tree t;
    static qg_answers a;
    float logits[4096];
    qg_verdict v;
    qg_buf text;
    bool more;

    plain_labels(&l);
    qg_answers_init(&a, &l);
    assert_int_equal(qg_tree_init(&t, &l, QG_REPLY, NULL), QG_OK);
    int32_t before = t.n_nodes;
    for (size_t i = 0; i < COUNT(logits); i++)
        logits[i] = 0;
    set(row_of(logits, &t, QG_TREE_ROOT, a.n), &a, 14, 1e6);
    set(row_of(logits, &t, t.category_at[QG_UNSAFE], a.n), &a, 23, 1e6);
    assert_int_equal(qg_verdict_read(&v, QG_REPLY, &t, &l, &a, logits, &more, NULL), QG_OK);
    assert_true(more);
    assert_int_equal(t.n_nodes, before + 4); /* category 3 has one token, the lead three */
    assert_int_equal(t.n_reads, 6);
    int32_t at = qg_tree_refusal_at(&t, &l, QG_UNSAFE, 3);
    set(row_of(logits, &t, at, a.n), &a, 61, 1e6);
    assert_int_equal(qg_verdict_read(&v, QG_REPLY, &t, &l, &a, logits, &more, NULL), QG_OK);
    assert_false(more);
    assert_int_equal(v.refusal, 1);
    assert_true(v.p_refusal > 0.99);
    qg_buf_init(&text, 200);
    assert_int_equal(qg_verdict_text(&v, &text), QG_OK);
    assert_string_equal(text.p, "Safety: Unsafe\nCategories: PII\nRefusal: Yes");
    qg_buf_free(&text);
}

/* A poorer vocabulary: labels share first tokens, so a label is a path and its share a product. */
static void labels_may_share_tokens(void **state)
{
    (void)state;
    qg_labels l;
    static qg_tree t;
    static qg_answers a;
    static float logits[8192];
    qg_verdict v;
    bool more;

    plain_labels(&l);
    piece(&l.severity[QG_CONTROVERSIAL], 2, 10, 13);
    piece(&l.severity[QG_SAFE], 2, 10, 15);
    piece(&l.category[1], 2, 20, 70);
    qg_answers_init(&a, &l);
    assert_int_equal(qg_tree_init(&t, &l, QG_PROMPT, NULL), QG_OK);
    float *root = row_of(logits, &t, QG_TREE_ROOT, a.n);
    int32_t shared = qg_tree_child(&t, QG_TREE_ROOT, 10);
    assert_true(shared >= 0 && t.nodes[shared].read > 0);
    set(root, &a, 10, 0.6);
    set(root, &a, 14, 0.4);
    float *second = row_of(logits, &t, shared, a.n);
    set(second, &a, 13, 0.25);
    set(second, &a, 15, 0.75);
    assert_int_equal(qg_verdict_read(&v, QG_PROMPT, &t, &l, &a, logits, &more, NULL), QG_OK);
    assert_int_equal(v.severity, QG_SAFE);
    assert_true(fabs(v.p_severity[QG_SAFE] - 0.45) < 1e-6);
    assert_true(fabs(v.p_severity[QG_CONTROVERSIAL] - 0.15) < 1e-6);
    assert_true(fabs(v.p_severity[QG_UNSAFE] - 0.40) < 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_holds_every_branch_once),
        cmocka_unit_test(a_prompt_is_read_in_one_pass),
        cmocka_unit_test(a_reply_asks_for_the_branch_it_needs),
        cmocka_unit_test(labels_may_share_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
