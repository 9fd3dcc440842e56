#include "serve/pairs.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"

#include <pthread.h>

typedef struct pair {
    struct pair *older, *newer; /* by time of the last put */
    struct pair *next;          /* in its bucket */
    uint64_t hash;
    int64_t until_us;
    size_t n_owner, n_id, n_text;
    char bytes[]; /* owner, id, text */
} pair;

enum { BUCKETS = 4096 };

struct qg_pairs {
    pthread_mutex_t lock;
    pair *buckets[BUCKETS];
    pair *oldest, *newest;
    size_t n, bytes;
};

qg_status qg_pairs_open(qg_pairs **out, qg_err *err)
{
    *out = qg_calloc(1, sizeof **out);
    if (!*out)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    pthread_mutex_init(&(*out)->lock, NULL);
    return QG_OK;
}

/* FNV-1a; the table is bounded, so that chosen ids cost at most a walk over it. */
static uint64_t hash_of(qg_slice owner, qg_slice id)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < owner.n; i++)
        h = (h ^ (unsigned char)owner.p[i]) * 0x100000001B3u;
    h = (h ^ 0xFF) * 0x100000001B3u;
    for (size_t i = 0; i < id.n; i++)
        h = (h ^ (unsigned char)id.p[i]) * 0x100000001B3u;
    return h;
}

static bool is(const pair *p, uint64_t hash, qg_slice owner, qg_slice id)
{
    return p->hash == hash && qg_slice_eq(qg_slice_of(p->bytes, p->n_owner), owner) &&
           qg_slice_eq(qg_slice_of(p->bytes + p->n_owner, p->n_id), id);
}

static pair **find(qg_pairs *t, uint64_t hash, qg_slice owner, qg_slice id)
{
    pair **at = &t->buckets[hash % BUCKETS];
    while (*at && !is(*at, hash, owner, id))
        at = &(*at)->next;
    return at;
}

static size_t size_of(const pair *p)
{
    return sizeof *p + p->n_owner + p->n_id + p->n_text;
}

static void drop(qg_pairs *t, pair **at)
{
    pair *p = *at;
    *at = p->next;
    *(p->older ? &p->older->newer : &t->oldest) = p->newer;
    *(p->newer ? &p->newer->older : &t->newest) = p->older;
    t->n--;
    t->bytes -= size_of(p);
    qg_mfree(p);
}

static void drop_oldest(qg_pairs *t)
{
    pair **at = &t->buckets[t->oldest->hash % BUCKETS];
    while (*at != t->oldest)
        at = &(*at)->next;
    drop(t, at);
}

static void insert(qg_pairs *t, pair *p, uint64_t hash)
{
    pair **bucket = &t->buckets[hash % BUCKETS];
    p->hash = hash;
    p->next = *bucket;
    *bucket = p;
    p->older = t->newest;
    *(t->newest ? &t->newest->newer : &t->oldest) = p;
    t->newest = p;
    t->n++;
    t->bytes += size_of(p);
}

void qg_pairs_put(qg_pairs *t, qg_slice owner, qg_slice id, qg_slice text)
{
    int64_t now = qg_clock_us();
    uint64_t hash = hash_of(owner, id);
    if (id.n == 0 || id.n > QG_MAX_ID_BYTES || text.n > QG_MAX_PAIR_BYTES / 16)
        return;
    pair *p = qg_malloc(sizeof *p + owner.n + id.n + text.n);
    if (!p)
        return;
    *p = (pair){.until_us = now + (int64_t)QG_PAIR_MS * 1000,
                .n_owner = owner.n,
                .n_id = id.n,
                .n_text = text.n};
    memcpy(p->bytes, owner.n ? owner.p : "", owner.n);
    memcpy(p->bytes + owner.n, id.p, id.n);
    memcpy(p->bytes + owner.n + id.n, text.n ? text.p : "", text.n);
    pthread_mutex_lock(&t->lock);
    pair **old = find(t, hash, owner, id);
    if (*old)
        drop(t, old);
    while (t->oldest && (t->oldest->until_us < now || t->n >= QG_MAX_PAIRS ||
                         t->bytes + size_of(p) > QG_MAX_PAIR_BYTES))
        drop_oldest(t);
    insert(t, p, hash);
    pthread_mutex_unlock(&t->lock);
}

char *qg_pairs_get(qg_pairs *t, qg_slice owner, qg_slice id, size_t *n)
{
    char *copy = NULL;
    pthread_mutex_lock(&t->lock);
    const pair *p = *find(t, hash_of(owner, id), owner, id);
    if (p && p->until_us >= qg_clock_us()) {
        copy = qg_memdup0(p->bytes + p->n_owner + p->n_id, p->n_text);
        *n = p->n_text;
    }
    pthread_mutex_unlock(&t->lock);
    return copy;
}

void qg_pairs_close(qg_pairs *t)
{
    if (!t)
        return;
    while (t->oldest)
        drop_oldest(t);
    pthread_mutex_destroy(&t->lock);
    qg_mfree(t);
}
