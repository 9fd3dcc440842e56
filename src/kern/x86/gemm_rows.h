/* Rows and tiles of the x86 libraries, by name. */
#ifndef QG_KERN_X86_GEMM_ROWS_H
#define QG_KERN_X86_GEMM_ROWS_H

#include "kern/measure.h"
#include "kern/x86/tile.h"

extern const qg_gemm qg_gemm_bf16_amx, qg_gemm_bf16_amx_emulated;
extern const qg_gemm qg_gemm_i8_amx, qg_gemm_i8_amx_emulated;
extern const qg_gemm qg_gemm_bf16_avx512bf16, qg_gemm_bf16_avx512, qg_gemm_bf16_avx2;
extern const qg_gemm qg_gemm_f32_avx512, qg_gemm_f32_avx2;
extern const qg_gemm qg_gemm_i8_avx512vnni, qg_gemm_i8_avx2;
extern const qg_gemm qg_gemm_i4_avx512vnni, qg_gemm_i4_avx2;

extern const qg_tiles qg_tiles_bf16_avx512bf16;                 /* x from qg_x_bf16_prep */
extern const qg_tiles qg_tiles_bf16_avx512, qg_tiles_bf16_avx2; /* from qg_x_rounded_prep */
extern const qg_tiles qg_tiles_f32_avx512, qg_tiles_f32_avx2;
extern const qg_tiles qg_tiles_i8_avx512vnni, qg_tiles_i8_avx2; /* units are groups */
extern const qg_tiles qg_tiles_i4_avx512vnni;                   /* likewise, quant4.h's */

/* prep of kern.h: to bf16, or to float32 that bf16 holds exactly. */
void qg_x_bf16_prep_avx512bf16(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k,
                               int64_t k0, int64_t k1);
void qg_x_rounded_prep_avx512(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k,
                              int64_t k0, int64_t k1);
void qg_x_rounded_prep_avx2(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                            int64_t k1);
/* As qg_x_i8_prep. */
void qg_x_i8_prep_avx512(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                         int64_t k1);
/* The same numbers, 16 bits each. */
size_t qg_x_i8_avx2_bytes(int64_t k);
void qg_x_i8_prep_avx2(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                       int64_t k1);

extern const qg_vec qg_vec_avx512, qg_vec_avx2;

extern const qg_peak qg_peak_bf16_amx, qg_peak_i8_amx, qg_peak_bf16_avx512bf16;
extern const qg_peak qg_peak_f32_avx512, qg_peak_bf16_avx512;
extern const qg_peak qg_peak_f32_avx2, qg_peak_bf16_avx2;
extern const qg_peak qg_peak_i8_avx512vnni, qg_peak_i8_avx2;

#endif
