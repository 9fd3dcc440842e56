/* Weights from the files into the layout of the chosen matrix kernel: once, all into one block of
 * 2 MiB pages, a few panels at a time so that the copy in between stays in the cache. */
#include "model/model_int.h"

#include "base/mem.h"
#include "kern/panel.h"

#include <string.h>

enum { STAGE_BYTES = 1 << 20 }; /* of panels in flight per thread: within the second-level cache */

typedef struct pack_job {
    const qg_modeldir *dir;
    const qg_gemm *gemm;
    const qg_matrix *to;
    const qg_tensor *parts[3]; /* stacked by rows */
    const float *columns;      /* [k] factors, or NULL; float32 only, like those of rows */
    const float *rows[3];      /* of each part's rows, or NULL */
    int n_parts;
    size_t element; /* bytes of one in the kernel's format */
    int64_t step;   /* panels per item */
    uint8_t *stage; /* per worker: [step * nr][k] elements */
    size_t stage_bytes;
} pack_job;

/* What pack reads: bf16 for bf16, else float32. */
static bool reads_f32(qg_wformat format)
{
    return format != QG_W_BF16;
}

static size_t element_bytes(qg_wformat format)
{
    return reads_f32(format) ? sizeof(float) : sizeof(qg_bf16);
}

static bool same_format(const qg_tensor *t, qg_wformat format)
{
    return t->dtype == (reads_f32(format) ? QG_DTYPE_F32 : QG_DTYPE_BF16);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Elements [from, from + n) of t, whose blocks the range may cut. */
static void blocks_f32(float *dst, const qg_tensor *t, int64_t from, int64_t n)
{
    enum { MOST = 256 };
    const int64_t per = t->blocks->elements, bytes = t->blocks->bytes;
    const uint8_t *src = (const uint8_t *)t->data + from / per * bytes;
    float block[MOST];
    for (int64_t skip = from % per, m; n > 0; n -= m, dst += m, skip = 0) {
        if (!skip && n >= per) {
            m = n / per * per;
            t->blocks->decode(dst, src, n / per);
        } else {
            m = per - skip < n ? per - skip : n;
            t->blocks->decode(block, src, 1);
            memcpy(dst, block + skip, (size_t)m * sizeof *dst);
        }
        src += (skip + m) / per * bytes;
    }
}

void qg_tensor_f32(float *dst, const qg_tensor *t, int64_t from, int64_t n)
{
    const uint8_t *src = t->data;
    if (t->blocks) {
        blocks_f32(dst, t, from, n);
        return;
    }
    if (t->dtype == QG_DTYPE_F32) {
        memcpy(dst, src + (size_t)from * sizeof *dst, (size_t)n * sizeof *dst);
        return;
    }
    src += (size_t)from * sizeof(uint16_t);
    for (int64_t i = 0; i < n; i++, src += sizeof(uint16_t)) {
        uint16_t h;
        memcpy(&h, src, sizeof h);
        dst[i] = t->dtype == QG_DTYPE_BF16 ? qg_bf16_to_f32(h) : qg_f16_to_f32(h);
    }
}

/* Elements [from, from + n) of t in the kernel's format. */
static void convert(uint8_t *dst, qg_wformat format, const qg_tensor *t, int64_t from, int64_t n)
{
    size_t size = element_bytes(format);
    if (same_format(t, format)) {
        memcpy(dst, (const uint8_t *)t->data + (size_t)from * size, (size_t)n * size);
        return;
    }
    if (reads_f32(format)) {
        qg_tensor_f32((float *)(void *)dst, t, from, n);
        return;
    }
    enum { BATCH = 256 };
    float f[BATCH];
    qg_bf16 *out = (qg_bf16 *)(void *)dst;
    for (int64_t i = 0; i < n; i += BATCH) {
        int64_t m = n - i < BATCH ? n - i : BATCH;
        qg_tensor_f32(f, t, from + i, m);
        for (int64_t j = 0; j < m; j++)
            out[i + j] = qg_f32_to_bf16(f[j]);
    }
}

/* ---- matrices -------------------------------------------------------------------------------- */

/* Rows [from, to) of a part times their factors and their columns'. */
static void apply_factors(const pack_job *j, float *v, int part, int64_t from, int64_t to)
{
    for (int64_t r = from; r < to; r++, v += j->to->k) {
        const float row = j->rows[part] ? j->rows[part][r] : 1;
        for (int64_t c = 0; c < j->to->k; c++)
            v[c] *= row * j->columns[c];
    }
}

/* Rows [lo, hi) of the stacked parts in the kernel's format: straight from the file when they lie
 * there in one piece, right type and aligned; else copied into stage. */
static const void *stage_rows(const pack_job *j, uint8_t *stage, int64_t lo, int64_t hi)
{
    int64_t k = j->to->k, first = 0;
    size_t row_bytes = (size_t)k * j->element;
    for (int i = 0; i < j->n_parts; first += j->parts[i++]->dim[0]) {
        const qg_tensor *t = j->parts[i];
        int64_t from = lo > first ? lo - first : 0, to = hi - first;
        if (to > t->dim[0])
            to = t->dim[0];
        if (from >= to)
            continue;
        const uint8_t *src = (const uint8_t *)t->data + (size_t)from * row_bytes;
        if (to - from == hi - lo && same_format(t, j->gemm->format) && !j->columns &&
            (uintptr_t)src % j->element == 0)
            return src;
        uint8_t *dst = stage + (size_t)(first + from - lo) * row_bytes;
        convert(dst, j->gemm->format, t, from * k, (to - from) * k);
        if (j->columns)
            apply_factors(j, (float *)(void *)dst, i, from, to);
    }
    return stage;
}

/* What was packed of the file is let go at once: a matrix is not in memory twice. */
static void drop_rows(const pack_job *j, int64_t lo, int64_t hi)
{
    int64_t first = 0;
    for (int i = 0; i < j->n_parts; first += j->parts[i++]->dim[0]) {
        const qg_tensor *t = j->parts[i];
        const size_t row_bytes = t->bytes / (size_t)t->dim[0];
        const int64_t from = lo > first ? lo - first : 0;
        const int64_t to = hi - first < t->dim[0] ? hi - first : t->dim[0];
        if (from < to)
            qg_modeldir_drop_part(j->dir, t, (size_t)from * row_bytes,
                                  (size_t)(to - from) * row_bytes);
    }
}

static void pack_panels(void *arg, int64_t item, int part)
{
    const pack_job *j = arg;
    const qg_matrix *to = j->to;
    int64_t nr = j->gemm->nr, lo = item * j->step * nr, hi = lo + j->step * nr;
    if (hi > to->n)
        hi = to->n;
    const void *rows = stage_rows(j, j->stage + (size_t)part * j->stage_bytes, lo, hi);
    int64_t n_panels = (hi - lo + nr - 1) / nr;
    j->gemm->pack(to->wp + j->gemm->packed_bytes(lo, to->k), rows, hi - lo, to->k, 0, n_panels);
    drop_rows(j, lo, hi);
}

/* Packs one matrix: job says which parts and factors. */
static qg_status pack_matrix(const qg_model *m, const qg_matrix *to, pack_job job, qg_pool *pool,
                             qg_err *err)
{
    pack_job j = job;
    j.dir = m->dir;
    j.gemm = to->gemm;
    j.to = to;
    j.element = element_bytes(to->gemm->format);
    size_t panel = (size_t)to->gemm->nr * (size_t)to->k * j.element;
    int64_t panels = qg_panels(to);
    j.step = panel < STAGE_BYTES ? (int64_t)(STAGE_BYTES / panel) : 1;
    if (j.step > panels)
        j.step = panels;
    j.stage_bytes = panel * (size_t)j.step;
    size_t bytes;
    int threads = qg_pool_threads(pool);
    if (!qg_mul_size(j.stage_bytes, (size_t)threads, &bytes) ||
        !(j.stage = qg_aligned_alloc(64, bytes)))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory while packing weights");
    qg_items_run(pool, threads, pack_panels, &j, (panels + j.step - 1) / j.step);
    qg_mfree(j.stage);
    for (int i = 0; i < j.n_parts; i++)
        qg_modeldir_drop(m->dir, j.parts[i]);
    return QG_OK;
}

/* ---- the whole model ------------------------------------------------------------------------- */

/* c NULL: packed before, it will be used where it lies. */
static void place(const qg_gemm *g, qg_carve *c, qg_matrix *to, int64_t n, int64_t k)
{
    void *wp = c ? qg_carve_take(c, 1, g->packed_bytes(n, k)) : NULL;
    *to = (qg_matrix){.gemm = g, .wp = wp, .n = n, .k = k};
}

static float *place_vector(qg_carve *c, int32_t n)
{
    return qg_carve_take(c, (size_t)n, sizeof(float));
}

static void lay_out(qg_model *m, qg_carve *c)
{
    const qg_config *cfg = m->cfg;
    int64_t hidden = cfg->hidden, inter = cfg->intermediate;
    int64_t q = (int64_t)cfg->n_heads * cfg->head_dim,
            kv = (int64_t)cfg->n_kv_heads * cfg->head_dim;
    qg_carve *own = cfg->packed == QG_DTYPE_AUTO ? c : NULL;
    m->differs = qg_carve_take(c, 1, sizeof *m->differs);
    if (!m->heads)
        place(m->gemm, own, &m->out, cfg->vocab_size, hidden);
    m->norm = place_vector(c, cfg->hidden);
    m->inv_freq = place_vector(c, cfg->head_dim / 2);
    for (int32_t i = 0; i < cfg->n_layers; i++) {
        qg_layer *l = &m->layers[i];
        place(m->layer, own, &l->qkv, q + 2 * kv, hidden);
        place(m->layer, own, &l->o, hidden, q);
        place(m->layer, own, &l->gate_up, 2 * inter, hidden);
        place(m->layer, own, &l->down, hidden, inter);
        l->norm_in = place_vector(c, cfg->hidden);
        l->norm_post = place_vector(c, cfg->hidden);
        l->q_norm = place_vector(c, cfg->head_dim);
        l->k_norm = place_vector(c, cfg->head_dim);
    }
}

static void copy_vector(float *to, const qg_tensor *t)
{
    qg_tensor_f32(to, t, 0, t->dim[0]);
}

/* e: factors of this layer, or NULL. */
static void copy_norms(const qg_model *m, qg_layer *l, const qg_bound_layer *b, const qg_equal *e)
{
    copy_vector(l->norm_in, b->norm_in);
    copy_vector(l->norm_post, b->norm_post);
    copy_vector(l->q_norm, b->q_norm);
    copy_vector(l->k_norm, b->k_norm);
    if (m->attn->kv_format == QG_W_I8)
        qg_equal_heads(l->q_norm, l->k_norm, m->cfg->head_dim);
    for (int64_t i = 0; e && i < b->norm_in->dim[0]; i++) {
        l->norm_in[i] *= e->norm_in[i];
        l->norm_post[i] *= e->norm_post[i];
    }
}

qg_status qg_pack_layer(const qg_model *m, qg_layer *l, const qg_bound_layer *b, const qg_equal *e,
                        qg_pool *pool, qg_err *err)
{
    pack_job qkv = {.parts = {b->q, b->k, b->v}, .n_parts = 3};
    pack_job o = {.parts = {b->o}, .n_parts = 1};
    pack_job gate_up = {.parts = {b->gate, b->up}, .n_parts = 2};
    pack_job down = {.parts = {b->down}, .n_parts = 1};
    if (e) {
        qkv.columns = e->qkv_columns;
        qkv.rows[2] = e->v_rows;
        o.columns = e->o_columns;
        gate_up.columns = e->gate_up_columns;
        gate_up.rows[1] = e->up_rows;
        down.columns = e->down_columns;
    }
    copy_norms(m, l, b, e);
    QG_TRY(pack_matrix(m, &l->qkv, qkv, pool, err));
    QG_TRY(pack_matrix(m, &l->o, o, pool, err));
    QG_TRY(pack_matrix(m, &l->gate_up, gate_up, pool, err));
    return pack_matrix(m, &l->down, down, pool, err);
}

static qg_status pack_layers(qg_model *m, const qg_bound *bound, qg_pool *pool, qg_err *err)
{
    const bool rounded = m->layer->format == QG_W_I8 || m->layer->format == QG_W_I4;
    qg_equal equal = {0}, *e = rounded ? &equal : NULL;
    qg_status rc = e ? qg_equal_open(e, m->cfg, err) : QG_OK;
    for (int32_t i = 0; rc == QG_OK && i < m->cfg->n_layers; i++) {
        if (e)
            qg_equal_layer(e, m->cfg, &bound->layers[i], pool);
        rc = qg_pack_layer(m, &m->layers[i], &bound->layers[i], e, pool, err);
    }
    qg_equal_close(&equal);
    return rc;
}

/* The output matrix comes first: it is by far the largest in the file, so that its pages are gone
 * before the rest of the memory is touched.  A Stream model has none; its embedding is read from
 * the file. */
qg_status qg_pack_output(const qg_model *m, const qg_bound *bound, qg_pool *pool, qg_err *err)
{
    const pack_job out = {.parts = {bound->lm_head ? bound->lm_head : bound->embed}, .n_parts = 1};
    return bound->stream ? QG_OK : pack_matrix(m, &m->out, out, pool, err);
}

/* Panels as they lie in the file.  All rows of the table share their layouts (kern/panel.h,
 * quant.h, quant4.h); one that does not must bring a way to turn them into its own. */
static qg_status use_panels(qg_model *m, qg_matrix *to, const qg_tensor *t, qg_err *err)
{
    const qg_gemm *g = to->gemm;
    if (g->packed_bytes(to->n, to->k) != t->bytes || g->nr != QG_NR)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "%s: %s: the kernel row %s packs matrices in another way", t->file, t->name,
                       g->name);
    if ((uintptr_t)t->data % 64 != 0)
        return qg_fail(err, QG_ERR_FORMAT,
                       "%s: %s: does not begin at a multiple of 64 bytes, as quantize writes it",
                       t->file, t->name);
    to->wp = (uint8_t *)(uintptr_t)t->data; /* nothing writes to it once it is packed */
    m->file_bytes += t->bytes;
    return QG_OK;
}

static qg_status use_all_panels(qg_model *m, const qg_bound *bound, qg_err *err)
{
    if (!bound->stream)
        QG_TRY(use_panels(m, &m->out, bound->panels, err));
    for (int32_t i = 0; i < m->cfg->n_layers; i++) {
        qg_layer *l = &m->layers[i];
        qg_matrix *to[] = {&l->qkv, &l->o, &l->gate_up, &l->down};
        for (size_t k = 0; k < QG_COUNT(to); k++)
            QG_TRY(use_panels(m, to[k], bound->layers[i].panels[k], err));
    }
    return QG_OK;
}

static qg_status pack_all(qg_model *m, const qg_bound *bound, qg_pool *pool, qg_err *err)
{
    const bool packed = m->cfg->packed != QG_DTYPE_AUTO;
    *m->differs = bound->lm_head_differs;
    if (!packed)
        QG_TRY(qg_pack_output(m, bound, pool, err));
    copy_vector(m->norm, bound->norm);
    qg_rope_freqs(m->inv_freq, m->cfg->head_dim, m->cfg->rope_theta);
    for (int32_t i = 0; packed && i < m->cfg->n_layers; i++)
        copy_norms(m, &m->layers[i], &bound->layers[i], NULL);
    return packed ? QG_OK : pack_layers(m, bound, pool, err);
}

size_t qg_pack_bytes(qg_model *m, bool stream)
{
    qg_config plain = *m->cfg;
    const qg_config *cfg = m->cfg;
    qg_carve c = {0};
    plain.packed = QG_DTYPE_AUTO; /* packed before they take as much */
    m->cfg = &plain;
    lay_out(m, &c);
    m->cfg = cfg;
    const size_t out = stream ? m->gemm->packed_bytes(cfg->vocab_size, cfg->hidden) : 0;
    return c.overflow ? SIZE_MAX : c.at - out;
}

/* Memory for everything, or what the caller has. */
static qg_status find_room(qg_model *m, qg_slice packed, qg_err *err)
{
    qg_carve c = {0};
    lay_out(m, &c);
    m->mem_borrowed = !c.overflow && packed.n == c.at && (uintptr_t)packed.p % 64 == 0;
    if (m->mem_borrowed)
        m->mem = (uint8_t *)(uintptr_t)packed.p; /* nothing writes to it once it is packed */
    else if (c.overflow || !(m->mem = qg_big_alloc(c.at)))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for %zu MiB of weights", c.at >> 20);
    m->mem_bytes = c.at;
    c = (qg_carve){.base = m->mem};
    lay_out(m, &c);
    return QG_OK;
}

qg_status qg_pack(qg_model *m, qg_bound *bound, qg_slice packed, qg_pool *pool, qg_err *err)
{
    if (bound->stream)
        QG_TRY(qg_heads_pack(m, bound, err));
    QG_TRY(find_room(m, packed, err));
    if (!m->mem_borrowed)
        qg_settle_lm_head(bound, m->dir);
    else if (m->cfg->tied && bound->lm_head && !(bound->lm_head_differs = *m->differs != 0))
        bound->lm_head = NULL;
    const bool before = m->cfg->packed != QG_DTYPE_AUTO;
    m->embed = bound->lm_head || bound->stream || before ? bound->embed : NULL;
    m->lm_head_differs = bound->lm_head_differs;
    if (before)
        QG_TRY(use_all_panels(m, bound, err));
    return m->mem_borrowed ? QG_OK : pack_all(m, bound, pool, err);
}
