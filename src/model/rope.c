/* Rotary angles, rounded as the reference rounds them: frequency and angle are float32 numbers, and
 * at position 2,000 that rounding is most of the distance between implementations.  Cosine and sine
 * of the rounded angle are taken in double, so that every C library gives the same bits. */
#include "model/model_int.h"

#include <math.h>

void qg_rope_freqs(float *inv_freq, int32_t head_dim, double theta)
{
    for (int32_t i = 0; i < head_dim / 2; i++) {
        float exponent = (float)(2 * i) / (float)head_dim;
        inv_freq[i] = 1.0f / (float)pow(theta, exponent);
    }
}

void qg_rope_angles(float *cosv, float *sinv, const float *inv_freq, int32_t head_dim, int32_t pos)
{
    for (int32_t i = 0; i < head_dim / 2; i++) {
        float angle = (float)pos * inv_freq[i];
        cosv[i] = (float)cos((double)angle);
        sinv[i] = (float)sin((double)angle);
    }
}
