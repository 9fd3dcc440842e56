/* What the tiles with VPDPBUSD share.  Only files compiled for it include this. */
#ifndef QG_KERN_X86_VNNI_H
#define QG_KERN_X86_VNNI_H

#include "kern/x86/tile.h"

#include <immintrin.h>

/* sum += w * x.  With the intrinsic GCC 12 copies each sum to the stack in every step. */
static inline __attribute__((always_inline)) void add_product(__m512i *sum, __m512i w, __m512i x)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(w), "v"(x));
}

/* A group's scales of 16 columns. */
#define QG_SCALES(at)                                                                              \
    _mm512_castsi512_ps(_mm512_slli_epi32(                                                         \
        _mm512_cvtepu16_epi32(_mm256_load_si256((const __m256i *)(const void *)(at))), 16))

/* sum += dot with group g's scales, both [2 * panels][rows] vectors; w: the group, which begins
 * with its scales. */
static inline __attribute__((always_inline)) void scale(float *sum, const int32_t *dot,
                                                        const uint8_t *w, size_t w_stride,
                                                        const qg_xgroup *const *tail, int64_t g,
                                                        const int rows, const int panels)
{
    for (int c = 0; c < 2 * panels; c++) {
        const __m512 sw = QG_SCALES(w + (size_t)(c / 2) * w_stride + c % 2 * 32);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++, sum += 16, dot += 16) {
            const __m512 part = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(dot)), sw);
            const __m512 sx = _mm512_set1_ps(tail[i][g].scale);
            _mm512_store_ps(sum, _mm512_fmadd_ps(part, sx, _mm512_load_ps(sum)));
        }
    }
}

/* sum [2 * panels][rows] vectors = what t->y holds, or zero; tail = the rows' scales. */
static inline __attribute__((always_inline)) void
begin(float *sum, const qg_xgroup **tail, const qg_tile *t, const int rows, const int panels)
{
    for (int i = 0; i < rows; i++)
        tail[i] = (const qg_xgroup *)(const void *)(t->x + (size_t)i * t->x_stride + t->tails);
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < 2 * panels; c++)
            _mm512_store_ps(sum + (c * rows + i) * 16,
                            t->add ? _mm512_loadu_ps(t->y + i * t->ldy + c * 16)
                                   : _mm512_setzero_ps());
}

static inline __attribute__((always_inline)) void end(const float *sum, const qg_tile *t,
                                                      const int rows, const int panels)
{
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < 2 * panels; c++)
            _mm512_storeu_ps(t->y + i * t->ldy + c * 16, _mm512_load_ps(sum + (c * rows + i) * 16));
}

#endif
