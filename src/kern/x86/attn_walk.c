#include "kern/x86/attn_walk.h"

#include <math.h>
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
    size_t elem, xs, k_panel; /* bytes: of an element, a prepared q, a K panel */
    int64_t d_pad;
    uint8_t *q; /* [rows * group] prepared */
    uint8_t *k; /* [2] panels of 32 positions */
    float *v;   /* [d_pad / 32][CHUNK][32] */
    float *p;   /* [rows * group][CHUNK] */
    float *o;   /* [rows * group][d_pad] */
    float *max; /* [rows * group] */
    float *sum; /* [rows * group][LANES] */
} walk;

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
    w->elem = ops->format == QG_W_F32 ? sizeof(float) : sizeof(qg_bf16);
    w->xs = ops->score->x_bytes(s->head_dim);
    w->d_pad = qg_round_up(s->head_dim, QG_NR);
    /* the transpose writes whole blocks of 16 words, so room for those */
    w->k_panel = (size_t)w->d_pad * w->elem * QG_NR;
    w->q = carve(base, &at, n * w->xs);
    w->k = carve(base, &at, 2 * w->k_panel);
    w->v = carve(base, &at, (size_t)w->d_pad * CHUNK * f);
    w->p = carve(base, &at, n * CHUNK * f);
    w->o = carve(base, &at, n * (size_t)w->d_pad * f);
    w->max = carve(base, &at, n * f);
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
static bool same_places(const qg_attn_shape *s, const qg_attn_row *a, const qg_attn_row *b,
                        int32_t j0, int32_t j1)
{
    const int32_t linear = min32(j1, min32(a->tree_base, b->tree_base));
    if (a->blocks != b->blocks)
        for (int32_t j = j0 / s->block_len; j * s->block_len < linear; j++)
            if (a->blocks[j] != b->blocks[j])
                return false;
    for (int32_t j = linear > j0 ? linear : j0; j < j1; j++) {
        const int32_t sa = slot_of(a, j), sb = slot_of(b, j);
        if (sa != sb || a->blocks[sa / s->block_len] != b->blocks[sb / s->block_len])
            return false;
    }
    return true;
}

/* K of positions [j0, j0 + n). */
static void locate(const walk *w, const qg_attn_row *row, int32_t j0, int32_t n, const void **k)
{
    const qg_attn_shape *s = w->s;
    const size_t row_bytes = (size_t)s->head_dim * w->elem;
    for (int32_t i = 0; i < n;) {
        const int32_t slot = slot_of(row, j0 + i), in = slot % s->block_len;
        /* slots follow each other up to the end of the block, as long as no tree begins */
        int32_t run =
            j0 + i < row->tree_base ? min32(s->block_len - in, row->tree_base - j0 - i) : 1;
        const uint8_t *at = (const uint8_t *)row->blocks[slot / s->block_len] +
                            ((size_t)w->kvh * (size_t)s->block_len + (size_t)in) * row_bytes;
        for (run = min32(run, n - i); run > 0; run--, at += row_bytes)
            k[i++] = at;
    }
}

/* A head's rows in a block are 4 KiB pieces far apart, which no hardware prefetcher follows. */
static void prefetch(const walk *w, const void *const *rows, int32_t n)
{
    const size_t row_bytes = (size_t)w->s->head_dim * w->elem;
    for (int32_t i = 0; i < n; i++)
        for (size_t at = 0; at < row_bytes; at += 64)
            __builtin_prefetch((const uint8_t *)rows[i] + at);
}

/* ---- one chunk ------------------------------------------------------------------------------- */

/* K rows, n of them, into panels; missing rows are zeros. */
static void pack_k(const walk *w, const void *const *k, int32_t n)
{
    enum { BLOCK = 64 }; /* bytes of a row that one transpose takes */
    static const _Alignas(64) uint8_t zeros[BLOCK];
    uint8_t tail[16][BLOCK];
    const size_t row_bytes = (size_t)w->s->head_dim * w->elem;
    for (int32_t j = 0; j < n; j += 16) {
        uint8_t *to = w->k + (size_t)(j / 32) * w->k_panel + (size_t)(j % 32) * 4;
        for (size_t at = 0; at < row_bytes; at += BLOCK, to += 16 * QG_UNIT_BYTES) {
            const size_t len = row_bytes - at < BLOCK ? row_bytes - at : BLOCK;
            const void *rows[16];
            for (int32_t i = 0; i < 16; i++) {
                const bool there = j + i < n;
                rows[i] = there ? (const uint8_t *)k[j + i] + at : zeros;
                if (there && len < BLOCK) {
                    memset(tail[i], 0, BLOCK);
                    memcpy(tail[i], rows[i], len);
                    rows[i] = tail[i];
                }
            }
            w->ops->transpose(to, rows);
        }
    }
}

static void score(const walk *w, int64_t r0, int64_t r1, int32_t n)
{
    const int64_t d = w->s->head_dim;
    for (int32_t j = 0; j < n; j += QG_NR)
        qg_tiles_panel(w->ops->score_tiles,
                       &(qg_tile){.y = w->p + r0 * w->group * CHUNK + j,
                                  .ldy = CHUNK,
                                  .x = w->q + (size_t)(r0 * w->group) * w->xs,
                                  .x_stride = w->xs,
                                  .w = w->k + (size_t)(j / QG_NR) * w->k_panel,
                                  .units = w->ops->format == QG_W_F32 ? d : qg_k_pad(d) / 2},
                       (r1 - r0) * w->group);
}

/* O of rows [r0, r1) += P * V over positions [j0, j1) of the chunk. */
static void weigh(const walk *w, int64_t r0, int64_t r1, int32_t j0, int32_t j1)
{
    if (j0 == j1)
        return;
    for (int64_t c = 0; c < w->d_pad; c += QG_NR)
        qg_tiles_panel(w->ops->value_tiles,
                       &(qg_tile){.y = w->o + r0 * w->group * w->d_pad + c,
                                  .ldy = w->d_pad,
                                  .x = (const uint8_t *)(w->p + r0 * w->group * CHUNK + j0),
                                  .x_stride = CHUNK * sizeof(float),
                                  .w = (const uint8_t *)(w->v + c * CHUNK + j0 * QG_NR),
                                  .units = j1 - j0,
                                  .add = true},
                       (r1 - r0) * w->group);
}

static int32_t seen_in_chunk(const walk *w, int64_t r, int32_t j0)
{
    return min32(w->rows[r].n_ctx - j0, CHUNK);
}

static void soften(const walk *w, int64_t r, int32_t n)
{
    for (int64_t i = r * w->group; i < (r + 1) * w->group; i++) {
        float factor = w->ops->softmax(w->p + i * CHUNK, n, w->s->scale, &w->max[i],
                                       w->sum + i * QG_ATTN_LANES);
        if (factor != 1) /* also NaN */
            w->ops->multiply(w->o + i * w->d_pad, w->d_pad, factor);
    }
}

/* Chunk at j0 for rows [r0, r1), which see the same places as far as they see; lead sees farthest.
 * V behind a row's last position is never multiplied, not even by 0: it may hold NaN. */
static void chunk(const walk *w, int64_t r0, int64_t r1, int64_t lead, int32_t j0)
{
    const void *k[CHUNK], *v[CHUNK];
    const int32_t n = seen_in_chunk(w, lead, j0);
    int32_t all = n;
    locate(w, &w->rows[lead], j0, n, k);
    const size_t v_off = (size_t)w->s->v_off * w->elem;
    for (int32_t i = 0; i < n; i++)
        v[i] = (const uint8_t *)k[i] + v_off;
    prefetch(w, v, n);
    pack_k(w, k, n);
    if (j0 + CHUNK < w->rows[lead].n_ctx) { /* K is all of the next chunk that is waited for */
        const int32_t next = seen_in_chunk(w, lead, j0 + CHUNK);
        locate(w, &w->rows[lead], j0 + CHUNK, next, k);
        prefetch(w, k, next);
    }
    score(w, r0, r1, n);
    w->ops->widen(w->v, v, n, w->s->head_dim);
    for (int64_t r = r0; r < r1; r++) {
        soften(w, r, seen_in_chunk(w, r, j0));
        all = min32(all, seen_in_chunk(w, r, j0));
    }
    weigh(w, r0, r1, 0, all);
    for (int64_t r = r0; r < r1; r++)
        weigh(w, r, r + 1, all, seen_in_chunk(w, r, j0));
}

/* Cuts the rows of the tile into runs that share the chunk at j0. */
static void chunk_of_rows(const walk *w, int64_t n_rows, int32_t j0)
{
    for (int64_t r0 = 0, r1; r0 < n_rows; r0 = r1) {
        int64_t lead = r0;
        r1 = r0 + 1;
        if (w->rows[r0].n_ctx <= j0)
            continue;
        for (; r1 < n_rows && w->rows[r1].n_ctx > j0; r1++) {
            const qg_attn_row *a = &w->rows[lead], *b = &w->rows[r1];
            if (!same_places(w->s, a, b, j0, min32(j0 + CHUNK, min32(a->n_ctx, b->n_ctx))))
                break;
            lead = b->n_ctx > a->n_ctx ? r1 : lead;
        }
        chunk(w, r0, r1, lead, j0);
    }
}

/* ---- a tile of rows -------------------------------------------------------------------------- */

static void begin(walk *w, int64_t n_rows)
{
    const qg_attn_shape *s = w->s;
    const int64_t n = n_rows * w->group;
    for (int64_t r = 0; r < n_rows; r++)
        w->ops->score->prep(w->q + (size_t)(r * w->group) * w->xs,
                            w->rows[r].q + (int64_t)w->kvh * w->group * s->head_dim, s->head_dim,
                            w->group, s->head_dim);
    memset(w->o, 0, (size_t)(n * w->d_pad) * sizeof *w->o);
    memset(w->sum, 0, (size_t)(n * QG_ATTN_LANES) * sizeof *w->sum);
    for (int64_t i = 0; i < n; i++)
        w->max[i] = -INFINITY;
}

static void finish(const walk *w, int64_t n_rows)
{
    const int64_t d = w->s->head_dim;
    for (int64_t i = 0; i < n_rows * w->group; i++) {
        float sum = 0, *o = w->o + i * w->d_pad;
        for (int32_t l = 0; l < QG_ATTN_LANES; l++)
            sum += w->sum[i * QG_ATTN_LANES + l];
        w->ops->multiply(o, w->d_pad, 1 / sum);
        memcpy(w->rows[i / w->group].out + ((int64_t)w->kvh * w->group + i % w->group) * d, o,
               (size_t)d * sizeof *o);
    }
}

void qg_attn_walk(const qg_attn_ops *ops, const qg_attn_shape *s, const qg_attn_row *rows,
                  int64_t n_rows, int32_t kvh, void *scratch)
{
    walk w;
    lay_out(&w, ops, s, (uint8_t *)scratch + (64 - (uintptr_t)scratch % 64) % 64);
    w.kvh = kvh;
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
