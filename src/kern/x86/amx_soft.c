/* Tile registers in software, after the operations of LDTILECFG, TILELOADD and TDP* in the
 * processor's manual. */
#include "kern/x86/amx_tile.h"

#include "kern/kern.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef union word {
    uint32_t u;
    int32_t i;
    float f;
    qg_bf16 pair[2];
    uint8_t byte[4];
} word;

static bool config_is_valid(const qg_amx_config *c)
{
    if (c->palette != 1)
        return false;
    for (int i = 0; i < 14; i++)
        if (c->zero[i])
            return false;
    for (int t = 0; t < 16; t++) {
        const int rows = c->rows[t], bytes = c->row_bytes[t];
        if (t >= QG_AMX_TILES ? rows || bytes : rows > QG_AMX_ROWS || bytes > QG_AMX_ROW_BYTES)
            return false;
        if (!rows != !bytes)
            return false;
    }
    return true;
}

void qg_amx_soft_config(qg_amx_soft *s, const qg_amx_config *config)
{
    memset(s, 0, sizeof *s);
    if (config_is_valid(config))
        s->config = *config;
}

void qg_amx_soft_release(qg_amx_soft *s)
{
    memset(s, 0, sizeof *s);
}

static bool usable(const qg_amx_soft *s, int t)
{
    return s->config.palette == 1 && s->config.rows[t] > 0;
}

static void fault(qg_amx_soft *s, int t)
{
    memset(s->tile[t], QG_AMX_FAULT, sizeof s->tile[t]);
}

void qg_amx_soft_zero(qg_amx_soft *s, int t)
{
    if (usable(s, t))
        memset(s->tile[t], 0, sizeof s->tile[t]);
    else
        fault(s, t);
}

void qg_amx_soft_load(qg_amx_soft *s, int t, const void *base, size_t stride)
{
    qg_amx_soft_zero(s, t);
    for (size_t r = 0; r < s->config.rows[t]; r++)
        memcpy(s->tile[t][r], (const uint8_t *)base + r * stride, s->config.row_bytes[t]);
}

void qg_amx_soft_store(const qg_amx_soft *s, int t, void *base, size_t stride)
{
    if (!usable(s, t))
        memset(base, QG_AMX_FAULT, 4);
    for (size_t r = 0; r < s->config.rows[t]; r++)
        memcpy((uint8_t *)base + r * stride, s->tile[t][r], s->config.row_bytes[t]);
}

/* What the TDP* instructions demand of their operands. */
static bool shapes_fit(const qg_amx_soft *s, int c, int a, int b)
{
    const qg_amx_config *g = &s->config;
    return usable(s, c) && usable(s, a) && usable(s, b) && c != a && c != b && a != b &&
           g->row_bytes[c] % 4 == 0 && g->row_bytes[a] % 4 == 0 && g->rows[c] == g->rows[a] &&
           g->row_bytes[c] == g->row_bytes[b] && g->row_bytes[a] / 4 == g->rows[b];
}

static void get_row(word *row, const uint8_t *tile_row)
{
    memcpy(row, tile_row, QG_AMX_ROW_BYTES);
}

/* Denormals count as zero, going in and coming out. */
static float flush(float v)
{
    return fabsf(v) < FLT_MIN ? copysignf(0, v) : v;
}

/* a * b + c rounded once.  The product of two bf16 is exact in float unless it leaves the range of
 * the normal numbers; then the addition alone rounds. */
static float fused(float a, float b, float c)
{
    const float p = a * b;
    return flush(fabsf(p) >= FLT_MIN && fabsf(p) <= FLT_MAX ? p + c : fmaf(a, b, c));
}

/* Even and odd k steps are summed apart from zero over one instruction; their sum joins c. */
void qg_amx_soft_dpbf16ps(qg_amx_soft *s, int c, int a, int b)
{
    enum { N = QG_AMX_ROW_BYTES / 4 };
    if (!shapes_fit(s, c, a, b)) {
        fault(s, c);
        return;
    }
    const int rows = s->config.rows[c], pairs = s->config.rows[b];
    const int cols = s->config.row_bytes[c] / 4;
    for (int m = 0; m < rows; m++) {
        float sum[2][N] = {{0}};
        word x[N], y[N], to[N];
        get_row(x, s->tile[a][m]);
        get_row(to, s->tile[c][m]);
        for (int k = 0; k < pairs; k++) {
            get_row(y, s->tile[b][k]);
            for (int half = 0; half < 2; half++)
                for (int n = 0; n < cols; n++)
                    sum[half][n] = fused(flush(qg_bf16_to_f32(x[k].pair[half])),
                                         flush(qg_bf16_to_f32(y[n].pair[half])), sum[half][n]);
        }
        for (int n = 0; n < cols; n++)
            to[n].f = flush(flush(to[n].f) + flush(sum[0][n] + sum[1][n]));
        memcpy(s->tile[c][m], to, (size_t)cols * 4);
    }
}

/* Sums wrap, as in the processor. */
static void dpb(qg_amx_soft *s, int c, int a, int b, bool b_is_signed)
{
    enum { N = QG_AMX_ROW_BYTES / 4 };
    if (!shapes_fit(s, c, a, b)) {
        fault(s, c);
        return;
    }
    for (int m = 0; m < s->config.rows[c]; m++) {
        word x[N], y[N], to[N];
        get_row(x, s->tile[a][m]);
        get_row(to, s->tile[c][m]);
        for (int k = 0; k < s->config.rows[b]; k++) {
            get_row(y, s->tile[b][k]);
            for (int n = 0; n < s->config.row_bytes[c] / 4; n++)
                for (int i = 0; i < 4; i++) {
                    const int yi = b_is_signed ? (int8_t)y[n].byte[i] : y[n].byte[i];
                    to[n].u += (uint32_t)((int8_t)x[k].byte[i] * yi);
                }
        }
        memcpy(s->tile[c][m], to, s->config.row_bytes[c]);
    }
}

void qg_amx_soft_dpbssd(qg_amx_soft *s, int c, int a, int b)
{
    dpb(s, c, a, b, true);
}

void qg_amx_soft_dpbsud(qg_amx_soft *s, int c, int a, int b)
{
    dpb(s, c, a, b, false);
}
