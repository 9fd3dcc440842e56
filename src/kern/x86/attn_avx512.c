/* Inner steps of attention with AVX-512; contracts in attn_walk.h. */
#include "kern/x86/attn_steps.h"
#include "kern/x86/math_avx512.h"

#include <math.h>

/* 16 x 16 words: pairs within lanes of 128 bits twice, then the lanes themselves. */
void qg_transpose_avx512(void *to, const void *const *rows)
{
    __m512i a[16], b[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        a[i] = _mm512_loadu_si512(rows[i]);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* a[i + c]: column c of each lane, rows i..i+3 */
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const __m512i l0 = _mm512_shuffle_i32x4(a[c], a[c + 4], 0x88); /* lanes 0 2 of both */
        const __m512i h0 = _mm512_shuffle_i32x4(a[c], a[c + 4], 0xdd); /* lanes 1 3 */
        const __m512i l1 = _mm512_shuffle_i32x4(a[c + 8], a[c + 12], 0x88);
        const __m512i h1 = _mm512_shuffle_i32x4(a[c + 8], a[c + 12], 0xdd);
        uint8_t *at = (uint8_t *)to + c * QG_UNIT_BYTES;
        _mm512_store_si512(at, _mm512_shuffle_i32x4(l0, l1, 0x88));
        _mm512_store_si512(at + 4 * QG_UNIT_BYTES, _mm512_shuffle_i32x4(h0, h1, 0x88));
        _mm512_store_si512(at + 8 * QG_UNIT_BYTES, _mm512_shuffle_i32x4(l0, l1, 0xdd));
        _mm512_store_si512(at + 12 * QG_UNIT_BYTES, _mm512_shuffle_i32x4(h0, h1, 0xdd));
    }
}

/* Lanes of a row of d that lie at column c. */
static inline __mmask16 lanes(int32_t d, int32_t c)
{
    const int32_t left = d - c;
    return (__mmask16)(left >= 16 ? 0xffff : left <= 0 ? 0 : (1u << left) - 1);
}

void qg_widen_bf16_avx512(float *to, const void *const *rows, int32_t n, int32_t d)
{
    for (int32_t j = 0; j < n; j++)
        for (int32_t c = 0; c < (d + 31) / 32 * 32; c += 16) {
            const __m256i v = _mm256_maskz_loadu_epi16(lanes(d, c), (const uint16_t *)rows[j] + c);
            _mm512_store_si512(to + (c / 32 * QG_ATTN_CHUNK + j) * QG_NR + c % 32,
                               _mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
        }
}

void qg_widen_f32_avx512(float *to, const void *const *rows, int32_t n, int32_t d)
{
    for (int32_t j = 0; j < n; j++)
        for (int32_t c = 0; c < (d + 31) / 32 * 32; c += 16)
            _mm512_store_ps(to + (c / 32 * QG_ATTN_CHUNK + j) * QG_NR + c % 32,
                            _mm512_maskz_loadu_ps(lanes(d, c), (const float *)rows[j] + c));
}

float qg_softmax_avx512(float *s, int32_t n, float scale, float *max, float *sum)
{
    enum { VECS = QG_ATTN_CHUNK / 16 };
    const __m512 low = _mm512_set1_ps(-INFINITY);
    __m512 v[VECS], top = low, all = _mm512_load_ps(sum);
#pragma GCC unroll 4
    for (int i = 0; i < VECS; i++) {
        v[i] = _mm512_mul_ps(_mm512_load_ps(s + i * 16), _mm512_set1_ps(scale));
        v[i] = _mm512_mask_mov_ps(low, lanes(n, i * 16), v[i]);
        top = _mm512_max_ps(top, v[i]);
    }
    const float before = *max, here = _mm512_reduce_max_ps(top),
                now = here > before ? here : before;
    const __m512 m = _mm512_set1_ps(now);
    /* -Inf before the first chunk: its factor is 0 */
    const float factor =
        now == before ? 1 : _mm512_cvtss_f32(exp_avx512(_mm512_set1_ps(before - now)));
    all = _mm512_mul_ps(all, _mm512_set1_ps(factor));
#pragma GCC unroll 4
    for (int i = 0; i < VECS; i++) {
        const __m512 e = exp_avx512(_mm512_sub_ps(v[i], m));
        const __m512 kept = _mm512_maskz_mov_ps(lanes(n, i * 16), e);
        all = _mm512_add_ps(all, kept);
        _mm512_store_ps(s + i * 16, kept);
    }
    _mm512_store_ps(sum, all);
    *max = now;
    return factor;
}

void qg_multiply_avx512(float *x, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i += 16)
        _mm512_store_ps(x + i, _mm512_mul_ps(_mm512_load_ps(x + i), _mm512_set1_ps(by)));
}
