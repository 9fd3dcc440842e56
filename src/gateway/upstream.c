#define _GNU_SOURCE
#include "gateway/upstream.h"

#include "base/mem.h"
#include "http/client.h"

#include <pthread.h>

enum { FIRST_OUT_US = 1000 * 1000, LONGEST_OUT_US = 60 * 1000 * 1000 };

typedef struct server {
    qg_upstream pub;
    char *models, *url;
    /* under lock */
    uint32_t running;
    int64_t out_until_us, out_us; /* 0 = well; how long it was left out last */
    bool trying;
    uint64_t answered, failed;
} server;

struct qg_upstreams {
    size_t n;
    char *key;
    pthread_mutex_t lock;
    uint32_t turn; /* among equals, under lock */
    server at[];
};

/* ---- the list ---------------------------------------------------------------------------------
 */

/* "MODELS=URL": what stands before the first '=' unless that is part of the URL. */
static const char *url_of(const char *spec, size_t *n_models)
{
    const char *equals = strchr(spec, '='), *scheme = strstr(spec, "://");
    bool named = equals && (!scheme || equals < scheme);
    *n_models = named ? (size_t)(equals - spec) : 0;
    return named ? equals + 1 : spec;
}

static qg_status add(qg_upstreams *list, const char *spec, qg_err *err)
{
    size_t n_models, n;
    const char *url = url_of(spec, &n_models);
    server *s = &list->at[list->n];
    QG_TRY(qg_client_url_check(url, err));
    if (strchr(url, '?'))
        return qg_fail(err, QG_ERR_ARG, "%.200s: an upstream's URL has no query", url);
    n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    s->url = qg_memdup0(url, n);
    s->models = qg_memdup0(spec, n_models);
    s->pub = (qg_upstream){s->models, s->url, list->key, (uint32_t)list->n};
    list->n++; /* so that it is freed */
    if (!s->url || !s->models)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the upstreams");
    return QG_OK;
}

qg_status qg_upstreams_open(qg_upstreams **out, const char *const *specs, size_t n, const char *key,
                            qg_err *err)
{
    *out = NULL;
    if (n == 0)
        return qg_fail(err, QG_ERR_ARG, "no upstream was given");
    if (n > QG_MAX_UPSTREAMS)
        return qg_fail(err, QG_ERR_ARG, "more than %d upstreams", QG_MAX_UPSTREAMS);
    qg_upstreams *list = qg_calloc(1, sizeof *list + n * sizeof list->at[0]);
    if (!list)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the upstreams");
    pthread_mutex_init(&list->lock, NULL);
    list->key = qg_memdup0(key ? key : "", key ? strlen(key) : 0);
    qg_status rc = list->key ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n && rc == QG_OK; i++)
        rc = add(list, specs[i], err);
    if (rc != QG_OK) {
        qg_upstreams_close(list);
        return rc;
    }
    *out = list;
    return QG_OK;
}

void qg_upstreams_close(qg_upstreams *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->n; i++) {
        qg_mfree(list->at[i].models);
        qg_mfree(list->at[i].url);
    }
    pthread_mutex_destroy(&list->lock);
    if (list->key) /* a secret */
        explicit_bzero(list->key, strlen(list->key));
    qg_mfree(list->key);
    qg_mfree(list);
}

/* ---- who answers ------------------------------------------------------------------------------
 */

/* How well a name fits: -1 not at all, more = better; an exact one best of all. */
static int fit(const server *s, qg_slice model)
{
    size_t n = strlen(s->models);
    if (n == 0 || !model.p)
        return 0;
    if (s->models[n - 1] == '*')
        return model.n >= n - 1 && memcmp(model.p, s->models, n - 1) == 0 ? (int)n : -1;
    return qg_slice_is(model, s->models) ? (1 << 20) : -1;
}

bool qg_upstreams_has(const qg_upstreams *list, qg_slice model)
{
    for (size_t i = 0; i < list->n; i++)
        if (fit(&list->at[i], model) >= 0)
            return true;
    return false;
}

/* Smaller is better: well before left out, then the soonest back, then the least to do. */
static bool better(const server *a, const server *b, int64_t now)
{
    bool out_a = a->out_until_us > now || a->trying, out_b = b->out_until_us > now || b->trying;
    if (out_a != out_b)
        return out_b;
    if (out_a && a->out_until_us != b->out_until_us)
        return a->out_until_us < b->out_until_us;
    return a->running < b->running;
}

/* The best fit of all, also of those that were tried: no other model instead. */
static int best_fit(const qg_upstreams *list, qg_slice model)
{
    int best = 0;
    for (size_t i = 0; i < list->n; i++)
        best = fit(&list->at[i], model) > best ? fit(&list->at[i], model) : best;
    return best;
}

static bool may(const server *s, qg_slice model, int fits, uint64_t tried)
{
    return !(tried >> s->pub.index & 1) && fit(s, model) == fits;
}

bool qg_upstreams_left(const qg_upstreams *list, qg_slice model, uint64_t tried)
{
    int fits = best_fit(list, model);
    for (size_t i = 0; i < list->n; i++)
        if (may(&list->at[i], model, fits, tried))
            return true;
    return false;
}

const qg_upstream *qg_upstreams_pick(qg_upstreams *list, qg_slice model, uint64_t tried,
                                     int64_t now)
{
    server *best = NULL;
    int fits = best_fit(list, model);
    pthread_mutex_lock(&list->lock);
    for (size_t k = 0; k < list->n; k++) {
        server *s = &list->at[(k + list->turn) % list->n];
        if (may(s, model, fits, tried) && (!best || better(s, best, now)))
            best = s;
    }
    list->turn++;
    if (best)
        best->running++;
    pthread_mutex_unlock(&list->lock);
    return best ? &best->pub : NULL;
}

static void mark(server *s, bool well, int64_t now)
{
    s->answered += well;
    s->failed += !well;
    if (well) {
        s->out_until_us = s->out_us = 0;
        return;
    }
    if (s->out_until_us > now) /* one of those that were under way when it failed */
        return;
    s->out_us = s->out_us ? s->out_us * 2 : FIRST_OUT_US;
    if (s->out_us > LONGEST_OUT_US)
        s->out_us = LONGEST_OUT_US;
    s->out_until_us = now + s->out_us;
}

void qg_upstream_done(qg_upstreams *list, const qg_upstream *u, qg_upstream_word word, int64_t now)
{
    pthread_mutex_lock(&list->lock);
    list->at[u->index].running--;
    if (word != QG_UPSTREAM_NOTHING)
        mark(&list->at[u->index], word == QG_UPSTREAM_WELL, now);
    pthread_mutex_unlock(&list->lock);
}

const qg_upstream *qg_upstreams_due(qg_upstreams *list, int64_t now)
{
    server *due = NULL;
    pthread_mutex_lock(&list->lock);
    for (size_t i = 0; i < list->n && !due; i++)
        if (list->at[i].out_until_us && list->at[i].out_until_us <= now && !list->at[i].trying)
            due = &list->at[i];
    if (due)
        due->trying = true;
    pthread_mutex_unlock(&list->lock);
    return due ? &due->pub : NULL;
}

void qg_upstream_tried(qg_upstreams *list, const qg_upstream *u, bool well, int64_t now)
{
    pthread_mutex_lock(&list->lock);
    list->at[u->index].trying = false;
    mark(&list->at[u->index], well, now);
    pthread_mutex_unlock(&list->lock);
}

bool qg_upstreams_at(qg_upstreams *list, size_t i, qg_upstream_state *state)
{
    if (i >= list->n)
        return false;
    pthread_mutex_lock(&list->lock);
    const server *s = &list->at[i];
    *state = (qg_upstream_state){&s->pub, s->out_until_us != 0, s->running, s->answered, s->failed};
    pthread_mutex_unlock(&list->lock);
    return true;
}
