/* Choosing rows: the first one that fits.  Once, when weights are packed. */
#include "kern/kern.h"

const qg_gemm *qg_gemm_pick(qg_wformat format, uint32_t features)
{
    const qg_gemm *const *row = qg_gemm_rows();
    while ((*row)->format != format || ((*row)->need & features) != (*row)->need)
        row++; /* stops at ref: need == 0 */
    return *row;
}

const qg_attn *qg_attn_pick(qg_wformat kv_format, uint32_t features)
{
    const qg_attn *const *row = qg_attn_rows();
    while ((*row)->kv_format != kv_format || ((*row)->need & features) != (*row)->need)
        row++;
    return *row;
}

const qg_vec *qg_vec_pick(uint32_t features)
{
    const qg_vec *const *row = qg_vec_rows();
    while (((*row)->need & features) != (*row)->need)
        row++;
    return *row;
}
