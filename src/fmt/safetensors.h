/* One file of tensors.  A safetensors file: 8 bytes of length, a JSON header, the tensors' bytes
 * without holes; gguf.h fills in the same from a GGUF file. Nothing of it is believed before it is
 * checked. */
#ifndef QG_FMT_SAFETENSORS_H
#define QG_FMT_SAFETENSORS_H

#include "base/map.h"
#include "base/status.h"
#include "fmt/blocks.h"

typedef struct qg_tensor {
    const char *name;        /* 0-terminated, lives with the directory */
    const char *file;        /* shard it lies in */
    qg_dtype dtype;          /* F32, BF16, F16; AUTO with blocks */
    const qg_blocks *blocks; /* NULL: single numbers of dtype.  Rows are whole blocks */
    int32_t n_dims;          /* 0..4 */
    int64_t dim[4];          /* outermost first, unused = 1 */
    const void *data; /* aligned to nothing in particular: read with memcpy or unaligned loads */
    size_t bytes;
} qg_tensor;

typedef struct qg_shard {
    qg_map map;
    char *file;  /* name for sentences */
    char *names; /* all tensor names, one block */
    qg_tensor *tensors;
    size_t n_tensors; /* in the order of their data */
} qg_shard;

/* Reads the header of the file in map and checks every tensor: known format, 0..4 dimensions whose
 * product times the element size is the length it claims, inside the file, no overlaps, no holes,
 * nothing behind the last one (as the reference implementation demands).  map is adopted: closed by
 * qg_shard_close, also after a failure.  QG_ERR_FORMAT, QG_ERR_UNSUPPORTED (element format,
 * dimensions) or QG_ERR_NOMEM with a sentence naming file and tensor; *out is then empty. */
qg_status qg_shard_open(qg_shard *out, const char *file, qg_map map, qg_err *err);
void qg_shard_close(qg_shard *shard);

/* Bytes of one element: 4 or 2. */
size_t qg_dtype_size(qg_dtype dtype);
/* "F32", "BF16", "F16" as in the header; "?" for others. */
const char *qg_dtype_name(qg_dtype dtype);
/* The same for a tensor, "Q4_K" among them. */
const char *qg_tensor_format(const qg_tensor *t);

#endif
