#include "base/sum.h"

#include <string.h>

enum { LANES = 8 }; /* one multiplication takes three cycles, and eight lanes fill them */

static inline uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

uint64_t qg_sum64(uint64_t seed, const void *p, size_t n)
{
    const uint8_t *at = p;
    uint64_t h[LANES], word[LANES], sum = mix(seed, n);

    for (int i = 0; i < LANES; i++)
        h[i] = seed + (uint64_t)i;
    for (; n >= sizeof word; n -= sizeof word, at += sizeof word) {
        memcpy(word, at, sizeof word);
        for (int i = 0; i < LANES; i++)
            h[i] = mix(h[i], word[i]);
    }
    memset(word, 0, sizeof word);
    if (n)
        memcpy(word, at, n);
    for (int i = 0; i < LANES; i++)
        sum = mix(mix(sum, h[i]), word[i]);
    return mix(sum, 0);
}
