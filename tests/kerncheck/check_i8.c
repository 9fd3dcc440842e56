/* The rows with 8-bit activations, weights of 8 and of 4 bits: the same bits as plain C, plain C
 * within what rounding to 8 bits allows, 4-bit weights as 8-bit ones that were unpacked, and the
 * error when a few channels are a hundred or a thousand times larger than the others. */
#include "kerncheck.h"

#include "base/status.h"
#include "kern/quant4.h"
#include "kern/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int64_t m, n, k;
} shapes[] = {
    {1, 1, 1},     {1, 3, 5},     {2, 31, 127},  {3, 32, 128},  {4, 100, 129}, {5, 97, 130},
    {6, 64, 255},  {7, 160, 257}, {8, 129, 96},  {9, 300, 64},  {10, 66, 384}, {11, 33, 1023},
    {12, 65, 512}, {13, 65, 640}, {24, 32, 100}, {25, 34, 200}, {37, 7, 513},  {50, 40, 3072},
};

typedef struct job {
    int64_t m, n, k, ldx, ldy;
    size_t x_bytes, w_bytes, y_bytes;
    float *x, *w, *y, *ref; /* w [n][k]; y and ref [m][ldy] */
} job;

static void job_open(job *j, int64_t m, int64_t n, int64_t k)
{
    rng r = {(uint64_t)(m * 1000003 + n * 1009 + k)};
    *j = (job){.m = m, .n = n, .k = k, .ldx = k + 3, .ldy = n + 5};
    j->x_bytes = (size_t)((m - 1) * j->ldx + k) * sizeof(float);
    j->w_bytes = (size_t)(n * k) * sizeof(float);
    j->y_bytes = (size_t)((m - 1) * j->ldy + n) * sizeof(float);
    j->x = guard_alloc(j->x_bytes);
    j->w = guard_alloc(j->w_bytes);
    j->y = guard_alloc(j->y_bytes);
    j->ref = guard_alloc(j->y_bytes);
    rng_fill(&r, j->x, j->x_bytes / sizeof(float));
    rng_fill(&r, j->w, j->w_bytes / sizeof(float));
}

static void job_close(job *j)
{
    guard_free(j->x, j->x_bytes);
    guard_free(j->w, j->w_bytes);
    guard_free(j->y, j->y_bytes);
    guard_free(j->ref, j->y_bytes);
}

static const qg_gemm *plain_c(const qg_gemm *g)
{
    return g->format == QG_W_I4 ? &qg_gemm_i4_ref : &qg_gemm_i8_ref;
}

static void multiply(const job *j, const qg_gemm *g, float *y)
{
    const size_t wp_bytes = g->packed_bytes(j->n, j->k);
    const size_t xp_bytes = g->x_bytes(j->k) * (size_t)j->m;
    const int64_t panels = (j->n + g->nr - 1) / g->nr;
    void *wp = guard_alloc(wp_bytes), *xp = guard_alloc(xp_bytes);
    for (size_t i = 0; i < j->y_bytes / sizeof *y; i++)
        y[i] = CANARY;
    for (int64_t i = 0; i < j->m; i++)
        for (int64_t c = 0; c < j->n; c++)
            y[i * j->ldy + c] = NAN;
    g->pack(wp, j->w, j->n, j->k, 0, panels);
    const int64_t cut = g == plain_c(g) || j->k <= QG_X_PART ? 0 : QG_X_PART;
    g->prep(xp, j->x + cut, j->ldx, j->m, j->k, cut, j->k);
    if (cut)
        g->prep(xp, j->x, j->ldx, j->m, j->k, 0, cut);
    g->run(y, j->ldy, xp, wp, j->m, j->n, j->k, 0, panels);
    guard_free(wp, wp_bytes);
    guard_free(xp, xp_bytes);
}

static void compare(const job *j, const qg_gemm *g)
{
    char text[120];
    snprintf(text, sizeof text, "%s m=%d n=%d k=%d beside plain C", g->name, (int)j->m, (int)j->n,
             (int)j->k);
    assert_bits(j->y, j->ref, j->y_bytes / sizeof(float), text); /* canaries included */
}

static void equals_plain_c(void **state)
{
    const qg_gemm *g = *state;
    need_features(g->name, g->need);
    for (size_t i = 0; i < QG_COUNT(shapes); i++) {
        job j;
        job_open(&j, shapes[i].m, shapes[i].n, shapes[i].k);
        multiply(&j, plain_c(g), j.ref);
        multiply(&j, g, j.y);
        compare(&j, g);
        job_close(&j);
    }
}

/* All bytes at their ends: sums of 128 products of 127 * 127. */
static void equals_plain_c_at_the_ends(void **state)
{
    const qg_gemm *g = *state;
    need_features(g->name, g->need);
    for (int sign = 0; sign < 4; sign++) {
        job j;
        job_open(&j, 13, 70, 300);
        for (size_t i = 0; i < j.x_bytes / sizeof(float); i++)
            j.x[i] = sign & 1 ? -3 : 3;
        for (size_t i = 0; i < j.w_bytes / sizeof(float); i++)
            j.w[i] = sign & 2 ? -5 : 5;
        multiply(&j, plain_c(g), j.ref);
        multiply(&j, g, j.y);
        compare(&j, g);
        const double want = 300.0 * 15 * (sign == 0 || sign == 3 ? 1 : -1);
        assert_true(fabs((double)j.y[0] - want) <= 0.005 * fabs(want));
        job_close(&j);
    }
}

static void nan_and_inf_reach_their_row_or_column(void **state)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    const qg_gemm *g = *state;
    need_features(g->name, g->need);
    for (size_t i = 0; i < QG_COUNT(odd) * 2; i++) {
        job j;
        const bool in_x = i % 2 == 0;
        job_open(&j, 14, 70, 245);
        if (in_x)
            j.x[6 * j.ldx + 200] = odd[i / 2];
        else
            j.w[33 * j.k + 244] = odd[i / 2];
        multiply(&j, g, j.y);
        for (int64_t r = 0; r < j.m; r++)
            for (int64_t c = 0; c < j.n; c++)
                if (isfinite(j.y[r * j.ldy + c]) == (in_x ? r == 6 : c == 33))
                    fail_msg("%s: y[%d][%d] is %g", g->name, (int)r, (int)c,
                             (double)j.y[r * j.ldy + c]);
        job_close(&j);
    }
}

static double largest(const float *v, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)v[i]));
    return most;
}

/* |y - x * w| <= sum of |x| dw + |w| dx + dx dw, where dx and dw are half a step of the group
 * (bf16 scales: half a step and a 250th). */
static void plain_c_within_rounding(void **state)
{
    (void)state;
    for (size_t s = 0; s < QG_COUNT(shapes); s++) {
        job j;
        job_open(&j, shapes[s].m < 8 ? shapes[s].m : 8, shapes[s].n, shapes[s].k);
        multiply(&j, &qg_gemm_i8_ref, j.ref);
        for (int64_t r = 0; r < j.m; r++)
            for (int64_t c = 0; c < j.n; c++) {
                double want = 0, bound = 1e-30;
                for (int64_t g = 0; g < j.k; g += QG_GROUP) {
                    const int64_t len = j.k - g < QG_GROUP ? j.k - g : QG_GROUP;
                    const float *x = j.x + r * j.ldx + g, *w = j.w + c * j.k + g;
                    const double dx = largest(x, len) / 254, dw = largest(w, len) / 253;
                    for (int64_t i = 0; i < len; i++) {
                        want += (double)x[i] * (double)w[i];
                        bound += fabs((double)x[i]) * dw + fabs((double)w[i]) * dx + dx * dw;
                    }
                }
                const double got = (double)j.ref[r * j.ldy + c];
                if (!(fabs(got - want) <= bound * 1.001))
                    fail_msg("m=%d n=%d k=%d: y[%d][%d] = %.9g, not %.9g +- %.3g", (int)j.m,
                             (int)j.n, (int)j.k, (int)r, (int)c, got, want, bound);
            }
        job_close(&j);
    }
}

/* ---- 4-bit weights ----------------------------------------------------------------------------
 */

static float bell(rng *r)
{
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += (float)(int32_t)rng_next(r) * 0x1p-31f;
    return sum * 0.70710678f; /* variance 1 */
}

/* Unpacked groups are 8-bit panels: the product of these is the product of the 4-bit ones, and a
 * row of the matrix reads the same from either. */
static void four_bits_unpack_to_eight(void **state)
{
    (void)state;
    for (size_t s = 0; s < QG_COUNT(shapes); s++) {
        job j;
        job_open(&j, shapes[s].m, shapes[s].n, shapes[s].k);
        const int64_t panels = (j.n + QG_NR - 1) / QG_NR, groups = panels * qg_groups(j.k);
        const size_t w4_bytes = qg_panel_i4_bytes(j.n, j.k), w8_bytes = qg_panel_i8_bytes(j.n, j.k);
        const size_t xp_bytes = qg_x_i8_bytes(j.k) * (size_t)j.m, row = (size_t)j.k * sizeof(float);
        uint8_t *w4 = guard_alloc(w4_bytes), *w8 = guard_alloc(w8_bytes);
        void *xp = guard_alloc(xp_bytes);
        float *a = guard_alloc(row), *b = guard_alloc(row);
        qg_panel_i4_pack(w4, j.w, j.n, j.k, 0, panels);
        for (int64_t g = 0; g < groups; g++)
            qg_i4_unpack(w8 + g * QG_GROUP_BYTES, w4 + g * QG_I4_GROUP_BYTES);
        for (size_t i = 0; i < j.y_bytes / sizeof *j.y; i++)
            j.y[i] = j.ref[i] = CANARY;
        qg_x_i8_prep(xp, j.x, j.ldx, j.m, j.k, 0, j.k);
        qg_gemm_i4_ref.run(j.y, j.ldy, xp, w4, j.m, j.n, j.k, 0, panels);
        qg_gemm_i8_ref.run(j.ref, j.ldy, xp, w8, j.m, j.n, j.k, 0, panels);
        compare(&j, &qg_gemm_i4_ref);
        for (int64_t c = 0; c < j.n; c++) {
            qg_panel_i4_row(a, w4, j.k, c);
            qg_panel_i8_row(b, w8, j.k, c);
            assert_bits(a, b, (size_t)j.k, "a row of the matrix");
        }
        guard_free(w4, w4_bytes);
        guard_free(w8, w8_bytes);
        guard_free(xp, xp_bytes);
        guard_free(a, row);
        guard_free(b, row);
        job_close(&j);
    }
}

/* Root mean square of what rounding does to normally distributed weights, relative. */
static void error_of_four_bits(void **state)
{
    enum { N = 64, K = 1024 };
    (void)state;
    rng r = {9};
    const size_t bytes = qg_panel_i4_bytes(N, K);
    float *w = guard_alloc(N * K * sizeof *w), *row = guard_alloc(K * sizeof *row);
    uint8_t *wp = guard_alloc(bytes);
    double err = 0, all = 0;
    for (int i = 0; i < N * K; i++)
        w[i] = bell(&r);
    qg_panel_i4_pack(wp, w, N, K, 0, N / QG_NR);
    for (int c = 0; c < N; c++) {
        qg_panel_i4_row(row, wp, K, c);
        for (int i = 0; i < K; i++) {
            const double d = (double)row[i] - (double)w[c * K + i];
            err += d * d;
            all += (double)w[c * K + i] * (double)w[c * K + i];
        }
    }
    printf("4-bit weights: error %.4f\n", sqrt(err / all));
    assert_true(sqrt(err / all) < 0.082);
    guard_free(w, N * K * sizeof *w);
    guard_free(row, K * sizeof *row);
    guard_free(wp, bytes);
}

/* ---- outlier channels ------------------------------------------------------------------------ */

/* Root mean square of y - x * w over that of x * w, when x is rounded to `steps` of its largest
 * value over groups of `group` channels; y NULL: rounded here, the weights exact. */
static double error_of(const job *j, const float *y, int64_t group)
{
    double err = 0, all = 0;
    for (int64_t r = 0; r < j->m; r++)
        for (int64_t c = 0; c < j->n; c++) {
            double want = 0, got = 0;
            for (int64_t g = 0; g < j->k; g += group) {
                const float *x = j->x + r * j->ldx + g, *w = j->w + c * j->k + g;
                const double step = y ? 1 : largest(x, group) / 127;
                for (int64_t i = 0; i < group; i++) {
                    want += (double)x[i] * (double)w[i];
                    got += rint((double)x[i] / step) * step * (double)w[i];
                }
            }
            const double d = (y ? (double)y[r * j->ldy + c] : got) - want;
            err += d * d;
            all += want * want;
        }
    return sqrt(err / all);
}

/* Four channels `times` as large, their weights that much smaller, as in trained models: all
 * channels matter alike.  Without the factors of src/model/equal.c the groups that hold an outlier
 * are lost, the others are not; one scale for the whole row loses everything. */
static void error_with_outlier_channels(void **state)
{
    static const struct {
        float times;
        double bound;
    } cases[] = {{1, 0.01}, {100, 0.2}, {1000, 0.5}};
    (void)state;
    for (size_t s = 0; s < QG_COUNT(cases); s++) {
        rng r = {7};
        job j;
        job_open(&j, 8, 64, 1024);
        for (size_t i = 0; i < j.x_bytes / sizeof(float); i++)
            j.x[i] = bell(&r);
        for (size_t i = 0; i < j.w_bytes / sizeof(float); i++)
            j.w[i] = bell(&r);
        for (int64_t i = 0; i < 4; i++) {
            const int64_t at = i < 2 ? 17 + 60 * i : 700 + 9 * i; /* in two groups of eight */
            for (int64_t row = 0; row < j.m; row++)
                j.x[row * j.ldx + at] *= cases[s].times;
            for (int64_t col = 0; col < j.n; col++)
                j.w[col * j.k + at] /= cases[s].times;
        }
        multiply(&j, &qg_gemm_i8_ref, j.ref);
        const double grouped = error_of(&j, j.ref, j.k), whole = error_of(&j, NULL, j.k);
        printf("outliers x %g: error %.4f; one scale for the row, exact weights: %.4f\n",
               (double)cases[s].times, grouped, whole);
        assert_true(grouped <= cases[s].bound);
        assert_true(s == 0 || grouped < 0.6 * whole);
        job_close(&j);
    }
}

int main(void)
{
    enum { MAX_TESTS = 60 };
    struct CMUnitTest tests[MAX_TESTS] = {
        cmocka_unit_test(plain_c_within_rounding),
        cmocka_unit_test(error_with_outlier_channels),
        cmocka_unit_test(four_bits_unpack_to_eight),
        cmocka_unit_test(error_of_four_bits),
    };
    static const CMUnitTestFunction each[] = {equals_plain_c, equals_plain_c_at_the_ends,
                                              nan_and_inf_reach_their_row_or_column};
    static const char *const what[] = {"equals plain C", "equals plain C at the ends",
                                       "NaN and Inf reach their row or column"};
    const qg_gemm *const *const tables[] = {qg_gemm_rows(), qg_gemm_emulated_rows()};
    char names[MAX_TESTS][100];
    size_t n = 4;
    for (size_t t = 0; t < QG_COUNT(tables); t++)
        for (const qg_gemm *const *g = tables[t]; *g; g++)
            for (size_t i = 0; ((*g)->format == QG_W_I8 || (*g)->format == QG_W_I4) &&
                               i < QG_COUNT(each) && n < MAX_TESTS;
                 i++, n++) {
                snprintf(names[n], sizeof names[n], "%s: %s", (*g)->name, what[i]);
                tests[n] = (struct CMUnitTest){
                    .name = names[n], .test_func = each[i], .initial_state = (void *)(uintptr_t)*g};
            }
    return _cmocka_run_group_tests("i8", tests, n, NULL, NULL);
}
