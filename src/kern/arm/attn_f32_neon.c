/* Attention over float32 with NEON. */
#include "base/cpu.h"
#include "kern/arm/attn_lanes_neon.h"
#include "kern/arm/neon_rows.h"
#include "kern/attn_walk.h"
#include "kern/rows.h"

enum { PER_UNIT = 1, STEPS = 1 };

typedef float32x4_t weights;

static inline weights w_load(const uint8_t *at, int h)
{
    (void)h;
    return vld1q_f32((const float *)(const void *)at);
}

static inline weights w_even(const uint8_t *at)
{
    return w_load(at, 0);
}

static inline vec fma_at(vec sum, weights w, const uint8_t *x)
{
    return vfmaq_f32(sum, w, vld1q_dup_f32((const float *)(const void *)x));
}

static inline vec kept(vec v)
{
    return v;
}

#include "kern/attn_tiles.inc"

static const qg_attn_ops ops = {
    .format = QG_W_F32,
    .prep = &qg_gemm_f32_neon,
    .score = STRIPS(score),
    .weigh = STRIPS(weigh),
    .soften = soften,
};

QG_ATTN_OF_OPS

const qg_attn qg_attn_f32_neon = {
    .name = "f32_neon",
    .need = QG_CPU_NEON,
    .kv_format = QG_W_F32,
    .scratch_bytes = scratch_bytes,
    .run = run,
    .store = qg_attn_store_f32,
};
