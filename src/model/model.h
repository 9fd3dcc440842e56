/* The Qwen3 dense model: bind and check weights, pack them, run rows of tokens through the layers.
 *
 *   id -> embedding [hidden] -> layers x { rmsnorm, q|k|v, q/k norm, rope, KV store, attention, o,
 *   residual, rmsnorm, gate|up, silu*up, down, residual } -> rmsnorm -> logits on demand
 */
#ifndef QG_MODEL_MODEL_H
#define QG_MODEL_MODEL_H

#include "base/pool.h"
#include "base/slice.h"
#include "fmt/modeldir.h"
#include "kern/kern.h"
#include "model/kv.h"

typedef struct qg_model qg_model; /* immutable once open */

typedef struct qg_model_options {
    qg_dtype dtype;        /* F32, BF16, INT8 or INT4 (layers only; rest BF16), or AUTO */
    qg_dtype kv_dtype;     /* AUTO (F32 when dtype is, else BF16), or, unless dtype is F32, BF16 or
                              INT8 */
    uint32_t features;     /* QG_CPU_* bits to use */
    int32_t max_positions; /* longest context, <= config's; 0 = config's */
    qg_slice packed;       /* what qg_model_packed gave for the same files, options and build, at a
                              64-byte border, to be used in place; it must outlive the model.  Of
                              another size, it is not used.  Empty: the weights are packed */
} qg_model_options;

/* *dtype AUTO becomes what a model is computed in when nobody says: what it was packed in, else
 * bfloat16.  QG_ERR_UNSUPPORTED when it was packed in another format than *dtype. */
qg_status qg_model_settle_dtype(const qg_config *config, qg_dtype *dtype, qg_err *err);

/* *kv_dtype AUTO becomes what K and V are kept in beside dtype (settled).  QG_ERR_UNSUPPORTED when
 * the two do not go together. */
qg_status qg_model_settle_kv_dtype(qg_dtype dtype, qg_dtype *kv_dtype, qg_err *err);

/* Names of the kernel rows that these options choose, 0-terminated: they decide the packed layout
 * and the bits of everything computed.  dtype as in qg_model_open. */
void qg_model_rows(const qg_model_options *opt, char *out, size_t n);

/* Binds every tensor (missing, surplus, wrong shape: QG_ERR_FORMAT naming file and tensor;
 * QG_ERR_UNSUPPORTED for another architecture), packs the matrices with the pool's threads and lets
 * the file's pages go. dir must stay open while the model is. */
qg_status qg_model_open(qg_model **out, const qg_modeldir *dir, const qg_model_options *opt,
                        qg_pool *pool, qg_err *err);
void qg_model_close(qg_model *model);
/* Bytes that a model takes when it is computed as opt says (dtype settled). */
typedef struct qg_model_size {
    uint64_t weights, scratch; /* of matrices and vectors; of one scratch */
    uint64_t kv_block;         /* of QG_KV_BLOCK tokens */
} qg_model_size;
qg_status qg_model_measure(const qg_config *config, const qg_model_options *opt, int32_t max_rows,
                           int32_t max_ctx, int32_t n_threads, qg_model_size *out, qg_err *err);

/* Only the checks of qg_model_open, without memory for weights. */
qg_status qg_model_check(const qg_modeldir *dir, qg_err *err);

const qg_config *qg_model_config(const qg_model *model);
/* The packed matrices and vectors, but for a Stream model's heads (small, always packed anew). */
qg_slice qg_model_packed(const qg_model *model);
/* Packed weights, and the embedding where it is read from the file. */
uint64_t qg_model_weight_bytes(const qg_model *model);
const char *qg_model_kernel(const qg_model *model);
/* A sentence about something odd that did not prevent opening, or NULL. */
const char *qg_model_warning(const qg_model *model);
/* Shape of the KV blocks this model needs. */
qg_kv_shape qg_model_kv_shape(const qg_model *model);

/* One token of one sequence in a pass. */
typedef struct qg_row {
    int32_t id;          /* [0, vocab_size) */
    int32_t pos;         /* logical position = rope position, < max_positions */
    int32_t slot;        /* where its K and V go in seq; already backed by a block */
    int32_t tree_base;   /* as in qg_attn_row; INT32_MAX when linear */
    const int32_t *path; /* slots of positions tree_base..pos (own slot last) */
    const qg_kv_seq *seq;
    bool want; /* the final hidden state of this row is wanted */
} qg_row;

typedef struct qg_scratch qg_scratch; /* one per thread of callers */
qg_status qg_scratch_open(qg_scratch **out, const qg_model *model, int32_t max_rows,
                          int32_t max_ctx, int32_t n_threads, qg_err *err);
void qg_scratch_close(qg_scratch *scratch);

/* Runs rows [0, n_rows), n_rows <= max_rows, through all layers.  Rows of one sequence stand in
 * rising order of slots; a row sees earlier rows of this same pass.  Writes for each wanted row, in
 * order, hidden[i][0..hidden) = the vector after the final norm.  stop (may be NULL) is polled
 * between layers: when it returns true the pass ends with QG_ERR_CANCELLED and KV written so far is
 * undefined.  QG_ERR_ARG: a row breaks a rule above.  QG_ERR_INTERNAL: a wanted value is not a
 * finite number.  Bits do not depend on what else is in the pass, on chunking or on the number of
 * threads. */
qg_status qg_model_forward(const qg_model *model, qg_scratch *scratch, qg_pool *pool,
                           const qg_row *rows, int32_t n_rows, float *hidden, bool (*stop)(void *),
                           void *stop_arg);

/* logits[i][0..vocab_size) for n hidden rows, row stride ldl elements. */
void qg_model_logits(const qg_model *model, qg_scratch *scratch, qg_pool *pool, const float *hidden,
                     int32_t n, float *logits, int64_t ldl);

/* A Stream model (Qwen3ForGuardModel) has heads instead of an output matrix: logits of four groups
 * per token.  qg_model_logits and qg_head_open are for Gen models, qg_model_heads for Stream
 * models. */
bool qg_model_is_stream(const qg_model *model);
/* Answers of a group; 0 for a Gen model. */
int32_t qg_model_n_labels(const qg_model *model, qg_label_group group);
/* out [n][sum of the four groups]: risk, category, query risk, query category of n hidden rows. */
void qg_model_heads(const qg_model *model, qg_scratch *scratch, qg_pool *pool, const float *hidden,
                    int32_t n, float *out);

/* ---- calibration and packed models ----------------------------------------------------------- */

/* What the inputs of each product were like, over all rows run while a scratch watches. */
typedef struct qg_stats_inputs qg_stats_inputs;
/* max_rows: most rows of a pass. */
qg_status qg_stats_open(qg_stats_inputs **out, const qg_config *config, int32_t max_rows,
                        qg_err *err);
void qg_stats_close(qg_stats_inputs *stats); /* NULL is fine */
/* From now on passes with this scratch are counted; NULL: no longer.  Sums do not depend on the
 * number of threads. */
void qg_scratch_watch(qg_scratch *scratch, qg_stats_inputs *stats);

typedef struct qg_write_options {
    qg_dtype dtype;               /* INT8 or INT4 */
    uint32_t features;            /* QG_CPU_* bits to use */
    const qg_stats_inputs *stats; /* NULL: not calibrated */
} qg_write_options;

/* Writes the model in dir as one safetensors file at path (another name until it is whole): packed
 * as the kernels read it, layout in docs/MODELS.md; one matrix at a time is in memory.  *tied:
 * whether the written file's output matrix is its embedding.  QG_ERR_UNSUPPORTED: packed already.
 */
qg_status qg_model_write(const qg_modeldir *dir, const char *path, const qg_write_options *opt,
                         qg_pool *pool, bool *tied, qg_err *err);

/* A few rows of the output matrix, packed apart: logits of the ids that can be answered.  Bits
 * equal those of qg_model_logits. */
typedef struct qg_head qg_head;
qg_status qg_head_open(qg_head **out, const qg_model *model, const int32_t *ids, int32_t n_ids,
                       qg_err *err);
void qg_head_close(qg_head *head);
/* logits [n][n_ids] */
void qg_head_logits(const qg_head *head, const qg_model *model, qg_scratch *scratch,
                    const float *hidden, int32_t n, float *logits);

#endif
