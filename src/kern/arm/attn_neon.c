/* Attention over bf16 with NEON: words are taken apart, products are exact floats. */
#include "base/cpu.h"
#include "kern/arm/attn_lanes_neon.h"
#include "kern/arm/neon_rows.h"
#include "kern/attn_walk.h"
#include "kern/rows.h"

enum { PER_UNIT = 2, STEPS = 2 };

typedef float32x4_t weights;

static inline weights w_load(const uint8_t *at, int h)
{
    const uint32x4_t w = vreinterpretq_u32_u8(vld1q_u8(at));
    return vreinterpretq_f32_u32(h ? vandq_u32(w, vdupq_n_u32(0xffff0000u)) : vshlq_n_u32(w, 16));
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
    return to_bf16(v);
}

#include "kern/attn_tiles.inc"

#include "kern/kv8_tiles.inc"

static const qg_attn_ops ops = {
    .format = QG_W_BF16,
    .prep = &qg_gemm_bf16_neon,
    .score = STRIPS(score),
    .weigh = STRIPS(weigh),
    .soften = soften,
};

QG_ATTN_OF_OPS

const qg_attn qg_attn_bf16_neon = {
    .name = "bf16_neon",
    .need = QG_CPU_NEON,
    .kv_format = QG_W_BF16,
    .scratch_bytes = scratch_bytes,
    .run = run,
    .store = qg_attn_store_bf16,
};

QG_ATTN_I8_ROW(qg_attn_i8_neon, "i8_neon", QG_CPU_NEON, &qg_gemm_bf16_neon)
