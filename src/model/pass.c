/* What happens to the rows of a pass inside a layer.  Row-wise jobs that follow each other are one
 * fork and join; a join stands only where a row needs something of another row (K and V before
 * attention) or of all columns (a product). */
#include "model/model_int.h"

void qg_row_group(const qg_pass *p, int64_t item, int64_t *lo, int64_t *hi)
{
    *lo = item * QG_ROW_GROUP;
    *hi = *lo + QG_ROW_GROUP < p->n ? *lo + QG_ROW_GROUP : p->n;
}

void qg_for_row_groups(qg_pass *p, qg_item_fn *fn)
{
    qg_items_run(p->pool, p->s->parts, fn, p, (p->n + QG_ROW_GROUP - 1) / QG_ROW_GROUP);
}

void qg_pass_product(qg_pass *p, const uint8_t *xp, const qg_matrix *w, int64_t p0, int64_t p1)
{
    qg_product(p->s, p->pool, p->s->y, p->s->ldy, xp, w, p->n, p0, p1);
}

static void whole_product(qg_pass *p, const uint8_t *xp, const qg_matrix *w)
{
    qg_pass_product(p, xp, w, 0, qg_panels(w));
}

uint8_t *qg_pass_xp(const qg_pass *p, int64_t row, int64_t k)
{
    return p->s->xp + (size_t)row * p->m->layer->x_bytes(k);
}

uint8_t *qg_pass_xi(const qg_pass *p, int64_t row, int64_t k)
{
    return p->s->xi + (size_t)row * p->m->layer->x_bytes(k);
}

/* ---- norms and residual ---------------------------------------------------------------------- */

/* xp rows [lo, hi) = prepared norm of x by w. */
static void norm_rows(const qg_pass *p, const float *w, int64_t lo, int64_t hi, int part)
{
    const qg_config *c = p->m->cfg;
    int64_t hidden = c->hidden;
    float *tmp = p->s->tmp + part * QG_ROW_GROUP * hidden;
    for (int64_t i = lo; i < hi; i++)
        p->m->vec->rmsnorm(tmp + (i - lo) * hidden, p->s->x + i * hidden, w, hidden, c->rms_eps);
    if (p->s->watch)
        qg_stats_take(p->s->watch, p->layer_at,
                      w == p->m->layers[p->layer_at].norm_in ? QG_IN_QKV : QG_IN_GATE_UP, lo, hi,
                      tmp, hidden, hidden);
    p->m->layer->prep(qg_pass_xp(p, lo, hidden), tmp, hidden, hi - lo, hidden, 0, hidden);
}

static void add_rows(const qg_pass *p, int64_t lo, int64_t hi)
{
    int64_t hidden = p->m->cfg->hidden;
    for (int64_t i = lo; i < hi; i++)
        p->m->vec->add(p->s->x + i * hidden, p->s->y + i * p->s->ldy, hidden);
}

static void begin_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_model *m = p->m;
    int64_t lo, hi, hidden = m->cfg->hidden, half = m->cfg->head_dim / 2;
    qg_row_group(p, item, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        float *x = p->s->x + i * hidden;
        if (m->embed)
            qg_tensor_f32(x, m->embed, p->row[i].id * hidden, hidden);
        else
            m->gemm->unpack_row(x, m->out.wp, hidden, p->row[i].id);
        qg_rope_angles(p->s->cosv + i * half, p->s->sinv + i * half, m->inv_freq, m->cfg->head_dim,
                       p->row[i].pos);
    }
    norm_rows(p, m->layers[0].norm_in, lo, hi, part);
}

void qg_pass_begin(qg_pass *p)
{
    qg_for_row_groups(p, begin_rows);
}

static void add_norm_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    int64_t lo, hi;
    qg_row_group(p, item, &lo, &hi);
    add_rows(p, lo, hi);
    norm_rows(p, p->norm, lo, hi, part);
}

void qg_pass_add_norm(qg_pass *p, const float *w)
{
    p->norm = w;
    qg_for_row_groups(p, add_norm_rows);
}

static void end_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_config *c = p->m->cfg;
    int64_t lo, hi, hidden = c->hidden;
    (void)part;
    qg_row_group(p, item, &lo, &hi);
    add_rows(p, lo, hi);
    for (int64_t i = lo; i < hi; i++)
        p->m->vec->rmsnorm(p->hidden + i * hidden, p->s->x + i * hidden, p->m->norm, hidden,
                           c->rms_eps);
}

void qg_pass_end(qg_pass *p)
{
    qg_for_row_groups(p, end_rows);
}

/* ---- the layer ------------------------------------------------------------------------------- */

static void mlp_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    int64_t lo, hi, inter = p->m->cfg->intermediate, ldy = p->s->ldy;
    (void)part;
    qg_row_group(p, item, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        float *gate = p->s->y + i * ldy;
        p->m->vec->silu_mul(gate, gate, gate + inter, inter);
    }
    if (p->s->watch)
        qg_stats_take(p->s->watch, p->layer_at, QG_IN_DOWN, lo, hi, p->s->y + lo * ldy, ldy, inter);
    p->m->layer->prep(qg_pass_xi(p, lo, inter), p->s->y + lo * ldy, ldy, hi - lo, inter, 0, inter);
}

static int64_t mlp_blocks(const qg_pass *p)
{
    return (p->n + QG_MLP_ROWS - 1) / QG_MLP_ROWS;
}

/* Item: QG_X_PART columns of the MLP's inside for a block of rows; blocks that use the same weights
 * follow each other.  Gate and up never leave the core's cache. */
static void mlp_part(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_matrix *w = &p->layer->gate_up;
    const int64_t blocks = mlp_blocks(p), b = item % blocks, nr = w->gemm->nr;
    const int64_t lo = p->n * b / blocks, n = p->n * (b + 1) / blocks - lo;
    const int64_t inter = p->m->cfg->intermediate, c0 = item / blocks * QG_X_PART;
    const int64_t width = inter - c0 < QG_X_PART ? inter - c0 : QG_X_PART;
    float *gate = p->s->mlp + (int64_t)part * 2 * QG_MLP_ROWS * QG_X_PART;
    float *up = gate + QG_MLP_ROWS * QG_X_PART;
    const uint8_t *xp = qg_pass_xp(p, lo, w->k);
    qg_product_part(gate, QG_X_PART, xp, w, n, c0 / nr, (c0 + width) / nr);
    qg_product_part(up, QG_X_PART, xp, w, n, (inter + c0) / nr, (inter + c0 + width) / nr);
    for (int64_t i = 0; i < n; i++)
        p->m->vec->silu_mul(gate + i * QG_X_PART, gate + i * QG_X_PART, up + i * QG_X_PART, width);
    p->m->layer->prep(qg_pass_xi(p, lo, inter), gate, QG_X_PART, n, inter, c0, c0 + width);
}

static void mlp(qg_pass *p)
{
    const int64_t inter = p->m->cfg->intermediate;
    const int64_t items = (inter + QG_X_PART - 1) / QG_X_PART * mlp_blocks(p);
    if (inter % p->m->layer->nr == 0 && !p->s->watch && qg_items_even(p->s->parts, items)) {
        qg_items_run(p->pool, p->s->parts, mlp_part, p, items);
        return;
    }
    whole_product(p, p->s->xp, &p->layer->gate_up);
    qg_for_row_groups(p, mlp_rows);
}

void qg_pass_layer(qg_pass *p)
{
    qg_pass_attend(p);
    whole_product(p, p->s->xi, &p->layer->o);
    qg_pass_add_norm(p, p->layer->norm_post);
    mlp(p);
    whole_product(p, p->s->xi, &p->layer->down);
}
