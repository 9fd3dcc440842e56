/* Peak of fused multiply-add on NEON registers: 24 sums, enough for 4 pipes of latency 4 and more.
 * bf16 weights are multiplied as floats, so their peak is the same. */
#include "base/cpu.h"
#include "kern/arm/neon_rows.h"

#include <arm_neon.h>

static double run(int64_t iters)
{
    enum { N = 24 };
    float32x4_t sum[N];
    volatile float sink;
    const float32x4_t a = vdupq_n_f32(1.000001f), b = vdupq_n_f32(1e-9f);
    for (int j = 0; j < N; j++)
        sum[j] = vdupq_n_f32((float)j);
    for (int64_t i = 0; i < iters; i++)
#pragma GCC unroll 24
        for (int j = 0; j < N; j++)
            sum[j] = vfmaq_f32(sum[j], a, b);
    for (int j = 1; j < N; j++)
        sum[0] = vaddq_f32(sum[0], sum[j]);
    sink = vgetq_lane_f32(sum[0], 0);
    (void)sink;
    return (double)iters * N * 8;
}

const qg_peak qg_peak_f32_neon = {
    .name = "f32_neon", .need = QG_CPU_NEON, .format = QG_W_F32, .run = run};
const qg_peak qg_peak_bf16_neon = {
    .name = "bf16_neon", .need = QG_CPU_NEON, .format = QG_W_BF16, .run = run};
