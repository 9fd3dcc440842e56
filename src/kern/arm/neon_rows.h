/* Rows of the Arm libraries, by name. */
#ifndef QG_KERN_ARM_NEON_ROWS_H
#define QG_KERN_ARM_NEON_ROWS_H

#include "kern/measure.h"

extern const qg_gemm qg_gemm_bf16_bfmmla, qg_gemm_bf16_bfdot, qg_gemm_f32_neon, qg_gemm_bf16_neon,
    qg_gemm_i8_dotprod, qg_gemm_i4_dotprod, qg_gemm_i8_i8mm, qg_gemm_i4_i8mm;
extern const qg_attn qg_attn_bf16_bfdot, qg_attn_bf16_neon, qg_attn_f32_neon;
extern const qg_attn qg_attn_i8_bfdot, qg_attn_i8_neon;
extern const qg_vec qg_vec_neon;
extern const qg_peak qg_peak_bf16_bfdot, qg_peak_f32_neon, qg_peak_bf16_neon, qg_peak_i8_dotprod;

#endif
