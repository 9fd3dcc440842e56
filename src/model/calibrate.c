/* Which factors to move between a product's weights and its inputs, by what the inputs are like.
 *
 * equal.c evens out the norms of the weights' columns.  That makes room for small columns, but says
 * nothing about which columns matter: an input channel with large values deserves finer weights
 * (as in AWQ), and evened inputs lose less when they are rounded (as in SmoothQuant).  Both are one
 * choice of factors f, x * f and w / f:
 *
 *     f = norm(w)^(1 - a) / rms(x)^a      a = 0: equal.c
 *     f = 1 / rms(x)^a                    a = 0: nothing is moved
 *
 * For each input all of these are tried on 128 of the weights' rows, packed for real, and the one
 * with the least estimated squared error of the products is taken.  The estimate counts the error
 * of each weight by its channel's mean square, and that of an input by the scale of its group. */
#include "model/model_int.h"

#include "base/mem.h"
#include "kern/quant.h"

#include <math.h>

enum {
    STEPS = 8, /* of a, from 0 to 1 */
    CANDIDATES = 2 * (STEPS + 1),
    SAMPLE = 128, /* rows */
    MOST = 24     /* powers of two: as in equal.c */
};

typedef struct search {
    const qg_tensor *parts[3]; /* stacked by rows */
    const float *rows[3];      /* factors of their rows, or NULL */
    int n_parts;
    const qg_gemm *gemm;
    int64_t k;         /* columns */
    int64_t n;         /* factors: k, or fewer when columns share them */
    int64_t d;         /* columns c and c + d * i of a group of share * d have one factor */
    int64_t share;     /* 1: each column has its own */
    const float *x;    /* [k] mean squares of the inputs, up to a constant */
    float *norm2, *x2; /* [n] of the columns and inputs that share a factor */
    float *sample;     /* [SAMPLE][k] */
    int64_t n_sample;  /* a multiple of the panel's columns, or all rows there are */
    float *factors;    /* [CANDIDATES][n] */
    double *errors;    /* [CANDIDATES] */
    float *work;       /* per worker [SAMPLE + 2][k] */
    uint8_t *packed;   /* per worker */
    size_t packed_bytes;
} search;

static int64_t factor_of(const search *s, int64_t c)
{
    return s->share == 1 ? c : c / (s->d * s->share) * s->d + c % s->d;
}

/* ---- the sample ------------------------------------------------------------------------------ */

static void take_row(const search *s, float *to, int64_t row)
{
    int part = 0;
    while (row >= s->parts[part]->dim[0])
        row -= s->parts[part++]->dim[0];
    qg_tensor_f32(to, s->parts[part], row * s->k, s->k);
    const float by = s->rows[part] ? s->rows[part][row] : 1;
    for (int64_t c = 0; c < s->k; c++)
        to[c] *= by;
}

static void take_sample(search *s)
{
    int64_t total = 0;
    for (int i = 0; i < s->n_parts; i++)
        total += s->parts[i]->dim[0];
    s->n_sample = total < SAMPLE ? total : SAMPLE;
    for (int64_t i = 0; i < s->n_sample; i++)
        take_row(s, s->sample + i * s->k, i * total / s->n_sample);
}

/* Sums of squares of what shares a factor. */
static void measure(search *s)
{
    for (int64_t i = 0; i < s->n; i++)
        s->norm2[i] = s->x2[i] = 0;
    for (int64_t c = 0; c < s->k; c++) {
        const int64_t f = factor_of(s, c);
        s->x2[f] += s->x[c];
        for (int64_t r = 0; r < s->n_sample; r++)
            s->norm2[f] += s->sample[r * s->k + c] * s->sample[r * s->k + c];
    }
}

/* ---- candidates ------------------------------------------------------------------------------ */

/* log2 of v beside the mean, of which v may be no less than a millionth. */
static double log_beside(double v, double mean)
{
    return mean > 0 ? log2(fmax(v / mean, 1e-6)) : 0;
}

static double mean_of(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i] / (double)n;
    return sum;
}

static void make_candidates(search *s)
{
    const double norm = mean_of(s->norm2, s->n), x = mean_of(s->x2, s->n);
    for (int k = 0; k < CANDIDATES; k++) {
        const double a = (double)(k % (STEPS + 1)) / STEPS, w = k > STEPS ? 0 : 1 - a;
        for (int64_t i = 0; i < s->n; i++) {
            const double e = rint(
                (w * log_beside((double)s->norm2[i], norm) - a * log_beside((double)s->x2[i], x)) /
                2);
            s->factors[k * s->n + i] = isfinite(e) ? ldexpf(1, (int)fmin(fmax(e, -MOST), MOST)) : 1;
        }
    }
}

/* Of the inputs of a group: the square of a step of 127 to three times the largest root mean
 * square, over 12. */
static void input_errors(const search *s, const float *f, float *out)
{
    for (int64_t g = 0; g < qg_groups(s->k); g++) {
        const int64_t end = (g + 1) * QG_GROUP < s->k ? (g + 1) * QG_GROUP : s->k;
        float most = 0;
        for (int64_t c = g * QG_GROUP; c < end; c++)
            most = fmaxf(most, s->x[c] * f[c] * f[c]);
        for (int64_t c = g * QG_GROUP; c < end; c++)
            out[c] = most * (9.0f / (127 * 127 * 12));
    }
}

static void try_one(void *arg, int64_t item, int part)
{
    const search *s = arg;
    const int64_t k = s->k, n = s->n_sample;
    float *w = s->work + (int64_t)part * (SAMPLE + 3) * k, *f = w + SAMPLE * k, *noise = f + k,
          *row = noise + k;
    uint8_t *packed = s->packed + (size_t)part * s->packed_bytes;
    double error = 0;
    for (int64_t c = 0; c < k; c++)
        f[c] = s->factors[item * s->n + factor_of(s, c)];
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < k; c++)
            w[i * k + c] = s->sample[i * k + c] / f[c];
    s->gemm->pack(packed, w, n, k, 0, (n + s->gemm->nr - 1) / s->gemm->nr);
    input_errors(s, f, noise);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        s->gemm->unpack_row(row, packed, k, i);
        for (int64_t c = 0; c < k; c++) {
            const float d = w[i * k + c] - row[c];
            sum += (double)(d * d * (s->x[c] * f[c] * f[c]) + row[c] * row[c] * noise[c]);
        }
        error += sum;
    }
    s->errors[item] = error;
}

/* ---- one input ------------------------------------------------------------------------------- */

static bool lay_out(search *s, qg_carve *c, size_t workers)
{
    const size_t k = (size_t)s->k, n = (size_t)s->n, f = sizeof(float);
    s->norm2 = qg_carve_take(c, n, f);
    s->x2 = qg_carve_take(c, n, f);
    s->sample = qg_carve_take(c, SAMPLE * k, f);
    s->factors = qg_carve_take(c, CANDIDATES * n, f);
    s->errors = qg_carve_take(c, CANDIDATES, sizeof *s->errors);
    s->work = qg_carve_take(c, workers * (SAMPLE + 3) * k, f);
    s->packed_bytes = s->gemm->packed_bytes(SAMPLE, s->k);
    s->packed = qg_carve_take(c, workers, s->packed_bytes);
    return !c->overflow;
}

/* out [s.n] = the best factors. */
static qg_status search_one(search s, float *out, qg_pool *pool, qg_err *err)
{
    qg_carve c = {0};
    const int workers = qg_pool_threads(pool);
    uint8_t *mem = lay_out(&s, &c, (size_t)workers) ? qg_aligned_alloc(64, c.at) : NULL;
    if (!mem)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory while calibrating");
    c = (qg_carve){.base = mem};
    lay_out(&s, &c, (size_t)workers);
    take_sample(&s);
    measure(&s);
    make_candidates(&s);
    qg_items_run(pool, workers, try_one, &s, CANDIDATES);
    int best = 0;
    for (int i = 1; i < CANDIDATES; i++)
        if (s.errors[i] < s.errors[best])
            best = i;
    for (int64_t i = 0; i < s.n; i++)
        out[i] = s.factors[best * s.n + i];
    qg_mfree(mem);
    return QG_OK;
}

static void invert(float *out, const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = 1 / v[i];
}

qg_status qg_equal_search(qg_equal *e, const qg_config *c, const qg_bound_layer *b,
                          const float *const *mean_square, const qg_gemm *gemm, qg_pool *pool,
                          qg_err *err)
{
    const int64_t d = c->head_dim, hidden = c->hidden, q = c->n_heads * d, kv = c->n_kv_heads * d;
    search o = {.parts = {b->o}, .n_parts = 1, .k = q, .n = kv, .d = d, .share = q / kv};
    search down = {.parts = {b->down}, .n_parts = 1, .k = c->intermediate, .n = c->intermediate};
    search qkv = {.parts = {b->q, b->k, b->v}, .n_parts = 3, .k = hidden, .n = hidden};
    search gate_up = {.parts = {b->gate, b->up}, .n_parts = 2, .k = hidden, .n = hidden};
    search *all[] = {&qkv, &o, &gate_up, &down};
    for (int i = 0; i < QG_N_INPUTS; i++) {
        all[i]->gemm = gemm;
        all[i]->x = mean_square[i];
        all[i]->share = all[i]->share ? all[i]->share : 1;
    }
    qkv.rows[2] = e->v_rows;
    gate_up.rows[1] = e->up_rows;
    QG_TRY(search_one(o, e->v_rows, pool, err)); /* rows first: the columns' errors count them */
    QG_TRY(search_one(down, e->up_rows, pool, err));
    QG_TRY(search_one(qkv, e->norm_in, pool, err));
    QG_TRY(search_one(gate_up, e->norm_post, pool, err));
    for (int64_t i = 0; i < q; i++)
        e->o_columns[i] = 1 / e->v_rows[factor_of(&o, i)];
    invert(e->qkv_columns, e->norm_in, hidden);
    invert(e->gate_up_columns, e->norm_post, hidden);
    invert(e->down_columns, e->up_rows, c->intermediate);
    return QG_OK;
}
