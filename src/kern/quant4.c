#include "kern/quant4.h"

#include <string.h>

size_t qg_panel_i4_bytes(int64_t n, int64_t k)
{
    return (size_t)(qg_round_up(n, QG_NR) / QG_NR * qg_groups(k)) * QG_I4_GROUP_BYTES;
}

/* ---- choosing -------------------------------------------------------------------------------- */

enum {
    REACH = 120, /* the largest weight of a group in units of its scale: 15 * 8 */
    FINER = 1,   /* values of m tried below the smallest that clips nothing: more gain nothing */
};

typedef struct choice {
    float error;
    int m, z;
} choice;

static int larger(int a, int b)
{
    return a > b ? a : b;
}

/* Rounds v / m to integers in [-z, 15 - z]; returns the sum of the squared differences, in units of
 * v.  Written so that compilers make vectors of it. */
static float round_step(float *restrict q, const float *restrict v, int m, int z)
{
    const float by = 1 / (float)m, back = (float)m, low = (float)-z, high = (float)(15 - z);
    float error[QG_STEP];
    for (int i = 0; i < QG_STEP; i++) {
        float r = (v[i] * by + 0x1.8p23f) - 0x1.8p23f; /* nearest even */
        r = r > low ? r : low;
        r = r < high ? r : high;
        q[i] = r;
        error[i] = (v[i] - r * back) * (v[i] - r * back);
    }
    for (int n = QG_STEP / 2; n >= 4; n /= 2)
        for (int i = 0; i < n; i++)
            error[i] += error[i + n];
    return (error[0] + error[2]) + (error[1] + error[3]);
}

static float lowest(const float v[QG_STEP])
{
    float most = 0;
    for (int i = 0; i < QG_STEP; i++)
        most = v[i] < most ? v[i] : most;
    return most;
}

static float highest(const float v[QG_STEP])
{
    float most = 0;
    for (int i = 0; i < QG_STEP; i++)
        most = v[i] > most ? v[i] : most;
    return most;
}

/* The smallest whole number that is not below v >= 0. */
static int whole(float v)
{
    const int n = (int)v;
    return (float)n < v ? n + 1 : n;
}

/* v [32] in units of the group's scale, within +-REACH: the m and z with the least squared error.
 * z moves the 16 levels to where the values are; a little clipping often pays for finer levels. */
static choice choose(const float v[QG_STEP])
{
    const float low = -lowest(v), high = highest(v);
    choice best = {.error = 3e38f};
    float q[QG_STEP];
    for (int z = 5; z <= 10; z++) {
        const int limit = 127 / larger(z, 15 - z);
        int m = larger(whole(low / (float)z), whole(high / (float)(15 - z)));
        m = m > limit ? limit : m;
        for (int i = 0; i <= FINER && m >= 1; i++, m--) {
            const float error = round_step(q, v, m, z);
            if (error < best.error)
                best = (choice){error, m, z};
        }
    }
    return best;
}

/* ---- packing --------------------------------------------------------------------------------- */

/* q [32] to nibbles of step s of column c. */
static void put_step(uint8_t *group, int s, int64_t c, const float q[QG_STEP], int z)
{
    for (int i = 0; i < QG_STEP; i++) {
        const int quad = (s * QG_STEP + i) / 4;
        uint8_t *at = group + QG_I4_Q_AT + quad / 2 * QG_QUAD_BYTES + c * 4 + i % 4;
        *at = (uint8_t)(*at | ((int)q[i] + z) << (quad % 2 * 4));
    }
}

/* Column c of a group: its scale, rounded to bf16 first as in quant.c, and its steps. */
static void put_column(uint8_t *group, int64_t c, float v[QG_GROUP])
{
    float unused;
    const qg_bf16 scale =
        qg_f32_to_bf16(qg_x_scale(qg_group_largest(v), &unused) * (127.0f / REACH));
    const float s = qg_bf16_to_f32(scale);
    memcpy(group + c * 2, &scale, sizeof scale);
    if (!(s > 0)) /* zero or NaN: m stays 0 */
        return;
    for (int i = 0; i < QG_GROUP; i++)
        v[i] *= 1 / s;
    for (int step = 0; step < QG_STEPS; step++) {
        float q[QG_STEP];
        const choice best = choose(v + step * QG_STEP);
        round_step(q, v + step * QG_STEP, best.m, best.z);
        group[QG_I4_STEPS_AT + step * QG_NR + c] = (uint8_t)(best.m | best.z << 4);
        put_step(group, step, c, q, best.z);
    }
}

void qg_panel_i4_pack(void *wp, const void *w, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    const int64_t groups = qg_groups(k);
    for (int64_t p = p0; p < p1; p++)
        for (int64_t g = 0; g < groups; g++) {
            uint8_t *group = (uint8_t *)wp + (p * groups + g) * QG_I4_GROUP_BYTES;
            float v[QG_GROUP];
            memset(group, 0, QG_I4_GROUP_BYTES);
            for (int64_t c = 0; c < QG_NR && p * QG_NR + c < n; c++) {
                qg_group_take(v, (const uint8_t *)w + (p * QG_NR + c) * k * 4, k, g);
                put_column(group, c, v);
            }
        }
}

/* ---- unpacking ------------------------------------------------------------------------------- */

void qg_i4_unpack(uint8_t *to, const uint8_t *group)
{
    memcpy(to, group, QG_SW_BYTES);
    to += QG_SW_BYTES;
    for (int quad = 0; quad < QG_QUADS; quad++)
        for (int c = 0; c < QG_NR; c++) {
            const uint8_t step = group[QG_I4_STEPS_AT + quad / (QG_STEP / 4) * QG_NR + c];
            const int m = step & 15, z = step >> 4;
            const uint8_t *at = group + QG_I4_Q_AT + quad / 2 * QG_QUAD_BYTES + c * 4;
            for (int j = 0; j < 4; j++)
                *to++ = (uint8_t)(128 + m * ((at[j] >> (quad % 2 * 4) & 15) - z));
        }
}

void qg_panel_i4_row(float *dst, const void *wp, int64_t k, int64_t row)
{
    const int64_t c = row % QG_NR;
    for (int64_t g = 0; g < qg_groups(k); g++) {
        const uint8_t *group =
            (const uint8_t *)wp + (row / QG_NR * qg_groups(k) + g) * QG_I4_GROUP_BYTES;
        uint8_t bytes[QG_GROUP_BYTES];
        qg_bf16 scale;
        qg_i4_unpack(bytes, group);
        memcpy(&scale, bytes + c * 2, sizeof scale);
        for (int64_t i = 0; i < QG_GROUP && g * QG_GROUP + i < k; i++)
            dst[g * QG_GROUP + i] =
                (float)(bytes[QG_SW_BYTES + i / 4 * QG_QUAD_BYTES + c * 4 + i % 4] - 128) *
                qg_bf16_to_f32(scale);
    }
}
