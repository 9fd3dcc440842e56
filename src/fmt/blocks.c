#include "fmt/blocks.h"

#include "base/status.h"

#include <string.h>

/* ---- blocks of 32 with a scale, and perhaps a minimum, in 16-bit floats --------------------- */

static float half_at(const uint8_t *p)
{
    return qg_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static void decode_q8_0(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n--, src += 34, dst += 32) {
        const float d = half_at(src);
        for (int i = 0; i < 32; i++)
            dst[i] = (float)(int8_t)src[2 + i] * d;
    }
}

/* Element i of 32: sixteen bytes hold elements 0..15 in their low halves and 16..31 in their high
 * ones; qh has a fifth bit of each. */
static float nibble(const uint8_t *qs, uint32_t qh, int i)
{
    return (float)((qs[i % 16] >> (i / 16 * 4) & 15) | (int)(qh >> i & 1) << 4);
}

static uint32_t bits_at(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void decode_q4_0(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n--, src += 18, dst += 32)
        for (int i = 0; i < 32; i++)
            dst[i] = half_at(src) * (nibble(src + 2, 0, i) - 8);
}

static void decode_q4_1(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n--, src += 20, dst += 32)
        for (int i = 0; i < 32; i++)
            dst[i] = half_at(src) * nibble(src + 4, 0, i) + half_at(src + 2);
}

static void decode_q5_0(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n--, src += 22, dst += 32)
        for (int i = 0; i < 32; i++)
            dst[i] = half_at(src) * (nibble(src + 6, bits_at(src + 2), i) - 16);
}

static void decode_q5_1(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n--, src += 24, dst += 32)
        for (int i = 0; i < 32; i++)
            dst[i] = half_at(src) * nibble(src + 8, bits_at(src + 4), i) + half_at(src + 2);
}

/* ---- blocks of 256: small scales below one in a 16-bit float --------------------------------- */

/* Scale and minimum, 6 bits each, of group g of 8: twelve bytes hold four scales, four minimums,
 * and the low halves of the other four; the high quarters of the first eight bytes are the rest. */
static void scale_and_min(const uint8_t *p, int g, int *scale, int *min)
{
    if (g < 4) {
        *scale = p[g] & 63;
        *min = p[g + 4] & 63;
    } else {
        *scale = (p[g + 4] & 15) | (p[g - 4] >> 6) << 4;
        *min = p[g + 4] >> 4 | (p[g] >> 6) << 4;
    }
}

/* Eight groups of 32: two share 32 bytes.  qh, or NULL: bit g of byte i is the fifth bit of element
 * i of group g. */
static void decode_affine(float *dst, const uint8_t *head, const uint8_t *qh, const uint8_t *qs)
{
    const float d = half_at(head), least = half_at(head + 2);
    for (int g = 0; g < 8; g++, dst += 32) {
        int scale, min;
        scale_and_min(head + 4, g, &scale, &min);
        const float by = d * (float)scale, less = least * (float)min;
        for (int i = 0; i < 32; i++) {
            const int high = qh ? (qh[i] >> g & 1) << 4 : 0;
            const int q = (qs[g / 2 * 32 + i] >> (g % 2 * 4) & 15) | high;
            dst[i] = by * (float)q - less;
        }
    }
}

static void decode_q4_k(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n--, src += 144, dst += 256)
        decode_affine(dst, src, NULL, src + 16);
}

static void decode_q5_k(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n--, src += 176, dst += 256)
        decode_affine(dst, src, src + 16, src + 48);
}

/* The other three cut 256 elements into two halves of four runs of 32: element i of run r of half
 * h. */
static void decode_q6_k(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n--, src += 210) {
        const uint8_t *ql = src, *qh = src + 128, *scales = src + 192;
        const float d = half_at(src + 208);
        for (int run = 0; run < 8; run++)
            for (int i = 0; i < 32; i++) {
                const int h = run / 4, r = run % 4;
                const int low = ql[h * 64 + r % 2 * 32 + i] >> (r / 2 * 4) & 15;
                const int high = qh[h * 32 + i] >> (2 * r) & 3;
                const float by = d * (float)(int8_t)scales[run * 2 + i / 16];
                *dst++ = by * (float)((low | high << 4) - 32);
            }
    }
}

static void decode_q2_k(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n--, src += 84) {
        const uint8_t *scales = src, *qs = src + 16;
        const float d = half_at(src + 80), least = half_at(src + 82);
        for (int run = 0; run < 8; run++)
            for (int i = 0; i < 32; i++) {
                const uint8_t both = scales[run * 2 + i / 16];
                const int q = qs[run / 4 * 32 + i] >> (run % 4 * 2) & 3;
                *dst++ = d * (float)(both & 15) * (float)q - least * (float)(both >> 4);
            }
    }
}

/* Scale k of 16, 6 bits: eight bytes of low halves, four of high quarters; 32 is zero. */
static int scale_q3(const uint8_t *p, int k)
{
    const int low = p[k % 8] >> (k / 8 * 4) & 15, high = p[8 + k % 4] >> (k / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

static void decode_q3_k(float *dst, const uint8_t *src, int64_t n)
{
    for (; n > 0; n--, src += 110) {
        const uint8_t *mask = src, *qs = src + 32, *scales = src + 96;
        const float d = half_at(src + 108);
        for (int run = 0; run < 8; run++)
            for (int i = 0; i < 32; i++) {
                const int low = qs[run / 4 * 32 + i] >> (run % 4 * 2) & 3;
                const int less = mask[i] >> run & 1 ? 0 : 4; /* set: nothing is taken away */
                const float by = d * (float)scale_q3(scales, run * 2 + i / 16);
                *dst++ = by * (float)(low - less);
            }
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

static const qg_blocks formats[] = {
    {"Q4_0", 2, 32, 18, decode_q4_0},    {"Q4_1", 3, 32, 20, decode_q4_1},
    {"Q5_0", 6, 32, 22, decode_q5_0},    {"Q5_1", 7, 32, 24, decode_q5_1},
    {"Q8_0", 8, 32, 34, decode_q8_0},    {"Q2_K", 10, 256, 84, decode_q2_k},
    {"Q3_K", 11, 256, 110, decode_q3_k}, {"Q4_K", 12, 256, 144, decode_q4_k},
    {"Q5_K", 13, 256, 176, decode_q5_k}, {"Q6_K", 14, 256, 210, decode_q6_k},
};

const qg_blocks *qg_blocks_find(uint32_t id)
{
    for (size_t i = 0; i < QG_COUNT(formats); i++)
        if (formats[i].id == id)
            return &formats[i];
    return NULL;
}

const char *qg_blocks_refused(uint32_t id)
{
    static const struct {
        uint32_t id;
        const char *name;
    } names[] = {
        {4, "Q4_2"},    {5, "Q4_3"},     {9, "Q8_1"},   {15, "Q8_K"},   {16, "IQ2_XXS"},
        {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},
        {22, "IQ2_S"},  {23, "IQ4_XS"},  {24, "I8"},    {25, "I16"},    {26, "I32"},
        {27, "I64"},    {28, "F64"},     {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},
        {39, "MXFP4"},
    };
    for (size_t i = 0; i < QG_COUNT(names); i++)
        if (names[i].id == id)
            return names[i].name;
    return "?";
}
