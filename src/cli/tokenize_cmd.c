#include "base/limits.h"
#include "cli/jsonl.h"
#include "text/json.h"

static qg_special special_of(const cli_args *args)
{
    return args->special && !strcmp(args->special, "parse") ? QG_SPECIAL_PARSE : QG_SPECIAL_TEXT;
}

static qg_status encode(qg_engine *engine, const cli_args *args, qg_slice text, json_t **ids,
                        qg_err *err)
{
    int32_t *list;
    size_t n;
    QG_TRY(qg_tokenize(engine, (qg_text){text.p, text.n}, special_of(args), &list, &n, err));
    *ids = cli_ids_json(list, n);
    qg_free(list);
    return *ids ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

static qg_status encode_row(qg_engine *engine, const cli_args *args, qg_slice line,
                            const json_t *row, json_t **answer, qg_err *err)
{
    qg_slice text;
    json_t *ids;
    (void)line;
    QG_TRY(qg_json_get_str(row, "text", &text, err));
    QG_TRY(encode(engine, args, text, &ids, err));
    *answer = json_pack("{s:o}", "ids", ids);
    return QG_OK;
}

static qg_status decode_row(qg_engine *engine, const cli_args *args, qg_slice line,
                            const json_t *row, json_t **answer, qg_err *err)
{
    qg_ids ids = {0};
    bool skip = args->skip_special;
    char *text;
    size_t n;

    (void)line;
    qg_status rc = qg_json_opt_bool(row, "skip_special_tokens", &skip, err);
    if (rc == QG_OK)
        rc = cli_get_ids(row, "ids", &ids, err);
    if (rc == QG_OK)
        rc = qg_detokenize(engine, ids.p, ids.n, skip, &text, &n, err);
    qg_ids_free(&ids);
    QG_TRY(rc);
    *answer = json_object();
    json_object_set_new(*answer, "text", json_stringn(text, n));
    qg_free(text);
    return QG_OK;
}

static int encode_stdin(qg_engine *engine, const cli_args *args)
{
    qg_buf text;
    qg_err err;
    json_t *ids = NULL;

    qg_buf_init(&text, QG_MAX_TEXT_BYTES);
    qg_status rc = cli_read("-", &text, &err);
    if (rc == QG_OK)
        rc = encode(engine, args, qg_buf_slice(&text), &ids, &err);
    if (rc == QG_OK)
        cli_print_json(ids);
    json_decref(ids);
    qg_buf_free(&text);
    return rc == QG_OK ? EXIT_DONE : cli_fail(&err);
}

int cmd_tokenize(const cli_args *args)
{
    qg_engine *engine;

    if (args->decode_ids && !args->jsonl)
        return cli_usage("tokenize: --decode reads rows, so it needs --jsonl");
    int code = cli_open(args, QG_PART_TOKENIZER, &engine);
    if (code != EXIT_DONE)
        return code;
    if (args->jsonl)
        code = cli_each_row(engine, args, args->decode_ids ? decode_row : encode_row);
    else
        code = encode_stdin(engine, args);
    qg_engine_close(engine);
    return code;
}
