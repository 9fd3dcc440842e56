/* Peak of fused multiply-add on 256-bit registers: twelve independent sums, enough to cover the
 * latency on every core so far. */
#include "base/cpu.h"
#include "kern/measure.h"
#include "kern/x86/gemm_rows.h"

#include <immintrin.h>

static double run(int64_t iters)
{
    enum { N = 12 };
    const __m256 a = _mm256_set1_ps(1.0f), b = _mm256_set1_ps(1e-9f);
    __m256 sum[N];
    volatile float sink;
    for (int j = 0; j < N; j++)
        sum[j] = _mm256_set1_ps((float)j);
    for (int64_t i = 0; i < iters; i++)
#pragma GCC unroll 12
        for (int j = 0; j < N; j++)
            sum[j] = _mm256_fmadd_ps(a, b, sum[j]);
    for (int j = 1; j < N; j++)
        sum[0] = _mm256_add_ps(sum[0], sum[j]);
    sink = _mm256_cvtss_f32(sum[0]);
    (void)sink;
    return (double)iters * N * 16;
}

const qg_peak qg_peak_f32_avx2 = {
    .name = "f32_avx2",
    .need = QG_CPU_AVX2,
    .format = QG_W_F32,
    .run = run,
};

/* bf16 by float arithmetic: the same instruction. */
const qg_peak qg_peak_bf16_avx2 = {
    .name = "bf16_avx2",
    .need = QG_CPU_AVX2,
    .format = QG_W_BF16,
    .run = run,
};
