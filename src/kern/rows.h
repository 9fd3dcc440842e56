/* Every row of the kernel tables by name, for the files that order them (x86/rows_x86.c,
 * arm/rows_arm.c).  Others go through kern.h. */
#ifndef QG_KERN_ROWS_H
#define QG_KERN_ROWS_H

#include "kern/kern.h"
#include "kern/measure.h"

extern const qg_gemm qg_gemm_f32_ref, qg_gemm_bf16_ref, qg_gemm_i8_ref, qg_gemm_i4_ref;
extern const qg_attn qg_attn_f32_ref, qg_attn_bf16_ref, qg_attn_i8_ref;
extern const qg_vec qg_vec_ref;
extern const qg_peak qg_peak_f32_ref, qg_peak_bf16_ref, qg_peak_i8_ref;

/* Storing in plain C, for rows that have no better way. */
void qg_attn_store_f32(const qg_attn_shape *s, void *block, int32_t kvh, int32_t at, const float *k,
                       const float *v);
void qg_attn_store_bf16(const qg_attn_shape *s, void *block, int32_t kvh, int32_t at,
                        const float *k, const float *v);
void qg_attn_store_i8(const qg_attn_shape *s, void *block, int32_t kvh, int32_t at, const float *k,
                      const float *v);

#endif
