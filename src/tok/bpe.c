#include "tok/bpe.h"

#include "base/mem.h"

enum { SHORT = 48 }; /* up to here searching the row beats keeping a heap */

static inline uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline size_t place(uint64_t key, size_t n_slots)
{
    uint64_t h = key * 0x9E3779B97F4A7C15u;
    return (size_t)(h ^ h >> 32) & (n_slots - 1);
}

/* The slot of a pair, or the free one where it belongs. */
static inline qg_bpe_slot *probe(const qg_bpe *bpe, uint64_t key)
{
    size_t i = place(key, bpe->n_slots);
    while (bpe->slots[i].key != key && bpe->slots[i].key != UINT64_MAX)
        i = (i + 1) & (bpe->n_slots - 1);
    return &bpe->slots[i];
}

qg_status qg_bpe_init(qg_bpe *bpe, const qg_bpe_pair *pairs, size_t n)
{
    size_t n_slots = 64;
    while (n_slots < n + n / 2)
        n_slots *= 2;
    *bpe =
        (qg_bpe){.slots = qg_realloc_array(NULL, n_slots, sizeof *bpe->slots), .n_slots = n_slots};
    if (!bpe->slots)
        return QG_ERR_NOMEM;
    for (size_t i = 0; i < n_slots; i++)
        bpe->slots[i] = (qg_bpe_slot){.key = UINT64_MAX, .rank = QG_BPE_NO_RANK, .joined = -1};
    for (size_t i = 0; i < n; i++) {
        uint64_t key = key_of(pairs[i].left, pairs[i].right);
        *probe(bpe, key) =
            (qg_bpe_slot){.key = key, .rank = (uint32_t)i, .joined = pairs[i].joined};
    }
    return QG_OK;
}

void qg_bpe_free(qg_bpe *bpe)
{
    qg_mfree(bpe->slots);
    *bpe = (qg_bpe){0};
}

/* ---- short pieces: the row of symbols is searched for the lowest rank ------------------------ */

static qg_status encode_short(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, qg_ids *out)
{
    int32_t id[SHORT];
    uint32_t rank[SHORT]; /* of the pair that begins here */
    int32_t joined[SHORT];
    size_t n = piece.n;
    for (size_t i = 0; i < n; i++)
        id[i] = vocab->byte_id[(uint8_t)piece.p[i]];
    for (size_t i = 0; i + 1 < n; i++) {
        const qg_bpe_slot *s = probe(bpe, key_of(id[i], id[i + 1]));
        rank[i] = s->rank;
        joined[i] = s->joined;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == QG_BPE_NO_RANK)
            break;
        id[best] = joined[best];
        n--;
        for (size_t i = best + 1; i < n; i++)
            id[i] = id[i + 1];
        for (size_t i = best + 1; i + 1 < n; i++) {
            rank[i] = rank[i + 1];
            joined[i] = joined[i + 1];
        }
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const qg_bpe_slot *s = probe(bpe, key_of(id[i], id[i + 1]));
            rank[i] = s->rank;
            joined[i] = s->joined;
        }
    }
    return qg_ids_add(out, id, n);
}

/* ---- long pieces: a linked row and a heap ---------------------------------------------------- */

/* A heap entry is rank << 32 | place, so that the smallest is the lowest rank, leftmost.  It is out
 * of date when the pair at its place has another rank by now: no two pairs share one. */
typedef struct row {
    int32_t *id;    /* [n] */
    uint32_t *rank; /* [n] of the pair that begins here, QG_BPE_NO_RANK for none or a dead place */
    uint32_t *next; /* [n] n at the end */
    uint32_t *prev; /* [n] */
    uint32_t n;
    uint64_t *heap; /* [cap_heap], its root at 0 */
    size_t n_heap, cap_heap;
} row;

static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t item = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= item)
            break;
        heap[i] = heap[child];
        i = child;
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

static qg_status heap_push(row *r, uint64_t item)
{
    if (r->n_heap == r->cap_heap) {
        size_t cap = r->cap_heap + r->cap_heap / 2;
        uint64_t *heap = qg_realloc_array(r->heap, cap, sizeof *heap);
        if (!heap)
            return QG_ERR_NOMEM;
        r->heap = heap;
        r->cap_heap = cap;
    }
    size_t i = r->n_heap++;
    for (; i > 0 && r->heap[(i - 1) / 2] > item; i = (i - 1) / 2)
        r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = item;
    return QG_OK;
}

static void row_free(row *r)
{
    qg_mfree(r->id);
    qg_mfree(r->rank);
    qg_mfree(r->next);
    qg_mfree(r->prev);
    qg_mfree(r->heap);
}

static qg_status row_init(row *r, const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece)
{
    size_t n = piece.n;
    r->n = (uint32_t)n;
    r->cap_heap = n;
    r->id = qg_realloc_array(NULL, n, sizeof *r->id);
    r->rank = qg_realloc_array(NULL, n, sizeof *r->rank);
    r->next = qg_realloc_array(NULL, n, sizeof *r->next);
    r->prev = qg_realloc_array(NULL, n, sizeof *r->prev);
    r->heap = qg_realloc_array(NULL, n, sizeof *r->heap);
    if (!r->id || !r->rank || !r->next || !r->prev || !r->heap)
        return QG_ERR_NOMEM;
    for (uint32_t i = 0; i < r->n; i++) {
        r->id[i] = vocab->byte_id[(uint8_t)piece.p[i]];
        r->next[i] = i + 1;
        r->prev[i] = i - 1;
        r->rank[i] = QG_BPE_NO_RANK;
    }
    for (uint32_t i = 0; i + 1 < r->n; i++) {
        r->rank[i] = probe(bpe, key_of(r->id[i], r->id[i + 1]))->rank;
        if (r->rank[i] != QG_BPE_NO_RANK)
            r->heap[r->n_heap++] = (uint64_t)r->rank[i] << 32 | i;
    }
    for (size_t i = r->n_heap / 2; i-- > 0;)
        sift_down(r->heap, r->n_heap, i);
    return QG_OK;
}

static qg_status row_rank(row *r, const qg_bpe *bpe, uint32_t at)
{
    uint32_t right = r->next[at];
    r->rank[at] = right < r->n ? probe(bpe, key_of(r->id[at], r->id[right]))->rank : QG_BPE_NO_RANK;
    if (r->rank[at] == QG_BPE_NO_RANK)
        return QG_OK;
    return heap_push(r, (uint64_t)r->rank[at] << 32 | at);
}

static qg_status row_join(row *r, const qg_bpe *bpe, uint32_t at)
{
    uint32_t right = r->next[at];
    uint32_t behind = r->next[right];
    r->id[at] = probe(bpe, key_of(r->id[at], r->id[right]))->joined;
    r->rank[right] = QG_BPE_NO_RANK;
    r->next[at] = behind;
    if (behind < r->n)
        r->prev[behind] = at;
    QG_TRY(row_rank(r, bpe, at));
    return at > 0 ? row_rank(r, bpe, r->prev[at]) : QG_OK;
}

static qg_status encode_long(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, qg_ids *out)
{
    row r = {0};
    qg_status rc = row_init(&r, bpe, vocab, piece);
    while (rc == QG_OK && r.n_heap) {
        uint64_t top = heap_pop(&r);
        uint32_t at = (uint32_t)top;
        if (r.rank[at] == top >> 32)
            rc = row_join(&r, bpe, at);
    }
    for (uint32_t i = 0; rc == QG_OK && i < r.n; i = r.next[i])
        rc = qg_ids_push(out, r.id[i]);
    row_free(&r);
    return rc;
}

qg_status qg_bpe_encode(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, qg_ids *out)
{
    if (piece.n <= SHORT)
        return encode_short(bpe, vocab, piece, out);
    return encode_long(bpe, vocab, piece, out);
}
