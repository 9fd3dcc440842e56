/* Attention over float32 with AVX2. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/attn_lanes_avx2.h"
#include "kern/x86/attn_rows.h"
#include "kern/x86/gemm_rows.h"

enum { PER_UNIT = 1, STEPS = 1 };

typedef __m256 weights;

static inline weights w_load(const uint8_t *at, int h)
{
    (void)h;
    return _mm256_load_ps((const float *)(const void *)at);
}

static inline weights w_even(const uint8_t *at)
{
    return w_load(at, 0);
}

static inline vec fma_at(vec sum, weights w, const uint8_t *x)
{
    return _mm256_fmadd_ps(w, splat_at(x), sum);
}

static inline vec kept(vec v)
{
    return v;
}

#include "kern/attn_tiles.inc"

static const qg_attn_ops ops = {
    .format = QG_W_F32,
    .prep = &qg_gemm_f32_avx2,
    .score = STRIPS(score),
    .weigh = STRIPS(weigh),
    .soften = soften,
};

QG_ATTN_OF_OPS

const qg_attn qg_attn_f32_avx2 = {
    .name = "f32_avx2",
    .need = QG_CPU_AVX2,
    .kv_format = QG_W_F32,
    .scratch_bytes = scratch_bytes,
    .run = run,
    .store = qg_attn_store_f32,
};
