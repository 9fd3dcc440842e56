/* From a layer's prepared input to its attention: q, k and v, their norms and rotation, K and V
 * into the cache, attention, and what it gives made ready for the next product.
 *
 * All of that is one kv head's own business, so where matrices allow it an item of work is a head
 * and some rows: its part of the product stays in the core's cache for all that follows.  A join
 * stands only where a row needs K and V of rows of another item. */
#include "model/model_int.h"

#include <string.h>

enum {
    ATTN_ROWS = 16,  /* query rows of one work item: they share the K and V that they read */
    HEAD_ROWS = 128, /* most rows of one that stores K and V: its weights are read once for all */
    FEW_ROWS = 64    /* up to so many attend in that same item */
};

static int64_t q_width(const qg_pass *p)
{
    return (int64_t)p->m->cfg->n_heads * p->m->cfg->head_dim;
}

/* Floats of a kv head's queries. */
static int64_t group_width(const qg_pass *p)
{
    return q_width(p) / p->m->cfg->n_kv_heads;
}

/* Items are kv heads with their heads of q. */
static qg_piece head_rows(const qg_pass *p, int64_t item, int64_t most)
{
    return qg_pass_piece(p, item, p->m->cfg->n_kv_heads, most);
}

static void for_heads(qg_pass *p, qg_item_fn *fn, int64_t most)
{
    qg_for_pieces(p, fn, p->m->cfg->n_kv_heads, most);
}

/* ---- q, k, v --------------------------------------------------------------------------------- */

/* Norm of each head by w, then rotation by the row's position. */
static void norm_and_rotate(const qg_pass *p, int64_t row, float *heads, int64_t n, const float *w)
{
    int64_t d = p->m->cfg->head_dim;
    for (int64_t h = 0; h < n; h++)
        p->m->vec->rmsnorm(heads + h * d, heads + h * d, w, d, p->m->cfg->rms_eps);
    p->m->vec->rope(heads, n, d, p->s->cosv + row * (d / 2), p->s->sinv + row * (d / 2));
}

static void turn_q(const qg_pass *p, qg_piece at)
{
    const int64_t width = group_width(p);
    for (int64_t i = at.lo; i < at.hi; i++)
        norm_and_rotate(p, i, p->s->y + i * p->s->ldy + at.thing * width,
                        width / p->m->cfg->head_dim, p->layer->q_norm);
}

static void store_kv(const qg_pass *p, qg_piece at)
{
    const qg_config *c = p->m->cfg;
    for (int64_t i = at.lo; i < at.hi; i++) {
        float *k = p->s->y + i * p->s->ldy + q_width(p) + at.thing * c->head_dim;
        int32_t slot = p->row[i].slot;
        void *block = (void *)(uintptr_t)p->s->rows[i].blocks[slot / QG_KV_BLOCK];
        norm_and_rotate(p, i, k, 1, p->layer->k_norm);
        p->m->attn->store(&p->m->attn_shape, block, (int32_t)at.thing, slot % QG_KV_BLOCK, k,
                          k + (int64_t)c->n_kv_heads * c->head_dim);
    }
}

static void kv_item(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    (void)part;
    store_kv(p, head_rows(p, item, HEAD_ROWS));
}

static void q_item(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    (void)part;
    turn_q(p, head_rows(p, item, HEAD_ROWS));
}

/* Columns [at, at + width) of the product for rows of the item. */
static void project_some(const qg_pass *p, qg_piece rows, int64_t at, int64_t width)
{
    const qg_matrix *w = &p->layer->qkv;
    const int64_t nr = w->gemm->nr;
    qg_product_part(p->s->y + rows.lo * p->s->ldy + at, p->s->ldy, qg_pass_xp(p, rows.lo, w->k), w,
                    rows.hi - rows.lo, at / nr, (at + width) / nr);
}

static void project(const qg_pass *p, qg_piece rows)
{
    const int64_t d = p->m->cfg->head_dim, q = q_width(p), width = group_width(p);
    project_some(p, rows, rows.thing * width, width);
    project_some(p, rows, q + rows.thing * d, d);
    project_some(p, rows, q + (p->m->cfg->n_kv_heads + rows.thing) * d, d);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Whether a head's part of the attended rows can be prepared apart from the others'. */
static bool prepares_by_head(const qg_pass *p)
{
    return group_width(p) % QG_X_PART == 0 && !p->s->watch;
}

static void attend(const qg_pass *p, qg_piece at, int part)
{
    const int64_t q = q_width(p), width = group_width(p), from = at.thing * width;
    p->m->attn->run(&p->m->attn_shape, p->s->rows + at.lo, at.hi - at.lo, (int32_t)at.thing,
                    p->s->attn + (size_t)part * p->s->attn_bytes);
    if (prepares_by_head(p))
        p->m->layer->prep(qg_pass_xi(p, at.lo, q), p->s->a + at.lo * q + from, q, at.hi - at.lo, q,
                          from, from + width);
}

static void attend_item(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    attend(p, head_rows(p, item, ATTN_ROWS), part);
}

static void prep_item(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const int64_t width = q_width(p);
    (void)part;
    const qg_piece r = qg_pass_piece(p, item, 1, QG_ROW_GROUP);
    const int64_t lo = r.lo, hi = r.hi;
    if (p->s->watch)
        qg_stats_take(p->s->watch, p->layer_at, QG_IN_O, lo, hi, p->s->a + lo * width, width,
                      width);
    p->m->layer->prep(qg_pass_xi(p, lo, width), p->s->a + lo * width, width, hi - lo, width, 0,
                      width);
}

/* ---- the whole of it ------------------------------------------------------------------------- */

/* Only wanted rows go on: everything that is kept per row moves up.  Indices rise, so a row never
 * lands on one that is still to be moved. */
static void keep_wanted(qg_pass *p)
{
    qg_scratch *s = p->s;
    const qg_config *c = p->m->cfg;
    size_t hidden = (size_t)c->hidden, half = (size_t)c->head_dim / 2;
    size_t xp = p->m->layer->x_bytes(c->hidden);
    for (int32_t to = 0; to < p->n_wanted; to++) {
        size_t i = (size_t)to, from = (size_t)s->wanted[to];
        if (i == from)
            continue;
        memcpy(s->x + i * hidden, s->x + from * hidden, hidden * sizeof(float));
        memcpy(s->xp + i * xp, s->xp + from * xp, xp);
        memcpy(s->cosv + i * half, s->cosv + from * half, half * sizeof(float));
        memcpy(s->sinv + i * half, s->sinv + from * half, half * sizeof(float));
        const float *q = s->rows[i].q;
        float *out = s->rows[i].out;
        s->rows[i] = s->rows[from];
        s->rows[i].q = q;
        s->rows[i].out = out;
    }
    p->n = p->n_wanted;
    qg_pass_deal(p);
}

/* K and V of all rows, then q of the wanted ones: the last layer. */
static void project_last(qg_pass *p)
{
    const qg_matrix *w = &p->layer->qkv;
    const int64_t nr = w->gemm->nr, width = q_width(p);
    qg_pass_product(p, p->s->xp, w, width / nr, qg_panels(w));
    for_heads(p, kv_item, HEAD_ROWS);
    keep_wanted(p);
    /* a shared panel spoils k, which is stored by now */
    qg_pass_product(p, p->s->xp, w, 0, (width + nr - 1) / nr);
    for_heads(p, q_item, HEAD_ROWS);
}

/* Whether heads begin at panels, and their items keep all threads busy. */
static bool projects_by_head(const qg_pass *p)
{
    return p->m->cfg->head_dim % p->m->layer->nr == 0 &&
           qg_items_even(p->s->parts, qg_pass_pieces(p, p->m->cfg->n_kv_heads, HEAD_ROWS));
}

static void head_item(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_piece at = head_rows(p, item, HEAD_ROWS);
    if (p->by_head)
        project(p, at);
    turn_q(p, at);
    store_kv(p, at);
    /* few rows: nothing of another item is needed */
    for (int64_t lo = 0; p->one_block && lo < p->n; lo += ATTN_ROWS)
        attend(p, (qg_piece){at.thing, lo, lo + ATTN_ROWS < p->n ? lo + ATTN_ROWS : p->n}, part);
}

void qg_pass_attend(qg_pass *p)
{
    const bool last = p->layer_at == p->m->cfg->n_layers - 1;
    p->by_head = projects_by_head(p);
    p->one_block =
        !last && p->blocks == 1 && p->n <= FEW_ROWS && p->m->cfg->n_kv_heads >= p->s->parts;
    if (last) {
        project_last(p);
    } else {
        if (!p->by_head)
            qg_pass_product(p, p->s->xp, &p->layer->qkv, 0, qg_panels(&p->layer->qkv));
        for_heads(p, head_item, HEAD_ROWS);
    }
    if (!p->one_block)
        for_heads(p, attend_item, ATTN_ROWS);
    if (!prepares_by_head(p))
        qg_for_pieces(p, prep_item, 1, QG_ROW_GROUP);
}
