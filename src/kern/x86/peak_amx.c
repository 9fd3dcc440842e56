/* Peak of the tile products: four sums, which cover the latency, on operands that stay. */
#include "base/cpu.h"
#include "kern/measure.h"
#include "kern/x86/amx_gemm.h"
#include "kern/x86/gemm_rows.h"

static double run(int64_t iters)
{
    _Alignas(64) uint16_t ones[QG_AMX_ROWS * QG_AMX_ROW_BYTES / 2];
    for (size_t i = 0; i < QG_COUNT(ones); i++)
        ones[i] = 0x3f80;
    amx_configure(NULL, QG_AMX_BLOCK);
    QG_AMX_LOAD(NULL, 4, ones, QG_AMX_ROW_BYTES);
    QG_AMX_LOAD(NULL, 5, ones, QG_AMX_ROW_BYTES);
    QG_AMX_LOAD(NULL, 6, ones, QG_AMX_ROW_BYTES);
    QG_AMX_LOAD(NULL, 7, ones, QG_AMX_ROW_BYTES);
    for (int64_t i = 0; i < iters; i++) {
        QG_AMX_DPBF16PS(NULL, 0, 4, 6);
        QG_AMX_DPBF16PS(NULL, 1, 4, 7);
        QG_AMX_DPBF16PS(NULL, 2, 5, 6);
        QG_AMX_DPBF16PS(NULL, 3, 5, 7);
    }
    QG_AMX_RELEASE(NULL);
    return (double)iters * 4 * (2 * 16 * 16 * 32);
}

const qg_peak qg_peak_bf16_amx = {
    .name = "bf16_amx",
    .need = QG_CPU_AVX512 | QG_CPU_AVX512_BF16 | QG_CPU_AMX_BF16,
    .format = QG_W_BF16,
    .run = run,
};
