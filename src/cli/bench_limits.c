/* What the hardware allows: the work that a model's configuration asks for, at the peak and the
 * read bandwidth that `qguard cpu --measure` finds in this run. */
#include "cli/bench.h"

#include "base/cpu.h"
#include "text/json.h"

#include <string.h>

static qg_status parse_report(char *text, json_t **o, qg_err *err)
{
    qg_status rc = qg_json_parse(qg_str(text), 0, o, err);
    qg_free(text);
    return rc;
}

static qg_status read_shape(bench_limits *l, const qg_options *opt, double bytes_each, qg_err *err)
{
    int hidden, inter, layers, heads, kv_heads, dim, vocab;
    char *text;
    json_t *o;

    qg_status rc = qg_inspect(opt->model, &text, err);
    if (rc != QG_OK) {
        qg_free(text);
        return rc;
    }
    QG_TRY(parse_report(text, &o, err));
    int bad = json_unpack(o, "{s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i}}", "config", "hidden_size",
                          &hidden, "intermediate_size", &inter, "num_hidden_layers", &layers,
                          "num_attention_heads", &heads, "num_key_value_heads", &kv_heads,
                          "head_dim", &dim, "vocab_size", &vocab);
    json_decref(o);
    if (bad)
        return qg_fail(err, QG_ERR_INTERNAL, "the model's report lacks a size");
    double q = (double)heads * dim, kv = (double)kv_heads * dim;
    double weights = layers * (hidden * (2 * q + 2 * kv) + 3.0 * hidden * inter);
    double wide = bytes_each > 2 ? 4 : 2; /* what is never below 16 bits: embedding, KV */
    l->layer_ops = 2 * weights;
    l->pair_ops = 4 * layers * q;
    l->layer_bytes = weights * bytes_each;
    l->output_bytes = (double)vocab * hidden * bytes_each;
    l->resident_bytes = l->layer_bytes + (double)vocab * hidden * wide;
    /* int8: a byte and a sixteenth of one, the scale */
    l->kv_bytes = 2 * layers * kv * (opt->kv_dtype == QG_DTYPE_INT8 ? 1.0625 : wide);
    return QG_OK;
}

static qg_status read_machine(bench_limits *l, const qg_options *opt, const char *peak,
                              const char *pair_peak, qg_err *err)
{
    double ops, pair_rate, read;
    int threads;
    char *text;
    json_t *o;

    QG_TRY(qg_cpu_report(opt->cpu, true, &text, err));
    QG_TRY(parse_report(text, &o, err));
    int bad = json_unpack(o, "{s:{s:i, s:F, s:F, s:F}}", "measured", "threads", &threads, peak,
                          &ops, pair_peak, &pair_rate, "memory read GB/s", &read);
    json_decref(o);
    if (bad)
        return qg_fail(err, QG_ERR_INTERNAL, "the processor's report lacks a figure");
    /* measured with all processors: fewer threads get their share */
    double share =
        opt->n_threads && opt->n_threads < threads ? opt->n_threads / (double)threads : 1;
    l->ops = ops * share * 1e9;
    l->pair_rate = pair_rate * share * 1e9;
    l->read = read * share * 1e9;
    return QG_OK;
}

qg_status bench_limits_open(bench_limits *l, const cli_args *args, const char *dtype, qg_err *err)
{
    static const struct {
        const char *dtype, *peak;
        double bytes; /* of one weight; scales are not counted */
    } formats[] = {
        {"float32", "float32 GFLOP/s", 4},
        {"int8", "int8 GOP/s", 1},
        {"int4", "int8 GOP/s", 0.5},
        {"bfloat16", "bfloat16 GFLOP/s", 2},
    };
    size_t f = 0;
    qg_options opt;

    while (f + 1 < QG_COUNT(formats) && strcmp(formats[f].dtype, dtype))
        f++;
    cli_engine_options(args, 0, &opt);
    QG_TRY(read_shape(l, &opt, formats[f].bytes, err));
    return read_machine(l, &opt, formats[f].peak, f ? "bfloat16 GFLOP/s" : formats[f].peak, err);
}

double bench_compute_ms(const bench_limits *l, double tokens, double pairs)
{
    return 1e3 * (tokens * l->layer_ops / l->ops + pairs * l->pair_ops / l->pair_rate);
}

double bench_read_ms(const bench_limits *l, double context)
{
    return 1e3 * (l->layer_bytes + context * l->kv_bytes) / l->read;
}
