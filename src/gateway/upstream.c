#define _GNU_SOURCE
#include "gateway/upstream.h"

#include "base/map.h"
#include "base/mem.h"
#include "http/client.h"

#include <pthread.h>
#include <stdatomic.h>

enum { FIRST_OUT_US = 1000 * 1000, LONGEST_OUT_US = 60 * 1000 * 1000, EXACT = 1 << 20 };

typedef struct server {
    qg_upstream pub;
    char *url, *key, *ca_file;
    char **models; /* [n_models] */
    size_t n_models;
    int32_t order, weight;
    /* under lock */
    int64_t turn; /* among equals: grows by its weight, the one that goes pays for all */
    uint32_t running;
    int64_t out_until_us, out_us; /* 0 = well; how long it was left out last */
    bool trying;
    uint64_t answered, failed;
} server;

struct qg_upstreams {
    atomic_int refs;
    size_t n;
    pthread_mutex_t lock;
    server at[];
};

/* ---- the list ---------------------------------------------------------------------------------
 */

static char *copy(const char *s, size_t n)
{
    return qg_memdup0(s ? s : "", s ? n : 0);
}

static bool is_model(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 127 || (name[i] == '*' && i + 1 < n))
            return false;
    return n > 0 && n <= 256;
}

static qg_status add_models(server *s, const qg_upstream_spec *spec, qg_err *err)
{
    if (spec->n_models > QG_MAX_UPSTREAM_MODELS)
        return qg_fail(err, QG_ERR_ARG, "%.200s: more than %d models", spec->url,
                       QG_MAX_UPSTREAM_MODELS);
    s->models = qg_calloc(spec->n_models + 1, sizeof *s->models);
    for (size_t i = 0; s->models && i < spec->n_models; i++) {
        if (!is_model(spec->models[i]))
            return qg_fail(err, QG_ERR_ARG,
                           "%.200s: expected a model's name, or its beginning and '*'", spec->url);
        s->models[i] = copy(spec->models[i], strlen(spec->models[i]));
        if (!s->models[i])
            break;
        s->n_models++;
    }
    return s->n_models == spec->n_models && s->models
               ? QG_OK
               : qg_fail(err, QG_ERR_NOMEM, "out of memory for the upstreams");
}

/* What libcurl would only say at the first call. */
static qg_status check_ca(const char *path, qg_err *err)
{
    qg_map map;
    QG_TRY(qg_map_open(&map, path, err));
    qg_map_close(&map);
    return QG_OK;
}

static qg_status add(qg_upstreams *list, const qg_upstream_spec *spec, qg_err *err)
{
    server *s = &list->at[list->n++];
    size_t n = strlen(spec->url);
    QG_TRY(qg_client_url_check(spec->url, err));
    if (strchr(spec->url, '?'))
        return qg_fail(err, QG_ERR_ARG, "%.200s: an upstream's URL has no query", spec->url);
    while (n && spec->url[n - 1] == '/')
        n--;
    s->url = copy(spec->url, n);
    s->key = copy(spec->key, spec->key ? strlen(spec->key) : 0);
    s->ca_file = spec->ca_file ? copy(spec->ca_file, strlen(spec->ca_file)) : NULL;
    s->pub = (qg_upstream){s->url, s->key, s->ca_file, (uint32_t)(list->n - 1)};
    s->order = spec->order;
    s->weight = spec->weight;
    if (!s->url || !s->key || (spec->ca_file && !s->ca_file))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the upstreams");
    if (s->ca_file)
        QG_TRY(check_ca(s->ca_file, err));
    return add_models(s, spec, err);
}

qg_status qg_upstreams_open(qg_upstreams **out, const qg_upstream_spec *specs, size_t n,
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
    atomic_init(&list->refs, 1);
    pthread_mutex_init(&list->lock, NULL);
    qg_status rc = QG_OK;
    for (size_t i = 0; i < n && rc == QG_OK; i++)
        rc = add(list, &specs[i], err);
    if (rc == QG_OK)
        *out = list;
    else
        qg_upstreams_unref(list);
    return rc;
}

/* "MODEL=URL": what stands before the first '=' unless that is part of the URL. */
static qg_status of_word(const char *word, char **model, const char **url, qg_err *err)
{
    const char *equals = strchr(word, '='), *scheme = strstr(word, "://");
    bool named = equals && (!scheme || equals < scheme);
    *url = named ? equals + 1 : word;
    *model = NULL;
    if (!named || equals == word)
        return QG_OK;
    *model = copy(word, (size_t)(equals - word));
    return *model ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory for the upstreams");
}

qg_status qg_upstreams_of_words(qg_upstreams **out, const char *const *words, size_t n,
                                const char *key, qg_err *err)
{
    qg_upstream_spec specs[QG_MAX_UPSTREAMS + 1];
    char *models[QG_MAX_UPSTREAMS + 1];
    size_t n_read = 0, most = n < QG_COUNT(specs) ? n : QG_COUNT(specs);
    qg_status rc = QG_OK;
    *out = NULL;
    for (; n_read < most && rc == QG_OK; n_read++) {
        qg_upstream_spec *s = &specs[n_read];
        *s = (qg_upstream_spec){.key = key, .order = 1, .weight = 1};
        rc = of_word(words[n_read], &models[n_read], &s->url, err);
        s->models = (const char *const *)&models[n_read];
        s->n_models = models[n_read] != NULL;
    }
    if (rc == QG_OK)
        rc = qg_upstreams_open(out, specs, n_read, err);
    for (size_t i = 0; i < n_read; i++)
        qg_mfree(models[i]);
    return rc;
}

void qg_upstreams_ref(qg_upstreams *list)
{
    atomic_fetch_add(&list->refs, 1);
}

void qg_upstreams_unref(qg_upstreams *list)
{
    if (!list || atomic_fetch_sub(&list->refs, 1) != 1)
        return;
    for (size_t i = 0; i < list->n; i++) {
        server *s = &list->at[i];
        for (size_t k = 0; k < s->n_models; k++)
            qg_mfree(s->models[k]);
        qg_mfree(s->models);
        qg_mfree(s->url);
        qg_mfree(s->ca_file);
        if (s->key) /* a secret */
            explicit_bzero(s->key, strlen(s->key));
        qg_mfree(s->key);
    }
    pthread_mutex_destroy(&list->lock);
    qg_mfree(list);
}

void qg_upstreams_inherit(qg_upstreams *fresh, qg_upstreams *old)
{
    pthread_mutex_lock(&old->lock);
    for (size_t i = 0; i < fresh->n; i++)
        for (size_t k = 0; k < old->n; k++) {
            server *to = &fresh->at[i];
            const server *from = &old->at[k];
            if (strcmp(to->url, from->url) != 0)
                continue;
            to->out_until_us = from->out_until_us;
            to->out_us = from->out_us;
            to->answered = from->answered;
            to->failed = from->failed;
            break;
        }
    pthread_mutex_unlock(&old->lock);
}

/* ---- who answers ------------------------------------------------------------------------------
 */

static int fit_one(const char *models, qg_slice model)
{
    size_t n = strlen(models);
    if (models[n - 1] == '*')
        return model.n >= n - 1 && memcmp(model.p, models, n - 1) == 0 ? (int)n : -1;
    return qg_slice_is(model, models) ? EXACT : -1;
}

/* How well a name fits: -1 not at all, more = better; an exact one best of all. */
static int fit(const server *s, qg_slice model)
{
    int best = s->n_models == 0 || !model.p ? 0 : -1;
    for (size_t i = 0; model.p && i < s->n_models && best < EXACT; i++) {
        int one = fit_one(s->models[i], model);
        best = one > best ? one : best;
    }
    return best;
}

bool qg_upstreams_has(const qg_upstreams *list, qg_slice model)
{
    for (size_t i = 0; i < list->n; i++)
        if (fit(&list->at[i], model) >= 0)
            return true;
    return false;
}

/* Smaller is better: well before left out, then the soonest back; of those that are well the lower
 * order, then the least to do for its weight. */
static int compare(const server *a, const server *b)
{
    bool out_a = a->out_until_us != 0, out_b = b->out_until_us != 0; /* until it has been tried */
    if (out_a != out_b)
        return out_a ? 1 : -1;
    if (out_a && a->out_until_us != b->out_until_us)
        return a->out_until_us < b->out_until_us ? -1 : 1;
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    uint64_t x = (uint64_t)a->running * (uint64_t)b->weight,
             y = (uint64_t)b->running * (uint64_t)a->weight;
    return x < y ? -1 : x > y;
}

/* The best fit of all, also of those that were tried: no other model instead. */
static int best_fit(const qg_upstreams *list, qg_slice model)
{
    int best = -1;
    for (size_t i = 0; i < list->n; i++) {
        int one = fit(&list->at[i], model);
        best = one > best ? one : best;
    }
    return best;
}

bool qg_upstreams_serves(const qg_upstreams *list, size_t i, qg_slice model)
{
    int fits = i < list->n ? fit(&list->at[i], model) : -1;
    return fits >= 0 && fits == best_fit(list, model);
}

static bool may(const server *s, qg_slice model, int fits, uint64_t tried)
{
    return !(tried >> s->pub.index & 1) && fits >= 0 && fit(s, model) == fits;
}

bool qg_upstreams_left(const qg_upstreams *list, qg_slice model, uint64_t tried)
{
    int fits = best_fit(list, model);
    for (size_t i = 0; i < list->n; i++)
        if (may(&list->at[i], model, fits, tried))
            return true;
    return false;
}

/* Of several that are equal, each as often as its weight says (the smooth round of nginx). */
static server *take_turn(server *const equals[], size_t n)
{
    server *best = NULL;
    int64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        equals[i]->turn += equals[i]->weight;
        all += equals[i]->weight;
        if (!best || equals[i]->turn > best->turn)
            best = equals[i];
    }
    if (best)
        best->turn -= all;
    return best;
}

const qg_upstream *qg_upstreams_pick(qg_upstreams *list, qg_slice model, uint64_t tried)
{
    server *equals[QG_MAX_UPSTREAMS];
    size_t n = 0;
    int fits = best_fit(list, model);
    pthread_mutex_lock(&list->lock);
    for (size_t i = 0; i < list->n; i++) {
        server *s = &list->at[i];
        if (!may(s, model, fits, tried))
            continue;
        int order = n ? compare(s, equals[0]) : -1;
        if (order < 0)
            n = 0;
        if (order <= 0)
            equals[n++] = s;
    }
    server *best = take_turn(equals, n);
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
