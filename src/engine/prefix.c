#include "engine/prefix.h"

#include "base/mem.h"

typedef struct node {
    struct node *parent, *child, *sibling; /* child: first of a list linked by sibling */
    struct node *newer, *older;            /* list by last use; parents are newer than children */
    qg_kv_block block;                     /* holds one reference */
    int32_t n;                             /* tokens, 1..QG_KV_BLOCK; fewer only in a leaf */
    bool pinned;
    int32_t ids[QG_KV_BLOCK];
} node;

struct qg_prefix {
    qg_kv *kv;
    int32_t n_nodes, max_nodes;
    node root; /* no block; its newer/older are the ends of the list by last use */
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

static void remove_leaf(qg_prefix *p, node *x)
{
    node **at = &x->parent->child;
    while (*at != x)
        at = &(*at)->sibling;
    *at = x->sibling;
    unlink_use(x);
    qg_kv_unref(p->kv, x->block);
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

bool qg_prefix_evict(qg_prefix *p)
{
    for (node *x = p->root.newer; x != &p->root; x = x->newer) {
        if (x->child || x->pinned || qg_kv_refs(p->kv, x->block) > 1)
            continue;
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
    while (p->n_nodes >= p->max_nodes)
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
    qg_kv_ref(p->kv, block);
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
        if (pin > 0 && !x->pinned)
            x->pinned = !pinned_twin(at, ids + done, pin);
        at = x;
        if (x->n < QG_KV_BLOCK)
            break;
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
