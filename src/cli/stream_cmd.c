/* qguard stream: one conversation on standard input, line by line; a verdict for each judged token
 * on standard output, as soon as it is known. */
#include "base/limits.h"
#include "base/mem.h"
#include "cli/jsonl.h"
#include "text/json.h"

#include <stdlib.h>
#include <string.h>

typedef struct talk {
    qg_engine *engine;
    qg_session *session;
    bool open; /* the turn is not ended */
} talk;

static qg_status read_role(const json_t *row, qg_append *a, qg_err *err)
{
    static const char *const roles[] = {"user", "assistant", "system"};
    qg_slice role = {NULL, 0};
    QG_TRY(qg_json_opt_str(row, "role", &role, err));
    if (!role.p)
        return QG_OK;
    for (size_t i = 0; i < QG_COUNT(roles); i++)
        if (qg_slice_is(role, roles[i]))
            a->role = roles[i];
    return a->role ? QG_OK : qg_fail(err, QG_ERR_ARG, "\"role\" must be user, assistant or system");
}

/* What a line appends; ids holds its ids. */
static qg_status read_row(const json_t *row, qg_append *a, qg_ids *ids, qg_err *err)
{
    qg_slice content = {NULL, 0};
    qg_append_init(a);
    QG_TRY(read_role(row, a, err));
    QG_TRY(qg_json_opt_str(row, "content", &content, err));
    QG_TRY(qg_json_opt_bool(row, "end", &a->end, err));
    if (json_object_get(row, "ids"))
        QG_TRY(cli_get_ids(row, "ids", ids, err));
    if (content.p && json_object_get(row, "ids"))
        return qg_fail(err, QG_ERR_ARG, "\"content\" and \"ids\" exclude each other");
    /* A misspelt key must not look as if its text had been judged. */
    if (!content.p && !json_object_get(row, "ids") && !a->end)
        return qg_fail(err, QG_ERR_FORMAT, "the line has no \"content\", \"ids\" or \"end\"");
    a->content = (qg_text){content.p, content.n};
    static const int32_t none[1];
    if (json_object_get(row, "ids"))
        a->ids = ids->n ? ids->p : none; /* a turn of ids, even if there is none yet */
    a->n_ids = ids->n;
    return QG_OK;
}

static qg_status append(talk *t, const qg_append *a, qg_err *err)
{
    qg_stream_result *result;
    /* An empty piece is nothing, but one with a role opens that role's turn: what follows without a
     * role must not go to the turn before. */
    if (!a->role && !a->content.n && !a->n_ids && !a->end)
        return QG_OK;
    QG_TRY(qg_session_judge(t->session, a, &result, err));
    t->open = !a->end;
    qg_status rc = QG_OK;
    for (size_t i = 0; i < result->n_tokens && rc == QG_OK; i++) {
        char *line = qg_token_json(t->engine, &result->tokens[i]);
        if (line)
            printf("%s\n", line);
        else
            rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
        qg_free(line);
    }
    qg_stream_result_free(result);
    fflush(stdout); /* whoever sends line by line waits for this answer */
    return rc;
}

static qg_status append_line(talk *t, qg_slice line, qg_err *err)
{
    json_t *row = NULL;
    qg_ids ids = {0};
    qg_append a;
    qg_status rc = qg_json_parse(line, QG_JSON_NUL, &row, err);
    if (rc == QG_OK && !json_is_object(row))
        rc = qg_fail(err, QG_ERR_FORMAT, "the line is not a JSON object");
    if (rc == QG_OK)
        rc = read_row(row, &a, &ids, err);
    if (rc == QG_OK)
        rc = append(t, &a, err);
    qg_ids_free(&ids);
    json_decref(row);
    return rc;
}

static bool blank(qg_slice line)
{
    return strspn(line.p, " \t\r") >= line.n;
}

/* The first line that cannot be judged ends it: what follows would be judged without that text. */
static qg_status each_line(talk *t, long long *n, qg_err *err)
{
    qg_buf line;
    bool more = true;
    qg_status rc = QG_OK;
    qg_buf_init(&line, QG_MAX_TEXT_BYTES);
    for (*n = 1; rc == QG_OK; ++*n) {
        rc = cli_read_line(stdin, &line, &more, err);
        if (rc != QG_OK || !more)
            break;
        if (line.n && !blank(qg_buf_slice(&line)))
            rc = append_line(t, qg_buf_slice(&line), err);
        if (rc != QG_OK)
            break;
    }
    qg_buf_free(&line);
    if (rc == QG_OK && t->open) { /* the end of the input ends the turn */
        qg_append last;
        qg_append_init(&last);
        last.end = true;
        rc = append(t, &last, err);
    }
    return rc;
}

/* A number in (0,1]. */
static bool to_share(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out > 0 && *out <= 1;
}

/* --category-threshold "PII=0.3" */
static bool read_category(const char *text, qg_thresholds *t)
{
    const char *eq = strrchr(text, '=');
    const char *name;
    for (size_t i = 0; eq && i < QG_MAX_CATEGORIES && (name = qg_category_name(i)); i++)
        if (strlen(name) == (size_t)(eq - text) && !strncmp(name, text, strlen(name)))
            return to_share(eq + 1, &t->category[i]);
    return false;
}

static const char *read_thresholds(const cli_args *args, qg_thresholds *t)
{
    qg_thresholds_init(t);
    t->loose = args->loose;
    if (args->threshold && !to_share(args->threshold, &t->unsafe))
        return "stream: --threshold must be a number above 0 and at most 1";
    for (int32_t i = 0; i < args->category_thresholds.n; i++)
        if (!read_category(args->category_thresholds.at[i], t))
            return "stream: --category-threshold must be CATEGORY=P with a known category and P "
                   "above 0 and at most 1";
    return NULL;
}

static int fail_line(qg_status rc, const qg_err *err, long long n)
{
    cli_print_row_error(rc, err, n);
    fprintf(stderr, "qguard: line %lld: %s\n", n, err->msg);
    return EXIT_FAILED;
}

int cmd_stream(const cli_args *args)
{
    qg_session_options opt;
    qg_thresholds thresholds;
    talk t = {0};
    qg_err err;
    long long n = 0;

    const char *wrong = read_thresholds(args, &thresholds);
    if (wrong)
        return cli_usage(wrong);
    int code = cli_open_builtin(args, QG_PART_ALL, "qguard-demo-stream", &t.engine);
    if (code != EXIT_DONE)
        return code;
    qg_session_options_init(&opt);
    opt.thresholds = &thresholds;
    opt.idle_ms = INT32_MAX; /* alone here: nobody else needs the memory */
    if (qg_session_open(&t.session, t.engine, &opt, &err) != QG_OK) {
        code = cli_fail(&err);
    } else {
        qg_status rc = each_line(&t, &n, &err);
        code = rc == QG_OK ? EXIT_DONE : fail_line(rc, &err, n);
    }
    qg_session_close(t.session);
    qg_engine_close(t.engine);
    return code;
}
