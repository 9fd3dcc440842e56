/* Attention with BFDOT: q, K, weights and V in pairs of bf16, sums in float32. */
#include "base/cpu.h"
#include "kern/arm/attn_lanes_neon.h"
#include "kern/arm/neon_rows.h"
#include "kern/attn_walk.h"
#include "kern/rows.h"

enum { PER_UNIT = 2, STEPS = 1 };

typedef bfloat16x8_t weights;

static inline weights w_load(const uint8_t *at, int h)
{
    (void)h;
    return vreinterpretq_bf16_u8(vld1q_u8(at));
}

static inline weights w_even(const uint8_t *at)
{
    return vreinterpretq_bf16_u32(
        vandq_u32(vreinterpretq_u32_u8(vld1q_u8(at)), vdupq_n_u32(0xffff)));
}

static inline vec fma_at(vec sum, weights w, const uint8_t *x)
{
    const uint32x4_t pair = vld1q_dup_u32((const uint32_t *)(const void *)x);
    return vbfdotq_f32(sum, w, vreinterpretq_bf16_u32(pair));
}

static inline vec kept(vec v)
{
    return to_bf16(v);
}

#define soften soften_floats
#include "kern/attn_tiles.inc"
#undef soften

/* The weights, exact as floats, move together in pairs into the first half of the row. */
static float soften(float *s, int32_t n, float scale, float *max, float *sum)
{
    const float factor = soften_floats(s, n, scale, max, sum);
    for (int i = 0; i < QG_ATTN_CHUNK; i += 8) {
        const uint16x8_t lo = vreinterpretq_u16_f32(vld1q_f32(s + i));
        const uint16x8_t hi = vreinterpretq_u16_f32(vld1q_f32(s + i + 4));
        vst1q_u16((uint16_t *)(void *)s + i, vuzp2q_u16(lo, hi)); /* upper halves */
    }
    return factor;
}

#include "kern/kv8_tiles.inc"

static const qg_attn_ops ops = {
    .format = QG_W_BF16,
    .prep = &qg_gemm_bf16_bfdot,
    .score = STRIPS(score),
    .weigh = STRIPS(weigh),
    .soften = soften,
};

QG_ATTN_OF_OPS

const qg_attn qg_attn_bf16_bfdot = {
    .name = "bf16_bfdot",
    .need = QG_CPU_NEON | QG_CPU_ARM_BF16,
    .kv_format = QG_W_BF16,
    .scratch_bytes = scratch_bytes,
    .run = run,
    .store = qg_attn_store_bf16,
};

QG_ATTN_I8_ROW(qg_attn_i8_bfdot, "i8_bfdot", QG_CPU_NEON | QG_CPU_ARM_BF16, &qg_gemm_bf16_bfdot)
