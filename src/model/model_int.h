/* Inside the engine room: what a bound model is made of.  Only src/model and its tests include
 * this. */
#ifndef QG_MODEL_MODEL_INT_H
#define QG_MODEL_MODEL_INT_H

#include "model/model.h"

/* ---- bound: where each tensor lies in the files ---------------------------------------------- */

typedef struct qg_bound_layer {
    const qg_tensor *norm_in, *q, *k, *v, *o, *q_norm, *k_norm;
    const qg_tensor *norm_post, *gate, *up, *down;
    /* of a model that was packed before: these instead of the seven matrices above */
    const qg_tensor *panels[4]; /* qkv, o, gate_up, down */
} qg_bound_layer;

typedef struct qg_bound {
    const qg_tensor *embed, *norm;
    const qg_tensor *lm_head; /* NULL: the output matrix is the embedding */
    const qg_tensor *panels;  /* of a model that was packed before: the output matrix */
    qg_bound_layer *layers;   /* [n_layers] */
    bool lm_head_differs;     /* tied, yet lm_head.weight holds something else */

    /* Qwen3ForGuardModel: no output matrix, but heads for replies [0] and for prompts [1] */
    bool stream;
    int32_t inner, n_labels[QG_N_LABEL_GROUPS];
    const qg_tensor *pre[2], *pre_norm[2];
    const qg_tensor *heads[QG_N_LABEL_GROUPS];
} qg_bound;

/* Finds and checks every tensor.  The configuration's numbers were range-checked by fmt (limits.h:
 * no product of two of them and an element size leaves 63 bits).  qg_unbind frees only the list. */
qg_status qg_bind(qg_bound *out, const qg_modeldir *dir, qg_err *err);
void qg_unbind(qg_bound *bound);
/* Where both are stored and tied: compares lm_head.weight with the embedding, then clears
 * bound->lm_head (equal) or sets lm_head_differs.  Reads both whole: a third of a second. */
void qg_settle_lm_head(qg_bound *bound, const qg_modeldir *dir);

/* ---- packed: what the kernels read ----------------------------------------------------------- */

typedef struct qg_matrix {
    const qg_gemm *gemm;
    uint8_t *wp; /* packed by gemm */
    int64_t n, k;
} qg_matrix;

typedef struct qg_layer {
    float *norm_in, *norm_post; /* [hidden] */
    float *q_norm, *k_norm;     /* [head_dim] */
    qg_matrix qkv;              /* rows of q, then k, then v */
    qg_matrix o, down;
    qg_matrix gate_up; /* rows of gate, then up */
} qg_layer;

typedef struct qg_stream_heads qg_stream_heads;

struct qg_model {
    const qg_modeldir *dir;
    const qg_config *cfg;
    int32_t max_positions;
    const qg_gemm *gemm;  /* of the output matrix, which is also the embedding, and of heads */
    const qg_gemm *layer; /* of the layers' matrices: the same, or 8-bit */
    const qg_attn *attn;
    const qg_vec *vec;
    qg_attn_shape attn_shape;
    qg_layer *layers; /* [n_layers] */
    qg_matrix out;    /* [vocab_size][hidden]; also the embedding when embed is NULL */
    const qg_tensor *embed;
    float *norm;       /* [hidden] */
    float *inv_freq;   /* [head_dim / 2] */
    uint32_t *differs; /* [1] what qg_settle_lm_head found: it would take longer than mapping */
    uint8_t *mem;      /* all packed matrices and vectors, and what was found out while packing */
    size_t mem_bytes;
    bool mem_borrowed; /* mem is the caller's, read only */
    size_t file_bytes; /* of matrices that are used where they lie in the files */
    bool lm_head_differs;
    qg_stream_heads *heads; /* NULL: a Gen model */
};

/* The heads of a Stream model: model->heads from bound; on failure what was made stays for
 * qg_heads_free. */
qg_status qg_heads_pack(qg_model *model, const qg_bound *bound, qg_err *err);
void qg_heads_free(qg_stream_heads *heads);
int32_t qg_heads_inner(const qg_stream_heads *heads); /* 0 for NULL */

/* The kernel rows that opt chooses (dtype settled), into m. */
void qg_model_choose_rows(qg_model *m, const qg_model_options *opt);
/* Bytes of all matrices and vectors of m (cfg and rows are set, layers is room for n_layers), but
 * for a Stream model's heads. */
size_t qg_pack_bytes(qg_model *m, bool stream);

/* Fills the matrices and vectors of model (gemm and cfg are set) from bound, or takes them as they
 * lie in packed, when that has just their size. */
qg_status qg_pack(qg_model *model, qg_bound *bound, qg_slice packed, qg_pool *pool, qg_err *err);

/* One layer's matrices and vectors, and the output matrix (nothing for a Stream model), where l and
 * m->out say.  factors: of this layer, or NULL.  The files' pages are let go. */
typedef struct qg_equal qg_equal;
qg_status qg_pack_layer(const qg_model *m, qg_layer *l, const qg_bound_layer *b,
                        const qg_equal *factors, qg_pool *pool, qg_err *err);
qg_status qg_pack_output(const qg_model *m, const qg_bound *bound, qg_pool *pool, qg_err *err);

/* Factors that even out the inputs of a layer's products, and what they make of the weights'
 * columns (their inverses): all powers of two. */
struct qg_equal {
    float *norm_in, *qkv_columns;       /* [hidden] */
    float *norm_post, *gate_up_columns; /* [hidden] */
    float *v_rows;                      /* [n_kv_heads * head_dim] */
    float *o_columns;                   /* [n_heads * head_dim] */
    float *up_rows, *down_columns;      /* [intermediate] */
    uint8_t *mem;
};

/* Memory for the factors of one layer at a time.  QG_ERR_NOMEM. */
qg_status qg_equal_open(qg_equal *e, const qg_config *c, qg_err *err);
void qg_equal_close(qg_equal *e); /* a zeroed one is fine */
/* Moves powers of two from k_norm [head_dim] to q_norm, so that all dimensions of K are about as
 * large: for K in 8 bits.  The two that a rotation mixes share a factor, so no product of q and K
 * changes a bit. */
void qg_equal_heads(float *q_norm, float *k_norm, int32_t head_dim);
/* Sets them from one layer's weights, all of which are read once. */
void qg_equal_layer(qg_equal *e, const qg_config *c, const qg_bound_layer *b, qg_pool *pool);

/* The same by what the layer's inputs were like in a calibration: of several ways to share the
 * factors between weights and activations, for each input the one with the least estimated error of
 * its products when they are packed by gemm.  mean_square [QG_N_INPUTS]: one number a channel.
 * QG_ERR_NOMEM. */
qg_status qg_equal_search(qg_equal *e, const qg_config *c, const qg_bound_layer *b,
                          const float *const *mean_square, const qg_gemm *gemm, qg_pool *pool,
                          qg_err *err);

/* ---- calibration ----------------------------------------------------------------------------- */

typedef enum qg_input { QG_IN_QKV, QG_IN_O, QG_IN_GATE_UP, QG_IN_DOWN, QG_N_INPUTS } qg_input;

/* Rows [lo, hi) of a pass, lo a multiple of QG_ROW_GROUP: x [hi - lo][ld] are the k inputs of that
 * product.  Any number of threads, each with rows of its own. */
void qg_stats_take(qg_stats_inputs *s, int32_t layer, qg_input which, int64_t lo, int64_t hi,
                   const float *x, int64_t ld, int64_t k);
/* [QG_N_INPUTS] of one layer, each [k]: mean squares. */
void qg_stats_means(const qg_stats_inputs *s, int32_t layer, const float **means);

/* dst [n] float32 = elements [from, from + n) of t, exact, whatever its format. */
void qg_tensor_f32(float *dst, const qg_tensor *t, int64_t from, int64_t n);

/* ---- rotary angles --------------------------------------------------------------------------- */

/* inv_freq [head_dim / 2]. */
void qg_rope_freqs(float *inv_freq, int32_t head_dim, double theta);
/* cosv, sinv [head_dim / 2] of one position. */
void qg_rope_angles(float *cosv, float *sinv, const float *inv_freq, int32_t head_dim, int32_t pos);

/* ---- one block of memory for many things ----------------------------------------------------- */

/* Run over the same list twice: with base NULL it only counts, with base it hands out. */
typedef struct qg_carve {
    uint8_t *base;
    size_t at;
    bool overflow;
} qg_carve;

/* Next 64-byte aligned piece of n * size bytes; NULL while counting. */
void *qg_carve_take(qg_carve *c, size_t n, size_t size);

/* ---- work split ------------------------------------------------------------------------------ */

/* Item in [0, n_items); part in [0, parts) is the number of the worker, for its own scratch. */
typedef void qg_item_fn(void *arg, int64_t item, int part);
/* Runs fn for every item on at most `parts` threads of the pool, each taking the next item when it
 * is done with its last; alone on this thread when there is only one item. */
void qg_items_run(qg_pool *pool, int parts, qg_item_fn *fn, void *arg, int64_t n_items);
/* Whether equal items can be shared by so many threads without much waiting at the end. */
bool qg_items_even(int parts, int64_t n_items);

/* ---- scratch --------------------------------------------------------------------------------- */

enum {
    QG_ROW_GROUP = 8, /* rows of one work item in row-wise jobs */
    QG_MLP_ROWS = 128 /* most rows of one in the MLP: its weights are read once for all of them */
};

typedef struct qg_seq_blocks {
    const qg_kv_seq *seq;
    size_t first; /* its block pointers begin here in scratch.blocks */
    int32_t n;
} qg_seq_blocks;

struct qg_scratch {
    int32_t max_rows, max_ctx, parts;
    int64_t ldy;         /* floats in a row of y */
    size_t attn_bytes;   /* attention scratch of one part */
    float *x;            /* residual stream [max_rows][hidden] */
    float *y;            /* result of the last product [max_rows][ldy] */
    float *a;            /* attention output [max_rows][n_heads * head_dim] */
    uint8_t *xp;         /* prepared rows: inputs of qkv, gate_up and of heads */
    uint8_t *xi;         /* prepared rows: inputs of o and down, made while xp is being read */
    float *mlp;          /* per part [2][QG_MLP_ROWS][QG_X_PART]: gate and up */
    float *cosv, *sinv;  /* [max_rows][head_dim / 2] */
    float *tmp;          /* per part [QG_ROW_GROUP][hidden] */
    uint8_t *attn;       /* per part [attn_bytes] */
    qg_attn_row *rows;   /* [max_rows] */
    int32_t *wanted;     /* [max_rows] indices of the wanted rows, rising */
    qg_seq_blocks *seqs; /* [max_rows] sequences of this pass */
    uint8_t **blocks;    /* their blocks, one sequence after the other, at the layer being run */
    int32_t seq_blocks;  /* most blocks of one sequence */
    uint8_t *mem;
    size_t mem_bytes;
    /* For tests: told the residual stream after the embedding (layer 0) and after each layer but
     * the last (1, 2, …); all rows of the pass. */
    void (*tap)(void *arg, int32_t layer, const float *x);
    void *tap_arg;
    qg_stats_inputs *watch; /* NULL, or told the inputs of all products */
};

/* Bytes that qg_scratch_open would take. */
size_t qg_scratch_bytes(const qg_model *model, int32_t max_rows, int32_t max_ctx,
                        int32_t n_threads);

/* ---- a pass ---------------------------------------------------------------------------------- */

/* y [rows][ldy] = (prepared rows xp) * w^T, only the columns of panels [p0, p1).  Threads share by
 * `blocks` of rows first, block b from row rows * b / blocks on. */
void qg_product(qg_scratch *s, qg_pool *pool, float *y, int64_t ldy, const uint8_t *xp,
                const qg_matrix *w, int64_t rows, int64_t blocks, int64_t p0, int64_t p1);
/* The same on the calling thread; y begins at the first column of panel p0. */
void qg_product_part(float *y, int64_t ldy, const uint8_t *xp, const qg_matrix *w, int64_t rows,
                     int64_t p0, int64_t p1);
int64_t qg_panels(const qg_matrix *w);

typedef struct qg_pass {
    const qg_model *m;
    qg_scratch *s;
    qg_pool *pool;
    const qg_row *row;
    int32_t n; /* rows that still matter: all of them, in the last layer only the wanted ones */
    int32_t blocks; /* of these rows, by which threads share the work: qg_pass_deal */
    int32_t n_wanted;
    int32_t n_seqs;
    size_t n_blocks; /* entries of s->blocks in use */
    int32_t layer_at;
    const qg_layer *layer;
    const float *norm; /* of the row-wise job at hand */
    bool by_head;      /* this layer's q, k and v are multiplied head by head */
    bool one_block;    /* attention follows in the same item */
    float *hidden;
} qg_pass;

/* Where prepared row `row` of k columns lies. */
uint8_t *qg_pass_xp(const qg_pass *p, int64_t row, int64_t k);
uint8_t *qg_pass_xi(const qg_pass *p, int64_t row, int64_t k);
/* y = xp * w^T for the pass's rows. */
void qg_pass_product(qg_pass *p, const uint8_t *xp, const qg_matrix *w, int64_t p0, int64_t p1);

/* Rows are cut into blocks, one a thread where there are enough of them: what is made of a row is
 * then read by the core that made it, in this job and the next ones, and only K and V travel.
 * (Between two dies of a Zen 4 a line travels as long as from memory.)  Sets p->blocks from p->n.
 */
void qg_pass_deal(qg_pass *p);
/* Items of a job: every block, for each of `wide` things (heads, runs of columns), in pieces of at
 * most `most` rows.  Pieces for the same thing follow each other: they use the same weights. */
typedef struct qg_piece {
    int64_t thing, lo, hi; /* rows [lo, hi), perhaps none */
} qg_piece;
int64_t qg_pass_pieces(const qg_pass *p, int64_t wide, int64_t most);
qg_piece qg_pass_piece(const qg_pass *p, int64_t item, int64_t wide, int64_t most);
void qg_for_pieces(qg_pass *p, qg_item_fn *fn, int64_t wide, int64_t most);

/* x = embeddings; xp = the first layer's norm of x; cosines and sines. */
void qg_pass_begin(qg_pass *p);
/* One layer from xp (normed, prepared) and x; leaves its last sum to the next call: x + y.  In the
 * last layer only the wanted rows remain after K and V are stored. */
void qg_pass_layer(qg_pass *p);
/* The first half of a layer: from xp to xi, the prepared input of o. */
void qg_pass_attend(qg_pass *p);
/* x += y; xp = norm of x by w. */
void qg_pass_add_norm(qg_pass *p, const float *w);
/* x += y; hidden = the model's last norm of x. */
void qg_pass_end(qg_pass *p);

#endif
