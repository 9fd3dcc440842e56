/* 8-bit matrix product with VPDPBUSD: 16 columns and a quad of k steps an instruction. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"
#include "kern/x86/tile.h"
#include "kern/x86/vnni.h"

#include <string.h>

/* dot [2 * panels][rows] vectors = one group's integer sums, held in registers meanwhile (12 rows x
 * 1 panel: 24 sums, 2 weights, 1 activation). */
static inline __attribute__((always_inline)) void multiply(int32_t *dot, const qg_tile *t,
                                                           const qg_xgroup *const *tail, int64_t g,
                                                           const int rows, const int panels)
{
    const size_t xs = t->x_stride;
    const uint8_t *x0 = t->x + g * QG_GROUP;
    const uint8_t *x[4] = {x0, x0 + 3 * xs, x0 + 6 * xs, x0 + 9 * xs};
    const uint8_t *at = t->w + g * QG_GROUP_BYTES + QG_SW_BYTES;
    const uint8_t *fetch =
        t->w + t->ahead + g * ((int64_t)t->pace * QG_GROUP_BYTES / QG_UNIT_BYTES);
    __m512i sum[QG_TILE_ROWS][8];

#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int c = 0; c < 2 * panels; c++)
            sum[i][c] = _mm512_set1_epi32(tail[i][g].offset);
    for (int q = 0; q < QG_QUADS; q++, at += QG_QUAD_BYTES, fetch += t->pace) {
        __m512i b[8];
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
            const uint8_t *line = at + (size_t)p * t->w_stride;
            b[2 * p] = _mm512_load_si512(line);
            b[2 * p + 1] = _mm512_load_si512(line + 64);
            prefetch_unit(fetch + (size_t)p * t->w_stride);
        }
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            int32_t quad;
            memcpy(&quad, x[i / 3] + (size_t)(i % 3) * xs + q * 4, 4);
            const __m512i a = _mm512_set1_epi32(quad);
#pragma GCC unroll 8
            for (int c = 0; c < 2 * panels; c++)
                add_product(&sum[i][c], b[c], a);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int c = 0; c < 2 * panels; c++)
            _mm512_store_si512(dot + (c * rows + i) * 16, sum[i][c]);
}

/* t->units counts groups.  The float sums stand in a small block of their own until the end: the
 * rows of y are often a multiple of 4096 bytes apart, and 12 of them do not fit the 8 ways of one
 * set of the first-level cache. */
static inline __attribute__((always_inline)) void tile(const qg_tile *t, const int rows,
                                                       const int panels)
{
    enum { VECS = 24 };
    const qg_xgroup *tail[QG_TILE_ROWS];
    _Alignas(64) int32_t dot[VECS * 16];
    _Alignas(64) float sum[VECS * 16];
    begin(sum, tail, t, rows, panels);
    for (int64_t g = 0; g < t->units; g++) {
        multiply(dot, t, tail, g, rows, panels);
        scale(sum, dot, t->w + g * QG_GROUP_BYTES, t->w_stride, tail, g, rows, panels);
    }
    end(sum, t, rows, panels);
}

QG_TILES_512(i8_avx512vnni, tile)

/* ---- activations ----------------------------------------------------------------------------- */

/* 16 values from `from` on, those past `left` zero. */
static inline __m512 masked(const float *from, int64_t left)
{
    const __mmask16 mask = (__mmask16)(left >= 16 ? 0xffff : left > 0 ? (1u << left) - 1 : 0);
    return _mm512_maskz_loadu_ps(mask, from);
}

static void prep_group(int8_t *to, qg_xgroup *tail, const float *from, int64_t len)
{
    enum { VECS = QG_GROUP / 16 };
    __m512 v[VECS];
    __m512i most = _mm512_setzero_si512(), sum = _mm512_setzero_si512();
    float inverse;
#pragma GCC unroll 8
    for (int i = 0; i < VECS; i++) {
        v[i] = masked(from + i * 16, len - i * 16);
        most = _mm512_max_epi32(most, _mm512_castps_si512(_mm512_abs_ps(v[i])));
    }
    tail->scale = qg_x_scale((uint32_t)_mm512_reduce_max_epi32(most), &inverse);
    const __m512 by = _mm512_set1_ps(inverse);
    const __mmask16 any = inverse > 0 ? 0xffff : 0; /* else NaN or Inf * 0 */
#pragma GCC unroll 8
    for (int i = 0; i < VECS; i++) {
        const __m512i q = _mm512_maskz_cvtps_epi32(any, _mm512_mul_ps(v[i], by));
        sum = _mm512_add_epi32(sum, q);
        _mm_store_si128((__m128i *)(void *)(to + i * 16), _mm512_cvtepi32_epi8(q));
    }
    tail->offset = -128 * _mm512_reduce_add_epi32(sum);
}

void qg_x_i8_prep_avx512(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k)
{
    const int64_t groups = qg_groups(k);
    for (int64_t i = 0; i < m; i++) {
        int8_t *to = (int8_t *)xp + (size_t)i * qg_x_i8_bytes(k);
        qg_xgroup *tail = (qg_xgroup *)(void *)(to + groups * QG_GROUP);
        for (int64_t g = 0; g < groups; g++)
            prep_group(to + g * QG_GROUP, tail + g, x + i * ldx + g * QG_GROUP, k - g * QG_GROUP);
    }
}

static void run(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                int64_t k, int64_t p0, int64_t p1)
{
    qg_tiles_i8(&qg_tiles_i8_avx512vnni, qg_x_i8_bytes(k), QG_GROUP, y, ldy, xp, wp, m, n, k, p0,
                p1);
}

const qg_gemm qg_gemm_i8_avx512vnni = {
    .name = "i8_avx512vnni",
    .need = QG_CPU_AVX512 | QG_CPU_AVX512_VNNI,
    .format = QG_W_I8,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i8_bytes,
    .pack = qg_panel_i8_pack,
    .unpack_row = qg_panel_i8_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep_avx512,
    .run = run,
};
