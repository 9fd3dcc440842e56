/* Formats in which several numbers share a scale: the element types of GGUF files.  Each block of
 * `elements` numbers takes `bytes` bytes.  Layouts are those of the ggml library, whose Python
 * package is the reference: decode gives its float32 values to the bit. */
#ifndef QG_FMT_BLOCKS_H
#define QG_FMT_BLOCKS_H

#include <stdint.h>

typedef struct qg_blocks {
    const char *name; /* "Q4_K" */
    uint32_t id;      /* in a GGUF file */
    int32_t elements, bytes;
    /* dst [n * elements] = blocks src [0, n); src at any address.  NULL: bytes without a meaning of
     * their own (safetensors' U8) */
    void (*decode)(float *dst, const uint8_t *src, int64_t n);
} qg_blocks;

/* The format with this number in a GGUF file, or NULL: not read here (F32, F16 and BF16 are no
 * blocks). */
const qg_blocks *qg_blocks_find(uint32_t id);
/* Name of a number that qg_blocks_find does not know, "?" for one without a name: for sentences. */
const char *qg_blocks_refused(uint32_t id);

/* Exact. */
static inline float qg_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = (h >> 10) & 31u, frac = h & 0x3ffu;
    union {
        uint32_t u;
        float f;
    } c;
    if (exp == 31)
        c.u = sign | 0x7f800000u | frac << 13;
    else if (exp)
        c.u = sign | (exp + 112) << 23 | frac << 13;
    else {
        c.f = (float)frac * 0x1p-24f; /* zero or subnormal, exact */
        c.u |= sign;
    }
    return c.f;
}

#endif
