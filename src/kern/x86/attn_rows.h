/* Attention rows of the x86 libraries, by name. */
#ifndef QG_KERN_X86_ATTN_ROWS_H
#define QG_KERN_X86_ATTN_ROWS_H

#include "kern/attn_walk.h"

extern const qg_attn qg_attn_bf16_avx512bf16, qg_attn_i8_avx512bf16;
extern const qg_attn qg_attn_bf16_avx512, qg_attn_i8_avx512, qg_attn_f32_avx512;
extern const qg_attn qg_attn_bf16_avx2, qg_attn_i8_avx2, qg_attn_f32_avx2;

#endif
