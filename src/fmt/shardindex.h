/* model.safetensors.index.json: which tensor lies in which file.  Only a hint; published ones have
 * been wrong, so shards are indexed by their own headers and the index is compared with those. */
#ifndef QG_FMT_SHARDINDEX_H
#define QG_FMT_SHARDINDEX_H

#include "base/slice.h"
#include "fmt/safetensors.h"

#define QG_SHARD_INDEX "model.safetensors.index.json"

/* Compares the index with the n tensors found.  QG_OK when they agree, otherwise QG_ERR_FORMAT
 * with a sentence fit for a warning, QG_ERR_NOMEM. */
qg_status qg_shardindex_compare(qg_slice bytes, const qg_tensor *tensors, size_t n, qg_err *err);

#endif
