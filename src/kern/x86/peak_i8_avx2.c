/* Peak of 8-bit products by VPMADDWD and VPADDD on 256-bit registers: eight independent sums. */
#include "base/cpu.h"
#include "kern/measure.h"
#include "kern/x86/gemm_rows.h"

#include <immintrin.h>

static double run(int64_t iters)
{
    const __m256i a = _mm256_set1_epi16(1), b = _mm256_set1_epi16(-1);
    __m256i s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a, t;
    volatile int32_t sink;
    /* as assembly: else one multiplication would serve all */
#define ADD(s)                                                                                     \
    __asm__ volatile("vpmaddwd %2, %3, %1\n\tvpaddd %1, %0, %0"                                    \
                     : "+x"(s), "=&x"(t)                                                           \
                     : "x"(a), "x"(b))
    for (int64_t i = 0; i < iters; i++) {
        ADD(s0);
        ADD(s1);
        ADD(s2);
        ADD(s3);
        ADD(s4);
        ADD(s5);
        ADD(s6);
        ADD(s7);
    }
#undef ADD
    s0 = _mm256_add_epi32(_mm256_add_epi32(s0, s1), _mm256_add_epi32(s2, s3));
    s4 = _mm256_add_epi32(_mm256_add_epi32(s4, s5), _mm256_add_epi32(s6, s7));
    sink = _mm256_extract_epi32(_mm256_add_epi32(s0, s4), 0);
    (void)sink;
    return (double)iters * 8 * 32;
}

const qg_peak qg_peak_i8_avx2 = {
    .name = "i8_avx2",
    .need = QG_CPU_AVX2,
    .format = QG_W_I8,
    .run = run,
};
