/* Exponential for 8 floats.  Only files compiled for AVX2 include this. */
#ifndef QG_KERN_X86_MATH_AVX2_H
#define QG_KERN_X86_MATH_AVX2_H

#include <immintrin.h>

/* e^x within 1.5 units in the last place; 0 below -87.3 (no denormals), Inf above 88.8, NaN stays
 * NaN.  See exp_avx512. */
static inline __m256 exp_avx2(__m256 x)
{
    const __m256 tiny = _mm256_cmp_ps(x, _mm256_set1_ps(-87.3f), _CMP_LT_OQ);
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), _mm256_max_ps(_mm256_set1_ps(-88.0f), x));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e400p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);
    __m256 p = _mm256_set1_ps(0x1.6d1380p-10f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.120de4p-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555518p-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.5554dap-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(_mm256_mul_ps(p, r), r, r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    /* 2^n as two factors: n reaches 128, which one exponent field cannot hold */
    const __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1);
    const __m256i bias = _mm256_set1_epi32(127);
    const __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    const __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, half), bias), 23);
    p = _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
    return _mm256_andnot_ps(tiny, p);
}

#endif
