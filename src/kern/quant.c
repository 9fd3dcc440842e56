#include "kern/quant.h"

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

uint32_t qg_group_largest(const float v[QG_GROUP])
{
    int32_t bits[QG_GROUP], most = 0; /* signed: every instruction set compares those */
    memcpy(bits, v, sizeof bits);
    for (int i = 0; i < QG_GROUP; i++) {
        const int32_t m = bits[i] & 0x7fffffff;
        most = m > most ? m : most;
    }
    return (uint32_t)most;
}

/* q = v * by to the nearest even, in [-128, 127]: the sum keeps no bits for a fraction, and its
 * lowest byte is the integer's. */
static void round_all(int8_t q[QG_GROUP], const float v[QG_GROUP], float by)
{
    float sum[QG_GROUP];
    uint32_t bits[QG_GROUP];
    for (int i = 0; i < QG_GROUP; i++)
        sum[i] = v[i] * by + 0x1.8p23f;
    memcpy(bits, sum, sizeof bits);
    for (int i = 0; i < QG_GROUP; i++)
        q[i] = (int8_t)(uint8_t)bits[i];
}

void qg_group_take(float v[QG_GROUP], const void *row, int64_t k, int64_t g)
{
    const int64_t left = k - g * QG_GROUP, len = left < QG_GROUP ? left : QG_GROUP;
    memset(v + len, 0, (size_t)(QG_GROUP - len) * sizeof *v);
    memcpy(v, (const uint8_t *)row + g * QG_GROUP * 4, (size_t)len * sizeof *v);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* One column's group: quads to at, QG_QUAD_BYTES apart; returns the scale.  The scale is rounded
 * first (to bf16) and the values are then rounded to multiples of what is stored, so its rounding
 * costs nothing; when it was rounded down, the largest is 127.25 steps, which is 127. */
static qg_bf16 quantise_column(uint8_t *at, const float v[QG_GROUP])
{
    float unused;
    const qg_bf16 scale = qg_f32_to_bf16(qg_x_scale(qg_group_largest(v), &unused));
    const float s = qg_bf16_to_f32(scale);
    int8_t q[QG_GROUP];
    if (!(s > 0))
        return scale; /* zero or NaN: the bytes stay 128 */
    round_all(q, v, 1 / s);
    for (int i = 0; i < QG_QUADS; i++) {
        uint32_t quad;
        memcpy(&quad, q + 4 * i, 4);
        quad ^= 0x80808080u; /* + 128 in each byte */
        memcpy(at + i * QG_QUAD_BYTES, &quad, 4);
    }
    return scale;
}

void qg_panel_i8_pack(void *wp, const void *w, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    const int64_t groups = qg_groups(k);
    for (int64_t p = p0; p < p1; p++)
        for (int64_t g = 0; g < groups; g++) {
            uint8_t *group = (uint8_t *)wp + (p * groups + g) * QG_GROUP_BYTES;
            qg_bf16 scales[QG_NR] = {0};
            float v[QG_GROUP];
            memset(group + QG_SW_BYTES, 128, QG_GROUP * QG_NR);
            for (int64_t c = 0; c < QG_NR && p * QG_NR + c < n; c++) {
                qg_group_take(v, (const uint8_t *)w + (p * QG_NR + c) * k * 4, k, g);
                scales[c] = quantise_column(group + QG_SW_BYTES + c * 4, v);
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

void qg_x_i8_prep(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                  int64_t k1)
{
    const int64_t groups = qg_groups(k);
    for (int64_t i = 0; i < m; i++) {
        int8_t *to = (int8_t *)xp + (size_t)i * qg_x_i8_bytes(k);
        qg_xgroup *tail = (qg_xgroup *)(void *)(to + groups * QG_GROUP);
        to += k0;
        for (int64_t g = k0 / QG_GROUP; g * QG_GROUP < k1; g++, to += QG_GROUP) {
            float v[QG_GROUP], inverse;
            int32_t sum = 0;
            qg_group_take(v, x + i * ldx, k1 - k0, g - k0 / QG_GROUP);
            tail[g].scale = qg_x_scale(qg_group_largest(v), &inverse);
            memset(to, 0, QG_GROUP);
            if (inverse > 0) /* else NaN or Inf * 0 */
                round_all(to, v, inverse);
            for (int j = 0; j < QG_GROUP; j++)
                sum += to[j];
            tail[g].offset = -128 * sum;
        }
    }
}
