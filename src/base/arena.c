#include "base/arena.h"

#include "base/mem.h"

#include <string.h>

/* Under AddressSanitizer bytes that were not handed out are poisoned, and every block ends in a
 * gap, so that a read past one block is reported although its neighbour is valid memory. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define HIDE(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define SHOW(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#define GAP        16
#else
#define HIDE(p, n) ((void)(p), (void)(n))
#define SHOW(p, n) ((void)(p), (void)(n))
#define GAP        0
#endif

#define ALIGN       16
#define FIRST_BLOCK (16u * 1024)   /* one render of a short conversation */
#define LARGE_BLOCK (1024u * 1024) /* blocks double up to here; larger wishes get their own */

typedef struct qg_arena_block {
    struct qg_arena_block *older;
    size_t used, size; /* of data */
    _Alignas(ALIGN) unsigned char data[];
} block;

void qg_arena_init(qg_arena *a, size_t max_bytes)
{
    *a = (qg_arena){.max = max_bytes};
}

void qg_arena_free(qg_arena *a)
{
    for (block *b = a->top; b;) {
        block *older = b->older;
        SHOW(b->data, b->size);
        qg_mfree(b);
        b = older;
    }
    qg_arena_init(a, a->max);
}

static void *refuse(qg_arena *a, qg_status why)
{
    a->why = why;
    return NULL;
}

static void *carve(block *b, size_t n)
{
    void *p = b->data + b->used;
    SHOW(p, n);
    b->used += (n + GAP + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    return p;
}

void *qg_arena_alloc(qg_arena *a, size_t n)
{
    if (n > a->max)
        return refuse(a, QG_ERR_TOO_LONG);
    size_t need = ((n + GAP + ALIGN - 1) & ~(size_t)(ALIGN - 1));
    block *top = a->top;
    if (top && need <= top->size - top->used)
        return carve(top, n);

    size_t size = top ? top->size * 2 : FIRST_BLOCK;
    if (size > LARGE_BLOCK)
        size = LARGE_BLOCK;
    if (size < need)
        size = need;
    if (size > a->max - a->held) /* the last block may be as small as the wish */
        size = need;
    if (size > a->max - a->held)
        return refuse(a, QG_ERR_TOO_LONG);
    block *b = qg_malloc(sizeof *b + size);
    if (!b)
        return refuse(a, QG_ERR_NOMEM);
    b->used = 0;
    b->size = size;
    HIDE(b->data, size);
    a->held += size;
    /* A large wish that leaves nothing over goes behind the block that still has room. */
    if (top && size == need) {
        b->older = top->older;
        top->older = b;
    } else {
        b->older = top;
        a->top = b;
    }
    return carve(b, n);
}

void *qg_arena_calloc(qg_arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!qg_mul_size(n, size, &bytes))
        return refuse(a, QG_ERR_TOO_LONG);
    void *p = qg_arena_alloc(a, bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}
