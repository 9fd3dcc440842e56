/* Row-wise vector jobs with AVX-512, 16 floats at a time; what is left over goes one by one.
 * Every element is computed by the same operations wherever it stands. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"
#include "kern/x86/math_avx512.h"

#include <math.h>

/* Lanes of a vector at i that lie below n. */
static inline __mmask16 lanes(int64_t n, int64_t i)
{
    return (__mmask16)(n - i >= 16 ? 0xffff : (1u << (n - i)) - 1);
}

static void rmsnorm(float *y, const float *x, const float *w, int64_t k, float eps)
{
    __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                     _mm512_setzero_ps()};
    for (int64_t i = 0; i < k; i += 64)
#pragma GCC unroll 4
        for (int64_t j = 0; j < 4; j++)
            if (i + j * 16 < k) {
                const __m512 v = _mm512_maskz_loadu_ps(lanes(k, i + j * 16), x + i + j * 16);
                sum[j] = _mm512_fmadd_ps(v, v, sum[j]);
            }
    const float squares = _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
    const __m512 scale = _mm512_set1_ps(1 / sqrtf(squares / (float)k + eps));
    for (int64_t i = 0; i < k; i += 16) {
        const __mmask16 m = lanes(k, i);
        const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), scale);
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, w + i)));
    }
}

static void rope(float *x, int64_t n, int64_t d, const float *cosv, const float *sinv)
{
    const int64_t half = d / 2;
    for (int64_t h = 0; h < n; h++, x += d)
        for (int64_t i = 0; i < half; i += 16) {
            const __mmask16 m = lanes(half, i);
            const __m512 c = _mm512_maskz_loadu_ps(m, cosv + i);
            const __m512 s = _mm512_maskz_loadu_ps(m, sinv + i);
            const __m512 a = _mm512_maskz_loadu_ps(m, x + i);
            const __m512 b = _mm512_maskz_loadu_ps(m, x + half + i);
            _mm512_mask_storeu_ps(x + i, m, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
            _mm512_mask_storeu_ps(x + half + i, m, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
        }
}

static void silu_mul(float *y, const float *g, const float *u, int64_t k)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    for (int64_t i = 0; i < k; i += 16) {
        const __mmask16 m = lanes(k, i);
        const __m512 v = _mm512_maskz_loadu_ps(m, g + i);
        const __m512 e = exp_avx512(_mm512_sub_ps(_mm512_setzero_ps(), v));
        const __m512 silu = _mm512_div_ps(v, _mm512_add_ps(one, e));
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(m, u + i)));
    }
}

static void add(float *y, const float *x, int64_t k)
{
    for (int64_t i = 0; i < k; i += 16) {
        const __mmask16 m = lanes(k, i);
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
