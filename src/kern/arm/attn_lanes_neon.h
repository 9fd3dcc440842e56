/* Vectors of attn_tiles.inc with NEON. */
#ifndef QG_KERN_ARM_ATTN_LANES_NEON_H
#define QG_KERN_ARM_ATTN_LANES_NEON_H

#include "kern/arm/math_neon.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 4, TILE_VECS = 4 }; /* 6 x 4 sums, words and what meets them: 32 registers */

typedef float32x4_t vec;

static inline vec splat(float v)
{
    return vdupq_n_f32(v);
}

static inline vec zero(void)
{
    return splat(0);
}

static inline vec load_f(const float *at)
{
    return vld1q_f32(at);
}

static inline void store_f(float *at, vec v)
{
    vst1q_f32(at, v);
}

static inline vec times(vec v, float by)
{
    return vmulq_n_f32(v, by);
}

static inline vec plus(vec a, vec b)
{
    return vaddq_f32(a, b);
}

static inline vec minus(vec a, vec b)
{
    return vsubq_f32(a, b);
}

/* A NaN is left to the exponential, as with the other instruction sets. */
static inline vec higher(vec a, vec b)
{
    return vmaxnmq_f32(a, b);
}

static inline float highest(vec v)
{
    return vmaxnmvq_f32(v);
}

static inline float lowest_lane(vec v)
{
    return vgetq_lane_f32(v, 0);
}

static inline vec exponential(vec v)
{
    return exp_neon(v);
}

/* Ones in the lanes below n. */
static inline uint32x4_t below(int32_t n)
{
    static const int32_t at[] = {0, 1, 2, 3};
    return vcgtq_s32(vdupq_n_s32(n), vld1q_s32(at));
}

static inline vec first(vec v, int32_t n)
{
    return vbslq_f32(below(n), v, splat(-INFINITY));
}

static inline vec only(vec v, int32_t n)
{
    return vbslq_f32(below(n), v, zero());
}

/* To bf16, nearest even; NaN stays. */
static inline vec to_bf16(vec v)
{
    const uint32x4_t u = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t up = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t r = vandq_u32(up, vdupq_n_u32(0xffff0000u));
    return vbslq_f32(vceqq_f32(v, v), vreinterpretq_f32_u32(r), v);
}

static inline vec both(vec a, vec b)
{
    return vmulq_f32(a, b);
}

static inline uint32_t word_at(const uint8_t *at)
{
    uint32_t w;
    memcpy(&w, at, sizeof w);
    return w;
}

static inline vec bytes_f(const uint8_t *at)
{
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(word_at(at))));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

static inline vec twice(const uint8_t *at)
{
    const uint32_t w = word_at(at);
    return vreinterpretq_f32_u32(vcombine_u32(vdup_n_u32(w << 16), vdup_n_u32(w & 0xffff0000u)));
}

static inline vec by_turns(const uint8_t *at)
{
    const uint64_t w = word_at(at);
    return vreinterpretq_f32_u64(vdupq_n_u64((w & 0xffff0000u) << 32 | (w & 0xffff) << 16));
}

static inline void narrow(uint8_t *to, vec a, vec b)
{
    const uint16x8_t lo = vreinterpretq_u16_f32(to_bf16(a));
    const uint16x8_t hi = vreinterpretq_u16_f32(to_bf16(b));
    vst1q_u8(to, vreinterpretq_u8_u16(vuzp2q_u16(lo, hi))); /* upper halves */
}

#endif
