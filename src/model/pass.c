/* What happens to the rows of a pass inside a layer, but for attention (attend.c).  Jobs that
 * follow each other on the same rows and columns are one fork and join; a join stands only where a
 * row needs something of another row (K and V before attention) or of all columns (a product). */
#include "model/model_int.h"

enum { BLOCK_ROWS = 48 }; /* fewer are too few for a pass over all weights */

/* ---- rows among threads ---------------------------------------------------------------------- */

void qg_pass_deal(qg_pass *p)
{
    const int32_t fit = p->n / BLOCK_ROWS;
    p->blocks = fit < 1 || p->s->watch ? 1 : fit < p->s->parts ? fit : p->s->parts;
}

/* Pieces of a block. */
static int64_t cuts(const qg_pass *p, int64_t most)
{
    const int64_t longest = (p->n + p->blocks - 1) / p->blocks;
    return (longest + most - 1) / most;
}

int64_t qg_pass_pieces(const qg_pass *p, int64_t wide, int64_t most)
{
    return p->blocks * wide * cuts(p, most);
}

qg_piece qg_pass_piece(const qg_pass *p, int64_t item, int64_t wide, int64_t most)
{
    const int64_t n = cuts(p, most), at = item % n, block = item / n / wide;
    const int64_t lo = (int64_t)p->n * block / p->blocks;
    const int64_t hi = (int64_t)p->n * (block + 1) / p->blocks;
    const int64_t step = p->s->watch ? most : (hi - lo + n - 1) / n; /* stats want whole groups */
    const int64_t from = lo + at * step, to = from + step;
    return (qg_piece){item / n % wide, from < hi ? from : hi, to < hi ? to : hi};
}

void qg_for_pieces(qg_pass *p, qg_item_fn *fn, int64_t wide, int64_t most)
{
    qg_items_run(p->pool, p->s->parts, fn, p, qg_pass_pieces(p, wide, most));
}

static void for_rows(qg_pass *p, qg_item_fn *fn)
{
    qg_for_pieces(p, fn, 1, QG_ROW_GROUP);
}

/* ---- products -------------------------------------------------------------------------------- */

void qg_pass_product(qg_pass *p, const uint8_t *xp, const qg_matrix *w, int64_t p0, int64_t p1)
{
    qg_product(p->s, p->pool, p->s->y, p->s->ldy, xp, w, p->n, p->blocks, p0, p1);
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
    const qg_piece r = qg_pass_piece(p, item, 1, QG_ROW_GROUP);
    int64_t hidden = m->cfg->hidden, half = m->cfg->head_dim / 2;
    for (int64_t i = r.lo; i < r.hi; i++) {
        float *x = p->s->x + i * hidden;
        if (m->embed)
            qg_tensor_f32(x, m->embed, p->row[i].id * hidden, hidden);
        else
            m->gemm->unpack_row(x, m->out.wp, hidden, p->row[i].id);
        qg_rope_angles(p->s->cosv + i * half, p->s->sinv + i * half, m->inv_freq, m->cfg->head_dim,
                       p->row[i].pos);
    }
    norm_rows(p, m->layers[0].norm_in, r.lo, r.hi, part);
}

void qg_pass_begin(qg_pass *p)
{
    qg_pass_deal(p);
    for_rows(p, begin_rows);
}

static void add_norm_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_piece r = qg_pass_piece(p, item, 1, QG_ROW_GROUP);
    add_rows(p, r.lo, r.hi);
    norm_rows(p, p->norm, r.lo, r.hi, part);
}

void qg_pass_add_norm(qg_pass *p, const float *w)
{
    p->norm = w;
    for_rows(p, add_norm_rows);
}

static void end_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_config *c = p->m->cfg;
    const qg_piece r = qg_pass_piece(p, item, 1, QG_ROW_GROUP);
    const int64_t hidden = c->hidden;
    (void)part;
    add_rows(p, r.lo, r.hi);
    for (int64_t i = r.lo; i < r.hi; i++)
        p->m->vec->rmsnorm(p->hidden + i * hidden, p->s->x + i * hidden, p->m->norm, hidden,
                           c->rms_eps);
}

void qg_pass_end(qg_pass *p)
{
    for_rows(p, end_rows);
}

/* ---- the layer ------------------------------------------------------------------------------- */

static void mlp_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_piece r = qg_pass_piece(p, item, 1, QG_ROW_GROUP);
    const int64_t lo = r.lo, hi = r.hi, inter = p->m->cfg->intermediate, ldy = p->s->ldy;
    (void)part;
    for (int64_t i = lo; i < hi; i++) {
        float *gate = p->s->y + i * ldy;
        p->m->vec->silu_mul(gate, gate, gate + inter, inter);
    }
    if (p->s->watch)
        qg_stats_take(p->s->watch, p->layer_at, QG_IN_DOWN, lo, hi, p->s->y + lo * ldy, ldy, inter);
    p->m->layer->prep(qg_pass_xi(p, lo, inter), p->s->y + lo * ldy, ldy, hi - lo, inter, 0, inter);
}

/* Runs of QG_X_PART columns of the MLP's inside. */
static int64_t mlp_runs(const qg_pass *p)
{
    return (p->m->cfg->intermediate + QG_X_PART - 1) / QG_X_PART;
}

/* Item: a run of columns of some rows.  Gate and up never leave the core's cache. */
static void mlp_part(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_matrix *w = &p->layer->gate_up;
    const qg_piece r = qg_pass_piece(p, item, mlp_runs(p), QG_MLP_ROWS);
    const int64_t inter = p->m->cfg->intermediate, n = r.hi - r.lo, nr = w->gemm->nr;
    const int64_t c0 = r.thing * QG_X_PART, c1 = c0 + QG_X_PART < inter ? c0 + QG_X_PART : inter;
    float *gate = p->s->mlp + (int64_t)part * 2 * QG_MLP_ROWS * QG_X_PART;
    float *up = gate + QG_MLP_ROWS * QG_X_PART;
    const uint8_t *xp = qg_pass_xp(p, r.lo, w->k);
    qg_product_part(gate, QG_X_PART, xp, w, n, c0 / nr, c1 / nr);
    qg_product_part(up, QG_X_PART, xp, w, n, (inter + c0) / nr, (inter + c1) / nr);
    for (int64_t i = 0; i < n; i++)
        p->m->vec->silu_mul(gate + i * QG_X_PART, gate + i * QG_X_PART, up + i * QG_X_PART,
                            c1 - c0);
    p->m->layer->prep(qg_pass_xi(p, r.lo, inter), gate, QG_X_PART, n, inter, c0, c1);
}

static void mlp(qg_pass *p)
{
    const int64_t items = qg_pass_pieces(p, mlp_runs(p), QG_MLP_ROWS);
    if (p->m->cfg->intermediate % p->m->layer->nr == 0 && !p->s->watch &&
        qg_items_even(p->s->parts, items)) {
        qg_for_pieces(p, mlp_part, mlp_runs(p), QG_MLP_ROWS);
        return;
    }
    whole_product(p, p->s->xp, &p->layer->gate_up);
    for_rows(p, mlp_rows);
}

void qg_pass_layer(qg_pass *p)
{
    qg_pass_attend(p);
    whole_product(p, p->s->xi, &p->layer->o);
    qg_pass_add_norm(p, p->layer->norm_post);
    mlp(p);
    whole_product(p, p->s->xi, &p->layer->down);
}
