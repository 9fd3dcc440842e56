/* Many small blocks that live and die together: taken one by one, freed in one call. */
#ifndef QG_BASE_ARENA_H
#define QG_BASE_ARENA_H

#include "base/status.h"

#include <stddef.h>

typedef struct qg_arena {
    struct qg_arena_block *top; /* the block being carved; older ones hang behind it */
    size_t held, max;           /* bytes taken from the heap, and their ceiling */
    qg_status why;              /* after a NULL: QG_ERR_TOO_LONG (ceiling) or QG_ERR_NOMEM */
} qg_arena;

/* Cannot fail and allocates nothing.  max_bytes: the most heap the arena may ever hold. */
void qg_arena_init(qg_arena *a, size_t max_bytes);
/* Frees every block; the arena is empty and usable again with the same ceiling. */
void qg_arena_free(qg_arena *a);

/* n uninitialised bytes aligned to 16, valid until qg_arena_free; NULL on failure, and a->why then
 * says why.  n == 0 gives a valid pointer to nothing.  One thread at a time per arena. */
void *qg_arena_alloc(qg_arena *a, size_t n) __attribute__((warn_unused_result));
/* The same for n * size bytes, zeroed; NULL also when the product does not fit. */
void *qg_arena_calloc(qg_arena *a, size_t n, size_t size) __attribute__((warn_unused_result));

#endif
