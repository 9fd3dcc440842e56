#define _POSIX_C_SOURCE 200809L
#include "hub/fetch_priv.h"

#include "base/limits.h"
#include "base/mem.h"
#include "hub/hubfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- before: locks and what is there --------------------------------------------------------- */

static qg_status take_lock(fetch *w, const qg_hub_file *f, int *fd, qg_err *err)
{
    char *path = qg_store_lock(w->store, f), text[QG_MAX_HUB_PATH + 64];
    qg_status rc = path ? QG_ERR_BUSY : qg_fail(err, QG_ERR_NOMEM, "out of memory");

    for (int waits = 0; rc == QG_ERR_BUSY; waits++) {
        rc = qg_lock_try(path, fd, err);
        if (rc != QG_ERR_BUSY)
            break;
        if (waits == 2 && w->ask->note) {
            snprintf(text, sizeof text, "waiting for another process that fetches %s", f->path);
            w->ask->note(w->ask->ud, text);
        }
        if (!qg_ask_sleep(w->ask, 100))
            rc = qg_fail(err, QG_ERR_CANCELLED, "interrupted");
    }
    qg_mfree(path);
    return rc;
}

static qg_status open_partial(fetch *w, fetch_file *file, qg_err *err)
{
    char *path = qg_store_partial(w->store, file->f);
    qg_status rc = path ? qg_partial_open(&file->partial, path, file->f->size, err)
                        : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(path);
    if (rc != QG_OK)
        return rc;
    file->taken = qg_calloc(file->partial.n_parts + 1u, sizeof *file->taken);
    return file->taken ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

static bool same_blob_before(const fetch *w, const qg_hub_file *f)
{
    for (size_t i = 0; w->store->layout == QG_LAYOUT_HF && i < w->n; i++)
        if (!strcmp(w->files[i].f->id, f->id))
            return true;
    return false;
}

/* All locks are taken in one order, so two of us cannot wait for each other; Python's tools hold
 * one at a time. */
static qg_status add_file(fetch *w, const qg_hub_file *f, qg_err *err)
{
    fetch_file *file = &w->files[w->n];

    *file = (fetch_file){.f = f, .lock = -1, .partial = {.fd = -1}};
    if (!f->id[0])
        return qg_fail(err, QG_ERR_FORMAT, "%s: the hub tells no hash, it cannot be checked",
                       f->path);
    bool there = same_blob_before(w, f) || qg_store_has(w->store, f);
    if (!there) {
        QG_TRY(take_lock(w, f, &file->lock, err));
        there = qg_store_has(w->store, f); /* somebody else may have brought it meanwhile */
    }
    if (there) {
        qg_lock_free(file->lock);
        w->there += f->size;
        w->n_there++;
        return QG_OK;
    }
    w->n++; /* from here on free_all closes it */
    return QG_OK;
}

static int by_lock(const void *a, const void *b)
{
    const qg_hub_file *const *x = a, *const *y = b;
    int order = strcmp((*x)->id, (*y)->id);
    return order ? order : strcmp((*x)->path, (*y)->path);
}

/* The disk is asked before anything is fetched. */
static qg_status check_room(const fetch *w, qg_err *err)
{
    uint64_t need = 0;
    for (size_t i = 0; i < w->n; i++) {
        char *path = qg_store_partial(w->store, w->files[i].f);
        /* what was begun has its room already */
        if (!path || !qg_is_file(path, NULL))
            need += w->files[i].f->size + (1u << 16);
        qg_mfree(path);
    }
    return need ? qg_check_room(w->store->work, need, err) : QG_OK;
}

static qg_status open_all(fetch *w, const qg_hub_list *list, qg_err *err)
{
    const qg_hub_file **order = qg_calloc(list->n + 1, sizeof *order);
    w->files = qg_calloc(list->n + 1, sizeof *w->files);
    qg_status rc = order && w->files ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");

    for (size_t i = 0; rc == QG_OK && i < list->n; i++)
        order[i] = &list->at[i];
    if (rc == QG_OK && list->n)
        qsort(order, list->n, sizeof *order, by_lock);
    for (size_t i = 0; rc == QG_OK && i < list->n; i++)
        rc = add_file(w, order[i], err);
    if (rc == QG_OK)
        rc = check_room(w, err);
    for (size_t i = 0; rc == QG_OK && i < w->n; i++) {
        rc = open_partial(w, &w->files[i], err);
        if (rc == QG_OK)
            w->there += qg_partial_have(&w->files[i].partial);
    }
    qg_mfree(order);
    return rc;
}

static void free_all(fetch *w)
{
    for (size_t i = 0; i < w->n; i++) {
        qg_partial_close(&w->files[i].partial);
        qg_lock_free(w->files[i].lock);
        qg_mfree(w->files[i].taken);
    }
    qg_mfree(w->files);
}

/* ---- workers --------------------------------------------------------------------------------- */

static bool part_is_complete(const fetch_file *file, uint32_t i)
{
    return file->partial.done[i] == qg_partial_part(&file->partial, i, NULL);
}

/* A part nobody has; or n_parts. */
static uint32_t free_part(const fetch_file *file)
{
    uint32_t i = 0;
    while (i < file->partial.n_parts && (file->taken[i] || part_is_complete(file, i)))
        i++;
    return i;
}

typedef enum kind { NOTHING, A_PART, RESTART, FINISH } kind;

/* What is to be done with this file now.  Under the lock. */
static kind next_step(const fetch_file *file, uint32_t *part)
{
    if (file->finished || file->held)
        return NOTHING;
    if (file->no_ranges)
        return file->busy ? NOTHING : RESTART;
    *part = free_part(file);
    if (*part < file->partial.n_parts)
        return A_PART;
    return file->busy ? NOTHING : FINISH;
}

static kind pick(fetch *w, fetch_file **file, uint32_t *part)
{
    for (size_t i = 0; i < w->n; i++) {
        kind k = next_step(&w->files[i], part);
        if (k != NOTHING) {
            *file = &w->files[i];
            return k;
        }
    }
    return NOTHING;
}

static bool all_finished(const fetch *w)
{
    return w->n_finished == w->n;
}

static qg_status finish(fetch *w, fetch_file *file, qg_err *err)
{
    const qg_hub_file *f = file->f;
    char *name = qg_store_blob(w->store, f);
    qg_status rc = name ? qg_partial_finish(&file->partial, name, f->id, f->git, err)
                        : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(name);
    if (rc == QG_OK)
        return QG_OK;
    qg_err why = *err;
    if (rc == QG_ERR_FORMAT && file->wrong++ == 0) {
        atomic_fetch_sub(&w->came, (int64_t)f->size);
        return QG_ERR_DEADLINE; /* once more from the beginning: a broken disk or proxy, perhaps */
    }
    return qg_fail(err, rc, "%s: %.200s", f->path, why.msg);
}

static qg_status restart(fetch *w, fetch_file *file, qg_err *err)
{
    atomic_fetch_sub(&w->came, (int64_t)qg_partial_have(&file->partial));
    file->no_ranges = false;
    return qg_partial_restart(&file->partial, true, err);
}

/* Outside the lock; file->busy keeps others away from what it changes. */
static qg_status run_step(fetch *w, kind k, fetch_file *file, uint32_t part, qg_err *err)
{
    if (k == A_PART)
        return qg_fetch_part(w, file, part, err);
    return k == FINISH ? finish(w, file, err) : restart(w, file, err);
}

/* Under the lock. */
static void note_result(fetch *w, kind k, fetch_file *file, uint32_t part, qg_status rc,
                        const qg_err *err)
{
    file->busy--;
    file->held = false;
    if (k == A_PART)
        file->taken[part] = false;
    if (k == A_PART && rc == QG_ERR_UNSUPPORTED) {
        file->no_ranges = true;
    } else if (k == FINISH && rc == QG_OK) {
        file->finished = true;
        w->n_finished++;
        w->last = file->f->path;
        qg_lock_free(file->lock);
        file->lock = -1;
    } else if (rc != QG_OK && rc != QG_ERR_DEADLINE && w->rc == QG_OK) {
        w->rc = rc;
        w->err = *err;
        *w->cancel = true;
    }
}

static void *work(void *arg)
{
    fetch *w = arg;
    fetch_file *file;
    uint32_t part;

    pthread_mutex_lock(&w->lock);
    while (!*w->cancel && !all_finished(w)) {
        qg_err err = {""};
        kind k = pick(w, &file, &part);
        if (k == NOTHING) {
            pthread_cond_wait(&w->changed, &w->lock);
            continue;
        }
        file->busy++;
        file->held = k != A_PART;
        if (k == A_PART)
            file->taken[part] = true;
        pthread_mutex_unlock(&w->lock);
        qg_status rc = run_step(w, k, file, part, &err);
        pthread_mutex_lock(&w->lock);
        note_result(w, k, file, part, rc, &err);
        pthread_cond_broadcast(&w->changed);
    }
    w->running--;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- the caller's thread --------------------------------------------------------------------- */

static void tell(fetch *w, const qg_hub_list *list, uint64_t total, const qg_fetch_options *opt)
{
    qg_fetch_progress now = {.total = total, .n_files = list->n, .came = atomic_load(&w->came)};

    now.have = w->there + (uint64_t)now.came;
    now.files = w->n_there + w->n_finished;
    now.file = w->last;
    w->last = NULL;
    pthread_mutex_unlock(&w->lock);
    if (opt->progress)
        opt->progress(opt->ud, &now);
    pthread_mutex_lock(&w->lock);
}

static void wait_all(fetch *w, const qg_hub_list *list, const qg_fetch_options *opt)
{
    uint64_t total = 0;
    struct timespec until;

    for (size_t i = 0; i < list->n; i++)
        total += list->at[i].size;
    pthread_mutex_lock(&w->lock);
    while (w->running) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 200000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&w->changed, &w->lock, &until);
        if (*w->cancel)
            pthread_cond_broadcast(&w->changed);
        tell(w, list, total, opt);
    }
    tell(w, list, total, opt);
    pthread_mutex_unlock(&w->lock);
}

static void run_workers(fetch *w, const qg_hub_list *list, const qg_fetch_options *opt)
{
    pthread_t threads[QG_MAX_HUB_CONNECTIONS];
    int n = 0;

    pthread_mutex_lock(&w->lock);
    while (w->n && n < opt->connections && n < QG_MAX_HUB_CONNECTIONS &&
           !pthread_create(&threads[n], NULL, work, w))
        n++;
    w->running = n;
    pthread_mutex_unlock(&w->lock);
    if (w->n && !n)
        w->rc = qg_fail(&w->err, QG_ERR_NOMEM, "cannot start a thread");
    wait_all(w, list, opt);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

qg_status qg_fetch_all(qg_ask *ask, const qg_store *store, const char *commit,
                       const qg_hub_list *list, const qg_fetch_options *opt,
                       atomic_bool *fetch_cancel, qg_err *err)
{
    fetch w = {.ask = ask, .store = store, .commit = commit, .cancel = fetch_cancel};

    if (pthread_mutex_init(&w.lock, NULL))
        return qg_fail(err, QG_ERR_NOMEM, "cannot make a lock");
    if (pthread_cond_init(&w.changed, NULL)) {
        pthread_mutex_destroy(&w.lock);
        return qg_fail(err, QG_ERR_NOMEM, "cannot make a condition");
    }
    qg_status rc = open_all(&w, list, err);
    if (rc == QG_OK) {
        run_workers(&w, list, opt);
        rc = w.rc;
        if (rc != QG_OK && err)
            *err = w.err;
        else if (!all_finished(&w))
            rc = qg_fail(err, QG_ERR_CANCELLED, "interrupted");
    }
    free_all(&w);
    pthread_cond_destroy(&w.changed);
    pthread_mutex_destroy(&w.lock);
    return rc;
}
