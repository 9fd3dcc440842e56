#include "tok/bpe.h"

#include "base/limits.h"
#include "base/mem.h"

/* A slot holds left << 43 | right << 22 | rank, so that eight of them share a cache line: looking
 * up pairs is nearly all of the work, and nearly all of that is waiting for memory. */
enum {
    ID_BITS = 21,
    RANK_BITS = 22,
    RANK_MASK = (1 << RANK_BITS) - 1,
    NO_RANK = RANK_MASK, /* of a free slot, too: all its bits are set */
    SHORT = 32,          /* up to here searching the row beats keeping a heap */
    ON_STACK = 256,      /* bytes of a piece whose row fits the stack */
};
#define FREE UINT64_MAX

_Static_assert(QG_MAX_TOKENIZER_IDS <= 1u << ID_BITS, "ids fit a slot");
_Static_assert(QG_MAX_TOKENIZER_IDS < NO_RANK, "ranks fit a slot");

static inline uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << ID_BITS | (uint32_t)right;
}

/* The slot of a pair, or the free one where it belongs. */
static inline uint64_t *probe(const qg_bpe *bpe, uint64_t key)
{
    uint64_t h = key * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(h ^ h >> 32) & (bpe->n_slots - 1);
    while (bpe->slots[i] >> RANK_BITS != key && bpe->slots[i] != FREE)
        i = (i + 1) & (bpe->n_slots - 1);
    return &bpe->slots[i];
}

/* Rank of a pair, NO_RANK when it is not joined. */
static inline uint32_t rank_of(const qg_bpe *bpe, int32_t left, int32_t right)
{
    return (uint32_t)*probe(bpe, key_of(left, right)) & RANK_MASK;
}

qg_status qg_bpe_init(qg_bpe *bpe, const qg_bpe_pair *pairs, size_t n)
{
    size_t n_slots = 64;
    while (n_slots < n + n / 2)
        n_slots *= 2;
    *bpe = (qg_bpe){.slots = qg_realloc_array(NULL, n_slots, sizeof *bpe->slots),
                    .n_slots = n_slots,
                    .joined = qg_realloc_array(NULL, n, sizeof *bpe->joined)};
    if (!bpe->slots || !bpe->joined) {
        qg_bpe_free(bpe);
        return QG_ERR_NOMEM;
    }
    memset(bpe->slots, 0xFF, n_slots * sizeof *bpe->slots);
    for (size_t i = 0; i < n; i++) {
        uint64_t key = key_of(pairs[i].left, pairs[i].right);
        *probe(bpe, key) = key << RANK_BITS | i;
        bpe->joined[i] = pairs[i].joined;
    }
    return QG_OK;
}

void qg_bpe_free(qg_bpe *bpe)
{
    qg_mfree(bpe->slots);
    qg_mfree(bpe->joined);
    *bpe = (qg_bpe){0};
}

/* ---- short pieces: the row of symbols is searched for the lowest rank ------------------------ */

static qg_status encode_short(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, qg_ids *out)
{
    int32_t id[SHORT];
    uint32_t rank[SHORT]; /* of the pair that begins here */
    size_t n = piece.n;
    for (size_t i = 0; i < n; i++)
        id[i] = vocab->byte_id[(uint8_t)piece.p[i]];
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = rank_of(bpe, id[i], id[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = rank[i] < rank[best] ? i : best;
        if (rank[best] == NO_RANK)
            break;
        id[best] = bpe->joined[rank[best]];
        n--;
        for (size_t i = best + 1; i < n; i++)
            id[i] = id[i + 1];
        for (size_t i = best + 1; i + 1 < n; i++)
            rank[i] = rank[i + 1];
        if (best + 1 < n)
            rank[best] = rank_of(bpe, id[best], id[best + 1]);
        if (best > 0)
            rank[best - 1] = rank_of(bpe, id[best - 1], id[best]);
    }
    return qg_ids_add(out, id, n);
}

/* ---- long pieces: a linked row and a heap ---------------------------------------------------- */

/* A heap entry is rank << 32 | place, so that the smallest is the lowest rank, leftmost.  It is out
 * of date when the pair at its place has another rank by now: no two pairs share one.  A join takes
 * one entry and adds at most two, so 2 n entries always suffice. */
typedef struct row {
    uint64_t *heap; /* [2 n], its root at 0 */
    size_t n_heap;
    int32_t *id;    /* [n] */
    uint32_t *rank; /* [n] of the pair that begins here, NO_RANK for none or a dead place */
    uint32_t *next; /* [n] n at the end */
    uint32_t *prev; /* [n] */
    uint32_t n;
} row;

enum { ROW_BYTES = 2 * sizeof(uint64_t) + 4 * sizeof(uint32_t) }; /* for each byte of the piece */

/* Four children each: half the levels of two, and they lie side by side in memory. */
static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t item = heap[i];
    for (;;) {
        size_t best = 4 * i + 1;
        if (best >= n)
            break;
        size_t end = best + 4 < n ? best + 4 : n;
        for (size_t child = best + 1; child < end; child++)
            best = heap[child] < heap[best] ? child : best;
        if (heap[best] >= item)
            break;
        heap[i] = heap[best];
        i = best;
    }
    heap[i] = item;
}

static uint64_t heap_pop(row *r)
{
    uint64_t top = r->heap[0];
    r->heap[0] = r->heap[--r->n_heap];
    if (r->n_heap)
        sift_down(r->heap, r->n_heap, 0);
    return top;
}

static void heap_push(row *r, uint64_t item)
{
    size_t i = r->n_heap++;
    for (; i > 0 && r->heap[(i - 1) / 4] > item; i = (i - 1) / 4)
        r->heap[i] = r->heap[(i - 1) / 4];
    r->heap[i] = item;
}

static row row_over(void *memory, size_t n)
{
    row r = {.heap = memory, .n = (uint32_t)n};
    r.id = (int32_t *)(r.heap + 2 * n);
    r.rank = (uint32_t *)r.id + n;
    r.next = r.rank + n;
    r.prev = r.next + n;
    return r;
}

static void row_fill(row *r, const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece)
{
    for (uint32_t i = 0; i < r->n; i++) {
        r->id[i] = vocab->byte_id[(uint8_t)piece.p[i]];
        r->next[i] = i + 1;
        r->prev[i] = i - 1;
        r->rank[i] = NO_RANK;
    }
    for (uint32_t i = 0; i + 1 < r->n; i++) {
        r->rank[i] = rank_of(bpe, r->id[i], r->id[i + 1]);
        if (r->rank[i] != NO_RANK)
            r->heap[r->n_heap++] = (uint64_t)r->rank[i] << 32 | i;
    }
    for (size_t i = (r->n_heap + 2) / 4; i-- > 0;)
        sift_down(r->heap, r->n_heap, i);
}

static void row_rank(row *r, const qg_bpe *bpe, uint32_t at)
{
    uint32_t right = r->next[at];
    r->rank[at] = right < r->n ? rank_of(bpe, r->id[at], r->id[right]) : NO_RANK;
    if (r->rank[at] != NO_RANK)
        heap_push(r, (uint64_t)r->rank[at] << 32 | at);
}

static void row_join(row *r, const qg_bpe *bpe, uint32_t at)
{
    uint32_t right = r->next[at];
    uint32_t behind = r->next[right];
    r->id[at] = bpe->joined[r->rank[at]];
    r->rank[right] = NO_RANK;
    r->next[at] = behind;
    if (behind < r->n)
        r->prev[behind] = at;
    row_rank(r, bpe, at);
    if (at > 0)
        row_rank(r, bpe, r->prev[at]);
}

static qg_status encode_long(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, qg_ids *out)
{
    uint64_t here[ON_STACK * ROW_BYTES / sizeof(uint64_t)];
    void *memory = here;
    if (piece.n > ON_STACK)
        memory = qg_realloc_array(NULL, piece.n, ROW_BYTES);
    if (!memory)
        return QG_ERR_NOMEM;
    row r = row_over(memory, piece.n);
    row_fill(&r, bpe, vocab, piece);
    while (r.n_heap) {
        uint64_t top = heap_pop(&r);
        uint32_t at = (uint32_t)top;
        if (r.rank[at] == top >> 32)
            row_join(&r, bpe, at);
    }
    qg_status rc = QG_OK;
    for (uint32_t i = 0; rc == QG_OK && i < r.n; i = r.next[i])
        rc = qg_ids_push(out, r.id[i]);
    if (memory != here)
        qg_mfree(memory);
    return rc;
}

qg_status qg_bpe_encode(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, qg_ids *out)
{
    if (piece.n <= SHORT)
        return encode_short(bpe, vocab, piece, out);
    return encode_long(bpe, vocab, piece, out);
}
