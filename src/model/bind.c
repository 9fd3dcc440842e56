/* Tensor names -> struct fields.  One table says what a model is made of; everything in the files
 * must be in it, and everything in it must be in the files, with the shape that config.json
 * implies. */
#include "model/model_int.h"

#include "base/limits.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* The last six are a Stream model's own; the first tensor that has one settles it (see settle_dim).
 */
typedef enum dim {
    NONE,
    HIDDEN,
    INTER,
    VOCAB,
    Q_WIDTH,
    KV_WIDTH,
    HEAD,
    INNER,
    RISK,
    CATEGORY,
    QUERY_RISK,
    QUERY_CATEGORY,
    N_DIMS
} dim;

typedef struct slot {
    const char *name; /* behind "model.layers.N." for a layer's tensors */
    size_t at;        /* of a const qg_tensor * in the struct */
    dim rows, cols;   /* cols NONE: a vector */
} slot;

#define IN_LAYER(field) offsetof(qg_bound_layer, field)
#define IN_MODEL(field) offsetof(qg_bound, field)

static const slot layer_slots[] = {
    {"input_layernorm.weight", IN_LAYER(norm_in), HIDDEN, NONE},
    {"self_attn.q_proj.weight", IN_LAYER(q), Q_WIDTH, HIDDEN},
    {"self_attn.k_proj.weight", IN_LAYER(k), KV_WIDTH, HIDDEN},
    {"self_attn.v_proj.weight", IN_LAYER(v), KV_WIDTH, HIDDEN},
    {"self_attn.o_proj.weight", IN_LAYER(o), HIDDEN, Q_WIDTH},
    {"self_attn.q_norm.weight", IN_LAYER(q_norm), HEAD, NONE},
    {"self_attn.k_norm.weight", IN_LAYER(k_norm), HEAD, NONE},
    {"post_attention_layernorm.weight", IN_LAYER(norm_post), HIDDEN, NONE},
    {"mlp.gate_proj.weight", IN_LAYER(gate), INTER, HIDDEN},
    {"mlp.up_proj.weight", IN_LAYER(up), INTER, HIDDEN},
    {"mlp.down_proj.weight", IN_LAYER(down), HIDDEN, INTER},
};

static const slot gen_slots[] = {
    {"model.embed_tokens.weight", IN_MODEL(embed), VOCAB, HIDDEN},
    {"model.norm.weight", IN_MODEL(norm), HIDDEN, NONE},
    {"lm_head.weight", IN_MODEL(lm_head), VOCAB, HIDDEN},
};

static const slot stream_slots[] = {
    {"model.embed_tokens.weight", IN_MODEL(embed), VOCAB, HIDDEN},
    {"model.norm.weight", IN_MODEL(norm), HIDDEN, NONE},
    {"risk_level_category_pre.weight", IN_MODEL(pre[0]), INNER, HIDDEN},
    {"risk_level_category_layernorm.weight", IN_MODEL(pre_norm[0]), INNER, NONE},
    {"risk_level_head.weight", IN_MODEL(heads[QG_LABELS_RISK]), RISK, INNER},
    {"category_head.weight", IN_MODEL(heads[QG_LABELS_CATEGORY]), CATEGORY, INNER},
    {"query_risk_level_category_pre.weight", IN_MODEL(pre[1]), INNER, HIDDEN},
    {"query_risk_level_category_layernorm.weight", IN_MODEL(pre_norm[1]), INNER, NONE},
    {"query_risk_level_head.weight", IN_MODEL(heads[QG_LABELS_QUERY_RISK]), QUERY_RISK, INNER},
    {"query_category_head.weight", IN_MODEL(heads[QG_LABELS_QUERY_CATEGORY]), QUERY_CATEGORY,
     INNER},
};

/* Buffers that old exporters write beside the weights and that we compute ourselves. */
static const char *const harmless_suffixes[] = {".rotary_emb.inv_freq"};

/* ---- architecture ---------------------------------------------------------------------------- */

static qg_status check_architecture(qg_bound *b, const char *name, qg_err *err)
{
    b->stream = name && strcmp(name, "Qwen3ForGuardModel") == 0;
    if (b->stream || (name && strcmp(name, "Qwen3ForCausalLM") == 0))
        return QG_OK;
    return qg_fail(err, QG_ERR_UNSUPPORTED,
                   "config.json: architecture %s is not supported, only Qwen3ForCausalLM and "
                   "Qwen3ForGuardModel",
                   name ? name : "(none)");
}

/* ---- one tensor ------------------------------------------------------------------------------ */

static void shape_text(char *out, size_t n, const int64_t *dims, int32_t n_dims)
{
    size_t at = (size_t)snprintf(out, n, "[");
    for (int32_t i = 0; i < n_dims && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%lld", i ? ", " : "", (long long)dims[i]);
    if (at < n)
        snprintf(out + at, n - at, "]");
}

static int32_t slot_shape(const slot *s, const qg_bound *b, const qg_config *c, int64_t *shape)
{
    const int64_t size[N_DIMS] = {
        [NONE] = 1,
        [HIDDEN] = c->hidden,
        [INTER] = c->intermediate,
        [VOCAB] = c->vocab_size,
        [Q_WIDTH] = (int64_t)c->n_heads * c->head_dim,
        [KV_WIDTH] = (int64_t)c->n_kv_heads * c->head_dim,
        [HEAD] = c->head_dim,
        [INNER] = b->inner,
        [RISK] = b->n_labels[QG_LABELS_RISK],
        [CATEGORY] = b->n_labels[QG_LABELS_CATEGORY],
        [QUERY_RISK] = b->n_labels[QG_LABELS_QUERY_RISK],
        [QUERY_CATEGORY] = b->n_labels[QG_LABELS_QUERY_CATEGORY],
    };
    shape[0] = size[s->rows];
    shape[1] = size[s->cols];
    return s->cols == NONE ? 1 : 2;
}

/* A size that config.json is silent about is what the first tensor with it says; every other tensor
 * is then held to it. */
static void settle_dim(qg_bound *b, dim d, int64_t found, int32_t limit)
{
    int32_t *size = d == INNER ? &b->inner : d > INNER ? &b->n_labels[d - RISK] : NULL;
    if (size && !*size && found >= 1 && found <= limit)
        *size = (int32_t)found;
}

static qg_status check_tensor(qg_bound *b, const qg_tensor *t, const slot *s, const qg_config *c,
                              qg_err *err)
{
    int64_t want[2];
    settle_dim(b, s->rows, t->dim[0], s->rows == INNER ? QG_MAX_HIDDEN : QG_MAX_LABELS);
    settle_dim(b, s->cols, t->dim[1], QG_MAX_HIDDEN);
    int32_t n_dims = slot_shape(s, b, c, want);
    if (!t->blocks && t->dtype != QG_DTYPE_F32 && t->dtype != QG_DTYPE_BF16 &&
        t->dtype != QG_DTYPE_F16)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "%s: %s: element type is not supported, only F32, BF16 and F16", t->file,
                       t->name);
    bool same = t->n_dims == n_dims;
    for (int32_t i = 0; same && i < n_dims; i++)
        same = t->dim[i] == want[i];
    if (same)
        return QG_OK;
    char found[96], expected[96];
    shape_text(found, sizeof found, t->dim, t->n_dims);
    shape_text(expected, sizeof expected, want, n_dims);
    return qg_fail(err, QG_ERR_FORMAT, "%s: %s: shape %s, config.json asks for %s", t->file,
                   t->name, found, expected);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* "model.layers.12.mlp.up_proj.weight" -> 12 and the rest; -1 when it is no layer's tensor. */
static int32_t split_layer(const char *name, const char **rest)
{
    static const char prefix[] = "model.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return -1;
    const char *p = name + sizeof prefix - 1;
    int32_t n = 0;
    if (*p < '0' || *p > '9' || (*p == '0' && p[1] != '.'))
        return -1;
    for (; *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (*p - '0');
        if (n > QG_MAX_LAYERS)
            return -1;
    }
    if (*p != '.')
        return -1;
    *rest = p + 1;
    return n;
}

static const slot *find_slot(const slot *slots, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(slots[i].name, name) == 0)
            return &slots[i];
    return NULL;
}

static bool harmless(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < QG_COUNT(harmless_suffixes); i++) {
        size_t m = strlen(harmless_suffixes[i]);
        if (n >= m && strcmp(name + n - m, harmless_suffixes[i]) == 0)
            return true;
    }
    return false;
}

static const slot *model_slots(const qg_bound *b, size_t *n)
{
    *n = b->stream ? QG_COUNT(stream_slots) : QG_COUNT(gen_slots);
    return b->stream ? stream_slots : gen_slots;
}

static const qg_tensor **field(void *base, const slot *s)
{
    return (const qg_tensor **)(void *)((uint8_t *)base + s->at);
}

static qg_status take_tensor(qg_bound *b, const qg_tensor *t, const qg_config *c, qg_err *err)
{
    const char *rest = t->name;
    int32_t layer = split_layer(t->name, &rest);
    size_t n_slots;
    const slot *slots = model_slots(b, &n_slots);
    const slot *s = layer < 0 ? find_slot(slots, n_slots, rest)
                              : find_slot(layer_slots, QG_COUNT(layer_slots), rest);
    if (s && layer < c->n_layers) {
        QG_TRY(check_tensor(b, t, s, c, err));
        *field(layer < 0 ? (void *)b : (void *)&b->layers[layer], s) = t;
        return QG_OK;
    }
    if (harmless(t->name))
        return QG_OK;
    char shape[96];
    shape_text(shape, sizeof shape, t->dim, t->n_dims);
    return qg_fail(err, QG_ERR_FORMAT,
                   "%s: %s: a tensor of shape %s that a %s of %d layers does not have", t->file,
                   t->name, shape, c->architecture, c->n_layers);
}

static qg_status missing(const qg_bound *b, const qg_modeldir *dir, const char *prefix,
                         const slot *s, qg_err *err)
{
    int64_t want[2];
    char expected[96];
    int32_t n_dims = slot_shape(s, b, qg_modeldir_config(dir), want);
    shape_text(expected, sizeof expected, want, n_dims);
    return qg_fail(err, QG_ERR_FORMAT, "%s: %s%s: no file holds this tensor, expected shape %s",
                   qg_modeldir_name(dir), prefix, s->name, expected);
}

static qg_status check_complete(qg_bound *b, const qg_modeldir *dir, qg_err *err)
{
    const qg_config *c = qg_modeldir_config(dir);
    size_t n_slots;
    const slot *slots = model_slots(b, &n_slots);
    for (size_t i = 0; i < n_slots; i++) {
        const slot *s = &slots[i];
        bool needed = s->at != IN_MODEL(lm_head) || !c->tied;
        if (needed && !*field(b, s))
            return missing(b, dir, "", s, err);
    }
    for (int32_t n = 0; n < c->n_layers; n++)
        for (size_t i = 0; i < QG_COUNT(layer_slots); i++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "model.layers.%d.", n);
            if (!*field(&b->layers[n], &layer_slots[i]))
                return missing(b, dir, prefix, &layer_slots[i], err);
        }
    return QG_OK;
}

/* Published Gen files say "tied" and store lm_head.weight all the same, equal to the embedding:
 * then one matrix serves both.  If it differs it is what the model was saved with, so use it. */
void qg_settle_lm_head(qg_bound *b, const qg_modeldir *dir)
{
    const qg_tensor *e = b->embed, *h = b->lm_head;
    if (b->stream || !qg_modeldir_config(dir)->tied || !h)
        return;
    if (h->dtype == e->dtype && h->blocks == e->blocks && h->bytes == e->bytes &&
        memcmp(h->data, e->data, h->bytes) == 0)
        b->lm_head = NULL;
    else
        b->lm_head_differs = true;
    qg_modeldir_drop(dir, e);
    qg_modeldir_drop(dir, h);
}

qg_status qg_bind(qg_bound *out, const qg_modeldir *dir, qg_err *err)
{
    const qg_config *c = qg_modeldir_config(dir);
    *out = (qg_bound){0};
    QG_TRY(check_architecture(out, c->architecture, err));
    out->inner = c->guard_inner;
    memcpy(out->n_labels, c->n_labels, sizeof out->n_labels);
    out->layers = qg_calloc((size_t)c->n_layers, sizeof *out->layers);
    if (!out->layers)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the tensor list");
    qg_status rc = QG_OK;
    for (size_t i = 0; rc == QG_OK && i < qg_modeldir_n_tensors(dir); i++)
        rc = take_tensor(out, qg_modeldir_tensor_at(dir, i), c, err);
    if (rc == QG_OK)
        rc = check_complete(out, dir, err);
    if (rc != QG_OK)
        qg_unbind(out);
    return rc;
}

void qg_unbind(qg_bound *bound)
{
    qg_mfree(bound->layers);
    bound->layers = NULL;
}
