/* Every matrix product row against sums in double, and against itself: same bits whatever the
 * number of rows, the split of panels, the split over threads. */
#include "kerncheck.h"

#include "base/pool.h"
#include "base/status.h"
#include "kern/kern.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int64_t m, n, k;
} shapes[] = {
    {1, 1, 1},       {1, 3, 5},      {1, 1024, 1024}, {2, 31, 33},   {3, 32, 2},      {4, 1000, 40},
    {5, 97, 1},      {6, 64, 64},    {7, 160, 1023},  {8, 129, 96},  {9, 2048, 64},   {10, 66, 31},
    {11, 33, 257},   {12, 65, 128},  {13, 65, 12288}, {15, 33, 64},  {16, 65, 31},    {17, 64, 100},
    {31, 96, 33},    {33, 65, 65},   {24, 32, 32},    {25, 34, 100}, {32, 96, 1024},  {37, 7, 513},
    {129, 130, 127}, {171, 64, 320}, {256, 64, 96},   {300, 40, 70}, {2, 128, 12288},
};

/* One product with all its memory.  Rows of x are ldx apart, rows of y ldy; the gaps hold canaries
 * and every block ends at an unmapped page, which also leaves x, y and w at odd alignments. */
typedef struct product {
    const qg_gemm *g;
    int64_t m, n, k, ldx, ldy, panels;
    size_t x_bytes, w_bytes, y_bytes, xp_bytes, wp_bytes;
    float *x, *y;
    void *w, *xp, *wp;
} product;

static size_t w_elem(const qg_gemm *g)
{
    return g->format != QG_W_BF16 ? sizeof(float) : sizeof(qg_bf16);
}

/* Weights are read through memcpy: models on disk promise no alignment. */
static double w_at(const product *p, int64_t j, int64_t i)
{
    const uint8_t *at = (const uint8_t *)p->w + (size_t)(j * p->k + i) * w_elem(p->g);
    float f;
    qg_bf16 h;
    if (p->g->format != QG_W_BF16) {
        memcpy(&f, at, sizeof f);
        return (double)f;
    }
    memcpy(&h, at, sizeof h);
    return (double)qg_bf16_to_f32(h);
}

static void w_set(product *p, int64_t j, int64_t i, float v)
{
    uint8_t *at = (uint8_t *)p->w + (size_t)(j * p->k + i) * w_elem(p->g);
    const qg_bf16 h = qg_f32_to_bf16(v);
    if (p->g->format != QG_W_BF16)
        memcpy(at, &v, sizeof v);
    else
        memcpy(at, &h, sizeof h);
}

/* x as the row multiplies it. */
static double x_at(const product *p, int64_t r, int64_t i)
{
    const float v = p->x[r * p->ldx + i];
    return (double)(p->g->format != QG_W_BF16 ? v : qg_bf16_to_f32(qg_f32_to_bf16(v)));
}

static void pack_and_prep(product *p)
{
    /* in pieces, last first: what one thread packs may not touch what another did */
    for (int64_t at = p->panels; at > 0; at -= 3)
        p->g->pack(p->wp, p->w, p->n, p->k, at < 3 ? 0 : at - 3, at);
    for (int64_t at = (p->k - 1) / QG_X_PART * QG_X_PART; at >= 0; at -= QG_X_PART)
        p->g->prep(p->xp, p->x + at, p->ldx, p->m, p->k, at,
                   at + QG_X_PART < p->k ? at + QG_X_PART : p->k);
}

static void product_open(product *p, const qg_gemm *g, int64_t m, int64_t n, int64_t k)
{
    rng r = {(uint64_t)(m * 1000003 + n * 1009 + k)};
    *p = (product){.g = g, .m = m, .n = n, .k = k, .ldx = k + 3, .ldy = n + 5};
    p->panels = (n + g->nr - 1) / g->nr;
    p->x_bytes = (size_t)((m - 1) * p->ldx + k) * sizeof(float);
    p->y_bytes = (size_t)((m - 1) * p->ldy + n) * sizeof(float);
    p->w_bytes = (size_t)(n * k) * w_elem(g);
    p->wp_bytes = g->packed_bytes(n, k);
    p->xp_bytes = g->x_bytes(k) * (size_t)m;
    assert_int_equal(p->wp_bytes % 64, 0);
    assert_int_equal(g->x_bytes(k) % 64, 0);
    p->x = guard_alloc(p->x_bytes);
    p->y = guard_alloc(p->y_bytes);
    p->w = guard_alloc(p->w_bytes);
    p->wp = guard_alloc(p->wp_bytes);
    p->xp = guard_alloc(p->xp_bytes);
    rng_fill(&r, p->x, p->x_bytes / sizeof(float));
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < k; i++)
            w_set(p, j, i, rng_float(&r));
    pack_and_prep(p);
}

static void product_close(product *p)
{
    guard_free(p->x, p->x_bytes);
    guard_free(p->y, p->y_bytes);
    guard_free(p->w, p->w_bytes);
    guard_free(p->wp, p->wp_bytes);
    guard_free(p->xp, p->xp_bytes);
}

static void y_clear(product *p)
{
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < (i + 1 < p->m ? p->ldy : p->n); j++)
            p->y[i * p->ldy + j] = j < p->n ? NAN : CANARY;
}

static void run_rows(product *p, int64_t r0, int64_t r1, int64_t p0, int64_t p1)
{
    p->g->run(p->y + r0 * p->ldy, p->ldy, (uint8_t *)p->xp + (size_t)r0 * p->g->x_bytes(p->k),
              p->wp, r1 - r0, p->n, p->k, p0, p1);
}

/* The bound: products of two bf16 are exact in float and all rows add in float, so only the order
 * of additions and their roundings count: |y - ref| <= (k + 16) * 2^-24 * sum |x * w|.  VDPBF16PS
 * takes denormals for zero, hence the last term. */
static void check_values(const product *p)
{
    for (int64_t r = 0; r < p->m; r++)
        for (int64_t j = 0; j < p->n; j++) {
            double ref = 0, sum = 0, got = (double)p->y[r * p->ldy + j];
            for (int64_t i = 0; i < p->k; i++) {
                const double v = x_at(p, r, i) * w_at(p, j, i);
                ref += v;
                sum += fabs(v);
            }
            const double bound = (double)(p->k + 16) * (0x1p-24 * sum + 0x1p-120);
            if (!(fabs(got - ref) <= bound))
                fail_msg("%s m=%d n=%d k=%d: y[%d][%d] = %.9g, not %.9g +- %.3g", p->g->name,
                         (int)p->m, (int)p->n, (int)p->k, (int)r, (int)j, got, ref, bound);
        }
}

static void check_canaries(const product *p)
{
    for (int64_t i = 0; i + 1 < p->m; i++)
        for (int64_t j = p->n; j < p->ldy; j++)
            if (p->y[i * p->ldy + j] != CANARY)
                fail_msg("%s m=%d n=%d k=%d: wrote behind row %d", p->g->name, (int)p->m, (int)p->n,
                         (int)p->k, (int)i);
}

static void check_unpack(const product *p)
{
    float *row = guard_alloc((size_t)p->k * sizeof(float));
    for (int64_t j = 0; j < p->n; j += j + 2 < p->n ? 1 + p->n / 50 : 1) {
        p->g->unpack_row(row, p->wp, p->k, j);
        for (int64_t i = 0; i < p->k; i++)
            if ((double)row[i] != w_at(p, j, i))
                fail_msg("%s: unpacked [%d][%d] differs", p->g->name, (int)j, (int)i);
    }
    guard_free(row, (size_t)p->k * sizeof(float));
}

static void values_within_bound(void **state)
{
    const qg_gemm *g = *state;
    need_features(g->name, g->need);
    for (size_t i = 0; i < QG_COUNT(shapes); i++) {
        product p;
        product_open(&p, g, shapes[i].m, shapes[i].n, shapes[i].k);
        y_clear(&p);
        run_rows(&p, 0, p.m, 0, p.panels);
        check_values(&p);
        check_canaries(&p);
        check_unpack(&p);
        product_close(&p);
    }
}

typedef struct split {
    product *p;
    bool by_rows;
} split;

static void run_part(void *arg, int part, int n_parts)
{
    const split *s = arg;
    product *p = s->p;
    if (s->by_rows)
        run_rows(p, p->m * part / n_parts, p->m * (part + 1) / n_parts, 0, p->panels);
    else
        run_rows(p, 0, p->m, p->panels * part / n_parts, p->panels * (part + 1) / n_parts);
}

static void same_as(product *p, const float *want, const char *what)
{
    char text[200];
    snprintf(text, sizeof text, "%s m=%d n=%d k=%d %s", p->g->name, (int)p->m, (int)p->n, (int)p->k,
             what);
    for (int64_t r = 0; r < p->m; r++)
        assert_bits(p->y + r * p->ldy, want + r * p->n, (size_t)p->n, text);
    check_canaries(p);
    y_clear(p);
}

static void bits_do_not_depend_on_split(void **state)
{
    const qg_gemm *g = *state;
    qg_pool *pool;
    need_features(g->name, g->need);
    assert_int_equal(qg_pool_open(&pool, 2, NULL), QG_OK);
    for (size_t i = 0; i < QG_COUNT(shapes); i++) {
        product p;
        product_open(&p, g, shapes[i].m, shapes[i].n, shapes[i].k);
        const size_t want_bytes = (size_t)(p.m * p.n) * sizeof(float);
        float *want = guard_alloc(want_bytes);
        y_clear(&p);
        run_rows(&p, 0, p.m, 0, p.panels);
        for (int64_t r = 0; r < p.m; r++)
            memcpy(want + r * p.n, p.y + r * p.ldy, (size_t)p.n * sizeof(float));
        y_clear(&p);
        for (int64_t r = 0; r < p.m; r++)
            run_rows(&p, r, r + 1, 0, p.panels);
        same_as(&p, want, "row by row");
        for (int64_t n = 2; n <= 40; n += n < 14 ? 1 : 13) {
            for (int64_t r = 0; r < p.m; r += n)
                run_rows(&p, r, r + n < p.m ? r + n : p.m, 0, p.panels);
            same_as(&p, want, "rows in groups");
        }
        for (int64_t at = p.panels; at-- > 0;)
            run_rows(&p, 0, p.m, at, at + 1);
        same_as(&p, want, "panel by panel");
        /* some shapes only: on a busy machine each fork and join waits for the scheduler */
        for (int parts = 2; i % 4 == 0 && parts <= 3; parts++) {
            qg_pool_run(pool, run_part, &(split){&p, false}, parts);
            same_as(&p, want, "panels over threads");
            qg_pool_run(pool, run_part, &(split){&p, true}, parts < p.m ? parts : 1);
            same_as(&p, want, "rows over threads");
        }
        guard_free(want, want_bytes);
        product_close(&p);
    }
    qg_pool_close(pool);
}

/* NaN and Inf come out where they went in, and nowhere else. */
static void nan_and_inf_propagate(void **state)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    const qg_gemm *g = *state;
    need_features(g->name, g->need);
    for (size_t i = 0; i < QG_COUNT(odd) * 2; i++) {
        product p;
        const bool in_x = i % 2 == 0;
        product_open(&p, g, 14, 70, 45);
        for (int64_t c = 0; c < p.k; c++) { /* no zeros beside Inf: 0 * Inf is NaN, also right */
            w_set(&p, 33, c, 0.5f);
            p.x[6 * p.ldx + c] = 0.25f;
        }
        if (in_x)
            p.x[6 * p.ldx + 44] = odd[i / 2];
        else
            w_set(&p, 33, 44, odd[i / 2]);
        pack_and_prep(&p);
        y_clear(&p);
        run_rows(&p, 0, p.m, 0, p.panels);
        for (int64_t r = 0; r < p.m; r++)
            for (int64_t j = 0; j < p.n; j++)
                if (isfinite(p.y[r * p.ldy + j]) == (in_x ? r == 6 : j == 33))
                    fail_msg("%s: %g in %s: y[%d][%d] is %g", g->name, (double)odd[i / 2],
                             in_x ? "x" : "w", (int)r, (int)j, (double)p.y[r * p.ldy + j]);
        const float at = p.y[6 * p.ldy + 33];
        assert_true(isnan(odd[i / 2]) ? isnan(at) : at == odd[i / 2]);
        product_close(&p);
    }
}

static const struct {
    const char *what;
    CMUnitTestFunction fn;
} each[] = {
    {"values within bound", values_within_bound},
    {"bits do not depend on split", bits_do_not_depend_on_split},
    {"NaN and Inf propagate", nan_and_inf_propagate},
};

enum { MAX_TESTS = 40 * QG_COUNT(each) };

typedef struct tests {
    struct CMUnitTest list[MAX_TESTS];
    char names[MAX_TESTS][100];
    size_t n;
} tests;

static void add_rows(tests *t, const qg_gemm *const *g)
{
    for (; *g && t->n < MAX_TESTS; g++)
        for (size_t i = 0; i < QG_COUNT(each); i++) {
            if ((*g)->format >= QG_W_I8 && each[i].fn != bits_do_not_depend_on_split)
                continue; /* check_i8.c */
            snprintf(t->names[t->n], sizeof t->names[0], "%s: %s", (*g)->name, each[i].what);
            t->list[t->n] = (struct CMUnitTest){.name = t->names[t->n],
                                                .test_func = each[i].fn,
                                                .initial_state = (void *)(uintptr_t)*g};
            t->n++;
        }
}

int main(void)
{
    tests t = {.n = 0};
    add_rows(&t, qg_gemm_rows());
    add_rows(&t, qg_gemm_emulated_rows());
    return _cmocka_run_group_tests("gemm", t.list, t.n, NULL, NULL);
}
