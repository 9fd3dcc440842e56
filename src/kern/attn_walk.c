#include "kern/attn_walk.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    CHUNK = QG_ATTN_CHUNK,
    HEAD_ROWS = 32, /* query rows times heads of a group that go through a chunk together */
};

/* Where things lie in the scratch, and what the tile of rows at hand is. */
typedef struct walk {
    const qg_attn_ops *ops;
    const qg_attn_shape *s;
    const qg_attn_row *rows;
    int32_t kvh, group;
    size_t xs, half, head_at; /* bytes: of a prepared q, of K (or V) as the steps read them, before
                                 this head in a stored block */
    size_t v_ahead;           /* bytes from K to V when a stored block is fetched ahead */
    int64_t dim;
    uint8_t *q;      /* [rows * group] prepared */
    uint8_t *packed; /* [QG_ATTN_BLOCKS][K, V] gathered along a path, or expanded */
    uint8_t *stored; /* [K, V] gathered along a path in 8 bits, to be expanded */
    float *p;        /* [rows * group][CHUNK] scores, then weights */
    float *o;        /* [rows * group][dim] */
    float *max;      /* [rows * group] */
    float *factor;   /* [rows * group] */
    float *sum;      /* [rows * group][LANES] */
} walk;

/* Blocks of a chunk; those behind the last position repeat the first. */
typedef struct places {
    const uint8_t *k[QG_ATTN_BLOCKS], *v[QG_ATTN_BLOCKS];
} places;

static int32_t min32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Rows of a tile: at least one, however many heads share K and V. */
static int64_t tile_rows(const qg_attn_shape *s)
{
    int64_t n = HEAD_ROWS / (s->n_heads / s->n_kv_heads);
    return n < 1 ? 1 : n;
}

static void *carve(uint8_t *base, size_t *at, size_t bytes)
{
    void *p = base ? base + *at : NULL;
    *at += (bytes + 63) / 64 * 64;
    return p;
}

/* Fills the pointers; returns the bytes used.  base NULL: only counts. */
static size_t lay_out(walk *w, const qg_attn_ops *ops, const qg_attn_shape *s, uint8_t *base)
{
    size_t at = 0;
    const size_t f = sizeof(float);
    w->ops = ops;
    w->s = s;
    w->group = s->n_heads / s->n_kv_heads;
    const size_t n = (size_t)(tile_rows(s) * w->group);
    w->xs = ops->prep->x_bytes(s->head_dim);
    w->half = qg_kv_half_bytes(ops->format, s->head_dim);
    w->dim = qg_kv_dim(s->head_dim);
    w->v_ahead = ops->expand ? 2 * qg_kv_half_bytes(QG_W_I8, s->head_dim) - w->half : w->half;
    w->q = carve(base, &at, n * w->xs);
    w->packed = carve(base, &at, 2 * QG_ATTN_BLOCKS * w->half);
    w->stored = carve(base, &at, ops->expand ? 2 * qg_kv_half_bytes(QG_W_I8, s->head_dim) : 0);
    w->p = carve(base, &at, n * CHUNK * f);
    w->o = carve(base, &at, n * (size_t)w->dim * f);
    w->max = carve(base, &at, n * f);
    w->factor = carve(base, &at, n * f);
    w->sum = carve(base, &at, n * QG_ATTN_LANES * f);
    return at;
}

size_t qg_attn_walk_bytes(const qg_attn_ops *ops, const qg_attn_shape *s)
{
    walk w;
    return lay_out(&w, ops, s, NULL) + 64; /* for aligning the caller's block */
}

/* ---- where positions lie --------------------------------------------------------------------- */

static int32_t slot_of(const qg_attn_row *row, int32_t j)
{
    return j < row->tree_base ? j : row->path[j - row->tree_base];
}

/* True when positions [j0, j1) of both rows are the same memory. */
static bool same_places(const qg_attn_row *a, const qg_attn_row *b, int32_t j0, int32_t j1)
{
    const int32_t linear = min32(j1, min32(a->tree_base, b->tree_base));
    if (a->blocks != b->blocks)
        for (int32_t j = j0 / QG_KV_BLOCK; j * QG_KV_BLOCK < linear; j++)
            if (a->blocks[j] != b->blocks[j])
                return false;
    for (int32_t j = linear > j0 ? linear : j0; j < j1; j++) {
        const int32_t sa = slot_of(a, j), sb = slot_of(b, j);
        if (sa != sb || a->blocks[sa / QG_KV_BLOCK] != b->blocks[sb / QG_KV_BLOCK])
            return false;
    }
    return true;
}

/* K of this head in a block of the cache. */
static const uint8_t *head_of(const walk *w, const qg_attn_row *row, int32_t block)
{
    return (const uint8_t *)row->blocks[block] + w->head_at;
}

/* True when positions [j, end) lie in the slots of their own number. */
static bool in_order(const qg_attn_row *row, int32_t j, int32_t end)
{
    for (j = j > row->tree_base ? j : row->tree_base; j < end; j++)
        if (row->path[j - row->tree_base] != j)
            return false;
    return true;
}

/* Token t of block `to` (K, then V) = token in of block `from`. */
static void copy_token(const walk *w, uint8_t *to, int64_t t, const uint8_t *from, int64_t in)
{
    const qg_wformat format = w->ops->format;
    const size_t words = w->half / QG_KV_UNIT_BYTES;
    for (size_t u = 0; u < words; u++)
        memcpy(to + u * QG_KV_UNIT_BYTES + t * 4, from + u * QG_KV_UNIT_BYTES + in * 4, 4);
    to += w->half;
    from += w->half;
    if (format == QG_W_F32) {
        memcpy(to + (size_t)t * words * 4, from + (size_t)in * words * 4, words * 4);
        return;
    }
    for (int64_t c = 0; c < w->dim; c++)
        memcpy((qg_bf16 *)(void *)to + qg_v_element(format, w->dim, t, c),
               (const qg_bf16 *)(const void *)from + qg_v_element(format, w->dim, in, c),
               sizeof(qg_bf16));
}

/* Positions [j, end), at most a block of them, as a block's K and V. */
static const uint8_t *gather(const walk *w, const qg_attn_row *row, int32_t j, int32_t end,
                             uint8_t *to)
{
    for (int32_t i = j; i < end; i++) {
        const int32_t slot = slot_of(row, i);
        const uint8_t *from = head_of(w, row, slot / QG_KV_BLOCK);
        if (w->ops->expand)
            qg_kv8_copy_token(to, i - j, from, slot % QG_KV_BLOCK, w->dim);
        else
            copy_token(w, to, i - j, from, slot % QG_KV_BLOCK);
    }
    return to;
}

/* The same, from where they lie when they lie there in order, as the steps read them. */
static const uint8_t *block_at(const walk *w, const qg_attn_row *row, int32_t j, int32_t end)
{
    uint8_t *to = w->packed + (size_t)(j / QG_KV_BLOCK % QG_ATTN_BLOCKS) * 2 * w->half;
    const bool there = in_order(row, j, end);
    if (!w->ops->expand)
        return there ? head_of(w, row, j / QG_KV_BLOCK) : gather(w, row, j, end, to);
    w->ops->expand(to, there ? head_of(w, row, j / QG_KV_BLOCK) : gather(w, row, j, end, w->stored),
                   w->dim);
    return to;
}

/* Positions [j0, j0 + n). */
static void locate(const walk *w, const qg_attn_row *row, int32_t j0, int32_t n, places *at)
{
    for (int32_t b = 0; b < QG_ATTN_BLOCKS; b++) {
        const int32_t j = j0 + b * QG_KV_BLOCK, end = min32(j + QG_KV_BLOCK, j0 + n);
        at->k[b] = j >= end ? at->k[0] : block_at(w, row, j, end);
        at->v[b] = at->k[b] + w->half;
    }
}

/* The chunk at j0 as far as it needs no gathering; what is not known repeats `now`.  Only fetched,
 * never read: of a head in 8 bits, which is half as long, K stands for its first bytes and V for
 * its last. */
static void foresee(const walk *w, const qg_attn_row *row, int32_t j0, const places *now,
                    places *at)
{
    const int32_t end = min32(row->n_ctx, row->tree_base);
    for (int32_t b = 0; b < QG_ATTN_BLOCKS; b++) {
        const int32_t j = j0 + b * QG_KV_BLOCK;
        at->k[b] = j < end ? head_of(w, row, j / QG_KV_BLOCK) : now->k[b];
        at->v[b] = j < end ? at->k[b] + w->v_ahead : now->v[b];
    }
}

/* ---- one chunk ------------------------------------------------------------------------------- */

/* Positions of the chunk at j0 that head row i sees. */
static int32_t seen(const walk *w, int64_t i, int32_t j0)
{
    return min32(w->rows[i / w->group].n_ctx - j0, CHUNK);
}

/* Positions [from, to) of V into head rows [i, i + n) of O. */
static void weigh(const walk *w, int64_t i, int64_t n, const places *at, const places *next,
                  const float *factor, int32_t from, int32_t to)
{
    w->ops->weigh[n - 1](&(qg_attn_weigh){.o = w->o + i * w->dim,
                                          .d = w->dim,
                                          .p = w->p + i * CHUNK,
                                          .v = at->v,
                                          .next = next->v,
                                          .factor = factor,
                                          .from = from,
                                          .to = to});
}

/* Head rows [i0, i0 + n).  V behind a row's last position is never multiplied, not even by 0: it
 * may hold NaN.  So rows go together as far as all see, and each the rest of its way alone. */
static void strip(const walk *w, int64_t i0, int64_t n, int32_t j0, const places *at,
                  const places *next)
{
    int32_t most = 0, all = CHUNK;
    for (int64_t i = i0; i < i0 + n; i++) {
        most = most > seen(w, i, j0) ? most : seen(w, i, j0);
        all = min32(all, seen(w, i, j0));
    }
    w->ops->score[n - 1](&(qg_attn_score){.s = w->p + i0 * CHUNK,
                                          .q = w->q + (size_t)i0 * w->xs,
                                          .q_stride = w->xs,
                                          .k = at->k,
                                          .next = next->k,
                                          .n_blocks = (most + QG_KV_BLOCK - 1) / QG_KV_BLOCK,
                                          .units = (int32_t)(w->half / QG_KV_UNIT_BYTES)});
    for (int64_t i = i0; i < i0 + n; i++)
        w->factor[i] = w->ops->soften(w->p + i * CHUNK, seen(w, i, j0), w->s->scale, &w->max[i],
                                      w->sum + i * QG_ATTN_LANES);
    if (all < most)
        all -= all % 2; /* a pair stays together */
    weigh(w, i0, n, at, next, w->factor + i0, 0, all);
    for (int64_t i = i0, end; all < most && i < i0 + n; i = end) {
        const int32_t mine = seen(w, i, j0);
        for (end = i + 1; end < i0 + n && seen(w, end, j0) == mine;)
            end++;
        if (mine > all)
            weigh(w, i, end - i, at, at, NULL, all, mine);
    }
}

/* Rows that see the same places of the chunk at j0, as far as they see; lead sees farthest. */
typedef struct run {
    int64_t r0, r1, lead;
} run;

/* The run that begins with the first row from r on that sees anything of the chunk; r1 = n_rows and
 * r0 = r1 when there is none. */
static run run_from(const walk *w, int64_t r, int64_t n_rows, int32_t j0)
{
    while (r < n_rows && w->rows[r].n_ctx <= j0)
        r++;
    run u = {r, r < n_rows ? r + 1 : r, r};
    for (; u.r1 < n_rows && w->rows[u.r1].n_ctx > j0; u.r1++) {
        const qg_attn_row *a = &w->rows[u.lead], *b = &w->rows[u.r1];
        if (!same_places(a, b, j0, min32(j0 + CHUNK, min32(a->n_ctx, b->n_ctx))))
            break;
        u.lead = b->n_ctx > a->n_ctx ? u.r1 : u.lead;
    }
    return u;
}

/* Chunk at j0 for a run; next_row's chunk at next_j0 is what comes then. */
static void chunk(const walk *w, const run *u, int32_t j0, int64_t next_row, int32_t next_j0)
{
    const int64_t i0 = u->r0 * w->group, n = (u->r1 - u->r0) * w->group;
    const int64_t strips = (n + QG_ATTN_STRIP - 1) / QG_ATTN_STRIP;
    const qg_attn_row *lead = &w->rows[u->lead];
    places at, next;
    locate(w, lead, j0, min32(lead->n_ctx - j0, CHUNK), &at);
    foresee(w, &w->rows[next_row], next_j0, &at, &next);
    for (int64_t s = 0; s < strips; s++) {
        const int64_t from = n * s / strips, to = n * (s + 1) / strips;
        strip(w, i0 + from, to - from, j0, &at, s == 0 ? &next : &at);
    }
}

/* All runs of the chunk at j0, each followed by the next or by the first one's next chunk. */
static void chunk_of_rows(const walk *w, int64_t n_rows, int32_t j0)
{
    const run first = run_from(w, 0, n_rows, j0);
    for (run u = first, next; u.r0 < n_rows; u = next) {
        next = run_from(w, u.r1, n_rows, j0);
        if (next.r0 < n_rows)
            chunk(w, &u, j0, next.lead, j0);
        else
            chunk(w, &u, j0, first.lead, j0 + CHUNK);
    }
}

/* ---- a tile of rows -------------------------------------------------------------------------- */

static void begin(walk *w, int64_t n_rows)
{
    const qg_attn_shape *s = w->s;
    const int64_t n = n_rows * w->group;
    for (int64_t r = 0; r < n_rows; r++)
        w->ops->prep->prep(w->q + (size_t)(r * w->group) * w->xs,
                           w->rows[r].q + (int64_t)w->kvh * w->group * s->head_dim, s->head_dim,
                           w->group, s->head_dim, 0, s->head_dim);
    memset(w->o, 0, (size_t)(n * w->dim) * sizeof *w->o);
    memset(w->sum, 0, (size_t)(n * QG_ATTN_LANES) * sizeof *w->sum);
    for (int64_t i = 0; i < n; i++)
        w->max[i] = -INFINITY;
}

static void finish(const walk *w, int64_t n_rows)
{
    const int64_t d = w->s->head_dim;
    for (int64_t i = 0; i < n_rows * w->group; i++) {
        float sum = 0, *o = w->o + i * w->dim;
        float *out = w->rows[i / w->group].out + ((int64_t)w->kvh * w->group + i % w->group) * d;
        for (int32_t l = 0; l < QG_ATTN_LANES; l++)
            sum += w->sum[i * QG_ATTN_LANES + l];
        sum = 1 / sum;
        for (int64_t c = 0; c < d; c++)
            out[c] = o[c] * sum;
    }
}

void qg_attn_walk(const qg_attn_ops *ops, const qg_attn_shape *s, const qg_attn_row *rows,
                  int64_t n_rows, int32_t kvh, void *scratch)
{
    walk w;
    lay_out(&w, ops, s, (uint8_t *)scratch + (64 - (uintptr_t)scratch % 64) % 64);
    w.kvh = kvh;
    w.head_at = qg_kv_head_at(ops->expand ? QG_W_I8 : ops->format, s->head_dim, kvh);
    for (int64_t r = 0; r < n_rows; r += tile_rows(s)) {
        const int64_t n = n_rows - r < tile_rows(s) ? n_rows - r : tile_rows(s);
        int32_t longest = 0;
        w.rows = rows + r;
        for (int64_t i = 0; i < n; i++)
            longest = w.rows[i].n_ctx > longest ? w.rows[i].n_ctx : longest;
        begin(&w, n);
        for (int32_t j0 = 0; j0 < longest; j0 += CHUNK)
            chunk_of_rows(&w, n, j0);
        finish(&w, n);
    }
}
