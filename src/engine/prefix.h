/* Prefix cache: a radix tree over KV blocks.  A node is one block of up to QG_KV_BLOCK tokens
 * behind its parent's; sequences with the same beginning share the nodes' blocks by reference.
 * Scheduler thread only. */
#ifndef QG_ENGINE_PREFIX_H
#define QG_ENGINE_PREFIX_H

#include "base/buf.h"
#include "model/kv.h"

typedef struct qg_prefix qg_prefix;

/* max_blocks: most blocks the cache keeps; beyond it the least recently used leaf goes first. */
qg_status qg_prefix_open(qg_prefix **out, qg_kv *kv, int32_t max_blocks, qg_err *err);
void qg_prefix_close(qg_prefix *prefix);

/* Puts the longest cached beginning of ids [n] into seq (empty before): whole blocks are shared,
 * the tokens of a block that matches in part are copied into a block of the sequence's own. Returns
 * the number of tokens now in seq. */
int32_t qg_prefix_match(qg_prefix *prefix, const int32_t *ids, int32_t n, qg_kv_seq *seq);

/* Remembers that seq's first n slots hold ids [n].  The first n_pinned tokens (0: none) are never
 * evicted.  Does nothing when out of memory: a cache may forget. */
void qg_prefix_insert(qg_prefix *prefix, const int32_t *ids, int32_t n, const qg_kv_seq *seq,
                      int32_t n_pinned);

/* ---- sessions -------------------------------------------------------------------------------
 *
 * A session's tokens are judged, so what the heads said about them lies beside the blocks: `width`
 * numbers per token, where a token was judged.  Whole blocks only, so that nobody writes into a
 * block that is shared. */

/* From now on rows of width numbers are kept (0: none), and max_blocks bounds the blocks that
 * nobody but the cache holds: those of sessions cost it nothing. */
void qg_prefix_for_sessions(qg_prefix *prefix, int32_t width);

/* Which tokens' numbers are asked for, and who gets them. */
typedef struct qg_prefix_ask {
    bool (*wants)(void *ud, int32_t at);
    void (*found)(void *ud, int32_t at, const float *heads);
    void *ud;
} qg_prefix_ask;

/* ids [n] go on where seq's first `from` slots end: as qg_prefix_match from there on, up to the
 * first token whose numbers are asked for and not known.  seq's blocks from from / QG_KV_BLOCK on
 * must be its own; they are replaced.  Returns the number of tokens now in seq, at least from. */
int32_t qg_prefix_follow(qg_prefix *prefix, const int32_t *ids, int32_t from, int32_t n,
                         qg_kv_seq *seq, const qg_prefix_ask *ask);

/* Remembers the whole blocks of seq's first n slots, which hold ids [n].  Where they are known
 * already seq shares the known ones, and its own are given back.  heads gives a token's numbers, or
 * NULL where it has none.  Does nothing when out of memory. */
void qg_prefix_share(qg_prefix *prefix, const int32_t *ids, int32_t n, qg_kv_seq *seq,
                     const float *(*heads)(void *ud, int32_t at), void *ud);

/* Frees the block of the least recently used leaf that nobody else holds; false when there is none.
 */
bool qg_prefix_evict(qg_prefix *prefix);

/* seq's slots [0, n_slots) backed by blocks, evicting as needed; QG_ERR_BUSY when even that does
 * not do (seq then keeps what it got).  prefix may be NULL. */
qg_status qg_prefix_grow(qg_prefix *prefix, qg_kv_seq *seq, int32_t n_slots);

#endif
