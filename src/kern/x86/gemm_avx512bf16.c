/* Matrix product with VDPBF16PS: 16 columns and a pair of k steps an instruction. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"
#include "kern/x86/tile.h"

#include <immintrin.h>
#include <string.h>

/* rows, panels: constants after inlining.  12 x 1 uses 24 sums, 2 weights, 1 activation of the 32
 * registers. */
static inline __attribute__((always_inline)) void tile(const qg_tile *t, const int rows,
                                                       const int panels, const bool fetch)
{
    const size_t xs = t->x_stride;
    const uint8_t *x[4] = {t->x, t->x + 3 * xs, t->x + 6 * xs, t->x + 9 * xs};
    const uint8_t *w = t->w, *ahead = t->w + t->ahead;
    __m512 sum[QG_TILE_ROWS][8];

#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int c = 0; c < 2 * panels; c++)
            sum[i][c] = t->add ? _mm512_loadu_ps(t->y + i * t->ldy + c * 16) : _mm512_setzero_ps();
    for (int64_t u = 0; u < t->units; u++) {
        __m512bh b[8];
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
            const uint8_t *at = w + (size_t)p * t->w_stride;
            b[2 * p] = (__m512bh)_mm512_load_si512(at);
            b[2 * p + 1] = (__m512bh)_mm512_load_si512(at + 64);
            qg_tile_fetch(ahead + (size_t)p * t->w_stride, fetch);
        }
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            int32_t pair;
            memcpy(&pair, x[i / 3] + (size_t)(i % 3) * xs + u * 4, 4);
            __m512bh a = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 8
            for (int c = 0; c < 2 * panels; c++)
                sum[i][c] = _mm512_dpbf16_ps(sum[i][c], b[c], a);
        }
        w += QG_UNIT_BYTES;
        ahead += t->pace;
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int c = 0; c < 2 * panels; c++)
            _mm512_storeu_ps(t->y + i * t->ldy + c * 16, sum[i][c]);
}

QG_TILES_512(bf16_avx512bf16, tile, 4)

/* VCVTNEPS2BF16 rounds to nearest even and takes denormals for zero, as VDPBF16PS does. */
void qg_x_bf16_prep_avx512bf16(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k,
                               int64_t k0, int64_t k1)
{
    for (int64_t i = 0; i < m; i++) {
        uint8_t *to = (uint8_t *)xp + (size_t)i * qg_x_bf16_bytes(k);
        const float *from = x + i * ldx;
        for (int64_t j = k0; j < qg_k_pad(k1); j += 16) {
            int64_t left = k1 - j < 0 ? 0 : k1 - j;
            __mmask16 mask = (__mmask16)(left >= 16 ? 0xffff : (1u << left) - 1);
            __m512 v = _mm512_maskz_loadu_ps(mask, from + (j - k0));
            _mm256_store_si256((__m256i *)(to + j * 2), (__m256i)_mm512_cvtneps_pbh(v));
        }
    }
}

static void run(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                int64_t k, int64_t p0, int64_t p1)
{
    qg_tiles_bf16(&qg_tiles_bf16_avx512bf16, qg_x_bf16_bytes(k), y, ldy, xp, wp, m, n, k, p0, p1);
}

const qg_gemm qg_gemm_bf16_avx512bf16 = {
    .name = "bf16_avx512bf16",
    .need = QG_CPU_AVX512 | QG_CPU_AVX512_BF16,
    .format = QG_W_BF16,
    .nr = QG_NR,
    .packed_bytes = qg_panel_bf16_bytes,
    .pack = qg_panel_bf16_pack,
    .unpack_row = qg_panel_bf16_row,
    .x_bytes = qg_x_bf16_bytes,
    .prep = qg_x_bf16_prep_avx512bf16,
    .run = run,
};
