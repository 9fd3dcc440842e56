/* Opening a model: what must be refused and how the sentence reads, what must be accepted, and that
 * the element type of the file does not change a value. */
#include "rig.h"
#include "tiny_model.h"
#include "unit.h"

#include "base/cpu.h"
#include "base/mem.h"

static qg_status open_spec(const tiny_spec *spec, qg_dtype dtype, qg_err *err)
{
    tiny_model t;
    qg_modeldir *dir = NULL;
    qg_model *m = NULL;
    qg_pool *pool = NULL;
    *err = (qg_err){""};
    qg_status rc = tiny_model_open(&dir, &t, spec, err);
    if (rc == QG_OK)
        rc = qg_pool_open(&pool, 2, err);
    if (rc == QG_OK)
        rc = qg_model_open(&m, dir, &(qg_model_options){.dtype = dtype}, pool, err);
    if (rc != QG_OK)
        assert_null(m);
    qg_model_close(m);
    qg_pool_close(pool);
    qg_modeldir_close(dir);
    tiny_model_free(&t);
    return rc;
}

static void wrong_files_are_refused_by_name(void **state)
{
    (void)state;
    tiny_spec d = tiny_spec_default();
    tiny_spec no_norm = d, no_up = d, no_head = d, turned = d, long_norm = d, extra = d, far = d,
              zero = d, stream = d, other = d, ints = d;
    no_norm.leave_out = "model.norm.weight";
    no_up.leave_out = "model.layers.1.mlp.up_proj.weight";
    no_head.tied = false;
    no_head.leave_out = "lm_head.weight";
    turned.transposed = "model.layers.2.self_attn.o_proj.weight";
    long_norm.transposed = "model.layers.0.self_attn.q_norm.weight";
    extra.extra = "model.layers.0.self_attn.q_proj.bias";
    far.extra = "model.layers.3.input_layernorm.weight";
    zero.extra = "model.layers.01.input_layernorm.weight";
    stream.architecture = "Qwen3ForGuardModel";
    other.architecture = "LlamaForCausalLM";
    ints.odd_dtype = "model.layers.0.mlp.up_proj.weight";
    const struct {
        const tiny_spec *spec;
        qg_status rc;
        const char *says[3];
    } cases[] = {
        {&no_norm, QG_ERR_FORMAT, {"model.norm.weight", "[40]"}},
        {&no_up, QG_ERR_FORMAT, {"model.layers.1.mlp.up_proj.weight", "[52, 40]"}},
        {&no_head, QG_ERR_FORMAT, {"lm_head.weight", "[101, 40]"}},
        {&turned,
         QG_ERR_FORMAT,
         {"model.safetensors: model.layers.2.self_attn.o_proj.weight", "[96, 40]", "[40, 96]"}},
        {&long_norm, QG_ERR_FORMAT, {"model.layers.0.self_attn.q_norm.weight", "[1, 16]", "[16]"}},
        {&extra, QG_ERR_FORMAT, {"model.safetensors: model.layers.0.self_attn.q_proj.bias", "[4]"}},
        {&far, QG_ERR_FORMAT, {"model.layers.3.input_layernorm.weight", "3 layers"}},
        {&zero, QG_ERR_FORMAT, {"model.layers.01.input_layernorm.weight"}},
        {&stream, QG_ERR_FORMAT, {"risk_level_category_pre.weight"}},
        {&other, QG_ERR_UNSUPPORTED, {"LlamaForCausalLM"}},
        {&ints, QG_ERR_UNSUPPORTED, {"model.layers.0.mlp.up_proj.weight"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_err err;
        assert_int_equal(open_spec(cases[i].spec, QG_DTYPE_AUTO, &err), cases[i].rc);
        for (size_t j = 0; j < COUNT(cases[i].says) && cases[i].says[j]; j++)
            if (!strstr(err.msg, cases[i].says[j]))
                fail_msg("case %zu: \"%s\" does not say %s", i, err.msg, cases[i].says[j]);
    }
}

static void known_buffers_are_no_surplus(void **state)
{
    (void)state;
    qg_err err;
    tiny_spec s = tiny_spec_default();
    s.extra = "model.layers.0.self_attn.rotary_emb.inv_freq";
    assert_int_equal(open_spec(&s, QG_DTYPE_AUTO, &err), QG_OK);
}

static void options_are_checked(void **state)
{
    (void)state;
    qg_err err;
    tiny_spec s = tiny_spec_default();
    tiny_model t;
    qg_modeldir *dir;
    qg_pool *pool;
    qg_model *m;
    assert_int_equal(open_spec(&s, QG_DTYPE_F16, &err), QG_ERR_UNSUPPORTED);
    assert_int_equal(open_spec(&s, QG_DTYPE_F16, &err), QG_ERR_UNSUPPORTED);
    assert_int_equal(tiny_model_open(&dir, &t, &s, &err), QG_OK);
    assert_int_equal(qg_pool_open(&pool, 1, &err), QG_OK);
    qg_model_options opt = {.max_positions = 513};
    assert_int_equal(qg_model_open(&m, dir, &opt, pool, &err), QG_ERR_ARG);
    opt.max_positions = -1;
    assert_int_equal(qg_model_open(&m, dir, &opt, pool, &err), QG_ERR_ARG);
    opt.max_positions = 64;
    assert_int_equal(qg_model_open(&m, dir, &opt, pool, &err), QG_OK);
    qg_scratch *scratch;
    const int32_t wrong[][3] = {{0, 64, 1}, {4097, 64, 1}, {8, 0, 1}, {8, 65, 1}, {8, 64, 0}};
    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(qg_scratch_open(&scratch, m, wrong[i][0], wrong[i][1], wrong[i][2], &err),
                         QG_ERR_ARG);
    qg_head *head;
    const int32_t ids[] = {0, 101, -1};
    assert_int_equal(qg_head_open(&head, m, ids, 0, &err), QG_ERR_ARG);
    assert_int_equal(qg_head_open(&head, m, ids, 2, &err), QG_ERR_ARG);
    assert_int_equal(qg_head_open(&head, m, ids + 2, 1, &err), QG_ERR_ARG);
    qg_head_close(NULL);
    qg_scratch_close(NULL);
    qg_model_close(m);
    qg_model_close(NULL);
    qg_pool_close(pool);
    qg_modeldir_close(dir);
    tiny_model_free(&t);
}

enum { N_IDS = 20, VOCAB = 101, HIDDEN = 40 };

/* Logits after N_IDS tokens; *warned tells whether the model had something odd. */
static void logits_of(const tiny_spec *spec, qg_dtype dtype, float *logits, bool *warned)
{
    tiny_model t;
    qg_modeldir *dir;
    qg_err err;
    rig r;
    int32_t ids[N_IDS];
    float hidden[N_IDS * HIDDEN];
    assert_int_equal(tiny_model_open(&dir, &t, spec, &err), QG_OK);
    rig_open(
        &r, dir,
        &(rig_options){.dtype = dtype, .threads = 2, .max_rows = 32, .max_ctx = 64, .n_blocks = 4});
    for (int32_t i = 0; i < N_IDS; i++)
        ids[i] = i * 37 % VOCAB;
    qg_kv_seq seq = {.kv = r.kv};
    rig_feed(&r, &seq, 0, ids, N_IDS, hidden);
    qg_model_logits(r.model, r.scratch, r.pool, hidden + (N_IDS - 1) * HIDDEN, 1, logits, VOCAB);
    *warned = qg_model_warning(r.model) != NULL;
    assert_true(qg_model_weight_bytes(r.model) > 0);
    qg_kv_seq_free(&seq);
    rig_close(&r);
    qg_modeldir_close(dir);
    tiny_model_free(&t);
}

static void the_file_may_hold_any_of_three_types(void **state)
{
    (void)state;
    static const char *const types[] = {"F32", "F16"};
    static const qg_dtype dtypes[] = {QG_DTYPE_F32, QG_DTYPE_BF16, QG_DTYPE_INT8, QG_DTYPE_INT4};
    for (size_t d = 0; d < COUNT(dtypes); d++) {
        qg_dtype dtype = dtypes[d];
        tiny_spec s = tiny_spec_default();
        float want[VOCAB], got[VOCAB];
        bool warned;
        logits_of(&s, dtype, want, &warned);
        for (size_t i = 0; i < COUNT(types); i++) {
            s.dtype = types[i];
            logits_of(&s, dtype, got, &warned);
            assert_memory_equal(got, want, sizeof want);
        }
    }
}

static void a_stored_lm_head_is_used(void **state)
{
    (void)state;
    tiny_spec tied = tiny_spec_default(), stored = tied, differs = tied, untied = tied;
    float want[VOCAB], got[VOCAB], other[VOCAB];
    bool warned;
    stored.store_lm_head = true;
    differs.store_lm_head = differs.lm_head_differs = true;
    untied.tied = false;
    logits_of(&tied, QG_DTYPE_AUTO, want, &warned);
    assert_false(warned);
    logits_of(&stored, QG_DTYPE_AUTO, got, &warned);
    assert_false(warned);
    assert_memory_equal(got, want, sizeof want);
    logits_of(&differs, QG_DTYPE_AUTO, got, &warned);
    assert_true(warned);
    assert_memory_not_equal(got, want, sizeof want);
    logits_of(&untied, QG_DTYPE_AUTO, other, &warned);
    assert_false(warned);
    assert_memory_equal(other, got, sizeof got);
}

/* Fails each allocation of open and scratch once; nothing may be left behind. */
static void fail_each_allocation(qg_dtype dtype)
{
    tiny_spec s = tiny_spec_default();
    tiny_model t;
    qg_modeldir *dir;
    qg_pool *pool;
    qg_err err;
    const int32_t ids[] = {1, 2, 3};
    assert_int_equal(tiny_model_open(&dir, &t, &s, &err), QG_OK);
    assert_int_equal(qg_pool_open(&pool, 2, &err), QG_OK);
    int64_t live = qg_live_blocks();
    bool fired = true;
    for (int64_t nth = 0; fired && nth < 1000; nth++) {
        qg_model *m = NULL;
        qg_scratch *scratch = NULL;
        qg_head *head = NULL;
        qg_kv *kv = NULL;
        qg_fault_arm(nth);
        qg_status rc = qg_model_open(&m, dir, &(qg_model_options){.dtype = dtype}, pool, &err);
        if (rc == QG_OK)
            rc = qg_scratch_open(&scratch, m, 8, 64, 2, &err);
        if (rc == QG_OK)
            rc = qg_head_open(&head, m, ids, 3, &err);
        if (rc == QG_OK) {
            qg_kv_shape shape = qg_model_kv_shape(m);
            rc = qg_kv_open(&kv, &shape, 4, &err);
        }
        qg_kv_seq seq = {.kv = kv};
        if (rc == QG_OK)
            rc = qg_kv_seq_grow(&seq, 33);
        fired = qg_fault_fired();
        assert_int_equal(rc, fired ? QG_ERR_NOMEM : QG_OK);
        if (kv)
            qg_kv_seq_free(&seq);
        qg_kv_close(kv);
        qg_head_close(head);
        qg_scratch_close(scratch);
        qg_model_close(m);
        assert_int_equal(qg_live_blocks(), live);
    }
    qg_fault_arm(-1);
    assert_false(fired);
    qg_pool_close(pool);
    qg_modeldir_close(dir);
    tiny_model_free(&t);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    fail_each_allocation(QG_DTYPE_BF16);
    fail_each_allocation(QG_DTYPE_INT8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_files_are_refused_by_name),
        cmocka_unit_test(known_buffers_are_no_surplus),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(the_file_may_hold_any_of_three_types),
        cmocka_unit_test(a_stored_lm_head_is_used),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
