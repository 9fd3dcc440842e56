/* Vectors of attn_tiles.inc with AVX-512.  Only files compiled for it include this. */
#ifndef QG_KERN_X86_ATTN_LANES_AVX512_H
#define QG_KERN_X86_ATTN_LANES_AVX512_H

#include "kern/x86/math_avx512.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16, TILE_VECS = 4 }; /* 6 x 4 sums, words and what meets them: 32 registers */

typedef __m512 vec;

static inline vec zero(void)
{
    return _mm512_setzero_ps();
}

static inline vec splat(float v)
{
    return _mm512_set1_ps(v);
}

static inline vec load_f(const float *at)
{
    return _mm512_load_ps(at);
}

static inline void store_f(float *at, vec v)
{
    _mm512_store_ps(at, v);
}

static inline vec times(vec v, float by)
{
    return _mm512_mul_ps(v, _mm512_set1_ps(by));
}

static inline vec plus(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec minus(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static inline vec higher(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

static inline float highest(vec v)
{
    return _mm512_reduce_max_ps(v);
}

static inline float lowest_lane(vec v)
{
    return _mm512_cvtss_f32(v);
}

static inline vec exponential(vec v)
{
    return exp_avx512(v);
}

/* Lanes below n. */
static inline __mmask16 below(int32_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : n <= 0 ? 0 : (1u << n) - 1);
}

static inline vec first(vec v, int32_t n)
{
    return _mm512_mask_mov_ps(splat(-INFINITY), below(n), v);
}

static inline vec only(vec v, int32_t n)
{
    return _mm512_maskz_mov_ps(below(n), v);
}

static inline vec both(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static inline vec bytes_f(const uint8_t *at)
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at)));
}

static inline vec twice(const uint8_t *at)
{
    const __m512i w = _mm512_cvtepu16_epi64(_mm_loadu_si128((const __m128i *)(const void *)at));
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_slli_epi64(w, 16), _mm512_slli_epi64(w, 48)));
}

static inline vec by_turns(const uint8_t *at)
{
    int32_t pair;
    memcpy(&pair, at, sizeof pair);
    const __m512i w = _mm512_set1_epi32(pair);
    const __m512i second = _mm512_and_si512(w, _mm512_set1_epi32(~0xffff));
    return _mm512_castsi512_ps(_mm512_mask_slli_epi32(second, 0x5555, w, 16));
}

static inline float float_at(const uint8_t *x)
{
    float v;
    memcpy(&v, x, sizeof v);
    return v;
}

#endif
