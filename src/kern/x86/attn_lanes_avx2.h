/* Vectors of attn_tiles.inc with AVX2 and FMA.  Only files compiled for them include this. */
#ifndef QG_KERN_X86_ATTN_LANES_AVX2_H
#define QG_KERN_X86_ATTN_LANES_AVX2_H

#include "kern/x86/math_avx2.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 8, TILE_VECS = 2 }; /* 6 x 2 sums of 16 registers */

typedef __m256 vec;

static inline vec zero(void)
{
    return _mm256_setzero_ps();
}

static inline vec splat(float v)
{
    return _mm256_set1_ps(v);
}

static inline vec load_f(const float *at)
{
    return _mm256_load_ps(at);
}

static inline void store_f(float *at, vec v)
{
    _mm256_store_ps(at, v);
}

static inline vec times(vec v, float by)
{
    return _mm256_mul_ps(v, _mm256_set1_ps(by));
}

static inline vec plus(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

static inline vec minus(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

static inline vec higher(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

static inline float highest(vec v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static inline float lowest_lane(vec v)
{
    return _mm256_cvtss_f32(v);
}

static inline vec exponential(vec v)
{
    return exp_avx2(v);
}

/* Ones in the lanes below n. */
static inline vec below(int32_t n)
{
    const __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), at));
}

static inline vec first(vec v, int32_t n)
{
    return _mm256_blendv_ps(splat(-INFINITY), v, below(n));
}

static inline vec only(vec v, int32_t n)
{
    return _mm256_and_ps(v, below(n));
}

static inline vec both(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

static inline vec bytes_f(const uint8_t *at)
{
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)at)));
}

static inline vec twice(const uint8_t *at)
{
    const __m256i w = _mm256_cvtepu16_epi64(_mm_loadl_epi64((const __m128i *)(const void *)at));
    return _mm256_castsi256_ps(_mm256_or_si256(_mm256_slli_epi64(w, 16), _mm256_slli_epi64(w, 48)));
}

static inline vec by_turns(const uint8_t *at)
{
    int32_t pair;
    memcpy(&pair, at, sizeof pair);
    const __m256i w = _mm256_set1_epi32(pair);
    const __m256i second = _mm256_and_si256(w, _mm256_set1_epi32(~0xffff));
    return _mm256_castsi256_ps(_mm256_blend_epi32(second, _mm256_slli_epi32(w, 16), 0x55));
}

static inline vec splat_at(const uint8_t *x)
{
    float v;
    memcpy(&v, x, sizeof v);
    return _mm256_set1_ps(v);
}

#endif
