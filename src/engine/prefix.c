#include "engine/prefix.h"

#include "base/mem.h"

typedef struct node {
    struct node *parent, *child, *sibling; /* child: first of a list linked by sibling */
    struct node *newer, *older;            /* list by last use; parents are newer than children */
    qg_kv_block block;                     /* holds one reference */
    int32_t n;                             /* tokens, 1..QG_KV_BLOCK; fewer only in a leaf */
    bool pinned;
    int32_t ids[QG_KV_BLOCK];
    struct node *twin; /* next of the same hash: whole blocks only */
    uint32_t judged;   /* bit i: heads has token i's numbers */
    float *heads;      /* [QG_KV_BLOCK][width], NULL while no bit is set */
} node;

enum { N_HASHES = 4096 };

struct qg_prefix {
    qg_kv *kv;
    int32_t n_nodes, max_nodes;
    bool by_spare; /* max_nodes bounds those that nobody else holds */
    int32_t width;
    node *hash[N_HASHES]; /* whole blocks, by parent and ids */
    node root;            /* no block; its newer/older are the ends of the list by last use */
};

qg_status qg_prefix_open(qg_prefix **out, qg_kv *kv, int32_t max_blocks, qg_err *err)
{
    qg_prefix *p = qg_calloc(1, sizeof *p);
    *out = p;
    if (!p)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    p->kv = kv;
    p->max_nodes = max_blocks;
    p->root.newer = p->root.older = &p->root;
    return QG_OK;
}

static void unlink_use(node *x)
{
    x->newer->older = x->older;
    x->older->newer = x->newer;
}

/* The list is a ring through root: root.older is the newest node, root.newer the oldest. */
static void link_newest(qg_prefix *p, node *x)
{
    x->newer = &p->root;
    x->older = p->root.older;
    x->older->newer = x;
    p->root.older = x;
}

static node **bucket(qg_prefix *p, const node *parent, const int32_t *ids)
{
    uint64_t h = (uint64_t)(uintptr_t)parent;
    for (int i = 0; i < QG_KV_BLOCK; i++)
        h = (h ^ (uint32_t)ids[i]) * 0x9E3779B97F4A7C15u;
    return &p->hash[h >> 52];
}

static node *whole_child(qg_prefix *p, const node *parent, const int32_t *ids)
{
    node *x = *bucket(p, parent, ids);
    while (x && (x->parent != parent || memcmp(x->ids, ids, sizeof x->ids) != 0))
        x = x->twin;
    return x;
}

static void unlink_hash(qg_prefix *p, node *x)
{
    node **at = bucket(p, x->parent, x->ids);
    while (*at != x)
        at = &(*at)->twin;
    *at = x->twin;
}

static void remove_leaf(qg_prefix *p, node *x)
{
    node **at = &x->parent->child;
    while (*at != x)
        at = &(*at)->sibling;
    *at = x->sibling;
    unlink_use(x);
    if (x->n == QG_KV_BLOCK)
        unlink_hash(p, x);
    qg_kv_set_cached(p->kv, x->block, false);
    qg_kv_unref(p->kv, x->block);
    qg_mfree(x->heads);
    qg_mfree(x);
    p->n_nodes--;
}

void qg_prefix_close(qg_prefix *p)
{
    if (!p)
        return;
    while (p->root.newer != &p->root) { /* the oldest is always a leaf */
        node *x = p->root.newer;
        while (x->child)
            x = x->child;
        remove_leaf(p, x);
    }
    qg_mfree(p);
}

/* A leaf that others hold is in use: it goes to the newest, so that it is not looked at again and
 * again. */
bool qg_prefix_evict(qg_prefix *p)
{
    if (!qg_kv_n_spare(p->kv))
        return false;
    const node *last = p->root.older;
    for (node *x = p->root.newer, *next; x != &p->root; x = next) {
        next = x == last ? &p->root : x->newer;
        if (x->child || x->pinned)
            continue;
        if (qg_kv_refs(p->kv, x->block) > 1) {
            unlink_use(x);
            link_newest(p, x);
            continue;
        }
        remove_leaf(p, x);
        return true;
    }
    return false;
}

static int32_t common(const node *x, const int32_t *ids, int32_t n)
{
    int32_t max = x->n < n ? x->n : n, i = 0;
    while (i < max && x->ids[i] == ids[i])
        i++;
    return i;
}

/* The child of parent that shares most tokens with ids. */
static node *best_child(node *parent, const int32_t *ids, int32_t n, int32_t *shared)
{
    node *best = NULL;
    *shared = 0;
    for (node *x = parent->child; x; x = x->sibling) {
        int32_t k = common(x, ids, n);
        if (k > *shared) {
            *shared = k;
            best = x;
        }
        if (k == QG_KV_BLOCK)
            break;
    }
    return best;
}

/* Marks the path from x to the root as just used, children first, so that parents stay newer. */
static void touch(qg_prefix *p, node *x)
{
    for (; x && x != &p->root; x = x->parent) {
        unlink_use(x);
        link_newest(p, x);
    }
}

static bool copy_part(qg_prefix *p, const node *from, qg_kv_seq *seq)
{
    /* An extra reference keeps the source from being the block that is evicted for the copy. */
    qg_kv_ref(p->kv, from->block);
    qg_kv_block own = qg_kv_take(p->kv);
    if (own < 0 && qg_prefix_evict(p))
        own = qg_kv_take(p->kv);
    qg_kv_block source = from->block;
    bool ok = own >= 0;
    if (ok) {
        qg_kv_copy(p->kv, own, source);
        ok = qg_kv_seq_adopt(seq, own) == QG_OK;
        if (!ok)
            qg_kv_unref(p->kv, own);
    }
    qg_kv_unref(p->kv, source);
    return ok;
}

int32_t qg_prefix_match(qg_prefix *p, const int32_t *ids, int32_t n, qg_kv_seq *seq)
{
    node *at = &p->root;
    int32_t done = 0, shared;

    for (;;) {
        node *x = best_child(at, ids + done, n - done, &shared);
        if (!x || shared < QG_KV_BLOCK) {
            touch(p, x ? x : at);
            return x && copy_part(p, x, seq) ? done + shared : done;
        }
        qg_kv_ref(p->kv, x->block);
        if (qg_kv_seq_adopt(seq, x->block) != QG_OK) {
            qg_kv_unref(p->kv, x->block);
            return done;
        }
        done += QG_KV_BLOCK;
        at = x;
    }
}

/* Whether another child already keeps the pinned tokens that begin this block. */
static bool pinned_twin(const node *parent, const int32_t *ids, int32_t n_pinned)
{
    for (const node *x = parent->child; x; x = x->sibling)
        if (x->pinned && common(x, ids, n_pinned) == n_pinned)
            return true;
    return false;
}

static node *add_child(qg_prefix *p, node *parent, const int32_t *ids, int32_t n, qg_kv_block block)
{
    while ((p->by_spare ? qg_kv_n_spare(p->kv) : p->n_nodes) >= p->max_nodes)
        if (!qg_prefix_evict(p))
            return NULL;
    node *x = qg_calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->parent = parent;
    x->sibling = parent->child;
    parent->child = x;
    x->n = n;
    memcpy(x->ids, ids, (size_t)n * sizeof *ids);
    x->block = block;
    if (n == QG_KV_BLOCK) {
        node **same = bucket(p, parent, ids);
        x->twin = *same;
        *same = x;
    }
    qg_kv_ref(p->kv, block);
    qg_kv_set_cached(p->kv, block, true);
    link_newest(p, x);
    p->n_nodes++;
    return x;
}

void qg_prefix_insert(qg_prefix *p, const int32_t *ids, int32_t n, const qg_kv_seq *seq,
                      int32_t n_pinned)
{
    node *at = &p->root;

    for (int32_t done = 0; done < n; done += QG_KV_BLOCK) {
        int32_t here = n - done < QG_KV_BLOCK ? n - done : QG_KV_BLOCK, shared;
        node *x = best_child(at, ids + done, here, &shared);
        if (!x || shared < here) {
            /* at may be the oldest leaf itself: it must not be evicted to make room for its child.
             */
            bool pinned = at->pinned;
            at->pinned = true;
            x = add_child(p, at, ids + done, here, seq->blocks[done / QG_KV_BLOCK]);
            at->pinned = pinned;
            if (!x)
                break;
        }
        int32_t pin = n_pinned - done < here ? n_pinned - done : here;
        if (pin > 0 && !x->pinned) {
            x->pinned = !pinned_twin(at, ids + done, pin);
            qg_kv_set_cached(p->kv, x->block, !x->pinned);
        }
        at = x;
        if (x->n < QG_KV_BLOCK)
            break;
    }
    touch(p, at);
}

/* ---- sessions -------------------------------------------------------------------------------- */

void qg_prefix_for_sessions(qg_prefix *p, int32_t width)
{
    p->by_spare = true;
    p->width = width;
}

/* Of x's first n tokens, which stand at `done`, how many serve: up to the first whose numbers are
 * asked for and not there. */
static int32_t serves(const node *x, int32_t done, int32_t n, int32_t from,
                      const qg_prefix_ask *ask)
{
    for (int32_t i = from > done ? from - done : 0; i < n; i++)
        if (!(x->judged >> i & 1) && ask->wants(ask->ud, done + i))
            return i;
    return n;
}

static void tell_heads(const qg_prefix *p, const node *x, int32_t done, int32_t n, int32_t from,
                       const qg_prefix_ask *ask)
{
    for (int32_t i = from > done ? from - done : 0; i < n; i++)
        if (x->judged >> i & 1 && ask->wants(ask->ud, done + i))
            ask->found(ask->ud, done + i, x->heads + (size_t)i * (size_t)p->width);
}

/* x's block becomes block k of seq. */
static bool share_whole(qg_prefix *p, const node *x, qg_kv_seq *seq, int32_t k)
{
    qg_kv_ref(p->kv, x->block);
    if (k < seq->n_blocks)
        qg_kv_seq_replace(seq, k, x->block);
    else if (qg_kv_seq_adopt(seq, x->block) != QG_OK) {
        qg_kv_unref(p->kv, x->block);
        return false;
    }
    return true;
}

static bool copy_whole(qg_prefix *p, const node *x, qg_kv_seq *seq, int32_t k)
{
    if (k >= seq->n_blocks)
        return copy_part(p, x, seq);
    qg_kv_copy(p->kv, seq->blocks[k], x->block);
    return true;
}

int32_t qg_prefix_follow(qg_prefix *p, const int32_t *ids, int32_t from, int32_t n, qg_kv_seq *seq,
                         const qg_prefix_ask *ask)
{
    node *at = &p->root;
    int32_t done = 0, shared = QG_KV_BLOCK;

    for (;;) {
        node *x = n - done >= QG_KV_BLOCK ? whole_child(p, at, ids + done) : NULL;
        if (!x)
            x = best_child(at, ids + done, n - done, &shared);
        else
            shared = QG_KV_BLOCK;
        if (!x)
            break;
        int32_t use = serves(x, done, shared, from, ask), k = done / QG_KV_BLOCK;
        if (done + use > from) {
            if (!(use == QG_KV_BLOCK ? share_whole(p, x, seq, k) : copy_whole(p, x, seq, k)))
                break;
            tell_heads(p, x, done, use, from, ask);
            from = done + use;
        }
        at = x;
        done += QG_KV_BLOCK;
        if (use < QG_KV_BLOCK)
            break;
    }
    touch(p, at);
    return from;
}

/* Adds the numbers of tokens that have none so far. */
static void add_heads(const qg_prefix *p, node *x, int32_t done,
                      const float *(*heads)(void *ud, int32_t at), void *ud)
{
    const size_t width = (size_t)p->width;
    for (int32_t i = 0; width && i < QG_KV_BLOCK; i++) {
        const float *row = x->judged >> i & 1 ? NULL : heads(ud, done + i);
        if (!row)
            continue;
        if (!x->heads && !(x->heads = qg_calloc(QG_KV_BLOCK * width, sizeof *x->heads)))
            return;
        memcpy(x->heads + (size_t)i * width, row, width * sizeof *row);
        x->judged |= 1u << i;
    }
}

void qg_prefix_share(qg_prefix *p, const int32_t *ids, int32_t n, qg_kv_seq *seq,
                     const float *(*heads)(void *ud, int32_t at), void *ud)
{
    node *at = &p->root;
    for (int32_t done = 0; done + QG_KV_BLOCK <= n; done += QG_KV_BLOCK) {
        int32_t k = done / QG_KV_BLOCK;
        node *x = whole_child(p, at, ids + done);
        if (!x) {
            bool pinned = at->pinned; /* as in qg_prefix_insert */
            at->pinned = true;
            x = add_child(p, at, ids + done, QG_KV_BLOCK, seq->blocks[k]);
            at->pinned = pinned;
        } else if (x->block != seq->blocks[k]) {
            qg_kv_ref(p->kv, x->block);
            qg_kv_seq_replace(seq, k, x->block);
        }
        if (!x)
            break;
        add_heads(p, x, done, heads, ud);
        at = x;
    }
    touch(p, at);
}

qg_status qg_prefix_grow(qg_prefix *p, qg_kv_seq *seq, int32_t n_slots)
{
    qg_status rc;
    while ((rc = qg_kv_seq_grow(seq, n_slots)) == QG_ERR_BUSY)
        if (!p || !qg_prefix_evict(p))
            break;
    return rc;
}
