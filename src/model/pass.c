/* What happens to the rows of a pass inside a layer.  Row-wise jobs that follow each other are one
 * fork and join; a join stands only where a row needs something of another row (K and V before
 * attention) or of all columns (a product). */
#include "model/model_int.h"

#include <string.h>

enum {
    ATTN_ROWS = 16, /* query rows of one work item: they share the K and V that they read */
    HEAD_ROWS = 64  /* rows of one work item that stores K and V */
};

static void row_group(const qg_pass *p, int64_t item, int64_t *lo, int64_t *hi)
{
    *lo = item * QG_ROW_GROUP;
    *hi = *lo + QG_ROW_GROUP < p->n ? *lo + QG_ROW_GROUP : p->n;
}

static void for_row_groups(qg_pass *p, qg_item_fn *fn)
{
    qg_items_run(p->pool, p->s->parts, fn, p, (p->n + QG_ROW_GROUP - 1) / QG_ROW_GROUP);
}

static void product(qg_pass *p, const qg_matrix *w, int64_t p0, int64_t p1)
{
    qg_product(p->s, p->pool, p->s->y, p->s->ldy, w, p->n, p0, p1);
}

static void whole_product(qg_pass *p, const qg_matrix *w)
{
    product(p, w, 0, qg_panels(w));
}

static uint8_t *xp_row(const qg_pass *p, int64_t row, int64_t k)
{
    return p->s->xp + (size_t)row * p->m->layer->x_bytes(k);
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
    p->m->layer->prep(xp_row(p, lo, hidden), tmp, hidden, hi - lo, hidden);
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
    row_group(p, item, &lo, &hi);
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
    for_row_groups(p, begin_rows);
}

static void add_norm_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    int64_t lo, hi;
    row_group(p, item, &lo, &hi);
    add_rows(p, lo, hi);
    norm_rows(p, p->norm, lo, hi, part);
}

void qg_pass_add_norm(qg_pass *p, const float *w)
{
    p->norm = w;
    for_row_groups(p, add_norm_rows);
}

static void end_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_config *c = p->m->cfg;
    int64_t lo, hi, hidden = c->hidden;
    (void)part;
    row_group(p, item, &lo, &hi);
    add_rows(p, lo, hi);
    for (int64_t i = lo; i < hi; i++)
        p->m->vec->rmsnorm(p->hidden + i * hidden, p->s->x + i * hidden, p->m->norm, hidden,
                           c->rms_eps);
}

void qg_pass_end(qg_pass *p)
{
    for_row_groups(p, end_rows);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Norm of each head by w, then rotation by the row's position. */
static void norm_and_rotate(const qg_pass *p, int64_t row, float *heads, int32_t n, const float *w)
{
    int64_t d = p->m->cfg->head_dim;
    for (int32_t h = 0; h < n; h++)
        p->m->vec->rmsnorm(heads + h * d, heads + h * d, w, d, p->m->cfg->rms_eps);
    p->m->vec->rope(heads, n, d, p->s->cosv + row * (d / 2), p->s->sinv + row * (d / 2));
}

static int64_t q_width(const qg_pass *p)
{
    return (int64_t)p->m->cfg->n_heads * p->m->cfg->head_dim;
}

/* Item: one kv head and its heads of q, a run of rows.  Split by heads first, because tokens of a
 * block share cache lines and heads do not: threads would pass these lines back and forth. */
static int64_t head_rows(const qg_pass *p, int64_t item, int64_t *lo, int64_t *hi)
{
    *lo = item / p->m->cfg->n_kv_heads * HEAD_ROWS;
    *hi = *lo + HEAD_ROWS < p->n ? *lo + HEAD_ROWS : p->n;
    return item % p->m->cfg->n_kv_heads;
}

static void q_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_config *c = p->m->cfg;
    const int32_t group = c->n_heads / c->n_kv_heads;
    int64_t lo, hi, h = head_rows(p, item, &lo, &hi);
    (void)part;
    for (int64_t i = lo; i < hi; i++)
        norm_and_rotate(p, i, p->s->y + i * p->s->ldy + h * group * c->head_dim, group,
                        p->layer->q_norm);
}

static void kv_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    const qg_config *c = p->m->cfg;
    int64_t lo, hi, h = head_rows(p, item, &lo, &hi);
    (void)part;
    for (int64_t i = lo; i < hi; i++) {
        float *k = p->s->y + i * p->s->ldy + q_width(p) + h * c->head_dim;
        int32_t slot = p->row[i].slot;
        void *block = (void *)(uintptr_t)p->s->rows[i].blocks[slot / QG_KV_BLOCK];
        norm_and_rotate(p, i, k, 1, p->layer->k_norm);
        p->m->attn->store(&p->m->attn_shape, block, (int32_t)h, slot % QG_KV_BLOCK, k,
                          k + (int64_t)c->n_kv_heads * c->head_dim);
    }
}

static void qkv_rows(void *arg, int64_t item, int part)
{
    q_rows(arg, item, part);
    kv_rows(arg, item, part);
}

static void attend(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    int32_t kvh = (int32_t)(item % p->m->cfg->n_kv_heads);
    int64_t lo = item / p->m->cfg->n_kv_heads * ATTN_ROWS;
    int64_t n = p->n - lo < ATTN_ROWS ? p->n - lo : ATTN_ROWS;
    p->m->attn->run(&p->m->attn_shape, p->s->rows + lo, n, kvh,
                    p->s->attn + (size_t)part * p->s->attn_bytes);
}

/* Few rows: a kv head's attention needs nothing of the others, so it follows at once. */
static void qkv_attend(void *arg, int64_t head, int part)
{
    const qg_pass *p = arg;
    qkv_rows(arg, head, part);
    for (int64_t lo = 0; lo < p->n; lo += ATTN_ROWS)
        attend(arg, lo / ATTN_ROWS * p->m->cfg->n_kv_heads + head, part);
}

static void for_heads(qg_pass *p, qg_item_fn *fn)
{
    qg_items_run(p->pool, p->s->parts, fn, p,
                 (p->n + HEAD_ROWS - 1) / HEAD_ROWS * p->m->cfg->n_kv_heads);
}

static void prep_attended(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    int64_t lo, hi, width = q_width(p);
    (void)part;
    row_group(p, item, &lo, &hi);
    if (p->s->watch)
        qg_stats_take(p->s->watch, p->layer_at, QG_IN_O, lo, hi, p->s->a + lo * width, width,
                      width);
    p->m->layer->prep(xp_row(p, lo, width), p->s->a + lo * width, width, hi - lo, width);
}

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
}

static void for_attention(qg_pass *p)
{
    int64_t groups = (p->n + ATTN_ROWS - 1) / ATTN_ROWS;
    qg_items_run(p->pool, p->s->parts, attend, p, groups * p->m->cfg->n_kv_heads);
}

/* K and V of every row are stored, and every row that still matters has attended. */
static void project_and_attend(qg_pass *p)
{
    const qg_matrix *w = &p->layer->qkv;
    int64_t nr = p->m->layer->nr, width = q_width(p);
    if (p->layer_at < p->m->cfg->n_layers - 1) {
        whole_product(p, w);
        if (p->n <= HEAD_ROWS && p->m->cfg->n_kv_heads >= p->s->parts) {
            for_heads(p, qkv_attend);
            return;
        }
        for_heads(p, qkv_rows);
        for_attention(p);
        return;
    }
    product(p, w, width / nr, qg_panels(w));
    for_heads(p, kv_rows);
    keep_wanted(p);
    product(p, w, 0, (width + nr - 1) / nr); /* a shared panel spoils k, which is stored by now */
    for_heads(p, q_rows);
    for_attention(p);
}

/* ---- the layer ------------------------------------------------------------------------------- */

static void mlp_rows(void *arg, int64_t item, int part)
{
    const qg_pass *p = arg;
    int64_t lo, hi, inter = p->m->cfg->intermediate, ldy = p->s->ldy;
    (void)part;
    row_group(p, item, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        float *gate = p->s->y + i * ldy;
        p->m->vec->silu_mul(gate, gate, gate + inter, inter);
    }
    if (p->s->watch)
        qg_stats_take(p->s->watch, p->layer_at, QG_IN_DOWN, lo, hi, p->s->y + lo * ldy, ldy, inter);
    p->m->layer->prep(xp_row(p, lo, inter), p->s->y + lo * ldy, ldy, hi - lo, inter);
}

void qg_pass_layer(qg_pass *p)
{
    project_and_attend(p);
    for_row_groups(p, prep_attended);
    whole_product(p, &p->layer->o);
    qg_pass_add_norm(p, p->layer->norm_post);
    whole_product(p, &p->layer->gate_up);
    for_row_groups(p, mlp_rows);
    whole_product(p, &p->layer->down);
}
