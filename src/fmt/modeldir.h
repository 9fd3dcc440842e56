/* A model on disk (Hugging Face directory) or in memory: which files, the configuration, the
 * tensors. Everything is checked before it is handed out: lengths, overlaps, dtypes, shapes,
 * duplicates. */
#ifndef QG_FMT_MODELDIR_H
#define QG_FMT_MODELDIR_H

#include "base/buf.h"
#include "base/map.h"

#include <jansson.h>

typedef struct qg_config {
    char *architecture; /* "Qwen3ForCausalLM", "Qwen3ForGuardModel" */
    int32_t vocab_size, hidden, intermediate, n_layers;
    int32_t n_heads, n_kv_heads, head_dim;
    int32_t max_positions;
    float rms_eps;
    double rope_theta;
    bool tied;      /* tie_word_embeddings */
    qg_dtype dtype; /* torch_dtype or dtype: what the file says it holds; AUTO if silent */
    int32_t eos[8]; /* generation_config.json, else config.json; end-of-answer ids */
    int32_t n_eos;
} qg_config;

typedef struct qg_tensor {
    const char *name; /* 0-terminated, lives with the directory */
    const char *file; /* shard it lies in */
    qg_dtype dtype;   /* F32, BF16, F16 */
    int32_t n_dims;   /* 0..4 */
    int64_t dim[4];   /* outermost first, unused = 1 */
    const void *data; /* aligned to nothing in particular: read with memcpy or unaligned loads */
    size_t bytes;
} qg_tensor;

typedef struct qg_modeldir qg_modeldir;

typedef struct qg_file {
    const char *name; /* "config.json" */
    const void *data;
    size_t size;
} qg_file;

enum { QG_MODELDIR_TENSORS = 1u }; /* else only the small files are looked at */

/* Opens a directory; with QG_MODELDIR_TENSORS also reads config.json and maps every shard, indexing
 * each by its own header.  err names file and field or tensor. */
qg_status qg_modeldir_open(qg_modeldir **out, const char *path, unsigned flags, qg_err *err);
/* The same over files in memory, borrowed until close. */
qg_status qg_modeldir_open_files(qg_modeldir **out, const qg_file *files, size_t n_files,
                                 unsigned flags, qg_err *err);
void qg_modeldir_close(qg_modeldir *dir);

const char *qg_modeldir_name(const qg_modeldir *dir); /* last path component, or "qguard-demo" */
const qg_config *qg_modeldir_config(const qg_modeldir *dir);
size_t qg_modeldir_n_tensors(const qg_modeldir *dir);
const qg_tensor *qg_modeldir_tensor_at(const qg_modeldir *dir, size_t i);      /* sorted by name */
const qg_tensor *qg_modeldir_tensor(const qg_modeldir *dir, const char *name); /* NULL: absent */
/* The tensor's bytes are not needed for now: lets the system take the pages back. */
void qg_modeldir_drop(const qg_modeldir *dir, const qg_tensor *t);

/* Bytes of a small file ("tokenizer.json"), mapped, alive until close. QG_ERR_IO when absent. */
qg_status qg_modeldir_file(qg_modeldir *dir, const char *name, qg_slice *bytes, qg_err *err);
/* The chat template's source: chat_template.jinja, else chat_template in tokenizer_config.json
 * (a string, or the list form's "default").  source is filled (caller inits and frees it). */
qg_status qg_modeldir_chat_template(qg_modeldir *dir, qg_buf *source, qg_err *err);

/* Sentences about things that are odd but do not prevent loading (wrong index file, lm_head
 * differing from tied embedding, …). */
size_t qg_modeldir_n_warnings(const qg_modeldir *dir);
const char *qg_modeldir_warning(const qg_modeldir *dir, size_t i);

#endif
