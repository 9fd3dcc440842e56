#include "model/model_int.h"

#include <stdatomic.h>

enum { MAX_SHARES = 64 };

/* Items [.., end) of one share; next is what a thread takes next, on a cache line of its own. */
typedef struct share {
    _Alignas(64) _Atomic int64_t next;
    int64_t end;
} share;

typedef struct job {
    qg_item_fn *fn;
    void *arg;
    int n_shares;
    share shares[MAX_SHARES];
} job;

/* A thread takes the items of its own share in order, then what is left of the others': what lies
 * side by side (panels of a matrix) stays with one core, which can fetch ahead, and a thread that
 * was late does not hold up the rest. */
static void take_items(void *arg, int part, int n_parts)
{
    job *j = arg;
    (void)n_parts;
    for (int i = 0; i < j->n_shares; i++) {
        share *s = &j->shares[(part + i) % j->n_shares];
        for (;;) {
            const int64_t item = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
            if (item >= s->end)
                break;
            j->fn(j->arg, item, part);
        }
    }
}

bool qg_items_even(int parts, int64_t n_items)
{
    return n_items % parts == 0 || n_items >= (int64_t)parts * 4;
}

void qg_items_run(qg_pool *pool, int parts, qg_item_fn *fn, void *arg, int64_t n_items)
{
    if (parts > qg_pool_threads(pool))
        parts = qg_pool_threads(pool);
    if (n_items < parts)
        parts = (int)n_items;
    if (parts <= 1) {
        for (int64_t i = 0; i < n_items; i++)
            fn(arg, i, 0);
        return;
    }
    job j = {.fn = fn, .arg = arg, .n_shares = parts < MAX_SHARES ? parts : MAX_SHARES};
    for (int i = 0; i < j.n_shares; i++) {
        atomic_init(&j.shares[i].next, n_items * i / j.n_shares);
        j.shares[i].end = n_items * (i + 1) / j.n_shares;
    }
    qg_pool_run(pool, take_items, &j, parts);
}
