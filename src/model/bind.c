/* Tensor names -> struct fields.  One table says what a model is made of; everything in the files
 * must be in it, and everything in it must be in the files, with the shape that config.json
 * implies. */
#include "model/model_int.h"

#include "base/limits.h"
#include "base/mem.h"
#include "kern/quant4.h"

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
    QKV_WIDTH,
    TWO_INTER,
    N_DIMS
} dim;

typedef struct slot {
    const char *name;  /* behind "model.layers.N." for a layer's tensors */
    size_t at;         /* of a const qg_tensor * in the struct */
    dim rows, cols;    /* cols NONE: a vector */
    qg_wformat panels; /* the matrix in panels of this format (kern/panel.h, quant.h, quant4.h); 0,
                          which is F32: plain rows */
} slot;

#define IN_LAYER(field) offsetof(qg_bound_layer, field)
#define IN_MODEL(field) offsetof(qg_bound, field)

static const slot layer_slots[] = {
    {"input_layernorm.weight", IN_LAYER(norm_in), HIDDEN, NONE, 0},
    {"self_attn.q_proj.weight", IN_LAYER(q), Q_WIDTH, HIDDEN, 0},
    {"self_attn.k_proj.weight", IN_LAYER(k), KV_WIDTH, HIDDEN, 0},
    {"self_attn.v_proj.weight", IN_LAYER(v), KV_WIDTH, HIDDEN, 0},
    {"self_attn.o_proj.weight", IN_LAYER(o), HIDDEN, Q_WIDTH, 0},
    {"self_attn.q_norm.weight", IN_LAYER(q_norm), HEAD, NONE, 0},
    {"self_attn.k_norm.weight", IN_LAYER(k_norm), HEAD, NONE, 0},
    {"post_attention_layernorm.weight", IN_LAYER(norm_post), HIDDEN, NONE, 0},
    {"mlp.gate_proj.weight", IN_LAYER(gate), INTER, HIDDEN, 0},
    {"mlp.up_proj.weight", IN_LAYER(up), INTER, HIDDEN, 0},
    {"mlp.down_proj.weight", IN_LAYER(down), HIDDEN, INTER, 0},
};

static const slot gen_slots[] = {
    {"model.embed_tokens.weight", IN_MODEL(embed), VOCAB, HIDDEN, 0},
    {"model.norm.weight", IN_MODEL(norm), HIDDEN, NONE, 0},
    {"lm_head.weight", IN_MODEL(lm_head), VOCAB, HIDDEN, 0},
};

static const slot stream_slots[] = {
    {"model.embed_tokens.weight", IN_MODEL(embed), VOCAB, HIDDEN, 0},
    {"model.norm.weight", IN_MODEL(norm), HIDDEN, NONE, 0},
    {"risk_level_category_pre.weight", IN_MODEL(pre[0]), INNER, HIDDEN, 0},
    {"risk_level_category_layernorm.weight", IN_MODEL(pre_norm[0]), INNER, NONE, 0},
    {"risk_level_head.weight", IN_MODEL(heads[QG_LABELS_RISK]), RISK, INNER, 0},
    {"category_head.weight", IN_MODEL(heads[QG_LABELS_CATEGORY]), CATEGORY, INNER, 0},
    {"query_risk_level_category_pre.weight", IN_MODEL(pre[1]), INNER, HIDDEN, 0},
    {"query_risk_level_category_layernorm.weight", IN_MODEL(pre_norm[1]), INNER, NONE, 0},
    {"query_risk_level_head.weight", IN_MODEL(heads[QG_LABELS_QUERY_RISK]), QUERY_RISK, INNER, 0},
    {"query_category_head.weight", IN_MODEL(heads[QG_LABELS_QUERY_CATEGORY]), QUERY_CATEGORY, INNER,
     0},
};

/* A model that `qguard quantize` packed.  Of the layers' matrices the format is the
 * configuration's; QG_W_I8 stands for both. */
static const slot packed_layer_slots[] = {
    {"input_layernorm.weight", IN_LAYER(norm_in), HIDDEN, NONE, 0},
    {"self_attn.q_norm.weight", IN_LAYER(q_norm), HEAD, NONE, 0},
    {"self_attn.k_norm.weight", IN_LAYER(k_norm), HEAD, NONE, 0},
    {"post_attention_layernorm.weight", IN_LAYER(norm_post), HIDDEN, NONE, 0},
    {"self_attn.qkv_proj.panels", IN_LAYER(panels[0]), QKV_WIDTH, HIDDEN, QG_W_I8},
    {"self_attn.o_proj.panels", IN_LAYER(panels[1]), HIDDEN, Q_WIDTH, QG_W_I8},
    {"mlp.gate_up_proj.panels", IN_LAYER(panels[2]), TWO_INTER, HIDDEN, QG_W_I8},
    {"mlp.down_proj.panels", IN_LAYER(panels[3]), HIDDEN, INTER, QG_W_I8},
};

static const slot packed_tied_slots[] = {
    {"model.norm.weight", IN_MODEL(norm), HIDDEN, NONE, 0},
    {"model.embed_tokens.panels", IN_MODEL(panels), VOCAB, HIDDEN, QG_W_BF16},
};

static const slot packed_untied_slots[] = {
    {"model.embed_tokens.weight", IN_MODEL(embed), VOCAB, HIDDEN, 0},
    {"model.norm.weight", IN_MODEL(norm), HIDDEN, NONE, 0},
    {"lm_head.panels", IN_MODEL(panels), VOCAB, HIDDEN, QG_W_BF16},
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

/* [panels][k/2][32 columns][2] of bf16, or [panels][groups][bytes]. */
static int32_t panel_shape(const slot *s, const qg_config *c, int64_t *shape)
{
    const int64_t k = shape[1];
    shape[0] = (shape[0] + QG_NR - 1) / QG_NR;
    if (s->panels == QG_W_BF16) {
        shape[1] = qg_k_pad(k) / 2;
        shape[2] = QG_NR;
        shape[3] = 2;
        return 4;
    }
    shape[1] = qg_groups(k);
    shape[2] = c->packed == QG_DTYPE_INT8 ? QG_GROUP_BYTES : QG_I4_GROUP_BYTES;
    return 3;
}

/* shape [4] */
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
        [QKV_WIDTH] = (int64_t)(c->n_heads + 2 * c->n_kv_heads) * c->head_dim,
        [TWO_INTER] = 2 * (int64_t)c->intermediate,
    };
    shape[0] = size[s->rows];
    shape[1] = size[s->cols];
    if (s->panels)
        return panel_shape(s, c, shape);
    return s->cols == NONE ? 1 : 2;
}

/* A size that config.json is silent about is what the first tensor with it says; every other tensor
 * is then held to it. */
static void settle_dim(qg_bound *b, dim d, int64_t found, int32_t limit)
{
    int32_t *size = d == INNER                         ? &b->inner
                    : d >= RISK && d <= QUERY_CATEGORY ? &b->n_labels[d - RISK]
                                                       : NULL;
    if (size && !*size && found >= 1 && found <= limit)
        *size = (int32_t)found;
}

static qg_status check_tensor(qg_bound *b, const qg_tensor *t, const slot *s, const qg_config *c,
                              qg_err *err)
{
    int64_t want[4];
    settle_dim(b, s->rows, t->dim[0], s->rows == INNER ? QG_MAX_HIDDEN : QG_MAX_LABELS);
    settle_dim(b, s->cols, t->dim[1], QG_MAX_HIDDEN);
    int32_t n_dims = slot_shape(s, b, c, want);
    const bool known = t->blocks ? t->blocks->decode != NULL
                                 : t->dtype == QG_DTYPE_F32 || t->dtype == QG_DTYPE_BF16 ||
                                       t->dtype == QG_DTYPE_F16;
    const bool bytes = t->blocks && !t->blocks->decode;
    if (s->panels ? (s->panels == QG_W_BF16 ? t->dtype != QG_DTYPE_BF16 : !bytes) : !known)
        return qg_fail(err, QG_ERR_UNSUPPORTED, "%s: %s: element type %s is not supported here",
                       t->file, t->name, qg_tensor_format(t));
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

#define GIVE(slots) (*n = QG_COUNT(slots), (slots))

static const slot *model_slots(const qg_bound *b, const qg_config *c, size_t *n)
{
    if (b->stream)
        return GIVE(stream_slots);
    if (c->packed == QG_DTYPE_AUTO)
        return GIVE(gen_slots);
    return c->tied ? GIVE(packed_tied_slots) : GIVE(packed_untied_slots);
}

static const slot *slots_of_layer(const qg_config *c, size_t *n)
{
    return c->packed == QG_DTYPE_AUTO ? GIVE(layer_slots) : GIVE(packed_layer_slots);
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
    const slot *slots = layer < 0 ? model_slots(b, c, &n_slots) : slots_of_layer(c, &n_slots);
    const slot *s = find_slot(slots, n_slots, rest);
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
    int64_t want[4];
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
    const slot *slots = model_slots(b, c, &n_slots);
    for (size_t i = 0; i < n_slots; i++) {
        const slot *s = &slots[i];
        bool needed = s->at != IN_MODEL(lm_head) || !c->tied;
        if (needed && !*field(b, s))
            return missing(b, dir, "", s, err);
    }
    slots = slots_of_layer(c, &n_slots);
    for (int32_t n = 0; n < c->n_layers; n++)
        for (size_t i = 0; i < n_slots; i++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "model.layers.%d.", n);
            if (!*field(&b->layers[n], &slots[i]))
                return missing(b, dir, prefix, &slots[i], err);
        }
    return QG_OK;
}

/* A piece at a time: what was compared is let go, so that two gigabytes are never in memory. */
static bool same_bytes(const qg_modeldir *dir, const qg_tensor *a, const qg_tensor *b)
{
    const size_t piece = 4 << 20;
    bool same = true;
    for (size_t at = 0; same && at < a->bytes; at += piece) {
        const size_t n = a->bytes - at < piece ? a->bytes - at : piece;
        same = memcmp((const uint8_t *)a->data + at, (const uint8_t *)b->data + at, n) == 0;
        qg_modeldir_drop_part(dir, a, at, n);
        qg_modeldir_drop_part(dir, b, at, n);
    }
    qg_modeldir_drop(dir, a); /* pages that two pieces share */
    qg_modeldir_drop(dir, b);
    return same;
}

/* Published Gen files say "tied" and store lm_head.weight all the same, equal to the embedding:
 * then one matrix serves both.  If it differs it is what the model was saved with, so use it. */
void qg_settle_lm_head(qg_bound *b, const qg_modeldir *dir)
{
    const qg_tensor *e = b->embed, *h = b->lm_head;
    if (b->stream || !qg_modeldir_config(dir)->tied || !h || !e)
        return;
    if (h->dtype == e->dtype && h->blocks == e->blocks && h->bytes == e->bytes &&
        same_bytes(dir, h, e))
        b->lm_head = NULL;
    else
        b->lm_head_differs = true;
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
