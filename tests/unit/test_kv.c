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
    assert_int_equal(qg_kv_block_bytes(&shape), 2 * 2 * 3 * 16 * 8 * 4);
    qg_kv_shape half = shape;
    half.format = QG_W_BF16;
    assert_int_equal(qg_kv_block_bytes(&half), 2 * 2 * 3 * 16 * 8 * 2);
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
        qg_kv_copy(kv, wrong[i], a, 16);
        qg_kv_copy(kv, a, wrong[i], 16);
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

/* Marks token t of every head of every layer with its own number. */
static void fill(qg_kv *kv, qg_kv_block b, float mark)
{
    for (int32_t layer = 0; layer < shape.n_layers; layer++) {
        float *p = qg_kv_layer(kv, b, layer);
        for (int32_t i = 0; i < 2 * shape.n_kv_heads * QG_KV_BLOCK * shape.head_dim; i++)
            p[i] = mark + (float)i;
    }
}

static void copy_takes_the_first_tokens_of_each_head(void **state)
{
    (void)state;
    qg_kv *kv = open_kv(2);
    qg_kv_block a = qg_kv_take(kv), b = qg_kv_take(kv);
    fill(kv, a, 1e6f);
    fill(kv, b, 0);
    qg_kv_copy(kv, b, a, 5);
    for (int32_t layer = 0; layer < shape.n_layers; layer++) {
        const float *p = qg_kv_layer(kv, b, layer);
        for (int32_t i = 0; i < 2 * shape.n_kv_heads * QG_KV_BLOCK * shape.head_dim; i++)
            assert_true(p[i] == (float)i + (i / shape.head_dim % QG_KV_BLOCK < 5 ? 1e6f : 0));
    }
    qg_kv_copy(kv, b, a, 99); /* more than a block holds: all of it */
    assert_memory_equal(qg_kv_layer(kv, b, 0), qg_kv_layer(kv, a, 0), qg_kv_block_bytes(&shape));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(blocks_are_counted),
        cmocka_unit_test(misuse_changes_nothing),
        cmocka_unit_test(copy_takes_the_first_tokens_of_each_head),
        cmocka_unit_test(sequences_grow_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
