/* Matrix products with AVX-512 and fused multiply-add: float weights, and bf16 weights taken apart
 * into floats (a bf16 is the upper half of a float, so a shift and a mask do it). */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"
#include "kern/x86/tile.h"

#include <immintrin.h>
#include <string.h>

typedef struct sums {
    __m512 v[QG_TILE_ROWS][8];
} sums;

static inline __attribute__((always_inline)) void begin(sums *s, const qg_tile *t, const int rows,
                                                        const int vecs)
{
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int c = 0; c < vecs; c++)
            s->v[i][c] = t->add ? _mm512_loadu_ps(t->y + i * t->ldy + c * 16) : _mm512_setzero_ps();
}

static inline __attribute__((always_inline)) void end(const sums *s, const qg_tile *t,
                                                      const int rows, const int vecs)
{
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int c = 0; c < vecs; c++)
            _mm512_storeu_ps(t->y + i * t->ldy + c * 16, s->v[i][c]);
}

static inline __m512 broadcast(const uint8_t *at)
{
    float f;
    memcpy(&f, at, sizeof f);
    return _mm512_set1_ps(f);
}

static inline __attribute__((always_inline)) void f32_tile(const qg_tile *t, const int rows,
                                                           const int panels, const bool fetch)
{
    const size_t xs = t->x_stride;
    const uint8_t *x[4] = {t->x, t->x + 3 * xs, t->x + 6 * xs, t->x + 9 * xs};
    const uint8_t *w = t->w, *ahead = t->w + t->ahead;
    sums s;

    begin(&s, t, rows, 2 * panels);
    for (int64_t u = 0; u < t->units; u++, w += QG_UNIT_BYTES, ahead += t->pace)
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
            const uint8_t *at = w + (size_t)p * t->w_stride;
            const __m512 b0 = _mm512_load_ps(at), b1 = _mm512_load_ps(at + 64);
            qg_tile_fetch(ahead + (size_t)p * t->w_stride, fetch);
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                const __m512 a = broadcast(x[i / 3] + (size_t)(i % 3) * xs + u * 4);
                s.v[i][2 * p] = _mm512_fmadd_ps(a, b0, s.v[i][2 * p]);
                s.v[i][2 * p + 1] = _mm512_fmadd_ps(a, b1, s.v[i][2 * p + 1]);
            }
        }
    end(&s, t, rows, 2 * panels);
}

/* x holds floats that were rounded to bf16; a unit is two of them. */
static inline __attribute__((always_inline)) void bf16_tile(const qg_tile *t, const int rows,
                                                            const int panels, const bool fetch)
{
    const size_t xs = t->x_stride;
    const uint8_t *x[4] = {t->x, t->x + 3 * xs, t->x + 6 * xs, t->x + 9 * xs};
    const uint8_t *w = t->w, *ahead = t->w + t->ahead;
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    sums s;

    begin(&s, t, rows, 2 * panels);
    for (int64_t u = 0; u < t->units; u++, w += QG_UNIT_BYTES, ahead += t->pace)
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
            const uint8_t *at = w + (size_t)p * t->w_stride;
            const __m512i w0 = _mm512_load_si512(at), w1 = _mm512_load_si512(at + 64);
            const __m512 even0 = _mm512_castsi512_ps(_mm512_slli_epi32(w0, 16));
            const __m512 even1 = _mm512_castsi512_ps(_mm512_slli_epi32(w1, 16));
            const __m512 odd0 = _mm512_castsi512_ps(_mm512_and_si512(w0, upper));
            const __m512 odd1 = _mm512_castsi512_ps(_mm512_and_si512(w1, upper));
            qg_tile_fetch(ahead + (size_t)p * t->w_stride, fetch);
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                const uint8_t *pair = x[i / 3] + (size_t)(i % 3) * xs + u * 8;
                __m512 a = broadcast(pair);
                s.v[i][2 * p] = _mm512_fmadd_ps(a, even0, s.v[i][2 * p]);
                s.v[i][2 * p + 1] = _mm512_fmadd_ps(a, even1, s.v[i][2 * p + 1]);
                a = broadcast(pair + 4);
                s.v[i][2 * p] = _mm512_fmadd_ps(a, odd0, s.v[i][2 * p]);
                s.v[i][2 * p + 1] = _mm512_fmadd_ps(a, odd1, s.v[i][2 * p + 1]);
            }
        }
    end(&s, t, rows, 2 * panels);
}

QG_TILES_512(f32_avx512, f32_tile, 12)
QG_TILES_512(bf16_avx512, bf16_tile, 12)

/* qg_f32_to_bf16 and back, 16 at a time: the upper half after rounding to nearest even. */
static inline __m512i round_bf16(__m512 v)
{
    const __m512i u = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    return _mm512_and_si512(_mm512_mask_mov_epi32(up, nan, quiet),
                            _mm512_set1_epi32((int)0xffff0000));
}

void qg_x_rounded_prep_avx512(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k,
                              int64_t k0, int64_t k1)
{
    for (int64_t i = 0; i < m; i++) {
        uint8_t *to = (uint8_t *)xp + (size_t)i * qg_x_f32_bytes(k);
        const float *from = x + i * ldx;
        for (int64_t j = k0; j < qg_k_pad(k1); j += 16) {
            const int64_t left = k1 - j < 0 ? 0 : k1 - j;
            const __mmask16 mask = (__mmask16)(left >= 16 ? 0xffff : (1u << left) - 1);
            _mm512_store_si512(to + j * 4,
                               round_bf16(_mm512_maskz_loadu_ps(mask, from + (j - k0))));
        }
    }
}

static void run_f32(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                    int64_t k, int64_t p0, int64_t p1)
{
    qg_tiles_f32(&qg_tiles_f32_avx512, y, ldy, xp, wp, m, n, k, p0, p1);
}

static void run_bf16(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                     int64_t k, int64_t p0, int64_t p1)
{
    qg_tiles_bf16(&qg_tiles_bf16_avx512, qg_x_f32_bytes(k), y, ldy, xp, wp, m, n, k, p0, p1);
}

const qg_gemm qg_gemm_f32_avx512 = {
    .name = "f32_avx512",
    .need = QG_CPU_AVX512,
    .format = QG_W_F32,
    .nr = QG_NR,
    .packed_bytes = qg_panel_f32_bytes,
    .pack = qg_panel_f32_pack,
    .unpack_row = qg_panel_f32_row,
    .x_bytes = qg_x_f32_bytes,
    .prep = qg_x_f32_prep,
    .run = run_f32,
};

const qg_gemm qg_gemm_bf16_avx512 = {
    .name = "bf16_avx512",
    .need = QG_CPU_AVX512,
    .format = QG_W_BF16,
    .nr = QG_NR,
    .packed_bytes = qg_panel_bf16_bytes,
    .pack = qg_panel_bf16_pack,
    .unpack_row = qg_panel_bf16_row,
    .x_bytes = qg_x_f32_bytes,
    .prep = qg_x_rounded_prep_avx512,
    .run = run_bf16,
};
