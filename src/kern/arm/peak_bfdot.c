/* Peak of BFDOT: 24 independent sums. */
#include "base/cpu.h"
#include "kern/arm/neon_rows.h"

#include <arm_neon.h>

static double run(int64_t iters)
{
    enum { N = 24 };
    float32x4_t sum[N];
    volatile float sink;
    volatile uint16_t one = 0x3f80; /* as a constant, gcc 12 writes it as a half float */
    const bfloat16x8_t a = vreinterpretq_bf16_u16(vdupq_n_u16(one));
    const bfloat16x8_t b = vreinterpretq_bf16_u16(vdupq_n_u16(0x3080));
    for (int j = 0; j < N; j++)
        sum[j] = vdupq_n_f32((float)j);
    for (int64_t i = 0; i < iters; i++)
#pragma GCC unroll 24
        for (int j = 0; j < N; j++)
            sum[j] = vbfdotq_f32(sum[j], a, b);
    for (int j = 1; j < N; j++)
        sum[0] = vaddq_f32(sum[0], sum[j]);
    sink = vgetq_lane_f32(sum[0], 0);
    (void)sink;
    return (double)iters * N * 16;
}

const qg_peak qg_peak_bf16_bfdot = {
    .name = "bf16_bfdot", .need = QG_CPU_NEON | QG_CPU_ARM_BF16, .format = QG_W_BF16, .run = run};
