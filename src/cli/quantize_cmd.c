/* qguard quantize: a model to int8 or int4, calibrated on texts, and what that changed. */
#include "base/limits.h"
#include "base/mem.h"
#include "cli/quantize_report.h"
#include "text/json.h"

static bool dtype_of(const cli_args *args, qg_dtype *dtype)
{
    *dtype = args->dtype && !strcmp(args->dtype, "int4") ? QG_DTYPE_INT4 : QG_DTYPE_INT8;
    return args->dtype && (!strcmp(args->dtype, "int8") || !strcmp(args->dtype, "int4"));
}

/* Ids of the texts that calibrate: all, or three of four when the rest is for the report. */
static qg_status encode(const cli_args *args, const cli_texts *texts, qg_ids *ids, qg_err *err)
{
    const bool hold = args->report && !args->evaluate;
    qg_options opt;
    qg_engine *engine;
    cli_engine_options(args, QG_PART_TOKENIZER | QG_PART_TEMPLATE, &opt);
    opt.model = args->positional[0];
    QG_TRY(qg_engine_open(&engine, &opt, err));
    qg_status rc = QG_OK;
    for (size_t i = 0; rc == QG_OK && i < texts->n; i++) {
        if (hold && cli_text_held_out(i))
            continue;
        rc = cli_text_ids(engine, &texts->at[i], &ids[i], err);
        if (rc)
            qg_fail_prefix(err, rc, "%s: text %zu", args->calibrate, i + 1);
    }
    qg_engine_close(engine);
    return rc;
}

static qg_status quantize(const cli_args *args, qg_dtype dtype, const cli_texts *texts, qg_err *err)
{
    const size_t n = texts->n;
    qg_ids *ids = qg_calloc(n, sizeof *ids);
    const int32_t **lists = qg_calloc(n, sizeof *lists);
    size_t *counts = qg_calloc(n, sizeof *counts);
    qg_quantize_options opt;
    qg_quantize_options_init(&opt);
    opt.model = args->positional[0];
    opt.out = args->positional[1];
    opt.dtype = dtype;
    opt.n_threads = args->threads;
    opt.cpu = args->cpu;
    qg_status rc = ids && lists && counts ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (rc == QG_OK && n)
        rc = encode(args, texts, ids, err);
    for (size_t i = 0; rc == QG_OK && i < n; i++)
        if (ids[i].n) {
            lists[opt.n_texts] = ids[i].p;
            counts[opt.n_texts++] = ids[i].n;
        }
    opt.ids = lists;
    opt.n_ids = counts;
    if (rc == QG_OK)
        rc = qg_quantize(&opt, err);
    for (size_t i = 0; ids && i < n; i++)
        qg_ids_free(&ids[i]);
    qg_mfree(ids);
    qg_mfree(lists);
    qg_mfree(counts);
    return rc;
}

/* A name of a built-in model stands for itself; everything else is a path. */
int cmd_quantize(const cli_args *args)
{
    cli_texts calibrate = {0}, evaluate = {0};
    qg_dtype dtype;
    qg_err err;
    if (args->n_positional != 2)
        return cli_usage("quantize: needs MODEL and OUT");
    if (!dtype_of(args, &dtype))
        return cli_usage("quantize: needs --dtype int8 or --dtype int4");
    if (args->report && !args->evaluate && !args->calibrate)
        return cli_usage("quantize: --report needs texts: --evaluate or --calibrate");
    qg_status rc = QG_OK;
    if (args->calibrate)
        rc = cli_texts_read(&calibrate, args->calibrate, &err);
    if (rc == QG_OK && args->evaluate)
        rc = cli_texts_read(&evaluate, args->evaluate, &err);
    if (rc == QG_OK)
        rc = quantize(args, dtype, &calibrate, &err);
    if (rc == QG_OK && args->report)
        rc = cli_quantize_report(args, dtype, args->evaluate ? &evaluate : &calibrate,
                                 !args->evaluate, &err);
    cli_texts_free(&calibrate);
    cli_texts_free(&evaluate);
    return rc == QG_OK ? EXIT_DONE : cli_fail(&err);
}
