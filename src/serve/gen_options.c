#define _GNU_SOURCE

#include "serve/gen_options.h"

#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static qg_status read_stream(qg_gen_options *o, const json_t *root, qg_fault *fault)
{
    json_t *options = NULL;
    QG_TRY(qg_body_opt_bool(root, "body", "stream", &o->stream, fault));
    QG_TRY(qg_body_opt_object(root, "body", "stream_options", &options, fault));
    if (!options)
        return QG_OK;
    if (!o->stream)
        return qg_fault_set(fault, QG_ERR_ARG, "stream_options needs stream to be true.",
                            "stream_options");
    QG_TRY(qg_body_opt_bool(options, "body.stream_options", "include_usage", &o->include_usage,
                            fault));
    return qg_body_opt_bool(options, "body.stream_options", "continuous_usage_stats",
                            &o->continuous_usage, fault);
}

static qg_status read_stops(qg_gen_options *o, const json_t *root, qg_fault *fault)
{
    const json_t *stop = json_object_get(root, "stop");
    bool many = json_is_array(stop);
    size_t n = many ? json_array_size(stop) : 1;
    if (!stop || json_is_null(stop))
        return QG_OK;
    if (n > QG_GEN_STOPS)
        return qg_fault_set(fault, QG_ERR_ARG, "There are too many stop strings.", "body.stop");
    for (size_t i = 0; i < n; i++) {
        const json_t *one = many ? json_array_get(stop, i) : stop;
        qg_slice text = qg_json_slice(one);
        if (!json_is_string(one))
            return qg_fault_set(fault, QG_ERR_FORMAT,
                                "stop must be a string or an array of strings.", "body.stop");
        if (text.n > QG_MAX_STOP_BYTES)
            return qg_fault_set(fault, QG_ERR_ARG, "A stop string is too long.", "body.stop");
        if (text.n)
            o->stops[o->n_stops++] = (qg_text){text.p, text.n};
    }
    return QG_OK;
}

/* An array of n ids or more becomes a list in the arena. */
static qg_status read_stop_ids(qg_gen_options *o, const json_t *root, qg_arena *arena,
                               qg_fault *fault)
{
    json_t *list = NULL;
    QG_TRY(qg_body_opt_array(root, "body", "stop_token_ids", &list, fault));
    size_t n = json_array_size(list);
    if (n > QG_MAX_SAMPLING_LIST)
        return qg_fault_set(fault, QG_ERR_ARG, "There are too many stop tokens.",
                            "body.stop_token_ids");
    int32_t *ids = qg_arena_calloc(arena, n, sizeof *ids);
    if (!ids)
        return qg_fault_set(fault, arena->why, "Out of memory.", "body.stop_token_ids");
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(list, i);
        json_int_t v = json_integer_value(id);
        if (!json_is_integer(id) || v < 0 || v > INT32_MAX)
            return qg_fault_set(fault, QG_ERR_FORMAT, "This is not a token id.",
                                "body.stop_token_ids.%zu", i);
        ids[i] = (int32_t)v;
    }
    o->sampling.stop_ids = ids;
    o->sampling.n_stop_ids = n;
    return QG_OK;
}

/* {"id":bias}: the ids are keys, and so strings. */
static qg_status read_bias(qg_gen_options *o, json_t *map, qg_arena *arena, qg_fault *fault)
{
    size_t n = json_object_size(map), i = 0;
    const char *key;
    json_t *value;
    if (n > QG_MAX_SAMPLING_LIST)
        return qg_fault_set(fault, QG_ERR_ARG, "There are too many biases.", "body.logit_bias");
    int32_t *ids = qg_arena_calloc(arena, n, sizeof *ids);
    float *bias = qg_arena_calloc(arena, n, sizeof *bias);
    if (!ids || !bias)
        return qg_fault_set(fault, arena->why, "Out of memory.", "body.logit_bias");
    json_object_foreach (map, key, value) {
        char *end;
        errno = 0;
        long id = strtol(key, &end, 10);
        double x = json_number_value(value);
        if (*key < '0' || *key > '9' || *end || errno || id > INT32_MAX || !json_is_number(value))
            return qg_fault_set(fault, QG_ERR_FORMAT, "logit_bias maps token ids to numbers.",
                                "body.logit_bias");
        ids[i] = (int32_t)id;
        bias[i++] = (float)(x < -100 ? -100 : x > 100 ? 100 : x);
    }
    o->sampling.bias_ids = ids;
    o->sampling.bias = bias;
    o->sampling.n_bias = n;
    return QG_OK;
}

static qg_status read_sampling(qg_gen_options *o, const json_t *root, qg_arena *arena,
                               qg_fault *fault)
{
    qg_sampling *s = &o->sampling;
    int64_t top_k = 0, seed = 0;
    json_t *bias = NULL, *given = json_object_get(root, "seed");
    const struct {
        const char *key;
        double min, max, *out;
    } numbers[] = {
        {"temperature", 0, 1e6, &s->temperature},
        {"top_p", 0, 1, &s->top_p},
        {"min_p", 0, 1, &s->min_p},
        {"presence_penalty", -2, 2, &s->presence_penalty},
        {"frequency_penalty", -2, 2, &s->frequency_penalty},
        {"repetition_penalty", 1e-3, 1e3, &s->repetition_penalty},
    };
    for (size_t i = 0; i < QG_COUNT(numbers); i++)
        QG_TRY(qg_body_opt_num(root, "body", numbers[i].key, numbers[i].min, numbers[i].max,
                               numbers[i].out, fault));
    QG_TRY(qg_body_opt_int(root, "body", "top_k", -1, INT32_MAX, &top_k, fault));
    QG_TRY(qg_body_opt_int(root, "body", "seed", INT64_MIN, INT64_MAX, &seed, fault));
    QG_TRY(qg_body_opt_object(root, "body", "logit_bias", &bias, fault));
    QG_TRY(read_bias(o, bias, arena, fault));
    if (s->top_p == 0) { /* nothing but the most probable token */
        s->temperature = 0;
        s->top_p = 1;
    }
    s->top_k = top_k > 0 ? (int32_t)top_k : 0;
    s->seed = (uint64_t)seed;
    o->seeded = given && !json_is_null(given);
    o->samples = s->temperature >= 1e-5; /* less means zero; the engine sees it so too */
    o->decodes = o->samples || s->n_bias || s->presence_penalty != 0 || s->frequency_penalty != 0 ||
                 s->repetition_penalty != 1;
    return QG_OK;
}

qg_status qg_gen_options_read(qg_gen_options *o, const json_t *root, qg_arena *arena,
                              qg_fault *fault)
{
    *o = (qg_gen_options){.n = 1};
    qg_sampling_init(&o->sampling);
    QG_TRY(read_stream(o, root, fault));
    QG_TRY(qg_body_opt_int(root, "body", "n", 1, QG_MAX_CHOICES, &o->n, fault));
    QG_TRY(qg_body_opt_int(root, "body", "max_tokens", 1, INT64_MAX, &o->max_tokens, fault));
    QG_TRY(read_stops(o, root, fault));
    QG_TRY(read_sampling(o, root, arena, fault));
    QG_TRY(read_stop_ids(o, root, arena, fault));
    o->decodes |= o->sampling.n_stop_ids != 0;
    if (o->samples && !o->seeded &&
        getrandom(&o->sampling.seed, sizeof o->sampling.seed, 0) != sizeof o->sampling.seed)
        return qg_fault_set(fault, QG_ERR_NOMEM, "The system gives no random numbers.", "%s", "");
    return QG_OK;
}

qg_status qg_gen_options_apply(const qg_gen_options *o, int64_t i, qg_request *request,
                               qg_arena *arena, qg_fault *fault)
{
    if (request->decode != QG_DECODE_GENERATE)
        return QG_OK;
    qg_sampling *s = qg_arena_alloc(arena, sizeof *s);
    if (!s)
        return qg_fault_set(fault, arena->why, "Out of memory.", "%s", "");
    *s = o->sampling;
    s->seed += (uint64_t)i * 0x9E3779B97F4A7C15u; /* choices differ; the first is the seed's own */
    s->stops = o->stops;
    s->n_stops = o->n_stops;
    request->sampling = s;
    request->max_tokens = (int32_t)(o->max_tokens < INT32_MAX ? o->max_tokens : INT32_MAX);
    return QG_OK;
}
