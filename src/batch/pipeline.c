/* Order: lines become rows in a ring, windows of them are sorted and submitted, and a thread takes
 * them from the other end as soon as the oldest is done. */
#define _GNU_SOURCE
#include "batch/pipeline_int.h"

#include "base/mem.h"

#include <stdlib.h>

static qg_item *item_at(const qg_pipeline *p, uint64_t i)
{
    return &p->items[i % QG_BATCH_SLOTS];
}

/* ---- taking ---------------------------------------------------------------------------------- */

/* The first part that failed speaks for the row, whichever ended first. */
static void settle(qg_item *item)
{
    for (size_t i = 0; item->status == QG_OK && i < item->row.n; i++) {
        const qg_asked *asked = &item->asked[i];
        for (size_t k = 0; item->status == QG_OK && k < asked->n; k++) {
            const qg_part *part = &asked->parts[k];
            if (part->status != QG_OK)
                qg_fail(&item->err, part->status, "%s",
                        part->err ? part->err->msg : "out of memory");
            item->status = part->status;
        }
    }
}

static qg_status keep(const qg_pipeline *p, const qg_item *item, qg_err *err)
{
    for (size_t i = 0; p->opt->cache && item->status == QG_OK && i < item->row.n; i++)
        for (size_t k = 0; k < item->asked[i].n; k++) {
            const qg_part *part = &item->asked[i].parts[k];
            if (part->keyed && part->fresh && part->said.second != QG_SECOND_FAILED)
                QG_TRY(qg_cache_put(p->opt->cache, &part->key, &part->said, err));
        }
    return QG_OK;
}

static void free_item(qg_item *item)
{
    for (size_t i = 0; item->asked && i < item->row.n; i++)
        for (size_t k = 0; k < item->asked[i].n; k++)
            qg_mfree(item->asked[i].parts[k].err);
    qg_row_free(&item->row);
    qg_mfree(item->line);
}

static qg_status take(qg_pipeline *p, qg_item *item, qg_err *err)
{
    settle(item);
    QG_TRY(keep(p, item, err));
    return p->take(p->ud, item, err);
}

static void *take_all(void *arg)
{
    qg_pipeline *p = arg;
    qg_err err;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->head == p->tail ? !p->ended : item_at(p, p->head)->left > 0)
            pthread_cond_wait(&p->ready, &p->lock);
        if (p->head == p->tail)
            break;
        qg_item *item = item_at(p, p->head);
        bool wanted = p->rc == QG_OK;
        pthread_mutex_unlock(&p->lock);
        qg_status rc = wanted ? take(p, item, &err) : QG_OK;
        size_t n = item->n;
        free_item(item);
        pthread_mutex_lock(&p->lock);
        if (rc != QG_OK) {
            p->rc = rc;
            p->err = err;
        }
        p->head++;
        p->bytes -= n;
        pthread_cond_signal(&p->room);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool has_room(const qg_pipeline *p)
{
    return p->tail == p->head ||
           (p->tail - p->head < QG_BATCH_SLOTS && p->bytes < 2 * (size_t)QG_BATCH_BYTES);
}

/* False: take has failed, or (without wait) there is no room now. */
static bool may_read(qg_pipeline *p, bool wait)
{
    pthread_mutex_lock(&p->lock);
    while (wait && !has_room(p))
        pthread_cond_wait(&p->room, &p->lock);
    bool may = p->rc == QG_OK && has_room(p);
    pthread_mutex_unlock(&p->lock);
    return may;
}

bool qg_pipeline_wants(const qg_line *line, uint32_t shard, uint32_t n_shards)
{
    uint64_t i = (uint64_t)line->place.number - 1;
    return i % n_shards == shard && (line->too_long || !qg_row_is_blank(line->text));
}

static qg_status read_item(const qg_pipeline *p, const qg_line *line, qg_item *item)
{
    if (line->too_long)
        return qg_fail(&item->err, QG_ERR_TOO_LONG, "the line has more than %u bytes",
                       QG_MAX_ROW_BYTES);
    item->line = qg_memdup0(line->text.p, line->text.n);
    if (!item->line)
        return qg_fail(&item->err, QG_ERR_NOMEM, "out of memory");
    item->n = line->text.n;
    return qg_row_read(&item->row, qg_slice_of(item->line, item->n), &p->opt->fields, &item->err);
}

/* A row that can be judged is left in order [*n]; another is done at once. */
static void add_item(qg_pipeline *p, const qg_line *line, qg_item **order, size_t *n)
{
    qg_item *item = item_at(p, p->tail); /* the reader's until tail moves */
    *item = (qg_item){.pipeline = p, .place = line->place, .raw = line->raw};
    qg_row_free(&item->row);
    item->status = read_item(p, line, item);
    item->left = item->status == QG_OK;
    if (item->status == QG_OK)
        order[(*n)++] = item;
    pthread_mutex_lock(&p->lock);
    p->tail++;
    p->bytes += item->n;
    pthread_cond_signal(&p->ready);
    pthread_mutex_unlock(&p->lock);
}

static int longest_first(const void *a, const void *b)
{
    const qg_item *x = *(qg_item *const *)a, *y = *(qg_item *const *)b;
    if (x->row.bytes != y->row.bytes)
        return x->row.bytes > y->row.bytes ? -1 : 1;
    return x->place.number < y->place.number ? -1 : 1;
}

static qg_status read_window(qg_pipeline *p, qg_item **order, size_t *n, bool *more, qg_err *err)
{
    qg_line line;
    size_t bytes = 0;
    *n = 0;
    while (*n < QG_BATCH_ROWS && bytes < QG_BATCH_BYTES && may_read(p, *n == 0)) {
        QG_TRY(qg_source_next(p->source, &line, more, err));
        if (!*more)
            return QG_OK;
        if (!qg_pipeline_wants(&line, p->opt->shard, p->opt->n_shards))
            continue;
        bytes += line.text.n;
        add_item(p, &line, order, n);
    }
    return QG_OK;
}

static qg_status read_all(qg_pipeline *p, qg_err *err)
{
    qg_item *order[QG_BATCH_ROWS];
    size_t n;
    bool more = true;
    qg_status rc = QG_OK;
    while (more && rc == QG_OK && may_read(p, true)) {
        rc = read_window(p, order, &n, &more, err);
        qsort(order, n, sizeof(qg_item *), longest_first);
        for (size_t i = 0; i < n; i++)
            qg_pipeline_submit(p, order[i]);
    }
    return rc;
}

static qg_status run(qg_pipeline *p, qg_err *err)
{
    pthread_t taker;
    if (pthread_create(&taker, NULL, take_all, p))
        return qg_fail(err, QG_ERR_NOMEM, "no thread for the output");
    qg_status rc = read_all(p, err);
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    pthread_cond_signal(&p->ready);
    pthread_mutex_unlock(&p->lock);
    pthread_join(taker, NULL);
    if (p->rc != QG_OK && err)
        *err = p->err;
    return p->rc != QG_OK ? p->rc : rc;
}

qg_status qg_pipeline_run(const qg_pipeline_options *opt, qg_source *source, qg_item_fn *take_fn,
                          void *ud, qg_err *err)
{
    qg_model_info info;
    qg_pipeline p = {.opt = opt, .source = source, .take = take_fn, .ud = ud};
    qg_engine_info(opt->engine, &info);
    p.max_len = info.max_model_len;
    p.items = qg_calloc(QG_BATCH_SLOTS, sizeof *p.items);
    if (!p.items)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.room, NULL);
    pthread_cond_init(&p.ready, NULL);
    qg_status rc = run(&p, err);
    pthread_cond_destroy(&p.room);
    pthread_cond_destroy(&p.ready);
    pthread_mutex_destroy(&p.lock);
    qg_mfree(p.items);
    return rc;
}
