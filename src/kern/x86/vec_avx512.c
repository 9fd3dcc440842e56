/* Row-wise vector jobs with AVX-512, 16 floats at a time; what is left over goes through a mask,
 * which costs a store half as much again.  Every element is computed by the same operations
 * wherever it stands. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"
#include "kern/x86/math_avx512.h"

#include <math.h>

/* The first n lanes of 16. */
static inline __mmask16 lanes(int64_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1);
}

static inline __m512 squared(__m512 sum, __m512 v)
{
    return _mm512_fmadd_ps(v, v, sum);
}

static float squares(const float *x, int64_t k)
{
    __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                     _mm512_setzero_ps()};
    int64_t i = 0;
    for (; i + 64 <= k; i += 64)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            sum[j] = squared(sum[j], _mm512_loadu_ps(x + i + j * 16));
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++, i += 16)
        if (i < k)
            sum[j] = squared(sum[j], _mm512_maskz_loadu_ps(lanes(k - i), x + i));
    return _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

static void rmsnorm(float *y, const float *x, const float *w, int64_t k, float eps)
{
    const __m512 scale = _mm512_set1_ps(1 / sqrtf(squares(x, k) / (float)k + eps));
    int64_t i = 0;
    for (; i + 16 <= k; i += 16)
        _mm512_storeu_ps(y + i, _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(x + i), scale),
                                              _mm512_loadu_ps(w + i)));
    if (i < k) {
        const __mmask16 m = lanes(k - i);
        const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), scale);
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, w + i)));
    }
}

/* In place: 16 pairs (a, b), or with the lanes of m less. */
static inline void turn(float *a, float *b, const float *cosv, const float *sinv)
{
    const __m512 c = _mm512_loadu_ps(cosv), s = _mm512_loadu_ps(sinv);
    const __m512 x = _mm512_loadu_ps(a), y = _mm512_loadu_ps(b);
    _mm512_storeu_ps(a, _mm512_fmsub_ps(x, c, _mm512_mul_ps(y, s)));
    _mm512_storeu_ps(b, _mm512_fmadd_ps(y, c, _mm512_mul_ps(x, s)));
}

static inline void turn_some(float *a, float *b, const float *cosv, const float *sinv, __mmask16 m)
{
    const __m512 c = _mm512_maskz_loadu_ps(m, cosv), s = _mm512_maskz_loadu_ps(m, sinv);
    const __m512 x = _mm512_maskz_loadu_ps(m, a), y = _mm512_maskz_loadu_ps(m, b);
    _mm512_mask_storeu_ps(a, m, _mm512_fmsub_ps(x, c, _mm512_mul_ps(y, s)));
    _mm512_mask_storeu_ps(b, m, _mm512_fmadd_ps(y, c, _mm512_mul_ps(x, s)));
}

static void rope(float *x, int64_t n, int64_t d, const float *cosv, const float *sinv)
{
    const int64_t half = d / 2;
    for (int64_t h = 0; h < n; h++, x += d) {
        int64_t i = 0;
        for (; i + 16 <= half; i += 16)
            turn(x + i, x + half + i, cosv + i, sinv + i);
        if (i < half)
            turn_some(x + i, x + half + i, cosv + i, sinv + i, lanes(half - i));
    }
}

static inline __m512 silu_times(__m512 g, __m512 u)
{
    const __m512 e = exp_avx512(_mm512_sub_ps(_mm512_setzero_ps(), g));
    return _mm512_mul_ps(_mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1.0f), e)), u);
}

static void silu_mul(float *y, const float *g, const float *u, int64_t k)
{
    int64_t i = 0;
    for (; i + 16 <= k; i += 16)
        _mm512_storeu_ps(y + i, silu_times(_mm512_loadu_ps(g + i), _mm512_loadu_ps(u + i)));
    if (i < k) {
        const __mmask16 m = lanes(k - i);
        _mm512_mask_storeu_ps(
            y + i, m, silu_times(_mm512_maskz_loadu_ps(m, g + i), _mm512_maskz_loadu_ps(m, u + i)));
    }
}

static void add(float *y, const float *x, int64_t k)
{
    int64_t i = 0;
    for (; i + 16 <= k; i += 16)
        _mm512_storeu_ps(y + i, _mm512_add_ps(_mm512_loadu_ps(y + i), _mm512_loadu_ps(x + i)));
    if (i < k) {
        const __mmask16 m = lanes(k - i);
        const __m512 v = _mm512_maskz_loadu_ps(m, y + i);
        _mm512_mask_storeu_ps(y + i, m, _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, x + i)));
    }
}

const qg_vec qg_vec_avx512 = {
    .name = "avx512",
    .need = QG_CPU_AVX512,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .silu_mul = silu_mul,
    .add = add,
};
