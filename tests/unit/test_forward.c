/* Bits of a row must not depend on who else is in the pass, how its sequence was cut, how many
 * threads ran, where its KV lies or which rows were wanted: each shortcut against the plain way, by
 * equality, for every set of kernels this processor has. */
#include "rig.h"
#include "tiny_model.h"
#include "unit.h"

#include "base/cpu.h"

#include <math.h>

enum { N = 45, VOCAB = 101, HIDDEN = 40, MAX_ROWS = 96, MAX_CTX = 96, N_BLOCKS = 40 };

typedef struct fixture {
    tiny_model files;
    qg_modeldir *dir;
    int32_t ids[N];
    float plain[N * HIDDEN]; /* one pass, one thread */
} fixture;

static const char *const feature_sets[] = {"ref", "avx2", "avx512", "all"};

static const rig_options defaults = {
    .threads = 2, .max_rows = MAX_ROWS, .max_ctx = MAX_CTX, .n_blocks = N_BLOCKS};

static void plain_run(fixture *f, const rig_options *opt)
{
    rig r;
    rig_options one = *opt;
    one.threads = 1;
    rig_open(&r, f->dir, &one);
    qg_kv_seq seq = {.kv = r.kv};
    rig_feed(&r, &seq, 0, f->ids, N, f->plain);
    qg_kv_seq_free(&seq);
    rig_close(&r);
}

/* Runs check with every set of kernels and every format. */
static void with_all_kernels(void **state, void (*check)(fixture *, const rig_options *))
{
    static const qg_dtype formats[][2] = {
        {QG_DTYPE_F32, QG_DTYPE_AUTO},  {QG_DTYPE_BF16, QG_DTYPE_AUTO},
        {QG_DTYPE_INT8, QG_DTYPE_BF16}, {QG_DTYPE_INT4, QG_DTYPE_AUTO},
        {QG_DTYPE_BF16, QG_DTYPE_INT8}, {QG_DTYPE_INT8, QG_DTYPE_INT8},
    };
    fixture *f = *state;
    for (size_t i = 0; i < COUNT(feature_sets); i++)
        for (size_t d = 0; d < COUNT(formats); d++) {
            uint32_t mask;
            qg_err err;
            rig_options opt = defaults;
            if (qg_cpu_parse(feature_sets[i], &mask, &err) != QG_OK)
                continue; /* another kind of processor */
            opt.features = qg_cpu_detect() & mask;
            opt.dtype = formats[d][0];
            opt.kv_dtype = formats[d][1];
            plain_run(f, &opt);
            check(f, &opt);
        }
}

static void same(const fixture *f, int32_t at, const float *hidden, int32_t n)
{
    assert_memory_equal(hidden, f->plain + at * HIDDEN, (size_t)n * HIDDEN * sizeof(float));
}

static void check_chunks(fixture *f, const rig_options *opt)
{
    static const int32_t sizes[][4] = {{1}, {2}, {7, 1, 16, 3}, {16}, {17}, {40, 1}};
    rig r;
    float hidden[N * HIDDEN];
    rig_open(&r, f->dir, opt);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        qg_kv_seq seq = {.kv = r.kv};
        for (int32_t at = 0, turn = 0; at < N; turn++) {
            int32_t n = sizes[i][turn % 4] ? sizes[i][turn % 4] : sizes[i][0];
            n = n < N - at ? n : N - at;
            rig_feed(&r, &seq, at, f->ids + at, n, hidden + at * HIDDEN);
            at += n;
        }
        same(f, 0, hidden, N);
        qg_kv_seq_free(&seq);
    }
    rig_close(&r);
}

static void chunks_do_not_matter(void **state)
{
    with_all_kernels(state, check_chunks);
}

static void check_threads(fixture *f, const rig_options *opt)
{
    float hidden[N * HIDDEN];
    for (int threads = 1; threads <= 3; threads++) {
        rig r;
        rig_options o = *opt;
        o.threads = threads;
        rig_open(&r, f->dir, &o);
        qg_kv_seq seq = {.kv = r.kv};
        rig_feed(&r, &seq, 0, f->ids, N, hidden);
        same(f, 0, hidden, N);
        qg_kv_seq_free(&seq);
        rig_close(&r);
    }
}

static void threads_do_not_matter(void **state)
{
    with_all_kernels(state, check_threads);
}

/* Three sequences with one row each in turn, the third a token behind, all in one pass; and KV
 * blocks that are scattered because the sequences grew in turn. */
static void check_company(fixture *f, const rig_options *opt)
{
    rig r;
    qg_row rows[3 * N];
    float hidden[3 * N * HIDDEN];
    enum { STEP = 30 };
    rig_open(&r, f->dir, opt);
    qg_kv_seq seq[3] = {{.kv = r.kv}, {.kv = r.kv}, {.kv = r.kv}};
    for (int32_t at = 0; at < N; at += STEP) {
        int32_t n = 0, end = at + STEP < N ? at + STEP : N;
        for (int32_t pos = at; pos < end; pos++)
            for (int32_t s = 0; s < 3; s++) {
                assert_int_equal(qg_kv_seq_grow(&seq[s], pos + 1), QG_OK);
                rows[n++] = rig_row(&seq[s], pos, s < 2 ? f->ids[pos] : f->ids[N - 1 - pos], true);
            }
        rig_pass(&r, rows, n, hidden);
        for (int32_t i = 0; i < n; i++)
            if (i % 3 < 2)
                same(f, at + i / 3, hidden + i * HIDDEN, 1);
    }
    for (int s = 0; s < 3; s++)
        qg_kv_seq_free(&seq[s]);
    rig_close(&r);
}

static void company_does_not_matter(void **state)
{
    with_all_kernels(state, check_company);
}

static void check_wanted(fixture *f, const rig_options *opt)
{
    static const int32_t steps[] = {N, 1, 2, 7, N - 1};
    rig r;
    float hidden[N * HIDDEN];
    rig_open(&r, f->dir, opt);
    for (size_t i = 0; i < COUNT(steps); i++) {
        qg_kv_seq seq = {.kv = r.kv};
        qg_row rows[N];
        assert_int_equal(qg_kv_seq_grow(&seq, N), QG_OK);
        for (int32_t pos = 0; pos < N; pos++)
            rows[pos] = rig_row(&seq, pos, f->ids[pos], (pos + 1) % steps[i] == 0);
        /* nothing of the first part is wanted when steps are long: K and V must be there still */
        rig_pass(&r, rows, 6, hidden);
        int32_t n = 6 / steps[i];
        rig_pass(&r, rows + 6, N - 6, hidden + n * HIDDEN);
        n = 0;
        for (int32_t pos = 0; pos < N; pos++)
            if (rows[pos].want)
                same(f, pos, hidden + n++ * HIDDEN, 1);
        qg_kv_seq_free(&seq);
    }
    rig_close(&r);
}

static void unwanted_rows_do_not_matter(void **state)
{
    with_all_kernels(state, check_wanted);
}

/* Branches behind a common context, all in the pass that also computes the context's end.  Slots
 * of the branches are dealt out in turn, so that no branch's slots stand together. */
static void check_tree(fixture *f, const rig_options *opt)
{
    enum { BASE = 33, BRANCHES = 3, LEN = N - BASE };
    rig r;
    int32_t path[BRANCHES][LEN];
    qg_row rows[N + BRANCHES * LEN];
    float hidden[(N + BRANCHES * LEN) * HIDDEN];
    rig_open(&r, f->dir, opt);
    qg_kv_seq seq = {.kv = r.kv};
    assert_int_equal(qg_kv_seq_grow(&seq, BASE + BRANCHES * LEN), QG_OK);
    rig_feed(&r, &seq, 0, f->ids, 20, hidden);
    int32_t n = 0, context = BASE - 20;
    for (int32_t pos = 20; pos < BASE; pos++)
        rows[n++] = rig_row(&seq, pos, f->ids[pos], true);
    for (int32_t i = 0; i < LEN; i++)
        for (int32_t b = 0; b < BRANCHES; b++) {
            path[b][i] = BASE + i * BRANCHES + b;
            rows[n++] = (qg_row){.id = b == 1 ? f->ids[BASE + i] : (f->ids[i] + b) % VOCAB,
                                 .pos = BASE + i,
                                 .slot = path[b][i],
                                 .tree_base = BASE,
                                 .path = path[b],
                                 .seq = &seq,
                                 .want = true};
        }
    rig_pass(&r, rows, n, hidden);
    same(f, 20, hidden, context);
    for (int32_t i = 0; i < LEN; i++)
        same(f, BASE + i, hidden + (context + i * BRANCHES + 1) * HIDDEN, 1);
    qg_kv_seq_free(&seq);
    rig_close(&r);
}

static void branches_equal_plain_sequences(void **state)
{
    with_all_kernels(state, check_tree);
}

/* A second sequence takes over whole blocks of the first and a copy of the part of the next. */
static void check_shared_prefix(fixture *f, const rig_options *opt)
{
    rig r;
    float hidden[N * HIDDEN];
    rig_open(&r, f->dir, opt);
    qg_kv_seq a = {.kv = r.kv}, b = {.kv = r.kv};
    rig_feed(&r, &a, 0, f->ids, N, hidden);
    qg_kv_ref(r.kv, a.blocks[0]);
    assert_int_equal(qg_kv_seq_adopt(&b, a.blocks[0]), QG_OK);
    qg_kv_block copy = qg_kv_take(r.kv);
    qg_kv_copy(r.kv, copy, a.blocks[1]);
    assert_int_equal(qg_kv_seq_adopt(&b, copy), QG_OK);
    rig_feed(&r, &b, QG_KV_BLOCK + 5, f->ids + QG_KV_BLOCK + 5, N - QG_KV_BLOCK - 5, hidden);
    same(f, QG_KV_BLOCK + 5, hidden, N - QG_KV_BLOCK - 5);
    qg_kv_seq_free(&a);
    qg_kv_seq_free(&b);
    assert_int_equal(qg_kv_n_free(r.kv), N_BLOCKS);
    rig_close(&r);
}

static void shared_blocks_equal_own_blocks(void **state)
{
    with_all_kernels(state, check_shared_prefix);
}

static void check_head(fixture *f, const rig_options *opt)
{
    static const int32_t ids[] = {100, 0, 31, 32, 33, 64, 7, 7};
    rig r;
    rig_options small = *opt;
    small.max_rows = 7; /* more rows than scratch holds at once */
    float all[N][VOCAB], few[N][COUNT(ids)];
    qg_head *head;
    qg_err err;
    rig_open(&r, f->dir, &small);
    assert_int_equal(qg_head_open(&head, r.model, ids, COUNT(ids), &err), QG_OK);
    qg_model_logits(r.model, r.scratch, r.pool, f->plain, N, all[0], VOCAB);
    qg_head_logits(head, r.model, r.scratch, f->plain, N, few[0]);
    for (int32_t i = 0; i < N; i++)
        for (size_t j = 0; j < COUNT(ids); j++)
            assert_memory_equal(&few[i][j], &all[i][ids[j]], sizeof(float));
    float one[VOCAB];
    qg_model_logits(r.model, r.scratch, r.pool, f->plain + 9 * HIDDEN, 1, one, VOCAB);
    assert_memory_equal(one, all[9], sizeof one);
    qg_head_close(head);
    rig_close(&r);
}

static void a_small_head_gives_the_same_logits(void **state)
{
    with_all_kernels(state, check_head);
}

static void open_with(const fixture *f, qg_dtype dtype, qg_dtype kv_dtype, qg_status want)
{
    const qg_model_options opt = {.dtype = dtype, .kv_dtype = kv_dtype};
    qg_model *model;
    qg_pool *pool;
    qg_err err = {""};
    assert_int_equal(qg_pool_open(&pool, 1, &err), QG_OK);
    assert_int_equal(qg_model_open(&model, f->dir, &opt, pool, &err), want);
    if (want != QG_OK)
        assert_non_null(strstr(err.msg, "kv_dtype"));
    qg_model_close(model);
    qg_pool_close(pool);
}

static void formats_that_do_not_go_together_are_refused(void **state)
{
    const fixture *f = *state;
    open_with(f, QG_DTYPE_F32, QG_DTYPE_F32, QG_OK);
    open_with(f, QG_DTYPE_AUTO, QG_DTYPE_INT8, QG_OK);
    open_with(f, QG_DTYPE_INT4, QG_DTYPE_INT8, QG_OK);
    open_with(f, QG_DTYPE_F32, QG_DTYPE_INT8, QG_ERR_UNSUPPORTED);
    open_with(f, QG_DTYPE_F32, QG_DTYPE_BF16, QG_ERR_UNSUPPORTED);
    open_with(f, QG_DTYPE_BF16, QG_DTYPE_F32, QG_ERR_UNSUPPORTED);
    open_with(f, QG_DTYPE_BF16, QG_DTYPE_INT4, QG_ERR_UNSUPPORTED);
}

/* Dimensions of K that differ by powers of two are evened out: the same bits of products, so the
 * same bits of everything in 16 bits, and what 8 bits keep no longer depends on them. */
static void heads_are_evened_out(void **state)
{
    (void)state;
    float q[8] = {1, 2, 3, 4, 5, 6, 7, 8}, k[8] = {1, 100, 0, 0.003f, -2, 1, 0, INFINITY}, p[8];
    for (int i = 0; i < 8; i++)
        p[i] = q[i] * k[i];
    qg_equal_heads(q, k, 8);
    for (int i = 0; i < 8; i++) {
        assert_memory_equal(&(float){q[i] * k[i]}, &p[i], sizeof(float));
        if (i % 4 < 2)
            assert_true(fabsf(k[i]) <= 1.5f &&
                        q[i] / (float)(i + 1) == q[i % 4] / (float)(i % 4 + 1));
    }
    assert_true(q[3] == 4 && q[7] == 8 && q[2] == 3); /* nothing to go by */
}

static void bad_rows_are_refused(void **state)
{
    fixture *f = *state;
    rig r;
    float hidden[N * HIDDEN];
    rig_options opt = defaults;
    rig_open(&r, f->dir, &opt);
    qg_kv_seq seq = {.kv = r.kv}, nobody = {0};
    assert_int_equal(qg_kv_seq_grow(&seq, 30), QG_OK); /* 32 slots */
    static const int32_t good[] = {3, 5}, far[] = {3, 32}, other[] = {3, 4}, before[] = {-1, 5};
    qg_row ok = rig_row(&seq, 4, 1, true), bad[12];
    size_t n = 0;
    for (size_t i = 0; i < COUNT(bad); i++)
        bad[i] = ok;
    bad[n++].id = -1;
    bad[n++].id = VOCAB;
    bad[n++].pos = -1;
    bad[n].slot = 32;
    bad[n++].pos = 32;
    bad[n].slot = 96;
    bad[n++].pos = 96;
    bad[n++].slot = 5;
    bad[n++].seq = NULL;
    bad[n++].seq = &nobody;
    const qg_row tree = {.id = 1, .pos = 4, .slot = 5, .tree_base = 3, .path = good, .seq = &seq};
    for (size_t i = n; i < COUNT(bad); i++)
        bad[i] = tree;
    bad[n++].path = NULL;
    bad[n++].path = far;
    bad[n++].path = other;
    bad[n++].path = before;
    assert_int_equal(n, COUNT(bad));
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(
            qg_model_forward(r.model, r.scratch, r.pool, &bad[i], 1, hidden, NULL, NULL),
            QG_ERR_ARG);
    const int32_t counts[] = {0, -1, MAX_ROWS + 1};
    for (size_t i = 0; i < COUNT(counts); i++)
        assert_int_equal(
            qg_model_forward(r.model, r.scratch, r.pool, &ok, counts[i], hidden, NULL, NULL),
            QG_ERR_ARG);
    rig_pass(&r, &ok, 1, hidden);
    rig_pass(&r, &tree, 1, hidden);
    qg_kv_seq_free(&seq);

    qg_kv_shape shape = qg_model_kv_shape(r.model);
    shape.n_layers++;
    qg_kv *kv;
    qg_err err;
    assert_int_equal(qg_kv_open(&kv, &shape, 4, &err), QG_OK);
    qg_kv_seq foreign = {.kv = kv};
    assert_int_equal(qg_kv_seq_grow(&foreign, 16), QG_OK);
    ok.seq = &foreign;
    assert_int_equal(qg_model_forward(r.model, r.scratch, r.pool, &ok, 1, hidden, NULL, NULL),
                     QG_ERR_ARG);
    qg_kv_seq_free(&foreign);
    qg_kv_close(kv);
    rig_close(&r);
}

static bool stop_at_second(void *arg)
{
    return ++*(int *)arg == 2;
}

static void a_pass_can_be_stopped(void **state)
{
    fixture *f = *state;
    rig r;
    float hidden[HIDDEN];
    int polls = 0;
    rig_open(&r, f->dir, &defaults);
    qg_kv_seq seq = {.kv = r.kv};
    assert_int_equal(qg_kv_seq_grow(&seq, 1), QG_OK);
    qg_row row = rig_row(&seq, 0, 1, true);
    assert_int_equal(
        qg_model_forward(r.model, r.scratch, r.pool, &row, 1, hidden, stop_at_second, &polls),
        QG_ERR_CANCELLED);
    assert_int_equal(polls, 2);
    qg_kv_seq_free(&seq);
    rig_close(&r);
}

static void what_is_not_a_number_is_no_answer(void **state)
{
    (void)state;
    static const char *const tensors[] = {"model.norm.weight",
                                          "model.layers.1.self_attn.v_proj.weight",
                                          "model.layers.2.mlp.down_proj.weight"};
    for (size_t i = 0; i < COUNT(tensors); i++) {
        tiny_spec spec = tiny_spec_default();
        tiny_model files;
        qg_modeldir *dir;
        qg_err err;
        rig r;
        float hidden[HIDDEN];
        spec.poison = tensors[i];
        assert_int_equal(tiny_model_open(&dir, &files, &spec, &err), QG_OK);
        rig_open(&r, dir, &defaults);
        qg_kv_seq seq = {.kv = r.kv};
        assert_int_equal(qg_kv_seq_grow(&seq, 1), QG_OK);
        qg_row row = rig_row(&seq, 0, 1, true);
        assert_int_equal(qg_model_forward(r.model, r.scratch, r.pool, &row, 1, hidden, NULL, NULL),
                         QG_ERR_INTERNAL);
        qg_kv_seq_free(&seq);
        rig_close(&r);
        qg_modeldir_close(dir);
        tiny_model_free(&files);
    }
}

static int set_up_of(void **state, const tiny_spec *spec)
{
    fixture *f = calloc(1, sizeof *f);
    qg_err err;
    if (!f || tiny_model_open(&f->dir, &f->files, spec, &err) != QG_OK)
        return -1;
    for (int32_t i = 0; i < N; i++)
        f->ids[i] = (i * i * 31 + i * 7 + 3) % VOCAB;
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    const tiny_spec spec = tiny_spec_default();
    return set_up_of(state, &spec);
}

/* Heads fill whole panels and the MLP does, so that products are cut by heads and by columns; of
 * one and two threads, that is, not of three. */
static int set_up_whole_panels(void **state)
{
    tiny_spec spec = tiny_spec_default();
    spec.heads = 8;
    spec.head_dim = 32;
    spec.inter = 160;
    return set_up_of(state, &spec);
}

static int tear_down(void **state)
{
    fixture *f = *state;
    qg_modeldir_close(f->dir);
    tiny_model_free(&f->files);
    free(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_do_not_matter),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(company_does_not_matter),
        cmocka_unit_test(unwanted_rows_do_not_matter),
        cmocka_unit_test(branches_equal_plain_sequences),
        cmocka_unit_test(shared_blocks_equal_own_blocks),
        cmocka_unit_test(a_small_head_gives_the_same_logits),
        cmocka_unit_test(formats_that_do_not_go_together_are_refused),
        cmocka_unit_test(heads_are_evened_out),
        cmocka_unit_test(bad_rows_are_refused),
        cmocka_unit_test(a_pass_can_be_stopped),
        cmocka_unit_test(what_is_not_a_number_is_no_answer),
    };
    const struct CMUnitTest whole_panels[] = {
        cmocka_unit_test(chunks_do_not_matter),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(company_does_not_matter),
        cmocka_unit_test(unwanted_rows_do_not_matter),
        cmocka_unit_test(branches_equal_plain_sequences),
        cmocka_unit_test(shared_blocks_equal_own_blocks),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down) +
           cmocka_run_group_tests(whole_panels, set_up_whole_panels, tear_down);
}
