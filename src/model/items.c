#include "model/model_int.h"

#include <stdatomic.h>

typedef struct job {
    qg_item_fn *fn;
    void *arg;
    int64_t n_items;
    _Atomic int64_t next;
} job;

static void take_items(void *arg, int part, int n_parts)
{
    job *j = arg;
    (void)n_parts;
    for (;;) {
        int64_t i = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed);
        if (i >= j->n_items)
            return;
        j->fn(j->arg, i, part);
    }
}

void qg_items_run(qg_pool *pool, int parts, qg_item_fn *fn, void *arg, int64_t n_items)
{
    job j = {.fn = fn, .arg = arg, .n_items = n_items};
    if (parts > qg_pool_threads(pool))
        parts = qg_pool_threads(pool);
    if (n_items < parts)
        parts = (int)n_items;
    if (parts <= 1)
        take_items(&j, 0, 1);
    else
        qg_pool_run(pool, take_items, &j, parts);
}
