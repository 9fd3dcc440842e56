/* Peak of 8-bit products by VPMADDWD and VPADDD on 256-bit registers: twelve independent sums. */
#include "base/cpu.h"
#include "kern/measure.h"
#include "kern/x86/gemm_rows.h"

#include <immintrin.h>

static double run(int64_t iters)
{
    enum { N = 12 };
    const __m256i a = _mm256_set1_epi16(1), b = _mm256_set1_epi16(-1);
    __m256i sum[N];
    volatile int32_t sink;
    for (int j = 0; j < N; j++)
        sum[j] = _mm256_set1_epi32(j);
    for (int64_t i = 0; i < iters; i++)
#pragma GCC unroll 12
        for (int j = 0; j < N; j++) {
            __m256i product; /* as assembly: else one multiplication would serve all */
            __asm__ volatile("vpmaddwd %1, %2, %0" : "=x"(product) : "x"(a), "x"(b));
            sum[j] = _mm256_add_epi32(sum[j], product);
        }
    for (int j = 1; j < N; j++)
        sum[0] = _mm256_add_epi32(sum[0], sum[j]);
    sink = _mm256_extract_epi32(sum[0], 0);
    (void)sink;
    return (double)iters * N * 32;
}

const qg_peak qg_peak_i8_avx2 = {
    .name = "i8_avx2",
    .need = QG_CPU_AVX2,
    .format = QG_W_I8,
    .run = run,
};
