#include "cli/jsonl.h"

#include "base/limits.h"
#include "text/json.h"

qg_status cli_get_ids(const json_t *row, const char *key, qg_ids *ids, qg_err *err)
{
    json_t *list, *item;
    size_t i;

    QG_TRY(qg_json_get_array(row, key, &list, err));
    json_array_foreach (list, i, item) {
        json_int_t v = json_integer_value(item);
        if (!json_is_integer(item) || v < INT32_MIN || v > INT32_MAX)
            return qg_fail(err, QG_ERR_FORMAT, "\"%s\"[%zu] is not a whole number in range", key,
                           i);
        if (qg_ids_push(ids, (int32_t)v) != QG_OK)
            return qg_fail(err, QG_ERR_TOO_LONG, "\"%s\" has too many entries", key);
    }
    return QG_OK;
}

json_t *cli_ids_json(const int32_t *ids, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(list, json_integer(ids[i]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static qg_status answer_row(qg_engine *engine, const cli_args *args, qg_slice line, cli_row_fn *fn,
                            qg_err *err)
{
    json_t *row = NULL, *answer = NULL;
    qg_status rc = qg_json_parse(line, QG_JSON_NUL, &row, err);
    if (rc == QG_OK && !json_is_object(row))
        rc = qg_fail(err, QG_ERR_FORMAT, "the row is not a JSON object");
    if (rc == QG_OK)
        rc = fn(engine, args, line, row, &answer, err);
    if (rc == QG_OK && !answer)
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (rc == QG_OK)
        cli_print_json(answer);
    json_decref(answer);
    json_decref(row);
    return rc;
}

int cli_each_row(qg_engine *engine, const cli_args *args, cli_row_fn *fn)
{
    int code = EXIT_DONE;
    qg_buf line;
    qg_err err;
    bool more;

    qg_buf_init(&line, QG_MAX_TEXT_BYTES);
    for (long long n = 1;; n++) {
        if (cli_read_line(stdin, &line, &more, &err) != QG_OK) {
            code = cli_fail(&err);
            break;
        }
        if (!more)
            break;
        if (!line.n)
            continue;
        qg_status rc = answer_row(engine, args, qg_buf_slice(&line), fn, &err);
        if (rc != QG_OK) {
            cli_print_row_error(rc, &err, n);
            code = EXIT_FAILED;
        }
        fflush(stdout); /* whoever sends rows one by one waits for this answer */
    }
    qg_buf_free(&line);
    return code;
}
