#include "kern/quant.h"

#include <math.h>
#include <string.h>

size_t qg_panel_i8_bytes(int64_t n, int64_t k)
{
    return (size_t)(qg_round_up(n, QG_NR) / QG_NR * qg_groups(k)) * QG_GROUP_BYTES;
}

size_t qg_x_i8_bytes(int64_t k)
{
    const size_t bytes = (size_t)qg_groups(k) * (QG_GROUP + sizeof(qg_xgroup));
    return ((bytes + 63) / 64 | 1) * 64; /* odd number of lines: panel.h */
}

static uint32_t magnitude(float v)
{
    union {
        float f;
        uint32_t u;
    } c = {.f = v};
    return c.u & 0x7fffffffu;
}

static uint32_t largest_of(const float *v, int64_t n)
{
    uint32_t most = 0;
    for (int64_t i = 0; i < n; i++)
        most = magnitude(v[i]) > most ? magnitude(v[i]) : most;
    return most;
}

/* Nearest even, for |v| < 2^22: the sum has no bits left for a fraction. */
static int32_t nearest(float v)
{
    return (int32_t)((v + 0x1.8p23f) - 0x1.8p23f);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* One column's group, n <= 128 values: bytes to at + 4-byte steps of a quad, returns the scale.
 * The scale is rounded first (to bf16) and the values are then rounded to multiples of what is
 * stored, so its rounding costs nothing; rounded down, 127.25 of them at most are needed. */
static qg_bf16 quantise_column(uint8_t *at, const float *v, int64_t n)
{
    float unused;
    const qg_bf16 scale = qg_f32_to_bf16(qg_x_scale(largest_of(v, n), &unused));
    const float s = qg_bf16_to_f32(scale), inverse = s > 0 ? 1 / s : 0;
    uint8_t q[QG_GROUP];
    memset(q, 128, sizeof q);
    for (int64_t i = 0; inverse > 0 && i < n; i++)
        q[i] = (uint8_t)(128 + nearest(v[i] * inverse));
    for (int i = 0; i < QG_QUADS; i++)
        memcpy(at + i * QG_QUAD_BYTES, q + 4 * i, 4);
    return scale;
}

void qg_panel_i8_pack(void *wp, const void *w, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    const int64_t groups = qg_groups(k);
    for (int64_t p = p0; p < p1; p++)
        for (int64_t g = 0; g < groups; g++) {
            uint8_t *group = (uint8_t *)wp + (p * groups + g) * QG_GROUP_BYTES;
            const int64_t len = k - g * QG_GROUP < QG_GROUP ? k - g * QG_GROUP : QG_GROUP;
            qg_bf16 scales[QG_NR] = {0};
            memset(group + QG_SW_BYTES, 128, QG_GROUP * QG_NR);
            for (int64_t c = 0; c < QG_NR && p * QG_NR + c < n; c++) {
                float v[QG_GROUP];
                memcpy(v, (const uint8_t *)w + ((p * QG_NR + c) * k + g * QG_GROUP) * 4,
                       (size_t)len * sizeof *v);
                scales[c] = quantise_column(group + QG_SW_BYTES + c * 4, v, len);
            }
            memcpy(group, scales, sizeof scales);
        }
}

void qg_panel_i8_row(float *dst, const void *wp, int64_t k, int64_t row)
{
    const int64_t c = row % QG_NR;
    for (int64_t i = 0; i < k; i++) {
        const uint8_t *group =
            (const uint8_t *)wp + (row / QG_NR * qg_groups(k) + i / QG_GROUP) * QG_GROUP_BYTES;
        const int64_t in = i % QG_GROUP;
        qg_bf16 scale;
        memcpy(&scale, group + c * 2, sizeof scale);
        const int q = group[QG_SW_BYTES + in / 4 * QG_QUAD_BYTES + c * 4 + in % 4] - 128;
        dst[i] = (float)q * qg_bf16_to_f32(scale);
    }
}

/* ---- activations ----------------------------------------------------------------------------- */

void qg_x_i8_prep(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k)
{
    const int64_t groups = qg_groups(k);
    for (int64_t i = 0; i < m; i++) {
        int8_t *to = (int8_t *)xp + (size_t)i * qg_x_i8_bytes(k);
        qg_xgroup *tail = (qg_xgroup *)(void *)(to + groups * QG_GROUP);
        memset(to, 0, qg_x_i8_bytes(k));
        for (int64_t g = 0; g < groups; g++) {
            const float *from = x + i * ldx + g * QG_GROUP;
            const int64_t len = k - g * QG_GROUP < QG_GROUP ? k - g * QG_GROUP : QG_GROUP;
            float inverse;
            int32_t sum = 0;
            tail[g].scale = qg_x_scale(largest_of(from, len), &inverse);
            for (int64_t j = 0; inverse > 0 && j < len; j++) {
                to[g * QG_GROUP + j] = (int8_t)nearest(from[j] * inverse);
                sum += to[g * QG_GROUP + j];
            }
            tail[g].offset = -128 * sum;
        }
    }
}
