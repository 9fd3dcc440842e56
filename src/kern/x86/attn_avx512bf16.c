/* Attention with VDPBF16PS: q, K, weights and V in pairs of bf16, sums in float32. */
#include "base/cpu.h"
#include "kern/attn_walk.h"
#include "kern/rows.h"
#include "kern/x86/attn_lanes_avx512.h"
#include "kern/x86/attn_rows.h"
#include "kern/x86/gemm_rows.h"

enum { PER_UNIT = 2, STEPS = 1 };

typedef __m512bh weights;

static inline weights w_load(const uint8_t *at, int h)
{
    (void)h;
    return (weights)_mm512_load_si512(at);
}

static inline weights w_even(const uint8_t *at)
{
    return (weights)_mm512_and_si512(_mm512_load_si512(at), _mm512_set1_epi32(0xffff));
}

static inline vec fma_at(vec sum, weights w, const uint8_t *x)
{
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return _mm512_dpbf16_ps(sum, w, (__m512bh)_mm512_set1_epi32(pair));
}

#define OWN_SOFTEN
#include "kern/attn_tiles.inc"

/* 2^x to 2^-17, which rounding to bf16 hides; 0 far below, NaN stays NaN.  x = n + r, |r| <= 1/2;
 * (2^r - 1) / r interpolated at Chebyshev nodes. */
static inline vec exp2_short(vec x)
{
    const vec n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vec r = _mm512_sub_ps(x, n);
    vec p = _mm512_set1_ps(0x1.3c6e5cp-7f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.c96d5ep-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ebfb3ep-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.62e2d2p-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* The weights take the first half of the row; their sum is that of the rounded ones.  whole: n is
 * 64, as nearly always; a constant. */
static inline __attribute__((always_inline)) float soften_of(float *s, int32_t n, const bool whole,
                                                             float scale, float *max, float *sum)
{
    const vec by = splat(scale * 0x1.715476p+0f); /* to powers of two */
    const __m512bh ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    vec v[4], all = load_f(sum);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        v[i] = whole ? load_f(s + i * 16) : first(load_f(s + i * 16), n - i * 16);
    const float here = highest(higher(higher(v[0], v[1]), higher(v[2], v[3])));
    const float before = *max, now = here > before ? here : before;
    const vec low = _mm512_mul_ps(splat(now), by);
    float factor = 1;
    if (now != before) { /* -Inf before the first chunk: its factor is 0 */
        factor = lowest_lane(exp2_short(_mm512_fmsub_ps(splat(before), by, low)));
        all = times(all, factor);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        v[i] = exp2_short(_mm512_fmsub_ps(v[i], by, low));
        v[i] = whole ? v[i] : only(v[i], n - i * 16);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 4; i += 2) {
        const __m512bh pairs = _mm512_cvtne2ps_pbh(v[i + 1], v[i]);
        all = _mm512_dpbf16_ps(all, pairs, ones);
        _mm512_store_si512(s + i * 8, (__m512i)pairs);
    }
    store_f(sum, all);
    *max = now;
    return factor;
}

static float soften(float *s, int32_t n, float scale, float *max, float *sum)
{
    return n == QG_ATTN_CHUNK ? soften_of(s, n, true, scale, max, sum)
                              : soften_of(s, n, false, scale, max, sum);
}

static const qg_attn_ops ops = {
    .format = QG_W_BF16,
    .prep = &qg_gemm_bf16_avx512bf16,
    .score = STRIPS(score),
    .weigh = STRIPS(weigh),
    .soften = soften,
};

QG_ATTN_OF_OPS

static inline void narrow(uint8_t *to, vec a, vec b)
{
    _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(b, a));
}

#include "kern/kv8_tiles.inc"

/* 32 floats as bf16, zeros from n on. */
static inline __m512i rounded(const float *x, int64_t n)
{
    const __m512 lo = _mm512_maskz_loadu_ps(below((int32_t)n), x);
    const __m512 hi = n > 16 ? _mm512_maskz_loadu_ps(below((int32_t)n - 16), x + 16) : zero();
    return (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
}

static void store(const qg_attn_shape *s, void *block, int32_t kvh, int32_t at, const float *k,
                  const float *v)
{
    const int64_t d = s->head_dim, dim = qg_kv_dim(d);
    uint8_t *to = (uint8_t *)block + qg_kv_head_at(QG_W_BF16, d, kvh);
    _Alignas(64) uint32_t words[16];
    for (int64_t c = 0; c < dim; c += 32) {
        _mm512_store_si512(words, rounded(k + c, d - c));
        for (int64_t u = 0; u < 16 && c + 2 * u < dim; u++)
            memcpy(to + (c / 2 + u) * QG_KV_UNIT_BYTES + at * 4, &words[u], 4);
    }
    /* the other half of each pair is another token's, perhaps being stored by another thread */
    const __mmask32 mine = at % 2 ? 0xaaaaaaaa : 0x55555555;
    to += qg_kv_half_bytes(QG_W_BF16, d) + (size_t)(at / 2 * dim) * 4;
    for (int64_t c = 0; c < dim; c += 16) {
        __m512i w = _mm512_castps_si512(_mm512_maskz_loadu_ps(below((int32_t)(d - c)), v + c));
        w = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_castsi512_ps(w)));
        _mm512_mask_storeu_epi16(to + c * 4, mine, at % 2 ? _mm512_slli_epi32(w, 16) : w);
    }
}

const qg_attn qg_attn_bf16_avx512bf16 = {
    .name = "bf16_avx512bf16",
    .need = QG_CPU_AVX512 | QG_CPU_AVX512_BF16,
    .kv_format = QG_W_BF16,
    .scratch_bytes = scratch_bytes,
    .run = run,
    .store = store,
};

QG_ATTN_I8_ROW(qg_attn_i8_avx512bf16, "i8_avx512bf16", QG_CPU_AVX512 | QG_CPU_AVX512_BF16,
               &qg_gemm_bf16_avx512bf16)
