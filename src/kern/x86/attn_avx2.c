/* Inner steps of attention with AVX2; contracts in attn_walk.h. */
#include "kern/x86/attn_steps.h"
#include "kern/x86/math_avx2.h"

#include <math.h>

/* 8 x 8 words from 8 rows. */
static inline void transpose8(uint8_t *to, const void *const *rows, size_t offset)
{
    __m256i a[8], b[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        a[i] =
            _mm256_loadu_si256((const __m256i *)(const void *)((const uint8_t *)rows[i] + offset));
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm256_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm256_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m256i *lo = (__m256i *)(void *)(to + c * QG_UNIT_BYTES);
        __m256i *hi = (__m256i *)(void *)(to + (c + 4) * QG_UNIT_BYTES);
        _mm256_store_si256(lo, _mm256_permute2x128_si256(a[c], a[c + 4], 0x20));
        _mm256_store_si256(hi, _mm256_permute2x128_si256(a[c], a[c + 4], 0x31));
    }
}

void qg_transpose_avx2(void *to, const void *const *rows)
{
    for (int r = 0; r < 16; r += 8)
        for (int c = 0; c < 16; c += 8)
            transpose8((uint8_t *)to + c * QG_UNIT_BYTES + r * 4, rows + r, (size_t)c * 4);
}

/* Where column c of position j goes. */
static inline float *place(float *to, int32_t j, int32_t c)
{
    return to + (c / 32 * QG_ATTN_CHUNK + j) * QG_NR + c % 32;
}

void qg_widen_bf16_avx2(float *to, const void *const *rows, int32_t n, int32_t d)
{
    for (int32_t j = 0; j < n; j++) {
        const qg_bf16 *from = rows[j];
        int32_t c = 0;
        for (; c + 8 <= d; c += 8) {
            const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(from + c));
            _mm256_store_si256((__m256i *)(void *)place(to, j, c),
                               _mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
        }
        for (; c % 32 || c < d; c++)
            *place(to, j, c) = c < d ? qg_bf16_to_f32(from[c]) : 0;
    }
}

void qg_widen_f32_avx2(float *to, const void *const *rows, int32_t n, int32_t d)
{
    for (int32_t j = 0; j < n; j++) {
        const float *from = rows[j];
        int32_t c = 0;
        for (; c + 8 <= d; c += 8)
            _mm256_store_ps(place(to, j, c), _mm256_loadu_ps(from + c));
        for (; c % 32 || c < d; c++)
            *place(to, j, c) = c < d ? from[c] : 0;
    }
}

/* Ones in the lanes of vector i that lie below n. */
static inline __m256 lanes(int32_t n, int32_t i)
{
    const __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n - i * 8), at));
}

static inline float highest(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

float qg_softmax_avx2(float *s, int32_t n, float scale, float *max, float *sum)
{
    enum { VECS = QG_ATTN_CHUNK / 8 };
    const __m256 low = _mm256_set1_ps(-INFINITY);
    __m256 top = low, all[2] = {_mm256_load_ps(sum), _mm256_load_ps(sum + 8)};
    for (int i = 0; i < VECS; i++) {
        __m256 v = _mm256_mul_ps(_mm256_load_ps(s + i * 8), _mm256_set1_ps(scale));
        v = _mm256_blendv_ps(low, v, lanes(n, i));
        top = _mm256_max_ps(top, v);
        _mm256_store_ps(s + i * 8, v);
    }
    const float before = *max, here = highest(top), now = here > before ? here : before;
    /* -Inf before the first chunk: its factor is 0 */
    const float factor =
        now == before ? 1 : _mm256_cvtss_f32(exp_avx2(_mm256_set1_ps(before - now)));
    all[0] = _mm256_mul_ps(all[0], _mm256_set1_ps(factor));
    all[1] = _mm256_mul_ps(all[1], _mm256_set1_ps(factor));
    for (int i = 0; i < VECS; i++) {
        __m256 e = exp_avx2(_mm256_sub_ps(_mm256_load_ps(s + i * 8), _mm256_set1_ps(now)));
        e = _mm256_and_ps(e, lanes(n, i));
        all[i % 2] = _mm256_add_ps(all[i % 2], e);
        _mm256_store_ps(s + i * 8, e);
    }
    _mm256_store_ps(sum, all[0]);
    _mm256_store_ps(sum + 8, all[1]);
    *max = now;
    return factor;
}

void qg_multiply_avx2(float *x, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i += 8)
        _mm256_store_ps(x + i, _mm256_mul_ps(_mm256_load_ps(x + i), _mm256_set1_ps(by)));
}
