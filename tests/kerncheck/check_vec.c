/* Every row of vector jobs against double, for all lengths up to some vectors and a few long ones,
 * between canaries, unaligned, in place. */
#include "kerncheck.h"

#include "base/status.h"
#include "kern/kern.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_K = 12288 };

static const int64_t long_ones[] = {127, 128, 129, 1024, 1027, 3072, 4096, MAX_K};

/* Lengths 1..100, then the long ones; 0 at the end. */
static int64_t length(size_t i)
{
    if (i < 100)
        return (int64_t)i + 1;
    return i - 100 < QG_COUNT(long_ones) ? long_ones[i - 100] : 0;
}

/* Inputs end at an unmapped page; y has a canary before it. */
typedef struct lines {
    int64_t k;
    size_t bytes;
    float *x, *w, *y;
} lines;

static void lines_open(lines *l, int64_t k)
{
    rng r = {(uint64_t)k};
    l->k = k;
    l->bytes = (size_t)k * sizeof(float);
    l->x = guard_alloc(l->bytes);
    l->w = guard_alloc(l->bytes);
    l->y = (float *)guard_alloc(l->bytes + sizeof(float)) + 1;
    rng_fill(&r, l->x, (size_t)k);
    rng_fill(&r, l->w, (size_t)k);
    l->y[-1] = CANARY;
    for (int64_t i = 0; i < k; i++)
        l->y[i] = NAN;
}

static void lines_close(lines *l)
{
    assert_true(l->y[-1] == CANARY);
    guard_free(l->x, l->bytes);
    guard_free(l->w, l->bytes);
    guard_free(l->y - 1, l->bytes + sizeof(float));
}

static void near(const qg_vec *v, const char *job, int64_t k, int64_t i, float got, double want,
                 double bound)
{
    if (!(fabs((double)got - want) <= bound))
        fail_msg("%s: %s of %d: element %d is %.9g, not %.9g +- %.3g", v->name, job, (int)k, (int)i,
                 (double)got, want, bound);
}

static void rmsnorm(void **state)
{
    const qg_vec *v = *state;
    need_features(v->name, v->need);
    for (size_t n = 0; length(n); n++) {
        lines l;
        double squares = 0;
        lines_open(&l, length(n));
        for (int64_t i = 0; i < l.k; i++)
            squares += (double)l.x[i] * (double)l.x[i];
        const double scale = 1 / sqrt(squares / (double)l.k + (double)1e-6f);
        v->rmsnorm(l.y, l.x, l.w, l.k, 1e-6f);
        for (int64_t i = 0; i < l.k; i++) {
            const double want = (double)l.x[i] * scale * (double)l.w[i];
            near(v, "rmsnorm", l.k, i, l.y[i], want, fabs(want) * (double)(l.k + 16) * 0x1p-24);
        }
        v->rmsnorm(l.x, l.x, l.w, l.k, 1e-6f);
        assert_bits(l.x, l.y, (size_t)l.k, "rmsnorm in place");
        lines_close(&l);
    }
}

static void rope(void **state)
{
    const qg_vec *v = *state;
    need_features(v->name, v->need);
    for (int64_t half = 1; half <= 128; half += half < 40 ? 1 : 11) {
        lines l, angles;
        const int64_t heads = 3, d = 2 * half;
        lines_open(&l, heads * d);
        lines_open(&angles, half);
        for (int64_t i = 0; i < half; i++) {
            const float a = angles.x[i];
            angles.x[i] = cosf(a);
            angles.w[i] = sinf(a);
        }
        memcpy(l.y, l.x, l.bytes);
        v->rope(l.y, heads, d, angles.x, angles.w);
        for (int64_t i = 0; i < heads * d; i++) {
            const int64_t j = i % d, c = j % half;
            const double a = (double)l.x[i - j + c], b = (double)l.x[i - j + c + half];
            const double cs = (double)angles.x[c], sn = (double)angles.w[c];
            const double want = j < half ? a * cs - b * sn : b * cs + a * sn;
            near(v, "rope", d, i, l.y[i], want, (fabs(a) + fabs(b)) * 0x1p-22);
        }
        lines_close(&l);
        lines_close(&angles);
    }
}

static double silu(double g)
{
    return g / (1 + exp(-g));
}

static void silu_mul(void **state)
{
    const qg_vec *v = *state;
    need_features(v->name, v->need);
    for (size_t n = 0; length(n); n++) {
        lines l;
        lines_open(&l, length(n));
        for (int64_t i = 0; i < l.k; i += 3)
            l.x[i] = (float)(i * 17 % 401 - 200); /* where the exponential leaves the floats */
        v->silu_mul(l.y, l.x, l.w, l.k);
        for (int64_t i = 0; i < l.k; i++) {
            const double want = silu((double)l.x[i]) * (double)l.w[i];
            /* denormal results may be 0, and the exponential may stop at 2^127 */
            near(v, "silu_mul", l.k, i, l.y[i], want,
                 fabs(want) * 0x1p-20 + 0x1p-110 * fabs((double)l.w[i]));
        }
        v->silu_mul(l.x, l.x, l.w, l.k);
        assert_bits(l.x, l.y, (size_t)l.k, "silu_mul in place");
        lines_close(&l);
    }
}

static void add(void **state)
{
    const qg_vec *v = *state;
    need_features(v->name, v->need);
    for (size_t n = 0; length(n); n++) {
        lines l;
        lines_open(&l, length(n));
        memcpy(l.y, l.w, l.bytes);
        v->add(l.y, l.x, l.k);
        for (int64_t i = 0; i < l.k; i++)
            if (l.y[i] != l.w[i] + l.x[i])
                fail_msg("%s: add of %d: element %d", v->name, (int)l.k, (int)i);
        lines_close(&l);
    }
}

static void nan_and_inf_propagate(void **state)
{
    const qg_vec *v = *state;
    need_features(v->name, v->need);
    for (int64_t at = 0; at < 50; at++) {
        lines l;
        lines_open(&l, 50);
        for (int64_t i = 0; i < 50; i++)
            l.w[i] = 1;
        l.x[at] = NAN;
        v->rmsnorm(l.y, l.x, l.w, 50, 1e-6f);
        for (int64_t i = 0; i < 50; i++)
            assert_true(isnan(l.y[i]));
        v->silu_mul(l.y, l.x, l.w, 50);
        for (int64_t i = 0; i < 50; i++)
            assert_true(isnan(l.y[i]) == (i == at));
        l.x[at] = INFINITY;
        v->silu_mul(l.y, l.x, l.w, 50);
        assert_true(isinf(l.y[at]));
        lines_close(&l);
    }
}

int main(void)
{
    static const struct {
        const char *what;
        CMUnitTestFunction fn;
    } each[] = {
        {"rmsnorm", rmsnorm},
        {"rope", rope},
        {"silu_mul", silu_mul},
        {"add", add},
        {"NaN and Inf propagate", nan_and_inf_propagate},
    };
    enum { MAX_TESTS = 20 * QG_COUNT(each) };
    struct CMUnitTest tests[MAX_TESTS] = {{0}};
    char names[MAX_TESTS][100];
    size_t n = 0;
    for (const qg_vec *const *v = qg_vec_rows(); *v && n < MAX_TESTS; v++)
        for (size_t i = 0; i < QG_COUNT(each); i++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", (*v)->name, each[i].what);
            tests[n] = (struct CMUnitTest){
                .name = names[n], .test_func = each[i].fn, .initial_state = (void *)(uintptr_t)*v};
        }
    return _cmocka_run_group_tests("vec", tests, n, NULL, NULL);
}
