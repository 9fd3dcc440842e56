#include "unit.h"

#include "base/mem.h"
#include "model/kv.h"

static const qg_kv_shape shape = {
    .n_layers = 2, .n_kv_heads = 3, .head_dim = 8, .format = QG_W_F32};

static qg_kv *open_kv(int32_t n_blocks)
{
    qg_kv *kv;
    qg_err err;
    assert_int_equal(qg_kv_open(&kv, &shape, n_blocks, &err), QG_OK);
    return kv;
}

static void sizes_are_checked(void **state)
{
    (void)state;
    qg_kv *kv;
    qg_err err;
    assert_int_equal(qg_kv_block_bytes(&shape), 2 * 2 * 3 * 16 * 16 * 4);
    qg_kv_shape half = shape;
    half.format = QG_W_BF16;
    assert_int_equal(qg_kv_block_bytes(&half), 2 * 2 * 3 * 16 * 16 * 2);
    qg_kv_shape huge = {INT32_MAX, INT32_MAX, INT32_MAX, QG_W_F32};
    assert_int_equal(qg_kv_block_bytes(&huge), 0);
    assert_int_equal(qg_kv_open(&kv, &huge, 1, &err), QG_ERR_ARG);
    assert_null(kv);
    assert_int_equal(qg_kv_open(&kv, &shape, 0, &err), QG_ERR_ARG);
    assert_int_equal(qg_kv_open(&kv, &(qg_kv_shape){0}, 1, &err), QG_ERR_ARG);
    qg_kv_close(NULL);
}

static void blocks_are_counted(void **state)
{
    (void)state;
    qg_kv *kv = open_kv(3);
    qg_kv_block a = qg_kv_take(kv), b = qg_kv_take(kv), c = qg_kv_take(kv);
    assert_int_equal(a + b + c, 0 + 1 + 2);
    assert_int_equal(qg_kv_take(kv), -1);
    qg_kv_ref(kv, b);
    assert_int_equal(qg_kv_refs(kv, b), 2);
    qg_kv_unref(kv, b);
    assert_int_equal(qg_kv_n_free(kv), 0);
    qg_kv_unref(kv, b);
    assert_int_equal(qg_kv_n_free(kv), 1);
    assert_int_equal(qg_kv_take(kv), b);
    qg_kv_close(kv);
}

static void misuse_changes_nothing(void **state)
{
    (void)state;
    qg_kv *kv = open_kv(2);
    qg_kv_block a = qg_kv_take(kv);
    const qg_kv_block wrong[] = {-1, 2, INT32_MAX, INT32_MIN, 1 - a};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        qg_kv_unref(kv, wrong[i]);
        qg_kv_ref(kv, wrong[i]);
        qg_kv_copy(kv, wrong[i], a);
        qg_kv_copy(kv, a, wrong[i]);
        assert_int_equal(qg_kv_refs(kv, wrong[i]), 0);
    }
    assert_int_equal(qg_kv_n_free(kv), 1);
    qg_kv_unref(kv, a);
    qg_kv_unref(kv, a);
    assert_int_equal(qg_kv_n_free(kv), 2);
    assert_true(qg_kv_take(kv) != qg_kv_take(kv));
    assert_int_equal(qg_kv_take(kv), -1);
    qg_kv_close(kv);
}

static void copy_takes_all_layers(void **state)
{
    (void)state;
    qg_kv *kv = open_kv(3);
    qg_kv_block a = qg_kv_take(kv), b = qg_kv_take(kv), c = qg_kv_take(kv);
    const size_t bytes = qg_kv_block_bytes(&shape);
    memset(qg_kv_layer(kv, a, 0), 'a', bytes);
    memset(qg_kv_layer(kv, b, 0), 'b', bytes);
    memset(qg_kv_layer(kv, c, 0), 'c', bytes);
    qg_kv_copy(kv, b, a);
    assert_memory_equal(qg_kv_layer(kv, b, 0), qg_kv_layer(kv, a, 0), bytes);
    assert_int_equal(*(const char *)qg_kv_layer(kv, c, 0), 'c');
    assert_int_equal(((const char *)qg_kv_layer(kv, a, 0))[bytes - 1], 'a');
    qg_kv_close(kv);
}

static void sequences_grow_all_or_nothing(void **state)
{
    (void)state;
    qg_kv *kv = open_kv(4);
    qg_kv_seq s = {.kv = kv}, t = {.kv = kv};
    assert_int_equal(qg_kv_seq_grow(&s, 0), QG_OK);
    assert_int_equal(s.n_blocks, 0);
    assert_int_equal(qg_kv_seq_grow(&s, 1), QG_OK);
    assert_int_equal(qg_kv_seq_grow(&s, 16), QG_OK);
    assert_int_equal(s.n_blocks, 1);
    assert_int_equal(qg_kv_seq_grow(&s, 33), QG_OK);
    assert_int_equal(s.n_blocks, 3);
    assert_int_equal(qg_kv_seq_grow(&t, 32), QG_ERR_BUSY);
    assert_int_equal(t.n_blocks, 0);
    assert_int_equal(qg_kv_n_free(kv), 1);
    assert_int_equal(qg_kv_seq_grow(&s, INT32_MAX), QG_ERR_BUSY);

    qg_kv_ref(kv, s.blocks[0]);
    assert_int_equal(qg_kv_seq_adopt(&t, s.blocks[0]), QG_OK);
    assert_int_equal(qg_kv_seq_adopt(&t, 3), QG_ERR_ARG); /* free */
    qg_kv_seq_trim(&s, 17);
    assert_int_equal(s.n_blocks, 2);
    qg_kv_seq_free(&s);
    assert_int_equal(qg_kv_refs(kv, t.blocks[0]), 1);
    assert_int_equal(qg_kv_n_free(kv), 3);
    qg_kv_seq_free(&t);
    qg_kv_seq_free(&t);
    assert_int_equal(qg_kv_n_free(kv), 4);
    qg_kv_close(kv);
}

/* Only what was never used is touched; what was used comes again first. */
static void new_blocks_are_touched(void **state)
{
    (void)state;
    qg_kv *kv = open_kv(5);
    assert_false(qg_kv_warm(kv, 0));
    qg_kv_block a = qg_kv_take(kv);
    memset(qg_kv_layer(kv, a, 0), 0x5a, qg_kv_block_bytes(&shape));
    assert_false(qg_kv_warm(kv, 1));
    assert_true(qg_kv_warm(kv, 3));
    assert_true(qg_kv_warm(kv, 3));
    assert_false(qg_kv_warm(kv, 3));
    qg_kv_unref(kv, a);
    assert_int_equal(qg_kv_take(kv), a);
    for (int i = 0; i < 3; i++)
        assert_int_not_equal(qg_kv_take(kv), a);
    assert_true(qg_kv_warm(kv, INT32_MAX));
    assert_false(qg_kv_warm(kv, INT32_MAX));
    const uint8_t *bytes = qg_kv_layer(kv, a, 0);
    for (size_t i = 0; i < qg_kv_block_bytes(&shape); i++)
        assert_int_equal(bytes[i], 0x5a);
    qg_kv_close(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(blocks_are_counted),
        cmocka_unit_test(misuse_changes_nothing),
        cmocka_unit_test(copy_takes_all_layers),
        cmocka_unit_test(sequences_grow_all_or_nothing),
        cmocka_unit_test(new_blocks_are_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
