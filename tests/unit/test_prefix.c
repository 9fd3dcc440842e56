/* The prefix cache against a plain model of it: whatever was inserted, a match must be a true
 * common beginning, its blocks must hold those tokens, and no block may leak. */
#include "unit.h"

#include "base/mem.h"
#include "engine/prefix.h"

static const qg_kv_shape shape = {1, 1, 8, QG_W_F32};

/* Marks slot s of a sequence with its token, in the first K float, so that copies can be checked.
 */
static void mark(qg_kv *kv, const qg_kv_seq *seq, const int32_t *ids, int32_t from, int32_t to)
{
    for (int32_t s = from; s < to; s++) {
        float *k = qg_kv_layer(kv, seq->blocks[s / QG_KV_BLOCK], 0);
        k[s % QG_KV_BLOCK] = (float)ids[s];
    }
}

static void check_marks(qg_kv *kv, const qg_kv_seq *seq, const int32_t *ids, int32_t n)
{
    for (int32_t s = 0; s < n; s++) {
        const float *k = qg_kv_layer(kv, seq->blocks[s / QG_KV_BLOCK], 0);
        assert_int_equal((int)k[s % QG_KV_BLOCK], ids[s]);
    }
}

static void finds_the_longest_beginning_also_inside_a_block(void **state)
{
    (void)state;
    qg_kv *kv;
    qg_prefix *p;
    int32_t ids[40], other[40];
    assert_int_equal(qg_kv_open(&kv, &shape, 16, NULL), QG_OK);
    assert_int_equal(qg_prefix_open(&p, kv, 16, NULL), QG_OK);
    for (int32_t i = 0; i < 40; i++)
        ids[i] = other[i] = 100 + i;
    other[25] = 7;

    qg_kv_seq a = {.kv = kv}, b = {.kv = kv};
    assert_int_equal(qg_prefix_match(p, ids, 40, &a), 0);
    assert_int_equal(qg_prefix_grow(p, &a, 40), QG_OK);
    mark(kv, &a, ids, 0, 40);
    qg_prefix_insert(p, ids, 40, &a, 0);
    assert_int_equal(qg_prefix_match(p, other, 40, &b), 25); /* 16 shared, 9 copied */
    assert_int_equal(b.n_blocks, 2);
    assert_int_equal(b.blocks[0], a.blocks[0]);
    assert_int_not_equal(b.blocks[1], a.blocks[1]);
    check_marks(kv, &b, other, 25);
    qg_kv_seq_free(&b);
    b = (qg_kv_seq){.kv = kv};
    assert_int_equal(qg_prefix_match(p, ids, 39, &b), 39);
    check_marks(kv, &b, ids, 39);
    qg_kv_seq_free(&a);
    qg_kv_seq_free(&b);
    qg_prefix_close(p);
    assert_int_equal(qg_kv_n_free(kv), 16);
    qg_kv_close(kv);
}

static void pinned_tokens_stay(void **state)
{
    (void)state;
    qg_kv *kv;
    qg_prefix *p;
    int32_t ids[64];
    assert_int_equal(qg_kv_open(&kv, &shape, 64, NULL), QG_OK);
    assert_int_equal(qg_prefix_open(&p, kv, 64, NULL), QG_OK);
    for (int round = 0; round < 20; round++) {
        qg_kv_seq s = {.kv = kv};
        for (int32_t i = 0; i < 64; i++)
            ids[i] = i < 20 ? i : 1000 * round + i;
        int32_t n = qg_prefix_match(p, ids, 64, &s);
        assert_int_equal(n, round ? 20 : 0);
        assert_int_equal(qg_prefix_grow(p, &s, 64), QG_OK);
        mark(kv, &s, ids, n, 64);
        qg_prefix_insert(p, ids, 64, &s, 20);
        qg_kv_seq_free(&s);
    }
    while (qg_prefix_evict(p))
        ;
    assert_int_equal(qg_kv_n_free(kv), 62); /* two blocks carry the 20 pinned tokens */
    qg_kv_seq s = {.kv = kv};
    assert_int_equal(qg_prefix_match(p, ids, 64, &s), 20);
    check_marks(kv, &s, ids, 20);
    qg_kv_seq_free(&s);
    qg_prefix_close(p);
    assert_int_equal(qg_kv_n_free(kv), 64);
    qg_kv_close(kv);
}

/* Many random sequences over a tiny alphabet (so that they share a lot) in far too little memory.
 */
static void random_sequences_never_lie(void **state)
{
    (void)state;
    enum { BLOCKS = 24, LIVE = 3 };
    qg_kv *kv;
    qg_prefix *p;
    qg_kv_seq live[LIVE];
    uint64_t r = 88172645463325252u;
    assert_int_equal(qg_kv_open(&kv, &shape, BLOCKS, NULL), QG_OK);
    assert_int_equal(qg_prefix_open(&p, kv, 12, NULL), QG_OK);
    for (int i = 0; i < LIVE; i++)
        live[i] = (qg_kv_seq){.kv = kv};
    for (int round = 0; round < 3000; round++) {
        int32_t ids[80];
        r ^= r << 13, r ^= r >> 7, r ^= r << 17;
        int32_t n = 1 + (int32_t)(r % 80);
        uint64_t bits = r >> 8;
        for (int32_t i = 0; i < n; i++)
            ids[i] = i < 30 ? (int32_t)(bits >> (i / 10) & 1) : (int32_t)(bits >> (i % 50) & 1);
        qg_kv_seq *s = &live[round % LIVE];
        qg_kv_seq_free(s);
        *s = (qg_kv_seq){.kv = kv};
        int32_t got = qg_prefix_match(p, ids, n - 1, s);
        assert_in_range(got, 0, n - 1);
        check_marks(kv, s, ids, got);
        if (qg_prefix_grow(p, s, n) != QG_OK)
            continue;
        mark(kv, s, ids, got, n);
        qg_prefix_insert(p, ids, n, s, 0);
        check_marks(kv, s, ids, n);
    }
    for (int i = 0; i < LIVE; i++)
        qg_kv_seq_free(&live[i]);
    qg_prefix_close(p);
    assert_int_equal(qg_kv_n_free(kv), BLOCKS);
    qg_kv_close(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_longest_beginning_also_inside_a_block),
        cmocka_unit_test(pinned_tokens_stay),
        cmocka_unit_test(random_sequences_never_lie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
