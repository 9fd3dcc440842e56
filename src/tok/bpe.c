#include "tok/bpe.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/utf8.h"

/* A slot holds left << 43 | right << 22 | rank, so that eight of them share a cache line: looking
 * up pairs is nearly all of the work, and nearly all of that is waiting for memory. */
enum {
    ID_BITS = 21,
    RANK_BITS = 22,
    RANK_MASK = (1 << RANK_BITS) - 1,
    NO_RANK = RANK_MASK, /* of a free slot, too: all its bits are set */
    FILTER_BITS = 20,    /* 128 KiB; with Qwen3's 151,387 merges one pair in seven passes wrongly */
    FILTER_SHIFT = 64 - FILTER_BITS,
    LOW = 256,      /* pairs of ids below this have a table of their own */
    SHORT = 32,     /* up to here searching the row beats keeping a heap */
    ON_STACK = 256, /* bytes of a piece whose row fits the stack */
};
#define FREE UINT64_MAX

_Static_assert(QG_MAX_TOKENIZER_IDS <= 1u << ID_BITS, "ids fit a slot");
_Static_assert(QG_MAX_TOKENIZER_IDS < NO_RANK, "ranks fit a slot");

static inline uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << ID_BITS | (uint32_t)right;
}

static inline uint64_t spread(uint64_t key)
{
    key *= 0x9E3779B97F4A7C15u;
    return key ^ key >> 32;
}

/* The slot of a pair, or the free one where it belongs. */
static inline uint64_t *probe(const qg_bpe *bpe, uint64_t key, uint64_t h)
{
    size_t i = (size_t)h & (bpe->n_slots - 1);
    while (bpe->slots[i] >> RANK_BITS != key && bpe->slots[i] != FREE)
        i = (i + 1) & (bpe->n_slots - 1);
    return &bpe->slots[i];
}

/* Rank of a pair, NO_RANK when it is not joined.  Most are not, and most of those are told by one
 * bit of a table that stays in the second-level cache. */
static inline uint32_t rank_of(const qg_bpe *bpe, int32_t left, int32_t right)
{
    if ((left | right) < LOW)
        return bpe->low[left * LOW + right];
    uint64_t key = key_of(left, right), h = spread(key);
    if (!(bpe->there[h >> FILTER_SHIFT >> 6] >> (h >> FILTER_SHIFT & 63) & 1))
        return NO_RANK;
    return (uint32_t)*probe(bpe, key, h) & RANK_MASK;
}

qg_status qg_bpe_init(qg_bpe *bpe, const qg_bpe_pair *pairs, size_t n)
{
    size_t n_slots = 64;
    while (n_slots < n + n / 2)
        n_slots *= 2;
    *bpe = (qg_bpe){.slots = qg_realloc_array(NULL, n_slots, sizeof *bpe->slots),
                    .n_slots = n_slots,
                    .joined = qg_realloc_array(NULL, n, sizeof *bpe->joined),
                    .low = qg_realloc_array(NULL, LOW * LOW, sizeof *bpe->low),
                    .there = qg_calloc(1 << (FILTER_BITS - 6), sizeof *bpe->there)};
    if (!bpe->slots || !bpe->joined || !bpe->low || !bpe->there) {
        qg_bpe_free(bpe);
        return QG_ERR_NOMEM;
    }
    memset(bpe->slots, 0xFF, n_slots * sizeof *bpe->slots);
    for (size_t i = 0; i < LOW * LOW; i++)
        bpe->low[i] = NO_RANK;
    for (size_t i = 0; i < n; i++) {
        uint64_t key = key_of(pairs[i].left, pairs[i].right);
        uint64_t h = spread(key);
        *probe(bpe, key, h) = key << RANK_BITS | i;
        bpe->there[h >> FILTER_SHIFT >> 6] |= (uint64_t)1 << (h >> FILTER_SHIFT & 63);
        bpe->joined[i] = pairs[i].joined;
        if ((pairs[i].left | pairs[i].right) < LOW)
            bpe->low[pairs[i].left * LOW + pairs[i].right] = (uint32_t)i;
    }
    return QG_OK;
}

void qg_bpe_free(qg_bpe *bpe)
{
    qg_mfree(bpe->slots);
    qg_mfree(bpe->joined);
    qg_mfree(bpe->low);
    qg_mfree(bpe->there);
    qg_mfree(bpe->chars);
    *bpe = (qg_bpe){0};
}

/* ---- what a piece begins as ------------------------------------------------------------------ */

static inline bool continues(uint8_t c)
{
    return (c & 0xC0) == 0x80;
}

/* The token of the character of two or three bytes that begins at p [n], if it may be taken whole:
 * its id and its bytes, else -1.  Bytes that are no UTF-8 have no entry. */
static inline int32_t whole_char(const qg_bpe *bpe, const uint8_t *p, size_t n, size_t *step)
{
    if (p[0] >= 0xE0 && p[0] < 0xF0 && n >= 3 && continues(p[1]) && continues(p[2])) {
        *step = 3;
        return bpe->chars[(p[0] & 15) << 12 | (p[1] & 63) << 6 | (p[2] & 63)];
    }
    if (p[0] >= 0xC2 && p[0] < 0xE0 && n >= 2 && continues(p[1])) {
        *step = 2;
        return bpe->chars[(p[0] & 31) << 6 | (p[1] & 63)];
    }
    return -1;
}

/* id [piece.n] gets what merging begins with; gives how many.  Beside ASCII a character is begun as
 * bytes: nearly every merge that takes its first byte away joins it to a blank. */
static size_t begin(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, int32_t *id)
{
    const uint8_t *p = (const uint8_t *)piece.p;
    size_t n = 0;
    bool beside = false; /* the byte before is ASCII */
    for (size_t i = 0, step; i < piece.n; i += step) {
        int32_t whole = -1;
        if (p[i] >= 0xC2 && bpe->chars && !beside) {
            whole = whole_char(bpe, p + i, piece.n - i, &step);
            if (whole >= 0 && i + step < piece.n && p[i + step] < 0x80)
                whole = -1;
        }
        if (whole < 0)
            step = 1;
        id[n++] = whole < 0 ? vocab->byte_id[p[i]] : whole;
        beside = p[i] < 0x80;
    }
    return n;
}

/* ---- short rows: searched for the lowest rank ------------------------------------------------ */

/* id [n], n <= SHORT, is overwritten. */
static qg_status encode_short(const qg_bpe *bpe, int32_t *id, size_t n, qg_ids *out)
{
    uint32_t rank[SHORT]; /* of the pair that begins here */
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

/* ---- long rows: linked, with a heap -----------------------------------------------------------
 */

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

/* Its ids are there. */
static void row_fill(row *r, const qg_bpe *bpe)
{
    for (uint32_t i = 0; i < r->n; i++) {
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

static qg_status encode_long(const qg_bpe *bpe, row *r, qg_ids *out)
{
    row_fill(r, bpe);
    while (r->n_heap) {
        uint64_t top = heap_pop(r);
        uint32_t at = (uint32_t)top;
        if (r->rank[at] == top >> 32)
            row_join(r, bpe, at);
    }
    qg_status rc = QG_OK;
    for (uint32_t i = 0; rc == QG_OK && i < r->n; i = r->next[i])
        rc = qg_ids_push(out, r->id[i]);
    return rc;
}

qg_status qg_bpe_encode(const qg_bpe *bpe, const qg_vocab *vocab, qg_slice piece, qg_ids *out)
{
    uint64_t here[ON_STACK * ROW_BYTES / sizeof(uint64_t)];
    void *memory = here;
    if (piece.n > ON_STACK)
        memory = qg_realloc_array(NULL, piece.n, ROW_BYTES);
    if (!memory)
        return QG_ERR_NOMEM;
    row r = row_over(memory, piece.n);
    r.n = (uint32_t)begin(bpe, vocab, piece, r.id);
    qg_status rc = r.n <= SHORT ? encode_short(bpe, r.id, r.n, out) : encode_long(bpe, &r, out);
    if (memory != here)
        qg_mfree(memory);
    return rc;
}

/* ---- characters that come first --------------------------------------------------------------
 *
 * Say that every merge ranks behind those that make its two sides (trained merges do).  Then merges
 * happen in the order of their ranks: each rank is done with everywhere before the next.  A
 * character whose bytes, alone, become one token T by merges up to rank r will do so in any text
 * unless a merge of a lower rank takes one of its parts away first: one whose right side is a
 * beginning of it, or whose left side is an end of it with something behind that begins a
 * character.  When no such merge ranks before r, taking T from the start changes nothing: T joins
 * nothing before r anyway.  Merges with ASCII on the other side are left out here and minded in
 * begin().  In Qwen3's vocabulary 5,000 of 8,500 Chinese characters qualify, four fifths of those
 * in a text. */

typedef struct borders {
    uint32_t *as_right, *as_left; /* [n_ids] lowest rank of the merges across two characters,
                                     neither ASCII, that have this token on that side */
    uint32_t *made;               /* [n_ids] highest rank of those that make it, 0: none */
} borders;

/* False: some merge ranks before one that makes a side of it. */
static bool find_borders(borders *b, const qg_bpe *bpe, const qg_vocab *vocab,
                         const qg_bpe_pair *pairs, size_t n)
{
    for (int32_t i = 0; i < vocab->n_ids; i++)
        b->as_right[i] = b->as_left[i] = NO_RANK;
    for (uint32_t i = 0; i < n; i++) {
        const qg_bpe_pair *p = &pairs[i];
        if (rank_of(bpe, p->left, p->right) != i)
            continue; /* listed again further down */
        if (b->made[p->joined] < i)
            b->made[p->joined] = i;
        qg_slice left = qg_vocab_bytes(vocab, p->left);
        if (i < b->as_right[p->right] && (uint8_t)left.p[left.n - 1] >= 0x80)
            b->as_right[p->right] = i;
        if (i < b->as_left[p->left] && (uint8_t)*qg_vocab_bytes(vocab, p->right).p >= 0xC0)
            b->as_left[p->left] = i;
    }
    for (uint32_t i = 0; i < n; i++)
        if (rank_of(bpe, pairs[i].left, pairs[i].right) == i &&
            ((b->made[pairs[i].left] && b->made[pairs[i].left] >= i) ||
             (b->made[pairs[i].right] && b->made[pairs[i].right] >= i)))
            return false;
    return true;
}

/* Whether the character with these bytes, whose token is id, is made before anything can take a
 * part of it. */
static bool comes_first(const borders *b, const qg_vocab *vocab, qg_slice bytes, int32_t id)
{
    uint32_t r = b->made[id];
    for (size_t k = 1; k < bytes.n; k++) {
        int32_t front = qg_vocab_find(vocab, qg_slice_of(bytes.p, k));
        int32_t back = qg_vocab_find(vocab, qg_slice_of(bytes.p + k, bytes.n - k));
        if ((front >= 0 && b->as_right[front] <= r) || (back >= 0 && b->as_left[back] <= r))
            return false;
    }
    return true;
}

static qg_status fill_chars(qg_bpe *bpe, const qg_vocab *vocab, const borders *b, int32_t *chars)
{
    qg_ids ids = {0};
    qg_status rc = QG_OK;
    for (int32_t id = 0; id < vocab->n_ids && rc == QG_OK; id++) {
        qg_slice bytes = qg_vocab_bytes(vocab, id);
        if (bytes.n < 2 || bytes.n > 3 || !(qg_vocab_flags(vocab, id) & QG_TOKEN_PAIRED))
            continue;
        const uint8_t *p = (const uint8_t *)bytes.p;
        size_t step = p[0] >= 0xE0 ? 3 : 2;
        if (p[0] < 0xC2 || p[0] >= 0xF0 || step != bytes.n || !qg_utf8_valid(bytes))
            continue;
        ids.n = 0;
        rc = qg_bpe_encode(bpe, vocab, bytes, &ids);
        size_t n;
        if (rc == QG_OK && ids.n == 1 && ids.p[0] == id && comes_first(b, vocab, bytes, id))
            chars[qg_utf8_at(bytes.p, &n)] = id;
    }
    qg_ids_free(&ids);
    return rc;
}

qg_status qg_bpe_find_chars(qg_bpe *bpe, const qg_vocab *vocab, const qg_bpe_pair *pairs, size_t n)
{
    size_t n_ids = (size_t)vocab->n_ids;
    uint32_t *memory = qg_calloc(3 * n_ids, sizeof *memory);
    int32_t *chars = qg_realloc_array(NULL, QG_BPE_CHARS, sizeof *chars);
    borders b = {.as_right = memory, .as_left = memory + n_ids, .made = memory + 2 * n_ids};
    qg_status rc = memory && chars ? QG_OK : QG_ERR_NOMEM;
    if (rc == QG_OK && find_borders(&b, bpe, vocab, pairs, n)) {
        memset(chars, 0xFF, QG_BPE_CHARS * sizeof *chars);
        rc = fill_chars(bpe, vocab, &b, chars);
        if (rc == QG_OK) {
            bpe->chars = chars;
            chars = NULL;
        }
    }
    qg_mfree(memory);
    qg_mfree(chars);
    return rc;
}
