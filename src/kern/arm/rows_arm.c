/* The kernel tables of this architecture: best first, ref last (it needs nothing). */
#include "kern/arm/neon_rows.h"
#include "kern/rows.h"

const qg_gemm *const *qg_gemm_rows(void)
{
    static const qg_gemm *const rows[] = {
        &qg_gemm_bf16_bfmmla,
        &qg_gemm_bf16_bfdot,
        &qg_gemm_bf16_neon,
        &qg_gemm_bf16_ref,
        &qg_gemm_f32_neon,
        &qg_gemm_f32_ref,
        &qg_gemm_i8_i8mm,
        &qg_gemm_i8_dotprod,
        &qg_gemm_i8_ref,
        &qg_gemm_i4_i8mm,
        &qg_gemm_i4_dotprod,
        &qg_gemm_i4_ref,
        NULL,
    };
    return rows;
}

const qg_gemm *const *qg_gemm_emulated_rows(void)
{
    static const qg_gemm *const rows[] = {NULL};
    return rows;
}

const qg_attn *const *qg_attn_rows(void)
{
    static const qg_attn *const rows[] = {
        &qg_attn_bf16_bfdot, &qg_attn_bf16_neon, &qg_attn_bf16_ref,
        &qg_attn_f32_neon,   &qg_attn_f32_ref,   &qg_attn_i8_bfdot,
        &qg_attn_i8_neon,    &qg_attn_i8_ref,    NULL,
    };
    return rows;
}

const qg_vec *const *qg_vec_rows(void)
{
    static const qg_vec *const rows[] = {
        &qg_vec_neon,
        &qg_vec_ref,
        NULL,
    };
    return rows;
}

const qg_peak *const *qg_peak_rows(void)
{
    static const qg_peak *const rows[] = {
        &qg_peak_bf16_bfdot, &qg_peak_bf16_neon,  &qg_peak_bf16_ref, &qg_peak_f32_neon,
        &qg_peak_f32_ref,    &qg_peak_i8_dotprod, &qg_peak_i8_ref,   NULL,
    };
    return rows;
}
