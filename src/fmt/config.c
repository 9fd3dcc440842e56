/* What is read follows transformers' Qwen3Config (4.51 to 5.x).  A key that is absent gets that
 * class's default only where a wrong guess could not pass unnoticed; each place says why.  Keys
 * that would change the numbers are refused by name, other unknown keys mean nothing to the
 * reference either and are ignored. */
#include "fmt/config.h"

#include "base/limits.h"
#include "base/mem.h"
#include "fmt/jsonfile.h"
#include "text/json.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

#define CONFIG_FILE     "config.json"
#define GENERATION_FILE "generation_config.json"

typedef struct reader {
    const json_t *conf;
    const json_t *generation; /* NULL: no such file */
    qg_config *c;
    qg_sink *sink;
} reader;

static qg_status bad(qg_err *err, const char *what)
{
    return qg_fail(err, QG_ERR_FORMAT, "%s", what);
}

static qg_status unsupported(qg_err *err, const char *key, const char *what)
{
    return qg_fail(err, QG_ERR_UNSUPPORTED,
                   "\"%s\" %s: it would change the results in a way that is not computed here", key,
                   what);
}

/* One architecture; which ones can be run is for the room above to say. */
static qg_status check_architecture(reader *r, qg_err *err)
{
    json_t *list;
    qg_slice type = {0};

    QG_TRY(qg_json_get_array(r->conf, "architectures", &list, err));
    const json_t *name = json_array_get(list, 0);
    if (json_array_size(list) != 1 || !json_is_string(name) || json_string_length(name) == 0)
        return bad(err, "\"architectures\" must hold exactly one name");
    /* The architecture names the class; model_type only repeats it, so it may be absent. */
    QG_TRY(qg_json_opt_str(r->conf, "model_type", &type, err));
    if (type.p && !qg_slice_is(type, "qwen3"))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "\"model_type\" is \"%.60s\"; only \"qwen3\" can be read", type.p);
    if (r->c->architecture)
        return QG_OK;
    r->c->architecture = qg_memdup0(json_string_value(name), json_string_length(name));
    return r->c->architecture ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

typedef struct size_key {
    const char *key;
    size_t at;
    int32_t max;
    int32_t absent; /* value when the key is absent; 0: it must be there */
} size_key;

static const size_key size_keys[] = {
    {"vocab_size", offsetof(qg_config, vocab_size), QG_MAX_VOCAB, 0},
    {"hidden_size", offsetof(qg_config, hidden), QG_MAX_HIDDEN, 0},
    {"intermediate_size", offsetof(qg_config, intermediate), QG_MAX_INTERMEDIATE, 0},
    {"num_hidden_layers", offsetof(qg_config, n_layers), QG_MAX_LAYERS, 0},
    {"num_attention_heads", offsetof(qg_config, n_heads), QG_MAX_HEADS, 0},
    {"num_key_value_heads", offsetof(qg_config, n_kv_heads), QG_MAX_HEADS, 0},
    /* Qwen3Config says 128, not hidden / heads.  Safe: the tensors' shapes must agree. */
    {"head_dim", offsetof(qg_config, head_dim), QG_MAX_HEAD_DIM, 128},
    {"max_position_embeddings", offsetof(qg_config, max_positions), QG_MAX_POSITIONS, 0},
};

static qg_status read_size(reader *r, const size_key *k, qg_err *err)
{
    int64_t n = k->absent;

    if (k->absent)
        QG_TRY(qg_json_opt_int(r->conf, k->key, 1, k->max, &n, err));
    else
        QG_TRY(qg_json_get_int(r->conf, k->key, 1, k->max, &n, err));
    *(int32_t *)((char *)r->c + k->at) = (int32_t)n;
    return QG_OK;
}

/* Needs the sizes; those that could not be read are 0 and have been told already. */
static qg_status check_heads(reader *r, qg_err *err)
{
    const qg_config *c = r->c;

    if (!c->n_heads || !c->n_kv_heads || !c->head_dim)
        return QG_OK;
    if (c->n_heads % c->n_kv_heads != 0)
        return qg_fail(err, QG_ERR_FORMAT,
                       "\"num_attention_heads\" %d is no multiple of \"num_key_value_heads\" %d",
                       c->n_heads, c->n_kv_heads);
    if (c->head_dim % 2 != 0)
        return qg_fail(err, QG_ERR_FORMAT, "\"head_dim\" is %d, must be even for the rotation",
                       c->head_dim);
    if (c->n_heads * c->head_dim > QG_MAX_Q_WIDTH)
        return qg_fail(err, QG_ERR_FORMAT, "%d heads of %d are wider than the limit of %d",
                       c->n_heads, c->head_dim, QG_MAX_Q_WIDTH);
    return QG_OK;
}

static qg_status check_eps(reader *r, qg_err *err)
{
    double eps;

    /* 1e-30: still a normal float, so that a row of zeros divides by something. */
    QG_TRY(qg_json_get_num(r->conf, "rms_norm_eps", 1e-30, 1.0, &eps, err));
    r->c->rms_eps = (float)eps;
    return QG_OK;
}

/* Rotation parameters that leave the plain rotation as it is: rope_theta, a type of "default", a
 * partial factor of 1.  Everything else (factor, low_freq_factor, a map per layer type, …) scales
 * or reshapes it. */
static qg_status check_rope_object(const json_t *o, const char *name, qg_err *err)
{
    const char *key;
    json_t *v;

    json_object_foreach ((json_t *)(uintptr_t)o, key, v) {
        bool type = strcmp(key, "rope_type") == 0 || strcmp(key, "type") == 0;
        bool plain = strcmp(key, "rope_theta") == 0 || json_is_null(v) ||
                     (type && qg_slice_is(qg_json_slice(v), "default")) ||
                     (strcmp(key, "partial_rotary_factor") == 0 && json_is_number(v) &&
                      json_number_value(v) == 1.0);
        if (!plain)
            return qg_fail(err, QG_ERR_UNSUPPORTED,
                           "\"%s\" with \"%.40s\": only the plain rotation is supported", name,
                           key);
    }
    return QG_OK;
}

/* transformers 4: rope_theta at top level, rope_scaling null; transformers 5: rope_parameters.
 * Qwen3Config would take 10,000 for a missing theta.  No tensor could contradict a wrong guess, so
 * it must be there, and where both layouts give it they must agree. */
static qg_status check_rope(reader *r, qg_err *err)
{
    json_t *scaling = NULL, *params = NULL;
    double top = 0, inner = 0;

    QG_TRY(qg_json_opt_object(r->conf, "rope_scaling", &scaling, err));
    QG_TRY(qg_json_opt_object(r->conf, "rope_parameters", &params, err));
    QG_TRY(check_rope_object(scaling, "rope_scaling", err));
    QG_TRY(check_rope_object(params, "rope_parameters", err));
    QG_TRY(qg_json_opt_num(r->conf, "rope_theta", 1.0, 1e15, &top, err));
    if (params) {
        qg_status rc = qg_json_opt_num(params, "rope_theta", 1.0, 1e15, &inner, err);
        if (rc)
            return qg_fail_prefix(err, rc, "\"rope_parameters\"");
    }
    if (top == 0 && inner == 0)
        return bad(err, "\"rope_theta\" is missing, at top level and in \"rope_parameters\"");
    if (top != 0 && inner != 0 && top != inner)
        return qg_fail(err, QG_ERR_FORMAT, "\"rope_theta\" is %g, but %g in \"rope_parameters\"",
                       top, inner);
    r->c->rope_theta = inner != 0 ? inner : top;
    return QG_OK;
}

/* Settings whose only supported value is the one that Qwen3Config takes when they are absent. */
static qg_status check_switches(reader *r, qg_err *err)
{
    static const char *const must_be_false[] = {"attention_bias", "mlp_bias", "use_sliding_window"};
    qg_slice act = {0};
    double rotary = 1.0;

    for (size_t i = 0; i < QG_COUNT(must_be_false); i++) {
        bool on = false;
        QG_TRY(qg_json_opt_bool(r->conf, must_be_false[i], &on, err));
        if (on)
            return unsupported(err, must_be_false[i], "is true");
    }
    const json_t *v = json_object_get(r->conf, "compression_config");
    if (v && !json_is_null(v))
        return unsupported(err, "compression_config", "is set");
    QG_TRY(qg_json_opt_str(r->conf, "hidden_act", &act, err));
    if (act.p && !qg_slice_is(act, "silu"))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "\"hidden_act\" is \"%.60s\"; only \"silu\" is supported", act.p);
    QG_TRY(qg_json_opt_num(r->conf, "partial_rotary_factor", 0, 1.0, &rotary, err));
    if (rotary != 1.0)
        return unsupported(err, "partial_rotary_factor", "is not 1");
    return QG_OK;
}

static qg_status check_layer_types(reader *r, qg_err *err)
{
    json_t *list = NULL, *v;
    size_t i;

    QG_TRY(qg_json_opt_array(r->conf, "layer_types", &list, err));
    if (!list)
        return QG_OK; /* transformers 4: full attention unless use_sliding_window */
    if (r->c->n_layers && json_array_size(list) != (size_t)r->c->n_layers)
        return qg_fail(err, QG_ERR_FORMAT, "\"layer_types\" has %zu entries for %d layers",
                       json_array_size(list), r->c->n_layers);
    json_array_foreach (list, i, v) {
        if (!json_is_string(v))
            return bad(err, "\"layer_types\" must hold strings");
        if (!qg_slice_is(qg_json_slice(v), "full_attention"))
            return qg_fail(err, QG_ERR_UNSUPPORTED,
                           "\"layer_types\" has \"%.60s\"; only \"full_attention\" is supported",
                           json_string_value(v));
    }
    return QG_OK;
}

/* Absent: false, as in Qwen3Config.  Safe: an untied model without lm_head.weight is refused. */
static qg_status check_tied(reader *r, qg_err *err)
{
    return qg_json_opt_bool(r->conf, "tie_word_embeddings", &r->c->tied, err);
}

/* Of the many kinds only the one that `qguard quantize` writes (docs/MODELS.md): matrices packed as
 * the kernels read them, so nothing else than what it says can be done with them. */
static qg_status check_packed(reader *r, qg_err *err)
{
    static const char key[] = "quantization_config";
    const json_t *v = json_object_get(r->conf, key);
    qg_slice format;
    int64_t version;
    if (!v || json_is_null(v))
        return QG_OK;
    if (!json_is_object(v) ||
        !qg_slice_is(qg_json_slice(json_object_get(v, "quant_method")), "qguard"))
        return unsupported(err, key, "is set");
    QG_TRY(qg_json_get_int(v, "version", 1, INT32_MAX, &version, err));
    QG_TRY(qg_json_get_str(v, "format", &format, err));
    if (version != 1 || (!qg_slice_is(format, "int8") && !qg_slice_is(format, "int4")))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "\"%s\" has version %d and format \"%.20s\"; version 1 of int8 and int4 can "
                       "be read",
                       key, (int)version, format.p);
    r->c->packed = qg_slice_is(format, "int8") ? QG_DTYPE_INT8 : QG_DTYPE_INT4;
    return QG_OK;
}

/* Only what the file says of itself; each tensor carries its own format. */
static qg_status check_dtype(reader *r, qg_err *err)
{
    static const struct {
        const char *name;
        qg_dtype dtype;
    } names[] = {{"bfloat16", QG_DTYPE_BF16}, {"float32", QG_DTYPE_F32}, {"float16", QG_DTYPE_F16}};
    static const char *const keys[] = {"torch_dtype", "dtype"}; /* transformers 4, 5 */

    for (size_t k = 0; k < QG_COUNT(keys); k++) {
        qg_slice s = {0};
        size_t i = 0;
        QG_TRY(qg_json_opt_str(r->conf, keys[k], &s, err));
        if (!s.p)
            continue;
        while (i < QG_COUNT(names) && !qg_slice_is(s, names[i].name))
            i++;
        if (i == QG_COUNT(names))
            return qg_fail(err, QG_ERR_UNSUPPORTED,
                           "\"%s\" is \"%.60s\"; bfloat16, float16 and float32 are supported",
                           keys[k], s.p);
        r->c->dtype = names[i].dtype;
    }
    return QG_OK;
}

static qg_status add_eos(qg_config *c, const json_t *v, qg_err *err)
{
    if (!json_is_integer(v))
        return bad(err, "\"eos_token_id\" must be an integer or a list of integers");
    json_int_t id = json_integer_value(v);
    if (id < 0 || (c->vocab_size && id >= c->vocab_size))
        return qg_fail(err, QG_ERR_FORMAT, "\"eos_token_id\" %lld is outside the vocabulary of %d",
                       (long long)id, c->vocab_size);
    if ((size_t)c->n_eos == QG_COUNT(c->eos))
        return qg_fail(err, QG_ERR_FORMAT, "\"eos_token_id\" has more than %zu entries",
                       QG_COUNT(c->eos));
    c->eos[c->n_eos++] = (int32_t)id;
    return QG_OK;
}

static qg_status read_eos(qg_config *c, const json_t *o, qg_err *err)
{
    const json_t *v = json_object_get(o, "eos_token_id"), *item;
    size_t i;

    if (!v || json_is_null(v))
        return QG_OK;
    if (!json_is_array(v))
        return add_eos(c, v, err);
    json_array_foreach (v, i, item)
        QG_TRY(add_eos(c, item, err));
    return QG_OK;
}

/* The generation file is what the reference's generate() obeys; none at all is possible. */
static qg_status check_eos(reader *r, qg_err *err)
{
    qg_status rc = read_eos(r->c, r->generation, err);
    if (rc)
        return qg_fail_prefix(err, rc, GENERATION_FILE);
    if (r->c->n_eos)
        return QG_OK;
    rc = read_eos(r->c, r->conf, err);
    return rc ? qg_fail_prefix(err, rc, CONFIG_FILE) : QG_OK;
}

/* ---- Qwen3ForGuardModel ---------------------------------------------------------------------- */

static const struct {
    const char *count, *map;
} label_keys[QG_N_LABEL_GROUPS] = {
    [QG_LABELS_RISK] = {"num_risk_level", "response_risk_level_map"},
    [QG_LABELS_CATEGORY] = {"num_category", "response_category_map"},
    [QG_LABELS_QUERY_RISK] = {"num_query_risk_level", "query_risk_level_map"},
    [QG_LABELS_QUERY_CATEGORY] = {"num_query_category", "query_category_map"},
};

/* A map is {"0": name, "1": name, ...}: exactly the indices 0..n-1. */
static qg_status read_map(qg_config *c, int g, json_t *map, qg_err *err)
{
    const char *key = label_keys[g].map;
    size_t n = json_object_size(map);

    if (!n || n > QG_MAX_LABELS || (c->n_labels[g] && (size_t)c->n_labels[g] != n))
        return qg_fail(err, QG_ERR_FORMAT, "\"%s\" has %zu entries, \"%s\" says %d", key, n,
                       label_keys[g].count, c->n_labels[g]);
    c->n_labels[g] = (int32_t)n;
    c->labels[g] = qg_calloc(n, sizeof *c->labels[g]);
    if (!c->labels[g])
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        char index[24];
        qg_slice name;
        snprintf(index, sizeof index, "%zu", i);
        qg_status rc = qg_json_get_str(map, index, &name, err);
        if (rc)
            return qg_fail_prefix(err, rc, "\"%s\"", key);
        if (!(c->labels[g][i] = qg_memdup0(name.p, name.n)))
            return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    }
    return QG_OK;
}

static qg_status check_guard(reader *r, qg_err *err)
{
    int64_t n = 0;
    if (!r->c->architecture || strcmp(r->c->architecture, "Qwen3ForGuardModel") != 0)
        return QG_OK;
    QG_TRY(qg_json_opt_int(r->conf, "guard_inner_size", 1, QG_MAX_HIDDEN, &n, err));
    r->c->guard_inner = (int32_t)n;
    for (int g = 0; g < QG_N_LABEL_GROUPS; g++) {
        json_t *map = NULL;
        n = 0;
        QG_TRY(qg_json_opt_int(r->conf, label_keys[g].count, 1, QG_MAX_LABELS, &n, err));
        r->c->n_labels[g] = (int32_t)n;
        QG_TRY(qg_json_opt_object(r->conf, label_keys[g].map, &map, err));
        if (map && !r->c->labels[g])
            QG_TRY(read_map(r->c, g, map, err));
    }
    return QG_OK;
}

static qg_status read_all(reader *r)
{
    static qg_status (*const checks[])(reader *, qg_err *) = {
        check_architecture, check_heads, check_eps,   check_rope,  check_switches,
        check_layer_types,  check_tied,  check_dtype, check_guard, check_packed,
    };
    qg_err e;
    qg_status rc;

    for (size_t i = 0; i < QG_COUNT(size_keys); i++) {
        rc = read_size(r, &size_keys[i], &e);
        if (rc)
            qg_fail_prefix(&e, rc, CONFIG_FILE);
        QG_TRY(qg_sink_take(r->sink, rc, &e));
    }
    for (size_t i = 0; i < QG_COUNT(checks); i++) {
        rc = checks[i](r, &e);
        if (rc)
            qg_fail_prefix(&e, rc, CONFIG_FILE);
        QG_TRY(qg_sink_take(r->sink, rc, &e));
    }
    rc = check_eos(r, &e);
    return qg_sink_take(r->sink, rc, &e);
}

qg_status qg_config_read(qg_config *out, qg_slice config, qg_slice generation, qg_sink *sink)
{
    json_t *conf = NULL, *gen = NULL;
    qg_sink own = {sink->each, sink->ud, sink->first ? NULL : sink->err, QG_OK};
    qg_err e;

    *out = (qg_config){0};
    qg_status rc = qg_jsonfile_parse(&conf, config, CONFIG_FILE, QG_MAX_CONFIG_BYTES, &e);
    rc = qg_sink_take(&own, rc, &e);
    if (rc == QG_OK && generation.p) {
        rc = qg_jsonfile_parse(&gen, generation, GENERATION_FILE, QG_MAX_CONFIG_BYTES, &e);
        rc = qg_sink_take(&own, rc, &e);
    }
    if (rc == QG_OK && conf) {
        reader r = {conf, gen, out, &own};
        rc = read_all(&r);
    }
    json_decref(conf);
    json_decref(gen);
    if (own.first)
        qg_config_free(out);
    if (!sink->first)
        sink->first = own.first;
    return own.first;
}

void qg_config_free(qg_config *config)
{
    for (int g = 0; g < QG_N_LABEL_GROUPS; g++) {
        for (int32_t i = 0; config->labels[g] && i < config->n_labels[g]; i++)
            qg_mfree(config->labels[g][i]);
        qg_mfree(config->labels[g]);
    }
    qg_mfree(config->architecture);
    *config = (qg_config){0};
}
