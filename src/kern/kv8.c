#include "kern/kv8.h"

#include "kern/quant.h"
#include "kern/rows.h"

#include <string.h>

enum { GROUP = QG_KV8_GROUP };

static qg_bf16 *scale_at(const void *half, int64_t t, int64_t c)
{
    return (qg_bf16 *)(uintptr_t)half + c / GROUP * QG_KV_BLOCK + t;
}

float qg_kv8_value(const void *half, int64_t dim, int64_t t, int64_t c, int64_t element)
{
    const int8_t q = ((const int8_t *)half + qg_kv8_scale_bytes(dim))[element];
    return qg_bf16_to_f32(qg_f32_to_bf16((float)q * qg_bf16_to_f32(*scale_at(half, t, c))));
}

/* ---- storing --------------------------------------------------------------------------------- */

/* Float bits of the largest magnitude: as integers, NaN is above infinity. */
static uint32_t largest(const float v[GROUP])
{
    int32_t bits[GROUP], most = 0; /* signed: every instruction set compares those */
    memcpy(bits, v, sizeof bits);
    for (int i = 0; i < GROUP; i++) {
        const int32_t m = bits[i] & 0x7fffffff;
        most = m > most ? m : most;
    }
    return (uint32_t)most;
}

/* q [GROUP] = v in multiples of the scale, which is returned.  The scale is rounded first, so its
 * rounding costs nothing; the largest number is then 127.25 of it at most, which is 127. */
static qg_bf16 quantise(int8_t q[GROUP], const float v[GROUP])
{
    float unused, sum[GROUP];
    uint32_t bits[GROUP];
    const qg_bf16 scale = qg_f32_to_bf16(qg_x_scale(largest(v), &unused));
    const float s = qg_bf16_to_f32(scale), by = s > 0 ? 1 / s : 0;
    for (int i = 0; i < GROUP; i++) /* keeps no bits for a fraction, and the lowest byte is q's */
        sum[i] = (by > 0 ? v[i] * by : 0) + 0x1.8p23f;
    memcpy(bits, sum, sizeof bits);
    for (int i = 0; i < GROUP; i++)
        q[i] = (int8_t)(uint8_t)bits[i];
    return scale;
}

/* Group at dimension c of d: zeros behind the end. */
static const float *group_of(float room[GROUP], const float *x, int64_t c, int64_t d)
{
    if (d - c >= GROUP)
        return x + c;
    memset(room, 0, GROUP * sizeof *room);
    memcpy(room, x + c, (size_t)(d - c) * sizeof *room);
    return room;
}

void qg_attn_store_i8(const qg_attn_shape *s, void *block, int32_t kvh, int32_t at, const float *k,
                      const float *v)
{
    const int64_t d = s->head_dim, dim = qg_kv_dim(d);
    uint8_t *half = (uint8_t *)block + qg_kv_head_at(QG_W_I8, d, kvh);
    int8_t q[GROUP];
    float room[GROUP];
    for (int64_t c = 0; c < d; c += GROUP) {
        int8_t *to = (int8_t *)half + qg_kv8_scale_bytes(dim);
        const int64_t n = dim - c < GROUP ? dim - c : GROUP;
        *scale_at(half, at, c) = quantise(q, group_of(room, k, c, d));
        for (int64_t i = 0; i < n; i += 2)
            memcpy(to + qg_k_element(QG_W_BF16, at, c + i), q + i, 2);
    }
    half += qg_kv_half_bytes(QG_W_I8, d);
    for (int64_t c = 0; c < d; c += GROUP) {
        int8_t *to = (int8_t *)half + qg_kv8_scale_bytes(dim);
        const int64_t n = dim - c < GROUP ? dim - c : GROUP;
        *scale_at(half, at, c) = quantise(q, group_of(room, v, c, d));
        for (int64_t i = 0; i < n; i++)
            to[qg_v_element(QG_W_BF16, dim, at, c + i)] = q[i];
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

void qg_kv8_expand_ref(uint8_t *tile, const uint8_t *head, int64_t dim)
{
    qg_bf16 *k = (qg_bf16 *)(void *)tile, *v = k + dim * QG_KV_BLOCK;
    const uint8_t *vs = head + qg_kv_half_bytes(QG_W_I8, dim);
    for (int64_t t = 0; t < QG_KV_BLOCK; t++)
        for (int64_t c = 0; c < dim; c++) {
            const int64_t at = qg_k_element(QG_W_BF16, t, c);
            const int64_t in = qg_v_element(QG_W_BF16, dim, t, c);
            k[at] = qg_f32_to_bf16(qg_kv8_value(head, dim, t, c, at));
            v[in] = qg_f32_to_bf16(qg_kv8_value(vs, dim, t, c, in));
        }
}

void qg_kv8_copy_token(uint8_t *to, int64_t t, const uint8_t *from, int64_t in, int64_t dim)
{
    const size_t half = qg_kv_half_bytes(QG_W_I8, dim), scales = qg_kv8_scale_bytes(dim);
    for (int i = 0; i < 2; i++, to += half, from += half)
        for (int64_t c = 0; c < dim; c++) {
            const int64_t a =
                i ? qg_v_element(QG_W_BF16, dim, t, c) : qg_k_element(QG_W_BF16, t, c);
            const int64_t b =
                i ? qg_v_element(QG_W_BF16, dim, in, c) : qg_k_element(QG_W_BF16, in, c);
            if (c % GROUP == 0)
                *scale_at(to, t, c) = *scale_at(from, in, c);
            to[scales + (size_t)a] = from[scales + (size_t)b];
        }
}
