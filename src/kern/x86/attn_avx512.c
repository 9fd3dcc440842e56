/* Attention over bf16 with AVX-512: words are taken apart, products are exact floats. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/attn_lanes_avx512.h"
#include "kern/x86/attn_rows.h"
#include "kern/x86/gemm_rows.h"

enum { PER_UNIT = 2, STEPS = 2 };

typedef __m512 weights;

static inline weights w_load(const uint8_t *at, int h)
{
    const __m512i w = _mm512_load_si512(at);
    return _mm512_castsi512_ps(h ? _mm512_and_si512(w, _mm512_set1_epi32(~0xffff))
                                 : _mm512_slli_epi32(w, 16));
}

static inline weights w_even(const uint8_t *at)
{
    return w_load(at, 0);
}

static inline vec fma_at(vec sum, weights w, const uint8_t *x)
{
    return _mm512_fmadd_ps(w, splat(float_at(x)), sum);
}

/* To bf16, nearest even; NaN stays. */
static inline vec kept(vec v)
{
    const __m512i u = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i r = _mm512_and_si512(up, _mm512_set1_epi32(~0xffff));
    return _mm512_mask_mov_ps(_mm512_castsi512_ps(r), _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), v);
}

static inline __m256i halves(vec v)
{
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(kept(v)), 16));
}

static inline void narrow(uint8_t *to, vec a, vec b)
{
    _mm256_storeu_si256((__m256i *)(void *)to, halves(a));
    _mm256_storeu_si256((__m256i *)(void *)(to + 32), halves(b));
}

#include "kern/attn_tiles.inc"
#include "kern/kv8_tiles.inc"

static const qg_attn_ops ops = {
    .format = QG_W_BF16,
    .prep = &qg_gemm_bf16_avx512,
    .score = STRIPS(score),
    .weigh = STRIPS(weigh),
    .soften = soften,
};

QG_ATTN_OF_OPS

const qg_attn qg_attn_bf16_avx512 = {
    .name = "bf16_avx512",
    .need = QG_CPU_AVX512,
    .kv_format = QG_W_BF16,
    .scratch_bytes = scratch_bytes,
    .run = run,
    .store = qg_attn_store_bf16,
};

QG_ATTN_I8_ROW(qg_attn_i8_avx512, "i8_avx512", QG_CPU_AVX512, &qg_gemm_bf16_avx512)
