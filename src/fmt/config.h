/* config.json and generation_config.json: the numbers of a model, each read and range-checked. */
#ifndef QG_FMT_CONFIG_H
#define QG_FMT_CONFIG_H

#include "base/slice.h"
#include "fmt/sink.h"

#include <stdint.h>

/* The four groups of a Stream model's answers. */
typedef enum qg_label_group {
    QG_LABELS_RISK,
    QG_LABELS_CATEGORY,
    QG_LABELS_QUERY_RISK,
    QG_LABELS_QUERY_CATEGORY,
    QG_N_LABEL_GROUPS
} qg_label_group;

typedef struct qg_config {
    char *architecture; /* "Qwen3ForCausalLM", "Qwen3ForGuardModel" */
    int32_t vocab_size, hidden, intermediate, n_layers;
    int32_t n_heads, n_kv_heads, head_dim; /* n_heads % n_kv_heads == 0, head_dim even */
    int32_t max_positions;
    float rms_eps;     /* > 0, finite */
    double rope_theta; /* >= 1, finite */
    bool tied;         /* tie_word_embeddings */
    qg_dtype dtype;    /* torch_dtype or dtype: what the file says it holds; AUTO if silent */
    qg_dtype packed;   /* INT8 or INT4: written by `qguard quantize`; AUTO: an ordinary model */
    int32_t eos[8];    /* generation_config.json, else config.json; end-of-answer ids */
    int32_t n_eos;
    /* Qwen3ForGuardModel only; 0 / NULL where the file is silent (the shapes decide then) */
    int32_t guard_inner;
    int32_t n_labels[QG_N_LABEL_GROUPS];
    char **labels[QG_N_LABEL_GROUPS]; /* [n_labels] names by index, as the file spells them */
} qg_config;

/* Reads both files; generation.p == NULL means there is none.  Sentences begin with the file and
 * name the key.  QG_ERR_FORMAT for what is missing, malformed or out of range, QG_ERR_UNSUPPORTED
 * for settings that would change the numbers in a way this engine does not compute.  With
 * sink->each set every key is looked at.  Returns the first problem's status; *out is then empty.
 * Free with qg_config_free. */
qg_status qg_config_read(qg_config *out, qg_slice config, qg_slice generation, qg_sink *sink);
void qg_config_free(qg_config *config);

#endif
