/* 8-bit matrix product with AVX2.  VPMADDUBSW would saturate (255 * 127 * 2 does not fit 16 bits),
 * so even and odd bytes of a quad are taken apart into 16-bit numbers and multiplied with
 * VPMADDWD, which is exact.  16 registers: 4 rows of half a panel (8 sums, 4 weights, 2
 * activations), so a tile goes through its panel twice. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"
#include "kern/x86/tile.h"

#include <immintrin.h>
#include <string.h>

enum { ROWS = 4, QUAD_X = 8 };

/* Prepared rows: [groups][32 quads] { x0, x2, x1, x3 } as int16, then the groups' tails. */
size_t qg_x_i8_avx2_bytes(int64_t k)
{
    const size_t bytes = (size_t)qg_groups(k) * (QG_GROUP * 2 + sizeof(qg_xgroup));
    return ((bytes + 63) / 64 | 1) * 64;
}

static inline __m256i pair(const uint8_t *at)
{
    int32_t v;
    memcpy(&v, at, sizeof v);
    return _mm256_set1_epi32(v);
}

/* y += one group, 16 columns from c0 on. */
static inline __attribute__((always_inline)) void group(const qg_tile *t, int64_t g, int c0,
                                                        const int rows)
{
    const size_t xs = t->x_stride;
    const uint8_t *w = t->w + g * QG_GROUP_BYTES;
    const uint8_t *x = t->x + g * QG_GROUP * 2, *quad = w + QG_SW_BYTES + c0 * 4;
    const uint8_t *ahead =
        t->w + t->ahead + c0 * 4 + g * ((int64_t)t->pace * QG_GROUP_BYTES / QG_UNIT_BYTES);
    const __m256i low = _mm256_set1_epi16(0xff);
    const qg_xgroup *tail[ROWS];
    __m256i dot[ROWS][2];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
        tail[i] = (const qg_xgroup *)(const void *)(t->x + (size_t)i * xs + t->tails) + g;
        dot[i][0] = dot[i][1] = _mm256_set1_epi32(tail[i]->offset);
    }
    for (int q = 0; q < QG_QUADS; q++, quad += QG_QUAD_BYTES, x += QUAD_X) {
        __m256i even[2], odd[2];
        _mm_prefetch((const char *)ahead, _MM_HINT_T0);
        ahead += t->pace;
#pragma GCC unroll 2
        for (int c = 0; c < 2; c++) {
            const __m256i b = _mm256_load_si256((const __m256i *)(const void *)(quad + c * 32));
            even[c] = _mm256_and_si256(b, low);
            odd[c] = _mm256_srli_epi16(b, 8);
        }
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const __m256i a = pair(x + (size_t)i * xs), b = pair(x + (size_t)i * xs + 4);
#pragma GCC unroll 2
            for (int c = 0; c < 2; c++) {
                dot[i][c] = _mm256_add_epi32(dot[i][c], _mm256_madd_epi16(even[c], a));
                dot[i][c] = _mm256_add_epi32(dot[i][c], _mm256_madd_epi16(odd[c], b));
            }
        }
    }
#pragma GCC unroll 2
    for (int c = 0; c < 2; c++) {
        const __m128i *scales = (const __m128i *)(const void *)(w + (c0 + c * 8) * 2);
        const __m256 sw = _mm256_castsi256_ps(
            _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_load_si128(scales)), 16));
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            float *y = t->y + i * t->ldy + c0 + c * 8;
            const __m256 sum = g || t->add ? _mm256_loadu_ps(y) : _mm256_setzero_ps();
            const __m256 part = _mm256_mul_ps(_mm256_cvtepi32_ps(dot[i][c]), sw);
            _mm256_storeu_ps(y, _mm256_fmadd_ps(part, _mm256_set1_ps(tail[i]->scale), sum));
        }
    }
}

/* Both halves of a group before the next group: it is read from memory once. */
static inline __attribute__((always_inline)) void tile(const qg_tile *t, const int rows,
                                                       const int panels)
{
    (void)panels;
    for (int64_t g = 0; g < t->units; g++)
        for (int c0 = 0; c0 < QG_NR; c0 += 16)
            group(t, g, c0, rows);
}

QG_TILE(i8_avx2, tile, 1, 1)
QG_TILE(i8_avx2, tile, 2, 1)
QG_TILE(i8_avx2, tile, 3, 1)
QG_TILE(i8_avx2, tile, 4, 1)
const qg_tiles qg_tiles_i8_avx2 = {
    .max_rows = ROWS,
    .stream_rows = ROWS,
    .one = {i8_avx2_1x1, i8_avx2_2x1, i8_avx2_3x1, i8_avx2_4x1},
    .wide = {i8_avx2_1x1, i8_avx2_2x1, i8_avx2_3x1, i8_avx2_4x1},
    .wide_panels = {1, 1, 1, 1},
};

/* ---- activations ----------------------------------------------------------------------------- */

/* 8 values from `from` on, those past `left` zero. */
static inline __m256 part(const float *from, int64_t left)
{
    if (left >= 8)
        return _mm256_loadu_ps(from);
    float v[8] = {0};
    for (int64_t i = 0; i < left; i++)
        v[i] = from[i];
    return _mm256_loadu_ps(v);
}

static int32_t sum_of(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

static uint32_t largest_of(__m256i v)
{
    __m128i s = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/* Two quads x0 x1 x2 x3 of 32 bits, one in each half, to x0 x2 x1 x3 of 16 bits. */
static inline __m128i even_odd(__m256i q)
{
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 8, 9, 4, 5, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1));
    const __m256i s = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(q, order), 0x08);
    return _mm256_castsi256_si128(s);
}

static void prep_group(uint8_t *to, qg_xgroup *tail, const float *from, int64_t len)
{
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256(), sum = _mm256_setzero_si256();
    float inverse;
    for (int i = 0; i < QG_GROUP; i += 8)
        most = _mm256_max_epu32(
            most, _mm256_and_si256(mask, _mm256_castps_si256(part(from + i, len - i))));
    tail->scale = qg_x_scale(largest_of(most), &inverse);
    const __m256 by = _mm256_set1_ps(inverse);
    const __m256i any = _mm256_set1_epi32(inverse > 0 ? -1 : 0); /* else NaN or Inf * 0 */
    for (int i = 0; i < QG_GROUP; i += 8) {
        const __m256 v = _mm256_mul_ps(part(from + i, len - i), by);
        const __m256i q = _mm256_and_si256(any, _mm256_cvtps_epi32(v));
        sum = _mm256_add_epi32(sum, q);
        _mm_store_si128((__m128i *)(void *)(to + i * 2), even_odd(q));
    }
    tail->offset = -128 * sum_of(sum);
}

void qg_x_i8_prep_avx2(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                       int64_t k1)
{
    const int64_t groups = qg_groups(k);
    for (int64_t i = 0; i < m; i++) {
        uint8_t *to = (uint8_t *)xp + (size_t)i * qg_x_i8_avx2_bytes(k);
        qg_xgroup *tail = (qg_xgroup *)(void *)(to + groups * QG_GROUP * 2);
        for (int64_t g = k0 / QG_GROUP; g * QG_GROUP < k1; g++)
            prep_group(to + g * QG_GROUP * 2, tail + g, x + i * ldx + (g * QG_GROUP - k0),
                       k1 - g * QG_GROUP);
    }
}

static void run(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                int64_t k, int64_t p0, int64_t p1)
{
    qg_tiles_i8(&qg_tiles_i8_avx2, qg_x_i8_avx2_bytes(k), QG_GROUP * 2, y, ldy, xp, wp, m, n, k, p0,
                p1);
}

const qg_gemm qg_gemm_i8_avx2 = {
    .name = "i8_avx2",
    .need = QG_CPU_AVX2,
    .format = QG_W_I8,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i8_bytes,
    .pack = qg_panel_i8_pack,
    .unpack_row = qg_panel_i8_row,
    .x_bytes = qg_x_i8_avx2_bytes,
    .prep = qg_x_i8_prep_avx2,
    .run = run,
};
