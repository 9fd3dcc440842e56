/* Matrix products with AVX2 and fused multiply-add.  16 registers of 8 floats hold 6 rows of half a
 * panel (12 sums, 2 weights, 1 activation), so a tile goes through its panel twice; 1 or 2 rows
 * take the panel in one go. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"
#include "kern/x86/tile.h"

#include <immintrin.h>
#include <string.h>

enum { ROWS = 6 };

typedef struct sums {
    __m256 v[ROWS][4];
} sums;

static inline __attribute__((always_inline)) void begin(sums *s, const qg_tile *t, const float *y,
                                                        const int rows, const int vecs)
{
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int c = 0; c < vecs; c++)
            s->v[i][c] = t->add ? _mm256_loadu_ps(y + i * t->ldy + c * 8) : _mm256_setzero_ps();
}

static inline __attribute__((always_inline)) void end(const sums *s, const qg_tile *t, float *y,
                                                      const int rows, const int vecs)
{
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int c = 0; c < vecs; c++)
            _mm256_storeu_ps(y + i * t->ldy + c * 8, s->v[i][c]);
}

static inline __m256 broadcast(const uint8_t *at)
{
    float f;
    memcpy(&f, at, sizeof f);
    return _mm256_set1_ps(f);
}

static inline __attribute__((always_inline)) void f32_tile(const qg_tile *t, const int rows,
                                                           const int vecs)
{
    const size_t xs = t->x_stride;
    const uint8_t *x[2] = {t->x, t->x + 3 * xs};
    for (int c0 = 0; c0 < 4; c0 += vecs) {
        const uint8_t *w = t->w + c0 * 32, *ahead = w + t->ahead;
        float *y = t->y + c0 * 8;
        sums s;
        begin(&s, t, y, rows, vecs);
        for (int64_t u = 0; u < t->units; u++, w += QG_UNIT_BYTES, ahead += t->pace) {
            __m256 b[4];
#pragma GCC unroll 4
            for (int c = 0; c < vecs; c++)
                b[c] = _mm256_load_ps((const float *)(const void *)(w + c * 32));
            _mm_prefetch((const char *)ahead, _MM_HINT_T0);
            if (vecs == 4)
                _mm_prefetch((const char *)ahead + 64, _MM_HINT_T0);
#pragma GCC unroll 6
            for (int i = 0; i < rows; i++) {
                const __m256 a = broadcast(x[i / 3] + (size_t)(i % 3) * xs + u * 4);
#pragma GCC unroll 4
                for (int c = 0; c < vecs; c++)
                    s.v[i][c] = _mm256_fmadd_ps(a, b[c], s.v[i][c]);
            }
        }
        end(&s, t, y, rows, vecs);
    }
}

/* x holds floats that were rounded to bf16; a unit is two of them.  All even products of a unit
 * come before the odd ones: the order within an element is the same, and fewer registers are
 * needed. */
static inline __attribute__((always_inline)) void bf16_tile(const qg_tile *t, const int rows,
                                                            const int vecs)
{
    const size_t xs = t->x_stride;
    const uint8_t *x[2] = {t->x, t->x + 3 * xs};
    const __m256i upper = _mm256_set1_epi32((int)0xffff0000);
    for (int c0 = 0; c0 < 4; c0 += vecs) {
        const uint8_t *w = t->w + c0 * 32, *ahead = w + t->ahead;
        float *y = t->y + c0 * 8;
        sums s;
        begin(&s, t, y, rows, vecs);
        for (int64_t u = 0; u < t->units; u++, w += QG_UNIT_BYTES, ahead += t->pace) {
            __m256 b[4];
#pragma GCC unroll 4
            for (int c = 0; c < vecs; c++)
                b[c] = _mm256_castsi256_ps(_mm256_slli_epi32(
                    _mm256_load_si256((const __m256i *)(const void *)(w + c * 32)), 16));
            _mm_prefetch((const char *)ahead, _MM_HINT_T0);
            if (vecs == 4)
                _mm_prefetch((const char *)ahead + 64, _MM_HINT_T0);
#pragma GCC unroll 6
            for (int i = 0; i < rows; i++) {
                const __m256 a = broadcast(x[i / 3] + (size_t)(i % 3) * xs + u * 8);
#pragma GCC unroll 4
                for (int c = 0; c < vecs; c++)
                    s.v[i][c] = _mm256_fmadd_ps(a, b[c], s.v[i][c]);
            }
#pragma GCC unroll 4
            for (int c = 0; c < vecs; c++)
                b[c] = _mm256_castsi256_ps(_mm256_and_si256(
                    _mm256_load_si256((const __m256i *)(const void *)(w + c * 32)), upper));
#pragma GCC unroll 6
            for (int i = 0; i < rows; i++) {
                const __m256 a = broadcast(x[i / 3] + (size_t)(i % 3) * xs + u * 8 + 4);
#pragma GCC unroll 4
                for (int c = 0; c < vecs; c++)
                    s.v[i][c] = _mm256_fmadd_ps(a, b[c], s.v[i][c]);
            }
        }
        end(&s, t, y, rows, vecs);
    }
}

#define TILES(kind, tile)                                                                          \
    QG_TILE(kind, tile, 1, 4)                                                                      \
    QG_TILE(kind, tile, 2, 4)                                                                      \
    QG_TILE(kind, tile, 3, 2)                                                                      \
    QG_TILE(kind, tile, 4, 2)                                                                      \
    QG_TILE(kind, tile, 5, 2)                                                                      \
    QG_TILE(kind, tile, 6, 2)                                                                      \
    const qg_tiles qg_tiles_##kind = {                                                             \
        .max_rows = ROWS,                                                                          \
        .stream_rows = ROWS,                                                                       \
        .one = {kind##_1x4, kind##_2x4, kind##_3x2, kind##_4x2, kind##_5x2, kind##_6x2},           \
        .wide = {kind##_1x4, kind##_2x4, kind##_3x2, kind##_4x2, kind##_5x2, kind##_6x2},          \
        .wide_panels = {1, 1, 1, 1, 1, 1},                                                         \
    };
TILES(f32_avx2, f32_tile)
TILES(bf16_avx2, bf16_tile)

/* qg_f32_to_bf16 and back, 8 at a time: the upper half after rounding to nearest even. */
static inline __m256i round_bf16(__m256 v)
{
    const __m256i u = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    return _mm256_and_si256(_mm256_blendv_epi8(up, quiet, nan), _mm256_set1_epi32((int)0xffff0000));
}

void qg_x_rounded_prep_avx2(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                            int64_t k1)
{
    for (int64_t i = 0; i < m; i++) {
        float *to = (float *)(void *)((uint8_t *)xp + (size_t)i * qg_x_f32_bytes(k));
        const float *from = x + i * ldx;
        int64_t j = k0;
        for (; j + 8 <= k1; j += 8)
            _mm256_store_si256((__m256i *)(void *)(to + j),
                               round_bf16(_mm256_loadu_ps(from + (j - k0))));
        for (; j < k1; j++)
            to[j] = qg_bf16_to_f32(qg_f32_to_bf16(from[j - k0]));
        memset(to + k1, 0, (size_t)(qg_k_pad(k1) - k1) * sizeof *to);
    }
}

static void run_f32(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                    int64_t k, int64_t p0, int64_t p1)
{
    qg_tiles_f32(&qg_tiles_f32_avx2, y, ldy, xp, wp, m, n, k, p0, p1);
}

static void run_bf16(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                     int64_t k, int64_t p0, int64_t p1)
{
    qg_tiles_bf16(&qg_tiles_bf16_avx2, qg_x_f32_bytes(k), y, ldy, xp, wp, m, n, k, p0, p1);
}

const qg_gemm qg_gemm_f32_avx2 = {
    .name = "f32_avx2",
    .need = QG_CPU_AVX2,
    .format = QG_W_F32,
    .nr = QG_NR,
    .packed_bytes = qg_panel_f32_bytes,
    .pack = qg_panel_f32_pack,
    .unpack_row = qg_panel_f32_row,
    .x_bytes = qg_x_f32_bytes,
    .prep = qg_x_f32_prep,
    .run = run_f32,
};

const qg_gemm qg_gemm_bf16_avx2 = {
    .name = "bf16_avx2",
    .need = QG_CPU_AVX2,
    .format = QG_W_BF16,
    .nr = QG_NR,
    .packed_bytes = qg_panel_bf16_bytes,
    .pack = qg_panel_bf16_pack,
    .unpack_row = qg_panel_bf16_row,
    .x_bytes = qg_x_f32_bytes,
    .prep = qg_x_rounded_prep_avx2,
    .run = run_bf16,
};
