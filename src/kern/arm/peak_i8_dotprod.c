/* Peak of SDOT: 24 independent sums. */
#include "base/cpu.h"
#include "kern/arm/neon_rows.h"

#include <arm_neon.h>

static double run(int64_t iters)
{
    enum { N = 24 };
    int32x4_t sum[N];
    volatile int32_t sink;
    const int8x16_t a = vdupq_n_s8(1), b = vdupq_n_s8(-1);
    for (int j = 0; j < N; j++)
        sum[j] = vdupq_n_s32(j);
    for (int64_t i = 0; i < iters; i++)
#pragma GCC unroll 24
        for (int j = 0; j < N; j++)
            sum[j] = vdotq_s32(sum[j], a, b);
    for (int j = 1; j < N; j++)
        sum[0] = vaddq_s32(sum[0], sum[j]);
    sink = vgetq_lane_s32(sum[0], 0);
    (void)sink;
    return (double)iters * N * 32;
}

const qg_peak qg_peak_i8_dotprod = {
    .name = "i8_dotprod", .need = QG_CPU_NEON | QG_CPU_ARM_DOTPROD, .format = QG_W_I8, .run = run};
