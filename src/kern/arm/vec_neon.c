/* Row-wise vector jobs with NEON, 4 floats at a time; the last few pass through a padded vector, so
 * that every element is computed by the same operations wherever it stands. */
#include "base/cpu.h"
#include "kern/arm/math_neon.h"
#include "kern/arm/neon_rows.h"

#include <math.h>
#include <string.h>

/* Elements [i, i + 4) below n, zeros behind. */
static inline float32x4_t load(const float *x, int64_t n, int64_t i)
{
    float v[4] = {0};
    if (n - i >= 4)
        return vld1q_f32(x + i);
    memcpy(v, x + i, (size_t)(n - i) * sizeof *v);
    return vld1q_f32(v);
}

static inline void store(float *y, int64_t n, int64_t i, float32x4_t v)
{
    float last[4];
    if (n - i >= 4) {
        vst1q_f32(y + i, v);
        return;
    }
    vst1q_f32(last, v);
    memcpy(y + i, last, (size_t)(n - i) * sizeof *last);
}

static void rmsnorm(float *y, const float *x, const float *w, int64_t k, float eps)
{
    float32x4_t sum[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    for (int64_t i = 0; i < k; i += 16)
#pragma GCC unroll 4
        for (int64_t j = 0; j < 4; j++)
            if (i + j * 4 < k) {
                const float32x4_t v = load(x, k, i + j * 4);
                sum[j] = vfmaq_f32(sum[j], v, v);
            }
    const float squares =
        vaddvq_f32(vaddq_f32(vaddq_f32(sum[0], sum[1]), vaddq_f32(sum[2], sum[3])));
    const float scale = 1 / sqrtf(squares / (float)k + eps);
    for (int64_t i = 0; i < k; i += 4)
        store(y, k, i, vmulq_f32(vmulq_n_f32(load(x, k, i), scale), load(w, k, i)));
}

static void rope(float *x, int64_t n, int64_t d, const float *cosv, const float *sinv)
{
    const int64_t half = d / 2;
    for (int64_t h = 0; h < n; h++, x += d)
        for (int64_t i = 0; i < half; i += 4) {
            const float32x4_t c = load(cosv, half, i), s = load(sinv, half, i);
            const float32x4_t a = load(x, half, i), b = load(x + half, half, i);
            store(x, half, i, vfmsq_f32(vmulq_f32(a, c), b, s));
            store(x + half, half, i, vfmaq_f32(vmulq_f32(b, c), a, s));
        }
}

static void silu_mul(float *y, const float *g, const float *u, int64_t k)
{
    for (int64_t i = 0; i < k; i += 4) {
        const float32x4_t v = load(g, k, i);
        const float32x4_t silu = vdivq_f32(v, vaddq_f32(vdupq_n_f32(1), exp_neon(vnegq_f32(v))));
        store(y, k, i, vmulq_f32(silu, load(u, k, i)));
    }
}

static void add(float *y, const float *x, int64_t k)
{
    for (int64_t i = 0; i < k; i += 4)
        store(y, k, i, vaddq_f32(load(y, k, i), load(x, k, i)));
}

const qg_vec qg_vec_neon = {
    .name = "neon",
    .need = QG_CPU_NEON,
    .rmsnorm = rmsnorm,
    .rope = rope,
    .silu_mul = silu_mul,
    .add = add,
};
