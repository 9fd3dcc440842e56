#include "engine/warm.h"

#include "base/mem.h"

enum { KINDS = 2, ALIGN = 64 };

static int32_t blocks_of(size_t n_ids)
{
    return (int32_t)((n_ids + QG_KV_BLOCK - 1) / QG_KV_BLOCK);
}

static const qg_ids *prefix_of(const qg_engine *e, int kind)
{
    return qg_guard_prefix(e->guard, kind ? QG_REPLY : QG_PROMPT);
}

static size_t block_bytes(const qg_engine *e)
{
    const qg_kv_shape shape = qg_model_kv_shape(e->model);
    return qg_kv_block_bytes(&shape);
}

static bool wanted(const qg_engine *e)
{
    return e->prefix && e->guard && e->head;
}

/* ---- making ---------------------------------------------------------------------------------- */

static qg_status compute(qg_engine *e, const qg_ids *ids, qg_kv_seq *seq)
{
    int32_t n = (int32_t)ids->n, at = qg_prefix_match(e->prefix, ids->p, n, seq);
    QG_TRY(qg_prefix_grow(e->prefix, seq, n));
    while (at < n) {
        int32_t rows = 0;
        for (; at < n && rows < e->step.cap; at++)
            e->step.rows[rows++] = (qg_row){
                .id = ids->p[at], .pos = at, .slot = at, .tree_base = INT32_MAX, .seq = seq};
        QG_TRY(qg_model_forward(e->model, e->scratch, e->pool, e->step.rows, rows, e->step.hidden,
                                NULL, NULL));
    }
    qg_prefix_insert(e->prefix, ids->p, n, seq, n);
    return QG_OK;
}

static size_t copy_blocks(const qg_engine *e, const qg_kv_seq *seq, int32_t n, uint8_t *to)
{
    size_t bytes = block_bytes(e);
    for (int32_t i = 0; i < n; i++)
        memcpy(to + (size_t)i * bytes, qg_kv_layer(e->kv, seq->blocks[i], 0), bytes);
    return (size_t)n * bytes;
}

qg_status qg_warm_make(qg_engine *e, uint8_t **image, size_t *n_bytes)
{
    size_t head = sizeof(int32_t), n_blocks = 0;
    *image = NULL;
    *n_bytes = 0;
    if (!wanted(e))
        return QG_OK;
    for (int k = 0; k < KINDS; k++) {
        head += (1 + prefix_of(e, k)->n) * sizeof(int32_t);
        n_blocks += (size_t)blocks_of(prefix_of(e, k)->n);
        if (prefix_of(e, k)->n > (size_t)e->max_len)
            return QG_OK;
    }
    head = (head + ALIGN - 1) / ALIGN * ALIGN;
    size_t bytes = head + n_blocks * block_bytes(e);
    uint8_t *out = qg_big_alloc(bytes);
    if (!out)
        return QG_ERR_NOMEM;
    int32_t *numbers = (int32_t *)(void *)out;
    *numbers++ = KINDS;
    size_t at = head;
    qg_status rc = QG_OK;
    for (int k = 0; k < KINDS && rc == QG_OK; k++) {
        const qg_ids *ids = prefix_of(e, k);
        qg_kv_seq seq = {.kv = e->kv};
        *numbers++ = (int32_t)ids->n;
        if (ids->n)
            memcpy(numbers, ids->p, ids->n * sizeof *numbers);
        numbers += ids->n;
        rc = compute(e, ids, &seq);
        if (rc == QG_OK)
            at += copy_blocks(e, &seq, blocks_of(ids->n), out + at);
        qg_kv_seq_free(&seq);
    }
    if (rc != QG_OK) {
        qg_big_free(out, bytes);
        return rc;
    }
    *image = out;
    *n_bytes = bytes;
    return QG_OK;
}

/* ---- restoring ------------------------------------------------------------------------------- */

static void adopt(qg_engine *e, const qg_ids *ids, const char *blocks)
{
    qg_kv_seq seq = {.kv = e->kv};
    size_t bytes = block_bytes(e);
    int32_t n = blocks_of(ids->n);
    if (qg_prefix_grow(e->prefix, &seq, (int32_t)ids->n) == QG_OK) {
        for (int32_t i = 0; i < n; i++)
            memcpy(qg_kv_layer(e->kv, seq.blocks[i], 0), blocks + (size_t)i * bytes, bytes);
        qg_prefix_insert(e->prefix, ids->p, (int32_t)ids->n, &seq, (int32_t)ids->n);
    }
    qg_kv_seq_free(&seq);
}

/* The image is aligned: it is a part of a packfile. */
void qg_warm_restore(qg_engine *e, qg_slice image)
{
    const int32_t *numbers = (const int32_t *)(const void *)image.p;
    size_t n_numbers = image.n / sizeof *numbers, at = 1, need = 0;
    const int32_t *ids[KINDS];
    if (!wanted(e) || n_numbers < 1 || numbers[0] != KINDS)
        return;
    for (int k = 0; k < KINDS; k++) {
        const qg_ids *own = prefix_of(e, k);
        if (at >= n_numbers || numbers[at] < 0 || (size_t)numbers[at] != own->n ||
            own->n > n_numbers - at - 1 || own->n > (size_t)e->max_len)
            return;
        ids[k] = numbers + at + 1;
        at += 1 + own->n;
        need += (size_t)blocks_of(own->n);
    }
    size_t head = (at * sizeof *numbers + ALIGN - 1) / ALIGN * ALIGN, bytes = block_bytes(e);
    if (head > image.n || (image.n - head) / bytes < need)
        return;
    for (int k = 0; k < KINDS; k++) {
        const qg_ids *own = prefix_of(e, k);
        if (own->n && !memcmp(ids[k], own->p, own->n * sizeof *own->p))
            adopt(e, own, image.p + head);
        head += (size_t)blocks_of(own->n) * bytes;
    }
}
