/* Exponential for 16 floats.  Only files compiled for AVX-512 include this. */
#ifndef QG_KERN_X86_MATH_AVX512_H
#define QG_KERN_X86_MATH_AVX512_H

#include <immintrin.h>

/* e^x within 1.5 units in the last place; 0 below -104, Inf above 88.8, NaN stays NaN.
 * x = n ln 2 + r, |r| <= ln 2 / 2; e^r by a polynomial fitted at Chebyshev nodes (error 2^-26). */
static inline __m512 exp_avx512(__m512 x)
{
    /* the bound comes first: of two operands, MINPS and MAXPS pass on the second when one is NaN */
    x = _mm512_min_ps(_mm512_set1_ps(100.0f), _mm512_max_ps(_mm512_set1_ps(-110.0f), x));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e400p-1f), x); /* ln 2, upper bits: exact */
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
    __m512 p = _mm512_set1_ps(0x1.6d1380p-10f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.120de4p-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555518p-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.5554dap-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r);
    return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

#endif
