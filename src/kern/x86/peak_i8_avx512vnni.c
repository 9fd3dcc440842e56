/* Peak of VPDPBUSD on 512-bit registers: twelve independent sums. */
#include "base/cpu.h"
#include "kern/measure.h"
#include "kern/x86/gemm_rows.h"

#include <immintrin.h>

static double run(int64_t iters)
{
    enum { N = 12 };
    const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(-1);
    __m512i sum[N];
    volatile int32_t sink;
    for (int j = 0; j < N; j++)
        sum[j] = _mm512_set1_epi32(j);
    for (int64_t i = 0; i < iters; i++)
#pragma GCC unroll 12
        for (int j = 0; j < N; j++)
            sum[j] = _mm512_dpbusd_epi32(sum[j], a, b);
    for (int j = 1; j < N; j++)
        sum[0] = _mm512_add_epi32(sum[0], sum[j]);
    sink = _mm512_reduce_add_epi32(sum[0]);
    (void)sink;
    return (double)iters * N * 128;
}

const qg_peak qg_peak_i8_avx512vnni = {
    .name = "i8_avx512vnni",
    .need = QG_CPU_AVX512 | QG_CPU_AVX512_VNNI,
    .format = QG_W_I8,
    .run = run,
};
