/* Products of 8-bit activations with 8-bit and 4-bit weights by SDOT: 4 columns and a quad of k
 * steps an instruction. */
#include "base/cpu.h"
#include "kern/arm/i8_body.h"
#include "kern/arm/neon_rows.h"

/* One group's exact sums. */
static inline __attribute__((always_inline)) void dots(int32x4_t dot[ROWS][VECS], const tile *t,
                                                       int64_t g, const int rows)
{
    const uint8_t *w = t->w + g * QG_GROUP_BYTES + QG_SW_BYTES + t->col * 4;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            dot[r][c] = vdupq_n_s32(0);
    for (int q = 0; q < QG_QUADS; q++, w += QG_QUAD_BYTES) {
        int8x16_t b[VECS];
#pragma GCC unroll 4
        for (int c = 0; c < VECS; c++)
            b[c] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(w + 16 * c), vdupq_n_u8(0x80)));
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            int32_t quad;
            memcpy(&quad, t->x[r] + g * QG_GROUP + q * 4, 4);
            const int8x16_t a = vreinterpretq_s8_s32(vdupq_n_s32(quad));
#pragma GCC unroll 4
            for (int c = 0; c < VECS; c++)
                dot[r][c] = vdotq_s32(dot[r][c], b[c], a);
        }
    }
}

const qg_gemm qg_gemm_i8_dotprod = {
    .name = "i8_dotprod",
    .need = QG_CPU_NEON | QG_CPU_ARM_DOTPROD,
    .format = QG_W_I8,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i8_bytes,
    .pack = qg_panel_i8_pack,
    .unpack_row = qg_panel_i8_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep,
    .run = run,
};

const qg_gemm qg_gemm_i4_dotprod = {
    .name = "i4_dotprod",
    .need = QG_CPU_NEON | QG_CPU_ARM_DOTPROD,
    .format = QG_W_I4,
    .nr = QG_NR,
    .packed_bytes = qg_panel_i4_bytes,
    .pack = qg_panel_i4_pack,
    .unpack_row = qg_panel_i4_row,
    .x_bytes = qg_x_i8_bytes,
    .prep = qg_x_i8_prep,
    .run = run_i4,
};
