/* 4-bit matrix product: unpacking for the tiles of gemm_i8_avx2.c. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD_BYTES = 4096, STEP_PAIRS = QG_STEP / 8 };

/* 8 columns' m in both halves of their words, and 128 - m * z in all four bytes. */
static inline void step_of(__m256i *m, __m256i *base, const uint8_t *steps)
{
    const __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)steps));
    const __m256i one = _mm256_and_si256(v, _mm256_set1_epi32(15));
    const __m256i less = _mm256_mullo_epi16(one, _mm256_srli_epi32(v, 4));
    const __m256i b = _mm256_sub_epi32(_mm256_set1_epi32(128), less);
    const __m256i two = _mm256_or_si256(b, _mm256_slli_epi32(b, 8));
    *m = _mm256_or_si256(one, _mm256_slli_epi32(one, 16));
    *base = _mm256_or_si256(two, _mm256_slli_epi32(two, 16));
}

static inline void store(uint8_t *to, __m256i q, __m256i m, __m256i base)
{
    _mm256_store_si256((__m256i *)(void *)to, _mm256_add_epi8(_mm256_mullo_epi16(q, m), base));
}

/* A product of 15 * 15 fits a byte, so one of 16 bits multiplies two. */
static void unpack(uint8_t *to, const uint8_t *group)
{
    const __m256i low = _mm256_set1_epi8(15);
    const uint8_t *q = group + QG_I4_Q_AT;
    memcpy(to, group, QG_SW_BYTES);
    to += QG_SW_BYTES;
    for (int i = 0; i < QG_I4_GROUP_BYTES; i += 64)
        _mm_prefetch((const char *)group + AHEAD_BYTES + i, _MM_HINT_T0);
    for (int s = 0; s < QG_STEPS; s++) {
        const uint8_t *steps = group + QG_I4_STEPS_AT + s * QG_NR;
        __m256i m[4], base[4];
        for (int c = 0; c < 4; c++)
            step_of(&m[c], &base[c], steps + c * 8);
        for (int pair = 0; pair < STEP_PAIRS; pair++, q += QG_QUAD_BYTES, to += 2 * QG_QUAD_BYTES)
            for (int c = 0; c < 4; c++) {
                const __m256i v = _mm256_load_si256((const __m256i *)(const void *)(q + c * 32));
                store(to + c * 32, _mm256_and_si256(v, low), m[c], base[c]);
                store(to + QG_QUAD_BYTES + c * 32, _mm256_and_si256(_mm256_srli_epi16(v, 4), low),
                      m[c], base[c]);
            }
    }
}

static void run(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                int64_t k, int64_t p0, int64_t p1)
{
    qg_tiles_i4(&qg_tiles_i8_avx2, unpack, qg_x_i8_avx2_bytes(k), QG_GROUP * 2, y, ldy, xp, wp, m,
                n, k, p0, p1);
}

const qg_gemm qg_gemm_i4_avx2 = {
    .name = "i4_avx2",
    .need = QG_CPU_AVX2,
    .format = QG_W_I4,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i4_bytes,
    .pack = qg_panel_i4_pack,
    .unpack_row = qg_panel_i4_row,
    .x_bytes = qg_x_i8_avx2_bytes,
    .prep = qg_x_i8_prep_avx2,
    .run = run,
};
