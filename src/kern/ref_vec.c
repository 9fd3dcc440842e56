/* Row-wise vector jobs in plain C. */
#include "kern/rows.h"

#include <math.h>

static void rmsnorm(float *y, const float *x, const float *w, int64_t k, float eps)
{
    double sum = 0;
    for (int64_t i = 0; i < k; i++)
        sum += (double)x[i] * x[i];
    float scale = (float)(1 / sqrt(sum / (double)k + (double)eps));
    for (int64_t i = 0; i < k; i++)
        y[i] = x[i] * scale * w[i];
}

static void rope(float *x, int64_t n, int64_t d, const float *cosv, const float *sinv)
{
    int64_t half = d / 2;
    for (int64_t h = 0; h < n; h++, x += d)
        for (int64_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cosv[i] - b * sinv[i];
            x[i + half] = b * cosv[i] + a * sinv[i];
        }
}

static void silu_mul(float *y, const float *g, const float *u, int64_t k)
{
    for (int64_t i = 0; i < k; i++)
        y[i] = g[i] / (1 + expf(-g[i])) * u[i];
}

static void add(float *y, const float *x, int64_t k)
{
    for (int64_t i = 0; i < k; i++)
        y[i] += x[i];
}

const qg_vec qg_vec_ref = {
    .name = "ref",
    .rmsnorm = rmsnorm,
    .rope = rope,
    .silu_mul = silu_mul,
    .add = add,
};
