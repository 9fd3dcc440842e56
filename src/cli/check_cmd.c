/* qguard check: one text, one message list, or rows. */
#include "base/limits.h"
#include "base/mem.h"
#include "cli/check_rows.h"
#include "text/json.h"

static int show(const qg_engine *engine, const cli_args *args, const qg_result *r)
{
    if (args->json) {
        char *json = qg_result_json(engine, r);
        if (!json)
            return cli_fail(&(qg_err){"out of memory"});
        printf("%s\n", json);
        qg_free(json);
    } else {
        printf("%s\n", r->text);
    }
    if (!r->well_formed)
        return cli_fail(&(qg_err){"what the model wrote is not a verdict"});
    return args->exit_verdict ? cli_verdict_exit(r) : EXIT_DONE;
}

static int judge(const cli_args *args, const qg_message *messages, size_t n)
{
    qg_engine *engine;
    qg_request req;
    qg_result *result;
    qg_err err;

    int code = cli_open(args, QG_PART_ALL, &engine);
    if (code != EXIT_DONE)
        return code;
    qg_request_init(&req);
    req.messages = messages;
    req.n_messages = n;
    req.decode = cli_decode(args);
    code = qg_judge(engine, &req, &result, &err) == QG_OK ? show(engine, args, result)
                                                          : cli_fail(&err);
    qg_result_free(result);
    qg_engine_close(engine);
    return code;
}

static int judge_file(const cli_args *args)
{
    json_t *root = NULL;
    const qg_message *messages;
    size_t n;
    qg_arena arena;
    qg_buf bytes;
    qg_err err;

    qg_arena_init(&arena, QG_MAX_TEXT_BYTES);
    qg_buf_init(&bytes, QG_MAX_TEXT_BYTES);
    qg_status rc = cli_read(args->messages, &bytes, &err);
    if (rc == QG_OK &&
        (rc = qg_json_parse(qg_buf_slice(&bytes), QG_JSON_NUL, &root, &err)) != QG_OK)
        qg_fail_prefix(&err, rc, "%s", args->messages);
    if (rc == QG_OK) {
        const json_t *inside = json_object_get(root, "messages");
        rc = qg_serve_messages(inside ? inside : root, &arena, &messages, &n, &err);
    }
    int code = rc == QG_OK ? judge(args, messages, n) : cli_fail(&err);
    qg_arena_free(&arena);
    qg_buf_free(&bytes);
    json_decref(root);
    return code;
}

/* echo and most editors end a text with a line break that nobody means to judge. */
static void drop_last_newline(qg_buf *b)
{
    if (b->n && b->p[b->n - 1] == '\n')
        b->n--;
    if (b->n && b->p[b->n - 1] == '\r')
        b->n--;
}

static qg_status read_text(const char *given, const char *file, qg_buf *out, qg_err *err)
{
    if (given && strcmp(given, "-"))
        return qg_buf_adds(out, given);
    QG_TRY(cli_read(file ? file : "-", out, err));
    drop_last_newline(out);
    return QG_OK;
}

static int judge_text(const cli_args *args)
{
    const char *text = args->n_positional ? args->positional[0] : NULL;
    bool reply = args->response || args->response_file;
    qg_buf prompt, response;
    qg_err err;

    qg_buf_init(&prompt, QG_MAX_TEXT_BYTES);
    qg_buf_init(&response, QG_MAX_TEXT_BYTES);
    qg_status rc = read_text(text, NULL, &prompt, &err);
    if (rc == QG_OK && reply)
        rc = read_text(args->response, args->response_file, &response, &err);
    const qg_message messages[] = {
        {"user", {qg_buf_slice(&prompt).p, prompt.n}},
        {"assistant", {qg_buf_slice(&response).p, response.n}},
    };
    int code = rc == QG_OK ? judge(args, messages, reply ? 2 : 1) : cli_fail(&err);
    qg_buf_free(&prompt);
    qg_buf_free(&response);
    return code;
}

static bool is_stdin(const char *name)
{
    return name && !strcmp(name, "-");
}

int cmd_check(const cli_args *args)
{
    bool from_text = args->n_positional > 0, reply = args->response || args->response_file;
    const char *text = from_text ? args->positional[0] : "-";

    if (args->jsonl) {
        if (from_text || reply || args->messages)
            return cli_usage("check: --jsonl reads rows on standard input and takes no text");
        return cli_check_rows(args);
    }
    if (args->messages) {
        if (from_text || reply)
            return cli_usage("check: --messages stands alone, without TEXT or --response");
        return judge_file(args);
    }
    if (args->response && args->response_file)
        return cli_usage("check: --response or --response-file, not both");
    if (is_stdin(text) && (is_stdin(args->response) || is_stdin(args->response_file)))
        return cli_usage("check: only one of TEXT and the response can come from standard input");
    return judge_text(args);
}
