#define _POSIX_C_SOURCE 200809L /* getc_unlocked */
#include "cli/io.h"

#include "base/limits.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int cli_fail(const qg_err *err)
{
    fprintf(stderr, "qguard: %s\n", err->msg);
    return EXIT_FAILED;
}

int cli_usage(const char *sentence)
{
    fprintf(stderr, "qguard: %s\n", sentence);
    return EXIT_USAGE;
}

qg_status cli_read(const char *path, qg_buf *out, qg_err *err)
{
    bool standard = !strcmp(path, "-");
    const char *name = standard ? "standard input" : path;
    FILE *in = standard ? stdin : fopen(path, "rb");
    qg_status rc = QG_OK;
    char chunk[65536];
    size_t n;

    if (!in)
        return qg_fail(err, QG_ERR_IO, "%s: %s", name, strerror(errno));
    while (rc == QG_OK && (n = fread(chunk, 1, sizeof chunk, in)) > 0)
        rc = qg_buf_add(out, chunk, n);
    if (rc != QG_OK)
        qg_fail(err, rc, "%s: more than %zu bytes", name, out->max);
    else if (ferror(in))
        rc = qg_fail(err, QG_ERR_IO, "%s: %s", name, strerror(errno));
    if (!standard)
        fclose(in);
    return rc;
}

qg_status cli_read_line(FILE *in, qg_buf *line, bool *more, qg_err *err)
{
    char chunk[4096];
    size_t n = 0;
    int c;

    line->n = 0;
    *more = false;
    while ((c = getc_unlocked(in)) != EOF) {
        *more = true;
        if (c == '\n')
            break;
        chunk[n++] = (char)c;
        if (n == sizeof chunk) {
            if (qg_buf_add(line, chunk, n) != QG_OK)
                break;
            n = 0;
        }
    }
    if (ferror(in))
        return qg_fail(err, QG_ERR_IO, "standard input: %s", strerror(errno));
    if (qg_buf_add(line, chunk, n) != QG_OK)
        return qg_fail(err, QG_ERR_TOO_LONG, "standard input: a line of more than %zu bytes",
                       line->max);
    if (line->n && line->p[line->n - 1] == '\r')
        line->n--;
    return QG_OK;
}

void cli_print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    putchar('\n');
}

void cli_print_row_error(qg_status rc, const qg_err *err, long long line)
{
    json_t *o = json_pack("{s:{s:s, s:s}, s:I}", "error", "code", qg_status_name(rc), "message",
                          err->msg, "line", (json_int_t)line);
    if (!o)
        o = json_pack("{s:{s:s, s:s}, s:I}", "error", "code", qg_status_name(rc), "message",
                      "the sentence is not UTF-8", "line", (json_int_t)line);
    cli_print_json(o);
    json_decref(o);
}

int cli_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "qguard: standard output: %s\n", strerror(errno));
    return EXIT_FAILED;
}

const char *cli_or_env(const char *value, const char *variable)
{
    const char *env = value ? NULL : getenv(variable);
    return env && *env ? env : value;
}

static qg_dtype kv_dtype_of(const char *word)
{
    return !word || !strcmp(word, "auto") ? QG_DTYPE_AUTO
           : !strcmp(word, "int8")        ? QG_DTYPE_INT8
                                          : QG_DTYPE_BF16;
}

static qg_dtype dtype_of(const char *word)
{
    static const struct {
        const char *word;
        qg_dtype dtype;
    } words[] = {
        {"auto", QG_DTYPE_AUTO}, {"float32", QG_DTYPE_F32}, {"bfloat16", QG_DTYPE_BF16},
        {"int8", QG_DTYPE_INT8}, {"int4", QG_DTYPE_INT4},
    };
    for (size_t i = 0; word && i < QG_COUNT(words); i++)
        if (!strcmp(word, words[i].word))
            return words[i].dtype;
    return QG_DTYPE_AUTO;
}

/* Where packed weights are kept.  A gigabyte is nothing to leave in somebody's home unasked: the
 * default directory is used and kept up to date, but the first file comes by --cache or
 * QGUARD_CACHE. */
static void cache_options(const cli_args *args, qg_options *opt)
{
    static char standard[4096]; /* lives as long as the options */
    const char *dir = args->cache ? args->cache : getenv("QGUARD_CACHE");
    if (dir) {
        opt->cache = *dir && strcmp(dir, "none") ? dir : NULL;
        return;
    }
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (xdg && xdg[0] == '/')
        n = snprintf(standard, sizeof standard, "%s/qguard", xdg);
    else if (home && home[0] == '/')
        n = snprintf(standard, sizeof standard, "%s/.cache/qguard", home);
    opt->cache = n > 0 && n < (int)sizeof standard ? standard : NULL;
    opt->cache_create = false;
}

/* "6G", "1.5G", "900M" -> bytes. */
static bool memory_size(const char *word, uint64_t *bytes)
{
    char *end;
    const double n = strtod(word, &end);
    const double unit = *end == 'G' ? 1024.0 * 1024 * 1024 : *end == 'M' ? 1024.0 * 1024 : 0;
    if (end == word || !unit || end[1] || !(n > 0 && n * unit < 1e15))
        return false;
    *bytes = (uint64_t)(n * unit);
    return true;
}

/* With --second-model: the options of asking again. */
static int second_options(const cli_args *args, qg_options *opt)
{
    char *end = NULL;
    if (!args->second_model)
        return args->second_below || args->second_dtype
                   ? cli_usage("--second-below and --second-dtype go with --second-model")
                   : EXIT_DONE;
    if (args->memory)
        return cli_usage("--memory is for one model; with --second-model give --dtype, "
                         "--second-dtype and --kv-cache-mib");
    if (args->decode && !strcmp(args->decode, "generate"))
        return cli_usage("--second-model goes by probabilities, which --decode generate has not");
    opt->second_model = args->second_model;
    opt->second_dtype = dtype_of(args->second_dtype ? args->second_dtype : args->dtype);
    if (args->second_below)
        opt->second_below = strtod(args->second_below, &end);
    if (end &&
        (end == args->second_below || *end || !(opt->second_below > 0 && opt->second_below <= 1)))
        return cli_usage("--second-below: must be a number above 0 and at most 1");
    return EXIT_DONE;
}

int cli_engine_options(const cli_args *args, uint32_t parts, qg_options *opt)
{
    qg_options_init(opt);
    if (args->memory && !memory_size(args->memory, &opt->memory_bytes))
        return cli_usage("--memory: must be a size like 6G or 900M");
    opt->parts = parts;
    opt->model = cli_or_env(args->model, "QGUARD_MODEL");
    opt->cpu = cli_or_env(args->cpu, "QGUARD_CPU");
    opt->dtype = dtype_of(args->dtype);
    opt->kv_dtype = kv_dtype_of(args->kv_dtype);
    opt->n_threads = args->threads;
    opt->max_model_len = args->max_model_len;
    opt->kv_bytes = (uint64_t)args->kv_mib << 20;
    opt->prefix_cache = !args->no_prefix_cache;
    opt->chat_template = args->chat_template;
    cache_options(args, opt);
    if (args->step_rows)
        opt->step_rows = args->step_rows;
    if (args->max_jobs)
        opt->max_jobs = args->max_jobs;
    if (args->special && !strcmp(args->special, "parse"))
        opt->special = QG_SPECIAL_PARSE;
    return second_options(args, opt);
}

void cli_say_memory(const cli_args *args, const qg_engine *engine)
{
    qg_model_info info;
    qg_engine_info(engine, &info);
    if (args->memory && info.weight_bytes && !args->quiet)
        fprintf(stderr,
                "qguard: --memory %s: %s, weights %llu MiB, KV %llu MiB in %s, context of %d "
                "tokens\n",
                args->memory, info.dtype, (unsigned long long)(info.weight_bytes >> 20),
                (unsigned long long)(info.kv_bytes >> 20), info.kv_dtype, info.max_model_len);
}

int cli_open_builtin(const cli_args *args, uint32_t parts, const char *builtin, qg_engine **engine)
{
    qg_options opt;
    qg_err err;

    int code = cli_engine_options(args, parts, &opt);
    if (code != EXIT_DONE)
        return code;
    if (!opt.model && !args->quiet)
        fprintf(stderr, "qguard: no --model given: using the built-in demonstration model, a toy; "
                        "do not rely on its verdicts\n");
    if (!opt.model)
        opt.model = builtin;
    if (qg_engine_open(engine, &opt, &err) != QG_OK)
        return cli_fail(&err);
    cli_say_memory(args, *engine);
    const char *warning;
    for (size_t i = 0; !args->quiet && (warning = qg_engine_warning(*engine, i)); i++)
        fprintf(stderr, "qguard: warning: %s\n", warning);
    return EXIT_DONE;
}

int cli_open(const cli_args *args, uint32_t parts, qg_engine **engine)
{
    return cli_open_builtin(args, parts, NULL, engine);
}
