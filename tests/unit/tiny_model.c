#include "tiny_model.h"

#include "unit.h"

#include <math.h>

typedef struct writer {
    const tiny_spec *spec;
    char *head, *data;
    size_t head_n, data_n;
} writer;

enum { HEAD_MAX = 1 << 16, DATA_MAX = 4 << 20 };

tiny_spec tiny_spec_default(void)
{
    return (tiny_spec){.vocab = 101,
                       .hidden = 40,
                       .inter = 52,
                       .layers = 3,
                       .heads = 6,
                       .kv_heads = 2,
                       .head_dim = 16,
                       .tied = true,
                       .dtype = "BF16"};
}

static uint32_t mix(uint32_t h)
{
    h ^= h >> 16;
    h *= 0x7feb352du;
    h ^= h >> 15;
    h *= 0x846ca68bu;
    return h ^ h >> 16;
}

/* Seven bits and a power of two: exact in every format. */
static float value_at(uint32_t seed, size_t i, int64_t fan, bool norm)
{
    int32_t s = (int32_t)(mix(seed + (uint32_t)i * 0x9e3779b9u) % 255) - 127;
    if (norm)
        return 1.0f + (float)(s / 4) / 128.0f;
    return ldexpf((float)s, -6 - (int)lround(log2((double)fan) / 2));
}

static void put(writer *w, const char *dtype, float v)
{
    uint32_t u;
    uint16_t h;
    memcpy(&u, &v, sizeof u);
    if (strcmp(dtype, "F32") == 0 || strcmp(dtype, "I32") == 0) {
        memcpy(w->data + w->data_n, &u, 4);
        w->data_n += 4;
        return;
    }
    if (strcmp(dtype, "BF16") == 0)
        h = (uint16_t)(u >> 16);
    else if ((u & 0x7fffffffu) == 0)
        h = 0;
    else /* F16; the values here are normal numbers, or infinite */
        h = (uint16_t)((u >> 16 & 0x8000u) |
                       (isinf(v) ? 0x7c00u : ((u >> 23 & 255u) - 112u) << 10 | (u >> 13 & 0x3ffu)));
    memcpy(w->data + w->data_n, &h, 2);
    w->data_n += 2;
}

static bool is(const char *option, const char *name)
{
    return option && strcmp(option, name) == 0;
}

static void add(writer *w, const char *name, int64_t rows, int64_t cols)
{
    const tiny_spec *s = w->spec;
    if (is(s->leave_out, name))
        return;
    const char *source = name;
    if (strcmp(name, "lm_head.weight") == 0 && s->tied && !s->lm_head_differs)
        source = "model.embed_tokens.weight";
    uint32_t seed = 17;
    for (const char *c = source; *c; c++)
        seed = mix(seed + (uint8_t)*c);
    size_t n = (size_t)rows * (size_t)(cols ? cols : 1), begin = w->data_n;
    assert_true(w->data_n + 4 * n <= DATA_MAX);
    const char *dtype = is(s->odd_dtype, name) ? "I32" : s->dtype;
    for (size_t i = 0; i < n; i++)
        put(w, dtype,
            is(s->poison, name) && i == 0 ? INFINITY : value_at(seed, i, cols ? cols : 1, !cols));
    char shape[64];
    if (is(s->transposed, name))
        snprintf(shape, sizeof shape, "%lld,%lld", (long long)(cols ? cols : 1), (long long)rows);
    else
        snprintf(shape, sizeof shape, cols ? "%lld,%lld" : "%lld", (long long)rows,
                 (long long)cols);
    w->head_n += (size_t)snprintf(w->head + w->head_n, HEAD_MAX - w->head_n,
                                  "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],"
                                  "\"data_offsets\":[%zu,%zu]}",
                                  w->head_n ? ',' : '{', name, dtype, shape, begin, w->data_n);
    assert_true(w->head_n < HEAD_MAX - 8);
}

static void add_layer(writer *w, int32_t n)
{
    const tiny_spec *s = w->spec;
    int64_t q = (int64_t)s->heads * s->head_dim, kv = (int64_t)s->kv_heads * s->head_dim;
    const struct {
        const char *name;
        int64_t rows, cols;
    } list[] = {
        {"self_attn.q_proj", q, s->hidden},         {"self_attn.k_proj", kv, s->hidden},
        {"self_attn.v_proj", kv, s->hidden},        {"self_attn.o_proj", s->hidden, q},
        {"self_attn.q_norm", s->head_dim, 0},       {"self_attn.k_norm", s->head_dim, 0},
        {"mlp.gate_proj", s->inter, s->hidden},     {"mlp.up_proj", s->inter, s->hidden},
        {"mlp.down_proj", s->hidden, s->inter},     {"input_layernorm", s->hidden, 0},
        {"post_attention_layernorm", s->hidden, 0},
    };
    for (size_t i = 0; i < COUNT(list); i++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", n, list[i].name);
        add(w, name, list[i].rows, list[i].cols);
    }
}

static void add_heads(writer *w)
{
    const tiny_spec *s = w->spec;
    add(w, "risk_level_category_pre.weight", s->guard_inner, s->hidden);
    add(w, "risk_level_category_layernorm.weight", s->guard_inner, 0);
    add(w, "risk_level_head.weight", 3, s->guard_inner);
    add(w, "category_head.weight", 8, s->guard_inner);
    add(w, "query_risk_level_category_pre.weight", s->guard_inner, s->hidden);
    add(w, "query_risk_level_category_layernorm.weight", s->guard_inner, 0);
    add(w, "query_risk_level_head.weight", 3, s->guard_inner);
    add(w, "query_category_head.weight", 9, s->guard_inner);
}

static char *make_config(const tiny_spec *s)
{
    enum { N = 2048 };
    char *c = malloc(N);
    assert_non_null(c);
    snprintf(c, N,
             "{\"architectures\":[\"%s\"],\"attention_bias\":false,\"head_dim\":%d,"
             "\"hidden_act\":\"silu\",\"hidden_size\":%d,\"intermediate_size\":%d,"
             "\"max_position_embeddings\":%d,\"model_type\":\"qwen3\","
             "\"num_attention_heads\":%d,\"num_hidden_layers\":%d,\"num_key_value_heads\":%d,"
             "\"rms_norm_eps\":1e-06,\"rope_scaling\":null,\"rope_theta\":1000000,"
             "\"sliding_window\":null,\"tie_word_embeddings\":%s,\"torch_dtype\":\"bfloat16\","
             "\"use_sliding_window\":false,\"eos_token_id\":2,\"vocab_size\":%d}",
             s->architecture  ? s->architecture
             : s->guard_inner ? "Qwen3ForGuardModel"
                              : "Qwen3ForCausalLM",
             s->head_dim, s->hidden, s->inter, s->max_positions ? s->max_positions : 512, s->heads,
             s->layers, s->kv_heads, s->tied ? "true" : "false", s->vocab);
    return c;
}

void tiny_model_make(tiny_model *t, const tiny_spec *spec)
{
    writer w = {.spec = spec, .head = malloc(HEAD_MAX), .data = malloc(DATA_MAX)};
    assert_true(w.head && w.data);
    add(&w, "model.embed_tokens.weight", spec->vocab, spec->hidden);
    for (int32_t i = 0; i < spec->layers; i++)
        add_layer(&w, i);
    add(&w, "model.norm.weight", spec->hidden, 0);
    if (spec->store_lm_head || !spec->tied)
        add(&w, "lm_head.weight", spec->vocab, spec->hidden);
    if (spec->guard_inner)
        add_heads(&w);
    if (spec->extra)
        add(&w, spec->extra, 4, 0);
    w.head[w.head_n++] = '}';
    while (w.head_n % 8)
        w.head[w.head_n++] = ' ';

    t->config = make_config(spec);
    size_t n = 8 + w.head_n + w.data_n;
    t->weights = malloc(n);
    assert_non_null(t->weights);
    uint64_t head_n = w.head_n;
    memcpy(t->weights, &head_n, 8);
    memcpy(t->weights + 8, w.head, w.head_n);
    memcpy(t->weights + 8 + w.head_n, w.data, w.data_n);
    free(w.head);
    free(w.data);
    t->files[0] = (qg_file){"config.json", t->config, strlen(t->config)};
    t->files[1] = (qg_file){"model.safetensors", t->weights, n};
}

void tiny_model_free(tiny_model *t)
{
    free(t->config);
    free(t->weights);
    *t = (tiny_model){0};
}

qg_status tiny_model_open(qg_modeldir **dir, tiny_model *t, const tiny_spec *spec, qg_err *err)
{
    tiny_model_make(t, spec);
    return qg_modeldir_open_files(dir, t->files, 2, QG_MODELDIR_TENSORS, err);
}
