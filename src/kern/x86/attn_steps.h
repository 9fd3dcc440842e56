/* Inner steps of attention by instruction set; contracts in attn_walk.h (qg_attn_ops). */
#ifndef QG_KERN_X86_ATTN_STEPS_H
#define QG_KERN_X86_ATTN_STEPS_H

#include "kern/x86/attn_walk.h"

/* AVX-512: see the members of qg_attn_ops with these names. */
void qg_transpose_avx512(void *to, const void *const *rows);
void qg_widen_bf16_avx512(float *to, const void *const *rows, int32_t n, int32_t d);
void qg_widen_f32_avx512(float *to, const void *const *rows, int32_t n, int32_t d);
float qg_softmax_avx512(float *s, int32_t n, float scale, float *max, float *sum);
void qg_multiply_avx512(float *x, int64_t n, float by);

/* AVX2 and FMA: the same. */
void qg_transpose_avx2(void *to, const void *const *rows);
void qg_widen_bf16_avx2(float *to, const void *const *rows, int32_t n, int32_t d);
void qg_widen_f32_avx2(float *to, const void *const *rows, int32_t n, int32_t d);
float qg_softmax_avx2(float *s, int32_t n, float scale, float *max, float *sum);
void qg_multiply_avx2(float *x, int64_t n, float by);

extern const qg_attn qg_attn_bf16_avx512bf16;
extern const qg_attn qg_attn_bf16_avx512, qg_attn_f32_avx512;
extern const qg_attn qg_attn_bf16_avx2, qg_attn_f32_avx2;

#endif
