/* Peak of plain C: what the compiler makes of it for the oldest processor of this architecture. */
#include "kern/measure.h"
#include "kern/rows.h"

static double run(int64_t iters)
{
    enum { N = 32 };
    float sum[N] = {0};
    volatile float sink, factor = 1.000001f;
    const float f = factor;
    for (int64_t i = 0; i < iters; i++)
        for (int j = 0; j < N; j++)
            sum[j] = sum[j] * f + 1e-9f;
    for (int j = 1; j < N; j++)
        sum[0] += sum[j];
    sink = sum[0];
    (void)sink;
    return (double)iters * N * 2;
}

const qg_peak qg_peak_f32_ref = {.name = "f32_ref", .format = QG_W_F32, .run = run};
const qg_peak qg_peak_bf16_ref = {.name = "bf16_ref", .format = QG_W_BF16, .run = run};
/* The plain product of bytes is no faster than that of floats. */
const qg_peak qg_peak_i8_ref = {.name = "i8_ref", .format = QG_W_I8, .run = run};
