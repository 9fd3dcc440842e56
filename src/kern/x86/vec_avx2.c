/* Row-wise vector jobs with AVX2, 8 floats at a time; the last few go through masked loads, so that
 * every element is computed by the same operations wherever it stands. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"
#include "kern/x86/math_avx2.h"

#include <math.h>

/* Lanes of a vector at i that lie below n. */
static inline __m256i lanes(int64_t n, int64_t i)
{
    const __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - i >= 8 ? 8 : (int)(n - i)), at);
}

/* 8 floats at x + i, of which those at n and beyond are not touched.  Masked moves only for the
 * last few: a masked store takes some cores twenty times as long as a plain one. */
static inline __m256 load(const float *x, int64_t n, int64_t i)
{
    return n - i >= 8 ? _mm256_loadu_ps(x + i) : _mm256_maskload_ps(x + i, lanes(n, i));
}

static inline void store(float *x, int64_t n, int64_t i, __m256 v)
{
    if (n - i >= 8)
        _mm256_storeu_ps(x + i, v);
    else
        _mm256_maskstore_ps(x + i, lanes(n, i), v);
}

static inline float total(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static void rmsnorm(float *y, const float *x, const float *w, int64_t k, float eps)
{
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    for (int64_t i = 0; i < k; i += 32)
#pragma GCC unroll 4
        for (int64_t j = 0; j < 4; j++)
            if (i + j * 8 < k) {
                const __m256 v = load(x, k, i + j * 8);
                sum[j] = _mm256_fmadd_ps(v, v, sum[j]);
            }
    const float squares =
        total(_mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
    const __m256 scale = _mm256_set1_ps(1 / sqrtf(squares / (float)k + eps));
    for (int64_t i = 0; i < k; i += 8) {
        const __m256 v = _mm256_mul_ps(load(x, k, i), scale);
        store(y, k, i, _mm256_mul_ps(v, load(w, k, i)));
    }
}

static void rope(float *x, int64_t n, int64_t d, const float *cosv, const float *sinv)
{
    const int64_t half = d / 2;
    for (int64_t h = 0; h < n; h++, x += d)
        for (int64_t i = 0; i < half; i += 8) {
            const __m256 c = load(cosv, half, i), s = load(sinv, half, i);
            const __m256 a = load(x, half, i);
            const __m256 b = load(x + half, half, i);
            store(x, half, i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
            store(x + half, half, i, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
        }
}

static void silu_mul(float *y, const float *g, const float *u, int64_t k)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    for (int64_t i = 0; i < k; i += 8) {
        const __m256 v = load(g, k, i);
        const __m256 e = exp_avx2(_mm256_sub_ps(_mm256_setzero_ps(), v));
        const __m256 silu = _mm256_div_ps(v, _mm256_add_ps(one, e));
        store(y, k, i, _mm256_mul_ps(silu, load(u, k, i)));
    }
}

static void add(float *y, const float *x, int64_t k)
{
    for (int64_t i = 0; i < k; i += 8) {
        const __m256 v = load(y, k, i);
        store(y, k, i, _mm256_add_ps(v, load(x, k, i)));
    }
}

const qg_vec qg_vec_avx2 = {
    .name = "avx2",
    .need = QG_CPU_AVX2,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .silu_mul = silu_mul,
    .add = add,
};
