/* The attention rows of this architecture: which steps make up each.  Plain C; the steps live in
 * the libraries of their instruction set. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/attn_steps.h"
#include "kern/x86/gemm_rows.h"

static const qg_attn_ops bf16_vdp_ops = {
    .format = QG_W_BF16,
    .score = &qg_gemm_bf16_avx512bf16,
    .score_tiles = &qg_tiles_bf16_avx512bf16,
    .value_tiles = &qg_tiles_f32_avx512,
    .transpose = qg_transpose_avx512,
    .widen = qg_widen_bf16_avx512,
    .softmax = qg_softmax_avx512,
    .multiply = qg_multiply_avx512,
};

static size_t scratch_bf16_vdp(const qg_attn_shape *s, int32_t n_ctx)
{
    (void)n_ctx;
    return qg_attn_walk_bytes(&bf16_vdp_ops, s);
}

static void run_bf16_vdp(const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows,
                         int32_t kvh, void *scratch)
{
    qg_attn_walk(&bf16_vdp_ops, s, rows, n_rows, kvh, scratch);
}

const qg_attn qg_attn_bf16_avx512bf16 = {
    .name = "bf16_avx512bf16",
    .need = QG_CPU_AVX512 | QG_CPU_AVX512_BF16,
    .kv_format = QG_W_BF16,
    .scratch_bytes = scratch_bf16_vdp,
    .run = run_bf16_vdp,
    .store = qg_attn_store_bf16,
};

static const qg_attn_ops bf16_512_ops = {
    .format = QG_W_BF16,
    .score = &qg_gemm_bf16_avx512,
    .score_tiles = &qg_tiles_bf16_avx512,
    .value_tiles = &qg_tiles_f32_avx512,
    .transpose = qg_transpose_avx512,
    .widen = qg_widen_bf16_avx512,
    .softmax = qg_softmax_avx512,
    .multiply = qg_multiply_avx512,
};

static size_t scratch_bf16_512(const qg_attn_shape *s, int32_t n_ctx)
{
    (void)n_ctx;
    return qg_attn_walk_bytes(&bf16_512_ops, s);
}

static void run_bf16_512(const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows,
                         int32_t kvh, void *scratch)
{
    qg_attn_walk(&bf16_512_ops, s, rows, n_rows, kvh, scratch);
}

const qg_attn qg_attn_bf16_avx512 = {
    .name = "bf16_avx512",
    .need = QG_CPU_AVX512,
    .kv_format = QG_W_BF16,
    .scratch_bytes = scratch_bf16_512,
    .run = run_bf16_512,
    .store = qg_attn_store_bf16,
};

static const qg_attn_ops f32_512_ops = {
    .format = QG_W_F32,
    .score = &qg_gemm_f32_avx512,
    .score_tiles = &qg_tiles_f32_avx512,
    .value_tiles = &qg_tiles_f32_avx512,
    .transpose = qg_transpose_avx512,
    .widen = qg_widen_f32_avx512,
    .softmax = qg_softmax_avx512,
    .multiply = qg_multiply_avx512,
};

static size_t scratch_f32_512(const qg_attn_shape *s, int32_t n_ctx)
{
    (void)n_ctx;
    return qg_attn_walk_bytes(&f32_512_ops, s);
}

static void run_f32_512(const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows,
                        int32_t kvh, void *scratch)
{
    qg_attn_walk(&f32_512_ops, s, rows, n_rows, kvh, scratch);
}

const qg_attn qg_attn_f32_avx512 = {
    .name = "f32_avx512",
    .need = QG_CPU_AVX512,
    .kv_format = QG_W_F32,
    .scratch_bytes = scratch_f32_512,
    .run = run_f32_512,
    .store = qg_attn_store_f32,
};

static const qg_attn_ops bf16_256_ops = {
    .format = QG_W_BF16,
    .score = &qg_gemm_bf16_avx2,
    .score_tiles = &qg_tiles_bf16_avx2,
    .value_tiles = &qg_tiles_f32_avx2,
    .transpose = qg_transpose_avx2,
    .widen = qg_widen_bf16_avx2,
    .softmax = qg_softmax_avx2,
    .multiply = qg_multiply_avx2,
};

static size_t scratch_bf16_256(const qg_attn_shape *s, int32_t n_ctx)
{
    (void)n_ctx;
    return qg_attn_walk_bytes(&bf16_256_ops, s);
}

static void run_bf16_256(const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows,
                         int32_t kvh, void *scratch)
{
    qg_attn_walk(&bf16_256_ops, s, rows, n_rows, kvh, scratch);
}

const qg_attn qg_attn_bf16_avx2 = {
    .name = "bf16_avx2",
    .need = QG_CPU_AVX2,
    .kv_format = QG_W_BF16,
    .scratch_bytes = scratch_bf16_256,
    .run = run_bf16_256,
    .store = qg_attn_store_bf16,
};

static const qg_attn_ops f32_256_ops = {
    .format = QG_W_F32,
    .score = &qg_gemm_f32_avx2,
    .score_tiles = &qg_tiles_f32_avx2,
    .value_tiles = &qg_tiles_f32_avx2,
    .transpose = qg_transpose_avx2,
    .widen = qg_widen_f32_avx2,
    .softmax = qg_softmax_avx2,
    .multiply = qg_multiply_avx2,
};

static size_t scratch_f32_256(const qg_attn_shape *s, int32_t n_ctx)
{
    (void)n_ctx;
    return qg_attn_walk_bytes(&f32_256_ops, s);
}

static void run_f32_256(const qg_attn_shape *s, const qg_attn_row *rows, int64_t n_rows,
                        int32_t kvh, void *scratch)
{
    qg_attn_walk(&f32_256_ops, s, rows, n_rows, kvh, scratch);
}

const qg_attn qg_attn_f32_avx2 = {
    .name = "f32_avx2",
    .need = QG_CPU_AVX2,
    .kv_format = QG_W_F32,
    .scratch_bytes = scratch_f32_256,
    .run = run_f32_256,
    .store = qg_attn_store_f32,
};
