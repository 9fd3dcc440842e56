/* A GGUF file's header: typed metadata and the list of tensors.  Versions 2 and 3, little endian.
 * Nothing of it is believed before it is checked; strings stay where they lie in the file. */
#ifndef QG_FMT_GGUF_H
#define QG_FMT_GGUF_H

#include "base/buf.h"
#include "fmt/safetensors.h"

typedef enum qg_gguf_type {
    QG_GGUF_U8,
    QG_GGUF_I8,
    QG_GGUF_U16,
    QG_GGUF_I16,
    QG_GGUF_U32,
    QG_GGUF_I32,
    QG_GGUF_F32,
    QG_GGUF_BOOL,
    QG_GGUF_STRING,
    QG_GGUF_ARRAY,
    QG_GGUF_U64,
    QG_GGUF_I64,
    QG_GGUF_F64,
    QG_GGUF_N_TYPES
} qg_gguf_type;

typedef struct qg_gguf_value {
    qg_slice key;  /* printable ASCII, in the file */
    uint32_t type; /* QG_GGUF_*, never ARRAY: an array has list set and its items' type */
    bool list;
    uint64_t n;        /* items; 1 when list is false */
    const uint8_t *at; /* the first item, in the file; all n lie inside it */
} qg_gguf_value;

typedef struct qg_gguf_tensor {
    qg_slice name; /* printable ASCII, in the file */
    int32_t n_dims;
    uint64_t dim[4]; /* innermost first, as the file has them; unused = 1 */
    uint32_t type;
    uint64_t offset; /* in the data */
} qg_gguf_tensor;

typedef struct qg_gguf {
    const char *file; /* for sentences; borrowed */
    qg_slice bytes;   /* the whole file, borrowed */
    qg_gguf_value *values;
    size_t n_values;
    qg_gguf_tensor *tensors;
    size_t n_tensors;
    qg_slice data; /* what the tensors' offsets count from */
} qg_gguf;

/* Whether the first bytes say that this is a GGUF file. */
bool qg_gguf_is(qg_slice bytes);

/* Reads the header; bytes and file are borrowed until qg_gguf_close.  QG_ERR_FORMAT for whatever
 * runs past the end, repeats or is out of range, QG_ERR_UNSUPPORTED (version, byte order, nested
 * lists, one part of a split file), QG_ERR_NOMEM: the sentence begins with file; *out is then
 * empty. */
qg_status qg_gguf_open(qg_gguf *out, const char *file, qg_slice bytes, qg_err *err);
void qg_gguf_close(qg_gguf *gguf); /* an empty one is fine */

/* NULL: no such key. */
const qg_gguf_value *qg_gguf_find(const qg_gguf *gguf, const char *key);

/* Optional members: an absent key leaves *out as it was.  Another type than asked for (any integer
 * type is an integer, either float type a number) or a value outside [0, max]: QG_ERR_FORMAT naming
 * the key. */
qg_status qg_gguf_int(const qg_gguf *gguf, const char *key, int64_t max, int64_t *out, qg_err *err);
qg_status qg_gguf_num(const qg_gguf *gguf, const char *key, double *out, qg_err *err);
qg_status qg_gguf_bool(const qg_gguf *gguf, const char *key, bool *out, qg_err *err);
qg_status qg_gguf_str(const qg_gguf *gguf, const char *key, qg_slice *out, qg_err *err);

/* The string that *at points to, of a list of strings; moves *at behind it. */
qg_slice qg_gguf_next(const uint8_t **at);
/* Item i of a list of integers of 32 bits. */
int32_t qg_gguf_i32(const qg_gguf_value *list, uint64_t i);

/* ---- as the files of a model directory ------------------------------------------------------- */

/* Appends to out what config.json would say.  Architecture qwen3 only; what would change the
 * numbers in a way that is not computed here is refused by its key. */
qg_status qg_gguf_config(const qg_gguf *gguf, qg_buf *out, qg_err *err);

/* Appends to out what tokenizer.json would say: byte-level BPE with Qwen's pattern; others are
 * refused by name. */
qg_status qg_gguf_tokenizer(const qg_gguf *gguf, qg_buf *out, qg_err *err);

/* Fills in the tensors of shard (which owns the file's map) under their Hugging Face names: known
 * types, rows of whole blocks, inside the data, no overlaps.  On failure what was made stays for
 * qg_shard_close. */
qg_status qg_gguf_tensors(const qg_gguf *gguf, qg_shard *shard, qg_err *err);

#endif
