/* The tile layer: the eight tile registers of AMX as a few operations, each done by the processor
 * or by software (amx_soft.c), so that kernels written on it are tested on machines without AMX.
 *
 * Every operation takes a state first.  NULL means the processor; callers pass a constant and
 * inline, so no test of it is left in a kernel.  The state of the emulation holds the registers.
 *
 * The operations are written in assembly here because the compiler's own leave traps: in gcc 12
 * _tile_loadconfig tells the compiler that it reads 8 of its 64 bytes, and tile loads and stores
 * say nothing about memory, so stores before them may be moved or dropped.  They are macros since
 * a register's number is a part of the instruction and must be a literal even when nothing is
 * optimised. */
#ifndef QG_KERN_X86_AMX_TILE_H
#define QG_KERN_X86_AMX_TILE_H

#include <stddef.h>
#include <stdint.h>

enum { QG_AMX_TILES = 8, QG_AMX_ROWS = 16, QG_AMX_ROW_BYTES = 64 };

/* Memory operand of LDTILECFG.  Per thread; loading it clears all tiles. */
typedef struct qg_amx_config {
    uint8_t palette; /* 1 */
    uint8_t start_row;
    uint8_t zero[14];
    uint16_t row_bytes[16]; /* of tiles 0..7, the rest 0 */
    uint8_t rows[16];
} qg_amx_config;

/* The registers in software.  What would be an invalid instruction on a processor (a tile that is
 * not configured, shapes that do not fit each other) fills its target with QG_AMX_FAULT bytes: NaN
 * in float32, -1 in int32. */
typedef struct qg_amx_soft {
    qg_amx_config config;
    uint8_t tile[QG_AMX_TILES][QG_AMX_ROWS][QG_AMX_ROW_BYTES];
} qg_amx_soft;

enum { QG_AMX_FAULT = 0xff };

/* The operations in software, as documented for the instructions of these names; t, c, a, b are
 * numbers of tiles, stride is in bytes from row to row.  No operation keeps a pointer. */
void qg_amx_soft_config(qg_amx_soft *s, const qg_amx_config *config);
void qg_amx_soft_release(qg_amx_soft *s);
void qg_amx_soft_zero(qg_amx_soft *s, int t);
void qg_amx_soft_load(qg_amx_soft *s, int t, const void *base, size_t stride);
void qg_amx_soft_store(const qg_amx_soft *s, int t, void *base, size_t stride);
void qg_amx_soft_dpbf16ps(qg_amx_soft *s, int c, int a, int b);
void qg_amx_soft_dpbssd(qg_amx_soft *s, int c, int a, int b);
void qg_amx_soft_dpbsud(qg_amx_soft *s, int c, int a, int b); /* a signed, b unsigned */

#define QG_AMX_DO(s, soft, ...)                                                                    \
    do {                                                                                           \
        if (s)                                                                                     \
            soft;                                                                                  \
        else                                                                                       \
            __asm__ volatile(__VA_ARGS__);                                                         \
    } while (0)

#define QG_AMX_CONFIG(s, config) /* a qg_amx_config, not a pointer: all 64 bytes are an operand */ \
    QG_AMX_DO(s, qg_amx_soft_config(s, &(config)), "ldtilecfg %0" : : "m"(config))
#define QG_AMX_RELEASE(s) QG_AMX_DO(s, qg_amx_soft_release(s), "tilerelease")
#define QG_AMX_ZERO(s, t) QG_AMX_DO(s, qg_amx_soft_zero(s, t), "tilezero %%tmm" #t : :)
#define QG_AMX_LOAD(s, t, base, stride)                                                            \
    QG_AMX_DO(s, qg_amx_soft_load(s, t, base, stride), "tileloadd (%0,%1,1), %%tmm" #t             \
              :                                                                                    \
              : "r"((const void *)(base)), "r"((size_t)(stride))                                   \
              : "memory")
#define QG_AMX_STORE(s, t, base, stride)                                                           \
    QG_AMX_DO(s, qg_amx_soft_store(s, t, base, stride), "tilestored %%tmm" #t ", (%0,%1,1)"        \
              :                                                                                    \
              : "r"((void *)(base)), "r"((size_t)(stride))                                         \
              : "memory")
/* c += a * b; a: rows of c by row_bytes, b: row_bytes of a / 4 rows by row_bytes of c. */
#define QG_AMX_DPBF16PS(s, c, a, b)                                                                \
    QG_AMX_DO(s, qg_amx_soft_dpbf16ps(s, c, a, b), "tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c  \
              :                                                                                    \
              :)
#define QG_AMX_DPBSSD(s, c, a, b)                                                                  \
    QG_AMX_DO(s, qg_amx_soft_dpbssd(s, c, a, b), "tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)
#define QG_AMX_DPBSUD(s, c, a, b)                                                                  \
    QG_AMX_DO(s, qg_amx_soft_dpbsud(s, c, a, b), "tdpbsud %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)

#endif
