/* Attention over bf16 with AVX2: words are taken apart, products are exact floats. */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/attn_lanes_avx2.h"
#include "kern/x86/attn_rows.h"
#include "kern/x86/gemm_rows.h"

enum { PER_UNIT = 2, STEPS = 2 };

typedef __m256 weights;

static inline weights w_load(const uint8_t *at, int h)
{
    const __m256i w = _mm256_load_si256((const __m256i *)(const void *)at);
    return _mm256_castsi256_ps(h ? _mm256_and_si256(w, _mm256_set1_epi32(~0xffff))
                                 : _mm256_slli_epi32(w, 16));
}

static inline weights w_even(const uint8_t *at)
{
    return w_load(at, 0);
}

static inline vec fma_at(vec sum, weights w, const uint8_t *x)
{
    return _mm256_fmadd_ps(w, splat_at(x), sum);
}

/* To bf16, nearest even; NaN stays. */
static inline vec kept(vec v)
{
    const __m256i u = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i r = _mm256_and_si256(up, _mm256_set1_epi32(~0xffff));
    return _mm256_blendv_ps(_mm256_castsi256_ps(r), v, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
}

static inline void narrow(uint8_t *to, vec a, vec b)
{
    const __m256i lo = _mm256_srli_epi32(_mm256_castps_si256(kept(a)), 16);
    const __m256i hi = _mm256_srli_epi32(_mm256_castps_si256(kept(b)), 16);
    const __m256i both_halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(lo, hi), 0xd8);
    _mm256_storeu_si256((__m256i *)(void *)to, both_halves);
}

#include "kern/attn_tiles.inc"
#include "kern/kv8_tiles.inc"

static const qg_attn_ops ops = {
    .format = QG_W_BF16,
    .prep = &qg_gemm_bf16_avx2,
    .score = STRIPS(score),
    .weigh = STRIPS(weigh),
    .soften = soften,
};

QG_ATTN_OF_OPS

const qg_attn qg_attn_bf16_avx2 = {
    .name = "bf16_avx2",
    .need = QG_CPU_AVX2,
    .kv_format = QG_W_BF16,
    .scratch_bytes = scratch_bytes,
    .run = run,
    .store = qg_attn_store_bf16,
};

QG_ATTN_I8_ROW(qg_attn_i8_avx2, "i8_avx2", QG_CPU_AVX2, &qg_gemm_bf16_avx2)
