#include "kern/panel.h"

#include <string.h>

size_t qg_panel_bf16_bytes(int64_t n, int64_t k)
{
    return (size_t)(qg_round_up(n, QG_NR) * qg_k_pad(k)) * sizeof(qg_bf16);
}

size_t qg_panel_f32_bytes(int64_t n, int64_t k)
{
    return (size_t)(qg_round_up(n, QG_NR) * k) * sizeof(float);
}

/* Copies k steps [k0, k0+len) of one column; len even except at the very end. */
static void bf16_column(uint16_t *dst, const uint8_t *src, int64_t k0, int64_t len)
{
    for (int64_t i = 0; i + 1 < len; i += 2)
        memcpy(dst + (k0 + i) * QG_NR, src + (k0 + i) * 2, 4);
    if (len & 1)
        memcpy(dst + (k0 + len - 1) * QG_NR, src + (k0 + len - 1) * 2, 2);
}

void qg_panel_bf16_pack(void *wp, const void *w, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    enum { STEP = 128 }; /* k steps at a time: 8 KiB of panel stay in the first-level cache */
    for (int64_t p = p0; p < p1; p++) {
        uint16_t *panel = (uint16_t *)wp + p * qg_panel_bf16(k);
        int64_t cols = n - p * QG_NR < QG_NR ? n - p * QG_NR : QG_NR;
        if (cols < QG_NR || k % 32)
            memset(panel, 0, (size_t)qg_panel_bf16(k) * sizeof *panel);
        for (int64_t k0 = 0; k0 < k; k0 += STEP)
            for (int64_t j = 0; j < cols; j++)
                bf16_column(panel + j * 2, (const uint8_t *)w + (p * QG_NR + j) * k * 2, k0,
                            k - k0 < STEP ? k - k0 : STEP);
    }
}

void qg_panel_f32_pack(void *wp, const void *w, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    enum { STEP = 64 };
    for (int64_t p = p0; p < p1; p++) {
        float *panel = (float *)wp + p * qg_panel_f32(k);
        int64_t cols = n - p * QG_NR < QG_NR ? n - p * QG_NR : QG_NR;
        if (cols < QG_NR)
            memset(panel, 0, (size_t)qg_panel_f32(k) * sizeof *panel);
        for (int64_t k0 = 0; k0 < k; k0 += STEP)
            for (int64_t j = 0; j < cols; j++) {
                const uint8_t *src = (const uint8_t *)w + (p * QG_NR + j) * k * 4;
                int64_t end = k - k0 < STEP ? k : k0 + STEP;
                for (int64_t i = k0; i < end; i++)
                    memcpy(panel + i * QG_NR + j, src + i * 4, 4);
            }
    }
}

void qg_panel_bf16_row(float *dst, const void *wp, int64_t k, int64_t row)
{
    const qg_bf16 *src = (const qg_bf16 *)wp + row / QG_NR * qg_panel_bf16(k) + row % QG_NR * 2;
    for (int64_t i = 0; i < k; i++)
        dst[i] = qg_bf16_to_f32(src[i / 2 * (QG_NR * 2) + i % 2]);
}

void qg_panel_f32_row(float *dst, const void *wp, int64_t k, int64_t row)
{
    const float *src = (const float *)wp + row / QG_NR * qg_panel_f32(k) + row % QG_NR;
    for (int64_t i = 0; i < k; i++)
        dst[i] = src[i * QG_NR];
}

size_t qg_x_bf16_bytes(int64_t k)
{
    return (size_t)(qg_k_pad(k) / 32 | 1) * 64;
}

size_t qg_x_f32_bytes(int64_t k)
{
    return (size_t)(qg_k_pad(k) / 16 | 1) * 64;
}

void qg_x_rounded_prep(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                       int64_t k1)
{
    for (int64_t i = 0; i < m; i++) {
        float *row = (float *)((uint8_t *)xp + (size_t)i * qg_x_f32_bytes(k));
        for (int64_t j = k0; j < k1; j++)
            row[j] = qg_bf16_to_f32(qg_f32_to_bf16(x[i * ldx + j - k0]));
        memset(row + k1, 0, (size_t)(qg_k_pad(k1) - k1) * sizeof *row);
    }
}

void qg_x_f32_prep(void *xp, const float *x, int64_t ldx, int64_t m, int64_t k, int64_t k0,
                   int64_t k1)
{
    for (int64_t i = 0; i < m; i++) {
        float *row = (float *)((uint8_t *)xp + (size_t)i * qg_x_f32_bytes(k));
        memcpy(row + k0, x + i * ldx, (size_t)(k1 - k0) * sizeof *row);
        memset(row + k1, 0, (size_t)(qg_k_pad(k1) - k1) * sizeof *row);
    }
}
