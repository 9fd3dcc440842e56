/* KV of the prefixes that every prompt begins with, from one start to the next.
 *
 *     n, then for each prefix: number of ids, ids             int32 each
 *     at the next multiple of 64: the blocks of each prefix, whole
 *
 * The scheduler's business, but done before it starts, by the thread that opens the engine. */
#ifndef QG_ENGINE_WARM_H
#define QG_ENGINE_WARM_H

#include "engine/engine_int.h"

/* Computes the prefixes that the prefix cache lacks and pins them there; then *image (caller frees
 * with qg_big_free, *n_bytes 0: nothing) is what qg_warm_restore takes.  QG_ERR_NOMEM or what a
 * pass gives. */
qg_status qg_warm_make(qg_engine *engine, uint8_t **image, size_t *n_bytes);

/* Puts the KV of an image into the prefix cache, pinned: the prefixes in it whose ids are this
 * engine's and that fit.  The image is not trusted: what does not fit its own size is passed over.
 */
void qg_warm_restore(qg_engine *engine, qg_slice image);

#endif
