/* The tensors of a GGUF file as those of a shard: checked, and under the names that a model
 * directory has for them.  Nothing is moved: for this architecture converters leave the rows of q
 * and k in their order (the rotation is the half-split one on both sides). */
#include "fmt/gguf.h"

#include "base/limits.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *from, *to;
} model_names[] = {{"token_embd.weight", "model.embed_tokens.weight"},
                   {"output_norm.weight", "model.norm.weight"},
                   {"output.weight", "lm_head.weight"}},
  layer_names[] = {{"attn_norm.weight", "input_layernorm.weight"},
                   {"attn_q.weight", "self_attn.q_proj.weight"},
                   {"attn_k.weight", "self_attn.k_proj.weight"},
                   {"attn_v.weight", "self_attn.v_proj.weight"},
                   {"attn_output.weight", "self_attn.o_proj.weight"},
                   {"attn_q_norm.weight", "self_attn.q_norm.weight"},
                   {"attn_k_norm.weight", "self_attn.k_norm.weight"},
                   {"ffn_norm.weight", "post_attention_layernorm.weight"},
                   {"ffn_gate.weight", "mlp.gate_proj.weight"},
                   {"ffn_up.weight", "mlp.up_proj.weight"},
                   {"ffn_down.weight", "mlp.down_proj.weight"}};

enum { LONGEST = QG_MAX_TENSOR_NAME + 64 }; /* of a name that was turned into another */

/* "blk.12.attn_q.weight" -> "model.layers.12.self_attn.q_proj.weight" into out [LONGEST]; names
 * that are not known stay as they are, for the room above to refuse. */
static void translate(char *out, qg_slice name)
{
    snprintf(out, LONGEST, "%.*s", (int)name.n, name.p);
    for (size_t i = 0; i < QG_COUNT(model_names); i++)
        if (qg_slice_is(name, model_names[i].from))
            snprintf(out, LONGEST, "%s", model_names[i].to);
    if (name.n < 6 || memcmp(name.p, "blk.", 4) != 0)
        return;
    size_t at = 4;
    while (at < name.n && name.p[at] >= '0' && name.p[at] <= '9')
        at++;
    if (at == name.n || name.p[at] != '.')
        return;
    const qg_slice rest = {name.p + at + 1, name.n - at - 1};
    for (size_t i = 0; i < QG_COUNT(layer_names); i++)
        if (qg_slice_is(rest, layer_names[i].from))
            snprintf(out, LONGEST, "model.layers.%.*s.%s", (int)(at - 4), name.p + 4,
                     layer_names[i].to);
}

static qg_status set_format(qg_tensor *t, uint32_t type, qg_err *err)
{
    static const struct {
        uint32_t id;
        qg_dtype dtype;
    } plain[] = {{0, QG_DTYPE_F32}, {1, QG_DTYPE_F16}, {30, QG_DTYPE_BF16}};
    for (size_t i = 0; i < QG_COUNT(plain); i++)
        if (plain[i].id == type)
            t->dtype = plain[i].dtype;
    t->blocks = qg_blocks_find(type);
    if (t->blocks || t->dtype != QG_DTYPE_AUTO)
        return QG_OK;
    return qg_fail(err, QG_ERR_UNSUPPORTED,
                   "type %" PRIu32 " (%s) cannot be read; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, "
                   "Q5_1 and Q2_K to Q6_K can",
                   type, qg_blocks_refused(type));
}

/* Dimensions, outermost first, and the bytes that they and the format make. */
static qg_status set_shape(qg_tensor *t, const qg_gguf_tensor *from, qg_err *err)
{
    const uint64_t per = t->blocks ? (uint64_t)t->blocks->elements : 1;
    t->n_dims = from->n_dims;
    t->bytes = t->blocks ? (size_t)t->blocks->bytes : qg_dtype_size(t->dtype);
    for (int i = 0; i < 4; i++)
        t->dim[i] = 1;
    for (int i = 0; i < t->n_dims; i++) {
        const uint64_t n = from->dim[i];
        if (n < 1 || n > INT32_MAX)
            return qg_fail(err, QG_ERR_FORMAT, "dimension %" PRIu64 ", must be 1 to %d", n,
                           INT32_MAX);
        if (i == 0 && n % per)
            return qg_fail(err, QG_ERR_FORMAT, "rows of %" PRIu64 ", no multiple of %s's %" PRIu64,
                           n, t->blocks->name, per);
        t->dim[t->n_dims - 1 - i] = (int64_t)n;
        if (!qg_mul_size(t->bytes, (size_t)(i ? n : n / per), &t->bytes))
            return qg_fail(err, QG_ERR_FORMAT, "more elements than memory can hold");
    }
    return QG_OK;
}

static qg_status read_tensor(qg_tensor *t, const qg_gguf *g, const qg_gguf_tensor *from,
                             qg_err *err)
{
    QG_TRY(set_format(t, from->type, err));
    QG_TRY(set_shape(t, from, err));
    if (from->offset > g->data.n || t->bytes > g->data.n - from->offset)
        return qg_fail(err, QG_ERR_FORMAT,
                       "%zu bytes from byte %" PRIu64 " of the data on, but there are %zu: cut "
                       "short?",
                       t->bytes, from->offset, g->data.n);
    t->data = g->data.p + from->offset;
    return QG_OK;
}

static int by_data(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)((const qg_tensor *)a)->data,
                    y = (uintptr_t)((const qg_tensor *)b)->data;
    return (x > y) - (x < y);
}

static qg_status check_overlaps(const qg_shard *s, qg_err *err)
{
    for (size_t i = 1; i < s->n_tensors; i++) {
        const qg_tensor *a = &s->tensors[i - 1], *b = &s->tensors[i];
        if ((size_t)((const char *)b->data - (const char *)a->data) < a->bytes)
            return qg_fail(err, QG_ERR_FORMAT, "%s: %s: its bytes overlap those of %s", s->file,
                           b->name, a->name);
    }
    return QG_OK;
}

qg_status qg_gguf_tensors(const qg_gguf *gguf, qg_shard *shard, qg_err *err)
{
    size_t bytes = 1;
    for (size_t i = 0; i < gguf->n_tensors; i++)
        bytes += gguf->tensors[i].name.n + 64 + 1;
    shard->names = qg_malloc(bytes);
    shard->tensors = qg_calloc(gguf->n_tensors, sizeof *shard->tensors);
    if (!shard->names || !shard->tensors)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    char *name = shard->names;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const qg_gguf_tensor *from = &gguf->tensors[i];
        qg_tensor *t = &shard->tensors[shard->n_tensors++];
        char text[LONGEST];
        translate(text, from->name);
        t->file = shard->file;
        t->name = name;
        const size_t n = strlen(text) + 1;
        memcpy(name, text, n);
        name += n;
        qg_status rc = read_tensor(t, gguf, from, err);
        if (rc)
            return qg_fail_prefix(err, rc, "%s: %.*s", shard->file, (int)from->name.n,
                                  from->name.p);
    }
    if (shard->n_tensors)
        qsort(shard->tensors, shard->n_tensors, sizeof *shard->tensors, by_data);
    return check_overlaps(shard, err);
}
