/* Powers of two that even out the channels of a product's input before its weights are quantised.
 *
 * A group of 128 channels shares one scale, so a channel whose activations are a hundred times
 * larger than its neighbours' pushes those into the rounding.  Trained models have such channels;
 * where the function needs it, their weight columns are small in return, and such a column would be
 * rounded away in turn.  Both are cured at once, and exactly, by moving a factor from one side to
 * the other:
 *
 *     x[c] * w[n][c] = (x[c] * f[c]) * (w[n][c] / f[c])      f[c] = 2^round(log2(norm of column c))
 *
 * f goes into what makes x: the weights of the norm before q|k|v and gate|up, the rows of v before
 * o, the rows of up before down.  Nothing is computed at run time for it.  Rows come first: columns
 * are measured with the rows' factors in them. */
#include "model/model_int.h"

#include "base/mem.h"

#include <math.h>

enum { BLOCK = 256, MOST = 24 /* of 2: beyond that a channel does not matter */ };

typedef struct columns {
    const qg_tensor *parts[3]; /* stacked by rows */
    const float *rows;         /* factors of the last part's rows, or NULL */
    int n_parts;
    int64_t k;
    float *sum;
} columns;

/* Sums of squares of 256 columns, over all rows in order: the same for any number of threads. */
static void sum_block(void *arg, int64_t item, int part)
{
    const columns *j = arg;
    const int64_t from = item * BLOCK, n = j->k - from < BLOCK ? j->k - from : BLOCK;
    float row[BLOCK], sum[BLOCK] = {0};
    (void)part;
    for (int i = 0; i < j->n_parts; i++)
        for (int64_t r = 0; r < j->parts[i]->dim[0]; r++) {
            const float f = j->rows && i == j->n_parts - 1 ? j->rows[r] : 1;
            qg_tensor_f32(row, j->parts[i], r * j->k + from, n);
            for (int64_t c = 0; c < n; c++)
                sum[c] += f * row[c] * (f * row[c]);
        }
    for (int64_t c = 0; c < n; c++)
        j->sum[from + c] = sum[c];
}

static void sum_columns(columns j, qg_pool *pool)
{
    qg_items_run(pool, qg_pool_threads(pool), sum_block, &j, (j.k + BLOCK - 1) / BLOCK);
}

/* Sums of squares to factors, in place. */
static void to_factors(float *v, int64_t n)
{
    double mean = 0;
    for (int64_t i = 0; i < n; i++)
        mean += (double)v[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double ratio = mean > 0 ? (double)v[i] / mean : 1;
        const double e = ratio > 0 ? rint(log2(ratio) / 2) : -MOST;
        v[i] = isfinite(e) ? ldexpf(1, (int)fmin(fmax(e, -MOST), MOST)) : 1;
    }
}

static void invert(float *out, const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = 1 / v[i];
}

/* o reads each kv head's values in several q heads: their columns share a factor. */
static void even_attended(qg_equal *e, const qg_config *c, const qg_tensor *o, qg_pool *pool)
{
    const int64_t d = c->head_dim, q = c->n_heads * d, share = c->n_heads / c->n_kv_heads;
    sum_columns((columns){{o}, NULL, 1, q, e->o_columns}, pool);
    for (int64_t i = 0; i < c->n_kv_heads * d; i++) {
        e->v_rows[i] = 0;
        for (int64_t s = 0; s < share; s++)
            e->v_rows[i] += e->o_columns[(i / d * share + s) * d + i % d];
    }
    to_factors(e->v_rows, c->n_kv_heads * d);
    for (int64_t i = 0; i < q; i++)
        e->o_columns[i] = 1 / e->v_rows[i / d / share * d + i % d];
}

void qg_equal_layer(qg_equal *e, const qg_config *c, const qg_bound_layer *b, qg_pool *pool)
{
    even_attended(e, c, b->o, pool);
    sum_columns((columns){{b->q, b->k, b->v}, e->v_rows, 3, c->hidden, e->norm_in}, pool);
    to_factors(e->norm_in, c->hidden);
    sum_columns((columns){{b->down}, NULL, 1, c->intermediate, e->up_rows}, pool);
    to_factors(e->up_rows, c->intermediate);
    sum_columns((columns){{b->gate, b->up}, e->up_rows, 2, c->hidden, e->norm_post}, pool);
    to_factors(e->norm_post, c->hidden);
    invert(e->qkv_columns, e->norm_in, c->hidden);
    invert(e->gate_up_columns, e->norm_post, c->hidden);
    invert(e->down_columns, e->up_rows, c->intermediate);
}

void qg_equal_heads(float *q_norm, float *k_norm, int32_t head_dim)
{
    const int32_t half = head_dim / 2;
    for (int32_t i = 0; i < half; i++) {
        const float a = fabsf(k_norm[i]), b = fabsf(k_norm[i + half]), most = a > b ? a : b;
        if (!(most > 0) || !isfinite(most))
            continue;
        const float e = rintf(log2f(most)), f = ldexpf(1, (int)fminf(fmaxf(e, -MOST), MOST));
        for (int32_t c = i; c < head_dim; c += half) {
            k_norm[c] /= f;
            q_norm[c] *= f;
        }
    }
}

static void lay_out(qg_equal *e, const qg_config *c, qg_carve *at)
{
    const size_t hidden = (size_t)c->hidden, inter = (size_t)c->intermediate;
    const size_t d = (size_t)c->head_dim, f = sizeof(float);
    e->norm_in = qg_carve_take(at, hidden, f);
    e->qkv_columns = qg_carve_take(at, hidden, f);
    e->norm_post = qg_carve_take(at, hidden, f);
    e->gate_up_columns = qg_carve_take(at, hidden, f);
    e->v_rows = qg_carve_take(at, (size_t)c->n_kv_heads * d, f);
    e->o_columns = qg_carve_take(at, (size_t)c->n_heads * d, f);
    e->up_rows = qg_carve_take(at, inter, f);
    e->down_columns = qg_carve_take(at, inter, f);
}

qg_status qg_equal_open(qg_equal *e, const qg_config *c, qg_err *err)
{
    qg_carve at = {0};
    lay_out(e, c, &at);
    if (at.overflow || !(e->mem = qg_aligned_alloc(64, at.at)))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory while packing weights");
    at = (qg_carve){.base = e->mem};
    lay_out(e, c, &at);
    return QG_OK;
}

void qg_equal_close(qg_equal *e)
{
    qg_mfree(e->mem);
}
