/* Exponential for 4 floats. */
#ifndef QG_KERN_ARM_MATH_NEON_H
#define QG_KERN_ARM_MATH_NEON_H

#include <arm_neon.h>

/* e^x within 1.5 units in the last place; 0 below -87.3 (no denormals), Inf above 88.8, NaN stays
 * NaN.  x = n ln 2 + r; the polynomial of e^r is the one of exp_avx512. */
static inline float32x4_t exp_neon(float32x4_t x)
{
    const uint32x4_t tiny = vcltq_f32(x, vdupq_n_f32(-87.3f));
    x = vminq_f32(vdupq_n_f32(89.0f), vmaxq_f32(vdupq_n_f32(-88.0f), x)); /* NaN passes */
    const float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 0x1.715476p+0f));
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0x1.62e400p-1f));
    r = vfmsq_f32(r, n, vdupq_n_f32(0x1.7f7d1cp-20f));
    float32x4_t p = vdupq_n_f32(0x1.6d1380p-10f);
    p = vfmaq_f32(vdupq_n_f32(0x1.120de4p-7f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.555518p-5f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.5554dap-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0.5f), p, r);
    p = vfmaq_f32(r, vmulq_f32(p, r), r);
    p = vaddq_f32(p, vdupq_n_f32(1.0f));
    /* 2^n as two factors: n reaches 128, which one exponent field cannot hold */
    const int32x4_t i = vcvtq_s32_f32(n), half = vshrq_n_s32(i, 1), bias = vdupq_n_s32(127);
    const int32x4_t a = vshlq_n_s32(vaddq_s32(half, bias), 23);
    const int32x4_t b = vshlq_n_s32(vaddq_s32(vsubq_s32(i, half), bias), 23);
    p = vmulq_f32(vmulq_f32(p, vreinterpretq_f32_s32(a)), vreinterpretq_f32_s32(b));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(p), tiny));
}

#endif
