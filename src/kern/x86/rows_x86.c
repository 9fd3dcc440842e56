/* The kernel tables of this architecture: best first, ref last (it needs nothing). */
#include "base/cpu.h"
#include "kern/rows.h"
#include "kern/x86/attn_rows.h"
#include "kern/x86/gemm_rows.h"

const qg_gemm *const *qg_gemm_rows(void)
{
    static const qg_gemm *const rows[] = {
        &qg_gemm_bf16_amx,      &qg_gemm_bf16_avx512bf16, &qg_gemm_bf16_avx512, &qg_gemm_bf16_avx2,
        &qg_gemm_bf16_ref,      &qg_gemm_f32_avx512,      &qg_gemm_f32_avx2,    &qg_gemm_f32_ref,
        &qg_gemm_i8_amx,        &qg_gemm_i8_avx512vnni,   &qg_gemm_i8_avx2,     &qg_gemm_i8_ref,
        &qg_gemm_i4_avx512vnni, &qg_gemm_i4_avx2,         &qg_gemm_i4_ref,      NULL,
    };
    return rows;
}

const qg_gemm *const *qg_gemm_emulated_rows(void)
{
    static const qg_gemm *const rows[] = {&qg_gemm_bf16_amx_emulated, &qg_gemm_i8_amx_emulated,
                                          NULL};
    return rows;
}

const qg_attn *const *qg_attn_rows(void)
{
    static const qg_attn *const rows[] = {
        &qg_attn_bf16_avx512bf16, &qg_attn_bf16_avx512, &qg_attn_bf16_avx2, &qg_attn_bf16_ref,
        &qg_attn_f32_avx512,      &qg_attn_f32_avx2,    &qg_attn_f32_ref,   &qg_attn_i8_avx512bf16,
        &qg_attn_i8_avx512,       &qg_attn_i8_avx2,     &qg_attn_i8_ref,    NULL,
    };
    return rows;
}

const qg_vec *const *qg_vec_rows(void)
{
    static const qg_vec *const rows[] = {
        &qg_vec_avx512,
        &qg_vec_avx2,
        &qg_vec_ref,
        NULL,
    };
    return rows;
}

const qg_peak *const *qg_peak_rows(void)
{
    static const qg_peak *const rows[] = {
        &qg_peak_bf16_amx,
        &qg_peak_bf16_avx512bf16,
        &qg_peak_bf16_avx512,
        &qg_peak_bf16_avx2,
        &qg_peak_bf16_ref,
        &qg_peak_f32_avx512,
        &qg_peak_f32_avx2,
        &qg_peak_f32_ref,
        &qg_peak_i8_amx,
        &qg_peak_i8_avx512vnni,
        &qg_peak_i8_avx2,
        &qg_peak_i8_ref,
        NULL,
    };
    return rows;
}
