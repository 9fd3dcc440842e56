/* 8-bit matrix product with VPDPBUSD: 16 columns and a quad of k steps an instruction. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"
#include "kern/x86/tile.h"
#include "kern/x86/vnni.h"

#include <string.h>

/* Sums of a tile, in registers all the way: as many integers and as many floats, 2 weights, 1
 * activation. */
enum { SUMS = 14, ROWS = 7 };

static inline const uint8_t *row_at(const qg_tile *t, int i)
{
    return t->x + (size_t)i * t->x_stride;
}

static inline qg_xgroup tail_of(const qg_tile *t, int i, int64_t g)
{
    return ((const qg_xgroup *)(const void *)(row_at(t, i) + t->tails))[g];
}

/* dot [rows][vecs] = the integer sums of group g. */
static inline __attribute__((always_inline)) void multiply(__m512i dot[SUMS], const qg_tile *t,
                                                           int64_t g, const int rows,
                                                           const int vecs, const bool fetch)
{
    const size_t xs = t->x_stride;
    const uint8_t *x0 = t->x + g * QG_GROUP;
    const uint8_t *x[3] = {x0, x0 + 3 * xs, x0 + 6 * xs};
    const uint8_t *at = t->w + g * QG_GROUP_BYTES + QG_SW_BYTES;
    const uint8_t *ahead =
        t->w + t->ahead + g * ((int64_t)t->pace * QG_GROUP_BYTES / QG_UNIT_BYTES);
    for (int q = 0; q < QG_QUADS; q++, at += QG_QUAD_BYTES, ahead += t->pace) {
        __m512i b[8];
#pragma GCC unroll 8
        for (int c = 0; c < vecs; c++) {
            b[c] = _mm512_load_si512(at + (size_t)(c / 2) * t->w_stride + c % 2 * 64);
            if (c % 2 == 0)
                qg_tile_fetch(ahead + (size_t)(c / 2) * t->w_stride, fetch);
        }
#pragma GCC unroll 7
        for (int i = 0; i < rows; i++) {
            int32_t quad;
            memcpy(&quad, x[i / 3] + (size_t)(i % 3) * xs + q * 4, 4);
            const __m512i a = _mm512_set1_epi32(quad);
#pragma GCC unroll 8
            for (int c = 0; c < vecs; c++)
                add_product(&dot[i * vecs + c], b[c], a);
        }
    }
}

/* t->units counts groups. */
static inline __attribute__((always_inline)) void tile(const qg_tile *t, const int rows,
                                                       const int panels, const bool fetch)
{
    const int vecs = 2 * panels;
    __m512 sum[SUMS], sw[8];
    __m512i dot[SUMS];
#pragma GCC unroll 14
    for (int i = 0; i < rows * vecs; i++)
        sum[i] = t->add ? _mm512_loadu_ps(t->y + i / vecs * t->ldy + i % vecs * 16)
                        : _mm512_setzero_ps();
    for (int64_t g = 0; g < t->units; g++) {
#pragma GCC unroll 14
        for (int i = 0; i < rows * vecs; i++)
            dot[i] = _mm512_set1_epi32(tail_of(t, i / vecs, g).offset);
        multiply(dot, t, g, rows, vecs, fetch);
#pragma GCC unroll 8
        for (int c = 0; c < vecs; c++)
            sw[c] =
                QG_SCALES(t->w + g * QG_GROUP_BYTES + (size_t)(c / 2) * t->w_stride + c % 2 * 32);
#pragma GCC unroll 14
        for (int i = 0; i < rows * vecs; i++)
            sum[i] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot[i]), sw[i % vecs]),
                                     _mm512_set1_ps(tail_of(t, i / vecs, g).scale), sum[i]);
    }
#pragma GCC unroll 14
    for (int i = 0; i < rows * vecs; i++)
        _mm512_storeu_ps(t->y + i / vecs * t->ldy + i % vecs * 16, sum[i]);
}

QG_TILE_512(i8, tile, 1, 1)
QG_TILE_512(i8, tile, 2, 1)
QG_TILE_512(i8, tile, 3, 1)
QG_TILE_512(i8, tile, 4, 1)
QG_TILE_512(i8, tile, 5, 1)
QG_TILE_512(i8, tile, 6, 1)
QG_TILE_512(i8, tile, 7, 1)
QG_TILE_512(i8, tile, 1, 4)
QG_TILE_512(i8, tile, 2, 3)
QG_TILE_512(i8, tile, 3, 2)

const qg_tiles qg_tiles_i8_avx512vnni = {
    .max_rows = ROWS,
    .stream_rows = ROWS,
    .one = {i8_1x1, i8_2x1, i8_3x1, i8_4x1, i8_5x1, i8_6x1, i8_7x1},
    .wide = {i8_1x4, i8_2x3, i8_3x2, i8_4x1, i8_5x1, i8_6x1, i8_7x1},
    .wide_panels = {4, 3, 2, 1, 1, 1, 1},
};

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

void qg_x_i8_prep_avx512(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                         int64_t k1)
{
    const int64_t groups = qg_groups(k);
    for (int64_t i = 0; i < m; i++) {
        int8_t *to = (int8_t *)xp + (size_t)i * qg_x_i8_bytes(k);
        qg_xgroup *tail = (qg_xgroup *)(void *)(to + groups * QG_GROUP);
        for (int64_t g = k0 / QG_GROUP; g * QG_GROUP < k1; g++)
            prep_group(to + g * QG_GROUP, tail + g, x + i * ldx + (g * QG_GROUP - k0),
                       k1 - g * QG_GROUP);
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
