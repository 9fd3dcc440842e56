/* 4-bit matrix product with VPDPBUSD.  Few rows: weights are unpacked in registers, quad by quad.
 * More: into the layout that the tiles of gemm_i8_avx512vnni.c read. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/gemm_rows.h"
#include "kern/x86/vnni.h"

#include <string.h>

enum {
    AHEAD_BYTES = 4096,
    STEP_PAIRS = QG_STEP / 8,
    FEW = 32, /* rows: unpacking three times in registers costs less than once through memory */
};

/* 16 columns' m in both halves of their words, and 128 - m * z in all four bytes. */
static inline void step_of(__m512i *m, __m512i *base, const uint8_t *steps)
{
    const __m512i v = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(const void *)steps));
    const __m512i one = _mm512_and_si512(v, _mm512_set1_epi32(15));
    const __m512i less = _mm512_mullo_epi16(one, _mm512_srli_epi32(v, 4));
    const __m512i b = _mm512_sub_epi32(_mm512_set1_epi32(128), less);
    const __m512i two = _mm512_or_si512(b, _mm512_slli_epi32(b, 8));
    *m = _mm512_or_si512(one, _mm512_slli_epi32(one, 16));
    *base = _mm512_or_si512(two, _mm512_slli_epi32(two, 16));
}

/* Nibbles to the bytes of quant.h.  A product of 15 * 15 fits a byte, so one of 16 bits multiplies
 * two. */
static inline __m512i widen(__m512i q, __m512i m, __m512i base)
{
    return _mm512_add_epi8(_mm512_mullo_epi16(_mm512_and_si512(q, _mm512_set1_epi8(15)), m), base);
}

/* ---- many rows ------------------------------------------------------------------------------- */

static void unpack(uint8_t *to, const uint8_t *group)
{
    const uint8_t *q = group + QG_I4_Q_AT;
    _mm512_store_si512(to, _mm512_load_si512(group));
    to += QG_SW_BYTES;
    for (int i = 0; i < QG_I4_GROUP_BYTES; i += 64)
        _mm_prefetch((const char *)group + AHEAD_BYTES + i, _MM_HINT_T0);
    for (int s = 0; s < QG_STEPS; s++) {
        const uint8_t *steps = group + QG_I4_STEPS_AT + s * QG_NR;
        __m512i m[2], base[2];
        step_of(&m[0], &base[0], steps);
        step_of(&m[1], &base[1], steps + 16);
#pragma GCC unroll 4
        for (int pair = 0; pair < STEP_PAIRS; pair++, q += QG_QUAD_BYTES, to += 2 * QG_QUAD_BYTES)
#pragma GCC unroll 2
            for (int c = 0; c < 2; c++) {
                const __m512i v = _mm512_load_si512(q + c * 64);
                _mm512_store_si512(to + c * 64, widen(v, m[c], base[c]));
                _mm512_store_si512(to + QG_QUAD_BYTES + c * 64,
                                   widen(_mm512_srli_epi16(v, 4), m[c], base[c]));
            }
    }
}

/* ---- few rows -------------------------------------------------------------------------------- */

typedef struct step {
    _Alignas(64) __m512i m[2], base[2];
} step;

/* One quad of all rows: low or high halves of the bytes at q. */
static inline __attribute__((always_inline)) void add_quad(__m512i dot[QG_TILE_ROWS][2],
                                                           const uint8_t *q, const step *s,
                                                           const uint8_t *const *x, size_t xs,
                                                           const int odd, const int rows)
{
    __m512i b[2];
#pragma GCC unroll 2
    for (int c = 0; c < 2; c++) {
        const __m512i v = _mm512_load_si512(q + c * 64);
        b[c] = widen(odd ? _mm512_srli_epi16(v, 4) : v, s->m[c], s->base[c]);
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        int32_t quad;
        memcpy(&quad, x[i / 3] + (size_t)(i % 3) * xs + odd * 4, 4);
        const __m512i a = _mm512_set1_epi32(quad);
        add_product(&dot[i][0], b[0], a);
        add_product(&dot[i][1], b[1], a);
    }
}

/* dot [2][rows] vectors = the integer sums of group g. */
static inline __attribute__((always_inline)) void multiply(int32_t *to, const qg_tile *t,
                                                           const qg_xgroup *const *tail, int64_t g,
                                                           const int rows, const bool fetch)
{
    const uint8_t *w = t->w + g * QG_I4_GROUP_BYTES, *q = w + QG_I4_Q_AT;
    const uint8_t *ahead =
        t->w + t->ahead + g * ((int64_t)t->pace * QG_I4_GROUP_BYTES / QG_UNIT_BYTES);
    const size_t xs = t->x_stride;
    const uint8_t *x0 = t->x + g * QG_GROUP;
    const uint8_t *x[4] = {x0, x0 + 3 * xs, x0 + 6 * xs, x0 + 9 * xs};
    __m512i dot[QG_TILE_ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        dot[i][0] = dot[i][1] = _mm512_set1_epi32(tail[i][g].offset);
    qg_tile_fetch(ahead + QG_QUAD_PAIRS * t->pace, fetch); /* what the pairs below leave */
    for (int n = 0; n < QG_STEPS; n++) {
        step s;
        step_of(&s.m[0], &s.base[0], w + QG_I4_STEPS_AT + n * QG_NR);
        step_of(&s.m[1], &s.base[1], w + QG_I4_STEPS_AT + n * QG_NR + 16);
        for (int pair = 0; pair < STEP_PAIRS; pair++) {
            qg_tile_fetch(ahead, fetch);
            add_quad(dot, q, &s, x, xs, 0, rows);
            add_quad(dot, q, &s, x, xs, 1, rows);
            q += QG_QUAD_BYTES;
            ahead += t->pace;
            for (int j = 0; j < 4; j++)
                x[j] += 8;
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        _mm512_store_si512(to + i * 16, dot[i][0]);
        _mm512_store_si512(to + (rows + i) * 16, dot[i][1]);
    }
}

static inline __attribute__((always_inline)) void tile(const qg_tile *t, const int rows,
                                                       const int panels, const bool fetch)
{
    enum { VECS = 24 };
    const qg_xgroup *tail[QG_TILE_ROWS];
    _Alignas(64) int32_t dot[VECS * 16];
    _Alignas(64) float sum[VECS * 16];
    (void)panels;
    begin(sum, tail, t, rows, 1);
    for (int64_t g = 0; g < t->units; g++) {
        multiply(dot, t, tail, g, rows, fetch);
        scale(sum, dot, t->w + g * QG_I4_GROUP_BYTES, 0, tail, g, rows, 1);
    }
    end(sum, t, rows, 1);
}

QG_TILES_512_ONE(i4_avx512vnni, tile, 12)

static void run(float *y, int64_t ldy, const void *xp, const void *wp, int64_t m, int64_t n,
                int64_t k, int64_t p0, int64_t p1)
{
    if (m <= FEW)
        qg_tiles_i4_few(&qg_tiles_i4_avx512vnni, qg_x_i8_bytes(k), QG_GROUP, y, ldy, xp, wp, m, n,
                        k, p0, p1);
    else
        qg_tiles_i4(&qg_tiles_i8_avx512vnni, unpack, qg_x_i8_bytes(k), QG_GROUP, y, ldy, xp, wp, m,
                    n, k, p0, p1);
}

const qg_gemm qg_gemm_i4_avx512vnni = {
    .name = "i4_avx512vnni",
    .need = QG_CPU_AVX512 | QG_CPU_AVX512_VNNI,
    .format = QG_W_I4,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i4_bytes,
    .pack = qg_panel_i4_pack,
    .unpack_row = qg_panel_i4_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep_avx512,
    .run = run,
};
