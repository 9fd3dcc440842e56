#include "cli/jsonl.h"

static qg_status render_row(qg_engine *engine, const cli_args *args, qg_slice line,
                            const json_t *row, json_t **answer, qg_err *err)
{
    char *text;
    size_t n, n_ids = 0;
    int32_t *ids = NULL;

    (void)row;
    QG_TRY(qg_render(engine, (qg_text){line.p, line.n}, &text, &n, args->ids ? &ids : NULL, &n_ids,
                     err));
    *answer = json_object();
    json_object_set_new(*answer, "text", json_stringn(text, n));
    if (args->ids)
        json_object_set_new(*answer, "ids", cli_ids_json(ids, n_ids));
    qg_free(text);
    qg_free(ids);
    return QG_OK;
}

int cmd_render(const cli_args *args)
{
    qg_engine *engine;

    if (!args->jsonl)
        return cli_usage("render: reads rows on standard input, so it needs --jsonl");
    uint32_t parts = QG_PART_TEMPLATE | (args->ids ? QG_PART_TOKENIZER : 0u);
    int code = cli_open(args, parts, &engine);
    if (code != EXIT_DONE)
        return code;
    code = cli_each_row(engine, args, render_row);
    qg_engine_close(engine);
    return code;
}
