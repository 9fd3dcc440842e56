/* Every attention row against sums in double, and against itself: same bits wherever positions lie,
 * whatever rows share the call. */
#include "world.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const world_shape shapes[] = {
    {4, 2, 32},  {6, 2, 80},  {3, 3, 8}, {2, 1, 6}, {16, 8, 128}, {8, 1, 64}, {2, 2, 16},
    {2, 1, 256}, {33, 1, 24}, {2, 1, 2}, {1, 1, 1}, {4, 2, 40},   {5, 1, 96}, {28, 4, 128},
};

/* Emulation takes a hundred times as long: only the first few shapes then. */
static size_t n_shapes(void)
{
    return getenv("KERNCHECK_QUICK") ? 4 : QG_COUNT(shapes);
}

static const int32_t contexts[] = {1, 2, 3, 15, 16, 17, 33, 63, 64, 65, 100, 127, 128, 129, 371};

/* Query, output and scratch of some rows over one world; each ends at an unmapped page. */
typedef struct queries {
    int64_t n, width;
    size_t bytes, scratch_bytes;
    float *q, *out;
    void *scratch;
} queries;

static void queries_open(queries *x, const world *w, int64_t n, int32_t n_ctx)
{
    rng r = {(uint64_t)(n * 31 + n_ctx)};
    x->n = n;
    x->width = (int64_t)w->s.n_heads * w->s.head_dim;
    x->bytes = (size_t)(n * x->width) * sizeof(float);
    x->scratch_bytes = w->attn->scratch_bytes(&w->s, n_ctx);
    x->q = guard_alloc(x->bytes);
    x->out = guard_alloc(x->bytes);
    x->scratch = guard_alloc(x->scratch_bytes);
    for (int64_t i = 0; i < n * x->width; i++)
        x->q[i] = (float)(int32_t)rng_next(&r) * 0x1.8p-30f;
}

static void queries_close(queries *x)
{
    guard_free(x->q, x->bytes);
    guard_free(x->out, x->bytes);
    guard_free(x->scratch, x->scratch_bytes);
}

static qg_attn_row row_of(const world *w, const queries *x, int64_t i, int32_t n_ctx,
                          int32_t tree_base)
{
    return world_row(w, x->q + i * x->width, x->out + i * x->width, n_ctx, tree_base);
}

static void run_all(const world *w, const queries *x, const qg_attn_row *rows, int64_t n)
{
    for (int32_t h = 0; h < w->s.n_kv_heads; h++)
        w->attn->run(&w->s, rows, n, h, x->scratch);
}

/* One head in double: softmax of the scores, weighted sum.  Returns the error allowed per element:
 * a score may be off by the order of its additions and some roundings, which changes every weight
 * by a factor; with bf16 a weight is rounded, also in the sum that divides; the weights' sum and
 * the sum over V add theirs. */
typedef struct expected {
    double out[256], bound[256];
} expected;

static void expect(const world *w, const float *q, int32_t head, int32_t n_ctx, expected *e)
{
    const int32_t d = w->s.head_dim, kvh = head / (w->s.n_heads / w->s.n_kv_heads);
    const int64_t row = (int64_t)w->s.n_kv_heads * d;
    const double rounding = w->attn->kv_format == QG_W_F32 ? 0 : 2 * 0x1.01p-9;
    double *p = qg_malloc((size_t)n_ctx * sizeof *p), max = -INFINITY, off = 0, sum = 0;
    if (!p)
        fail_msg("out of memory");
    for (int32_t j = 0; j < n_ctx; j++) {
        double s = 0, size = 0;
        for (int32_t c = 0; c < d; c++) {
            const float f = q[head * d + c];
            const double v =
                (double)(w->attn->kv_format == QG_W_F32 ? f : qg_bf16_to_f32(qg_f32_to_bf16(f))) *
                (double)w->seen_k[j * row + kvh * d + c];
            s += v;
            size += fabs(v);
        }
        p[j] = s * (double)w->s.scale;
        max = fmax(max, p[j]);
        off = fmax(off, (double)(d + 16) * 0x1p-24 * size * (double)w->s.scale);
    }
    for (int32_t j = 0; j < n_ctx; j++)
        sum += p[j] = exp(p[j] - max);
    memset(e, 0, sizeof *e);
    for (int32_t j = 0; j < n_ctx; j++)
        for (int32_t c = 0; c < d; c++) {
            const double v = p[j] / sum * (double)w->seen_v[j * row + kvh * d + c];
            e->out[c] += v;
            e->bound[c] += fabs(v) * (2 * off + rounding + (double)(n_ctx + 64) * 0x1p-24);
        }
    qg_mfree(p);
}

static void check_values(const world *w, const queries *x, int64_t row, int32_t n_ctx)
{
    expected e;
    for (int32_t h = 0; h < w->s.n_heads; h++) {
        expect(w, x->q + row * x->width, h, n_ctx, &e);
        for (int32_t c = 0; c < w->s.head_dim; c++) {
            const double got = (double)x->out[row * x->width + h * w->s.head_dim + c];
            if (!(fabs(got - e.out[c]) <= e.bound[c] + 0x1p-100))
                fail_msg("%s heads=%d/%d d=%d n_ctx=%d: out[%d][%d] = %.9g, not %.9g +- %.3g",
                         w->attn->name, w->s.n_heads, w->s.n_kv_heads, w->s.head_dim, n_ctx, h, c,
                         got, e.out[c], e.bound[c]);
        }
    }
}

static void values_within_bound(void **state)
{
    const qg_attn *attn = *state;
    need_features(attn->name, attn->need);
    for (size_t s = 0; s < n_shapes(); s++)
        for (size_t i = 0; i < QG_COUNT(contexts); i++) {
            world w;
            queries x;
            world_open(&w, attn, shapes[s], contexts[i], s * 100 + i);
            queries_open(&x, &w, 1, contexts[i]);
            qg_attn_row row = row_of(&w, &x, 0, contexts[i], INT32_MAX);
            run_all(&w, &x, &row, 1);
            check_values(&w, &x, 0, contexts[i]);
            queries_close(&x);
            world_close(&w);
        }
}

static void long_context(void **state)
{
    const qg_attn *attn = *state;
    world w;
    queries x;
    need_features(attn->name, attn->need);
    world_open(&w, attn, (world_shape){2, 1, 64}, 33000, 5);
    queries_open(&x, &w, 1, 33000);
    qg_attn_row row = row_of(&w, &x, 0, 33000, INT32_MAX);
    run_all(&w, &x, &row, 1);
    check_values(&w, &x, 0, 33000);
    queries_close(&x);
    world_close(&w);
}

/* Linear, all positions through a path, and a tree that begins anywhere: the same bits.  Slots that
 * hold nothing are NaN. */
static void bits_do_not_depend_on_slots(void **state)
{
    const qg_attn *attn = *state;
    rng r = {77};
    need_features(attn->name, attn->need);
    for (size_t s = 0; s < n_shapes(); s++)
        for (size_t i = 0; i < QG_COUNT(contexts); i++) {
            world w;
            queries x;
            const int32_t n = contexts[i];
            world_open(&w, attn, shapes[s], n, s * 100 + i);
            queries_open(&x, &w, 1, n);
            float *want = guard_alloc(x.bytes);
            qg_attn_row row = row_of(&w, &x, 0, n, INT32_MAX);
            run_all(&w, &x, &row, 1);
            memcpy(want, x.out, x.bytes);
            const int32_t bases[] = {0, n / 2, n - 1, n, rng_below(&r, n)};
            for (size_t b = 0; b < QG_COUNT(bases); b++) {
                for (int32_t j = 0; j < n; j++)
                    w.slot[j] = j;
                world_shuffle(&w, bases[b], &r);
                row = row_of(&w, &x, 0, n, bases[b]);
                run_all(&w, &x, &row, 1);
                assert_bits(x.out, want, (size_t)x.width, attn->name);
            }
            guard_free(want, x.bytes);
            queries_close(&x);
            world_close(&w);
        }
}

enum { MANY = 45 };

/* Rows of one call: rising contexts of a prefill, repeated ones, trees, another sequence, and
 * branches: other paths through the same blocks (alt, as long as the tree part). */
static void make_rows(const world *w, const world *other, const queries *x, int kind, rng *r,
                      const int32_t *alt, qg_attn_row *rows)
{
    for (int64_t i = 0; i < MANY; i++) {
        const world *from = kind == 3 && rng_below(r, 2) ? other : w;
        int32_t n_ctx = from->n - MANY + 1 + (int32_t)i, base = INT32_MAX;
        if (kind >= 1)
            n_ctx = 1 + rng_below(r, from->n);
        if (kind >= 2 && rng_below(r, 2))
            base = from->n / 3; /* where this test's worlds begin to be shuffled */
        if (base == INT32_MAX && n_ctx > from->n / 3 && kind >= 2)
            n_ctx = from->n / 3;
        rows[i] = row_of(from, x, i, n_ctx, base);
        if (kind == 4 && n_ctx > base && rng_below(r, 2))
            rows[i].path = alt;
    }
}

static void bits_do_not_depend_on_company(void **state)
{
    const qg_attn *attn = *state;
    rng r = {9};
    need_features(attn->name, attn->need);
    for (size_t s = 0; s < n_shapes(); s++)
        for (int kind = 0; kind < 5; kind++) {
            int32_t alt[150];
            world w, other;
            queries x;
            qg_attn_row rows[MANY];
            world_open(&w, attn, shapes[s], 150, s);
            world_open(&other, attn, shapes[s], 70, s + 50);
            if (kind == 2 || kind == 3) {
                world_shuffle(&w, w.n / 3, &r);
                world_shuffle(&other, other.n / 3, &r);
            }
            /* the other sequence has the first block in common, as behind a cached prefix */
            if (kind == 3)
                other.blocks[0] = w.blocks[0];
            for (int32_t j = w.n / 3; j < w.n; j++) { /* within the blocks that are full */
                const int32_t in = w.slot[j] % QG_KV_BLOCK, first = w.slot[j] - in;
                const bool full = first + QG_KV_BLOCK <= w.n;
                alt[j - w.n / 3] = full ? first + QG_KV_BLOCK - 1 - in : w.slot[j];
            }
            queries_open(&x, &w, MANY, 150);
            make_rows(&w, &other, &x, kind, &r, alt, rows);
            float *want = guard_alloc(x.bytes);
            for (int64_t i = 0; i < MANY; i++)
                run_all(&w, &x, &rows[i], 1);
            memcpy(want, x.out, x.bytes);
            for (int64_t step = 2; step <= MANY; step += step < 18 ? 3 : 9) {
                memset(x.out, 0xff, x.bytes);
                for (int64_t i = 0; i < MANY; i += step)
                    run_all(&w, &x, rows + i, i + step < MANY ? step : MANY - i);
                assert_bits(x.out, want, x.bytes / sizeof(float), attn->name);
            }
            guard_free(want, x.bytes);
            queries_close(&x);
            world_close(&w);
            world_close(&other);
        }
}

/* Only the heads of the asked kv head are written. */
static void writes_only_its_heads(void **state)
{
    const qg_attn *attn = *state;
    world w;
    queries x;
    need_features(attn->name, attn->need);
    world_open(&w, attn, (world_shape){12, 4, 40}, 90, 3);
    queries_open(&x, &w, 20, 90);
    for (int32_t h = 0; h < 4; h++) {
        qg_attn_row rows[20];
        for (int64_t i = 0; i < 20; i++)
            rows[i] = row_of(&w, &x, i, 71 + (int32_t)i, INT32_MAX);
        for (size_t i = 0; i < x.bytes / sizeof(float); i++)
            x.out[i] = CANARY;
        attn->run(&w.s, rows, 20, h, x.scratch);
        for (int64_t i = 0; i < 20 * x.width; i++)
            if ((x.out[i] == CANARY) != (i % x.width / 120 != h))
                fail_msg("%s: kv head %d: element %d", attn->name, h, (int)i);
    }
    queries_close(&x);
    world_close(&w);
}

/* One position: its V, to the bit, wherever it is stored. */
static void what_is_kept_is_seen(void **state)
{
    const qg_attn *attn = *state;
    rng r = {13};
    need_features(attn->name, attn->need);
    for (size_t s = 0; s < n_shapes(); s++) {
        world w;
        queries x;
        const int32_t d = shapes[s].head_dim, group = shapes[s].heads / shapes[s].kv_heads;
        world_open(&w, attn, shapes[s], 40, s);
        world_shuffle(&w, 0, &r);
        queries_open(&x, &w, 1, 1);
        for (int32_t j = 0; j < w.n; j++) {
            const qg_attn_row row = {
                .q = x.q, .out = x.out, .blocks = w.blocks, .n_ctx = 1, .path = w.slot + j};
            run_all(&w, &x, &row, 1);
            for (int32_t h = 0; h < shapes[s].heads; h++)
                assert_bits(x.out + h * d, w.seen_v + (j * shapes[s].kv_heads + h / group) * d,
                            (size_t)d, attn->name);
        }
        queries_close(&x);
        world_close(&w);
    }
}

/* A NaN or Inf in K spoils the rows that see it, one in V its column, or all that share a scale
 * with it; rows before do not care. */
static void nan_propagates(void **state)
{
    static const float odd[] = {NAN, INFINITY};
    const qg_attn *attn = *state;
    need_features(attn->name, attn->need);
    for (size_t i = 0; i < 4; i++) {
        world w;
        queries x;
        qg_attn_row rows[8];
        const bool in_v = i / 2 != 0;
        world_open(&w, attn, (world_shape){2, 1, 32}, 80, 1);
        (in_v ? w.v : w.k)[70 * 32 + 5] = odd[i % 2];
        world_store(&w);
        queries_open(&x, &w, 8, 80);
        for (int64_t r = 0; r < 8; r++) {
            x.q[r * x.width + 5] = x.q[r * x.width + 32 + 5] = 1;
            rows[r] = row_of(&w, &x, r, 67 + (int32_t)r, INT32_MAX);
        }
        run_all(&w, &x, rows, 8);
        for (int64_t e = 0; e < 8 * x.width; e++) {
            const bool hit =
                67 + e / x.width > 70 && (!in_v || e % 32 == 5 || attn->kv_format == QG_W_I8);
            if (isfinite(x.out[e]) == hit)
                fail_msg("%s: %g in %s: element %d is %g", attn->name, (double)odd[i % 2],
                         in_v ? "V" : "K", (int)e, (double)x.out[e]);
        }
        queries_close(&x);
        world_close(&w);
    }
}

int main(void)
{
    static const struct {
        const char *what;
        CMUnitTestFunction fn;
    } each[] = {
        {"values within bound", values_within_bound},
        {"long context", long_context},
        {"bits do not depend on slots", bits_do_not_depend_on_slots},
        {"bits do not depend on company", bits_do_not_depend_on_company},
        {"writes only its heads", writes_only_its_heads},
        {"what is kept is seen", what_is_kept_is_seen},
        {"NaN propagates", nan_propagates},
    };
    enum { MAX_TESTS = 20 * QG_COUNT(each) };
    struct CMUnitTest tests[MAX_TESTS] = {{0}};
    char names[MAX_TESTS][100];
    size_t n = 0;
    for (const qg_attn *const *a = qg_attn_rows(); *a && n < MAX_TESTS; a++)
        for (size_t i = 0; i < QG_COUNT(each); i++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", (*a)->name, each[i].what);
            tests[n] = (struct CMUnitTest){
                .name = names[n], .test_func = each[i].fn, .initial_state = (void *)(uintptr_t)*a};
        }
    return _cmocka_run_group_tests("attn", tests, n, NULL, NULL);
}
