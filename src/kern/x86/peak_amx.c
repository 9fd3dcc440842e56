/* Peaks of the tile products: four sums, which cover the latency, on operands that stay. */
#include "base/cpu.h"
#include "kern/measure.h"
#include "kern/x86/amx_gemm.h"
#include "kern/x86/gemm_rows.h"

/* Tiles 4..7 of ones: 1.0 in bf16, 1 in 8 bits. */
static void begin(uint16_t one)
{
    uint16_t ones[QG_AMX_ROWS * QG_AMX_ROW_BYTES / 2];
    for (size_t i = 0; i < QG_COUNT(ones); i++)
        ones[i] = one;
    amx_configure(NULL, QG_AMX_BLOCK);
    QG_AMX_LOAD(NULL, 4, ones, QG_AMX_ROW_BYTES);
    QG_AMX_LOAD(NULL, 5, ones, QG_AMX_ROW_BYTES);
    QG_AMX_LOAD(NULL, 6, ones, QG_AMX_ROW_BYTES);
    QG_AMX_LOAD(NULL, 7, ones, QG_AMX_ROW_BYTES);
}

static double run_bf16(int64_t iters)
{
    begin(0x3f80);
    for (int64_t i = 0; i < iters; i++) {
        QG_AMX_DPBF16PS(NULL, 0, 4, 6);
        QG_AMX_DPBF16PS(NULL, 1, 4, 7);
        QG_AMX_DPBF16PS(NULL, 2, 5, 6);
        QG_AMX_DPBF16PS(NULL, 3, 5, 7);
    }
    QG_AMX_RELEASE(NULL);
    return (double)iters * 4 * (2 * 16 * 16 * 32);
}

static double run_i8(int64_t iters)
{
    begin(0x0101);
    for (int64_t i = 0; i < iters; i++) {
        QG_AMX_DPBSUD(NULL, 0, 4, 6);
        QG_AMX_DPBSUD(NULL, 1, 4, 7);
        QG_AMX_DPBSUD(NULL, 2, 5, 6);
        QG_AMX_DPBSUD(NULL, 3, 5, 7);
    }
    QG_AMX_RELEASE(NULL);
    return (double)iters * 4 * (2 * 16 * 16 * 64);
}

const qg_peak qg_peak_bf16_amx = {
    .name = "bf16_amx",
    .need = QG_CPU_AVX512 | QG_CPU_AVX512_BF16 | QG_CPU_AMX_BF16,
    .format = QG_W_BF16,
    .run = run_bf16,
};

const qg_peak qg_peak_i8_amx = {
    .name = "i8_amx",
    .need = QG_CPU_AVX512 | QG_CPU_AMX_INT8,
    .format = QG_W_I8,
    .run = run_i8,
};
