/* qguard eval: how well a model judges labelled rows. */
#include "base/limits.h"
#include "base/mem.h"
#include "batch/eval.h"
#include "cli/batch_open.h"
#include "cli/check_rows.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 64 };

/* One judge's sets and scores; the last is all of them when there are several. */
typedef struct judge {
    const char *name;
    char room[512];
    qg_eval_set sets[MAX_FILES + 1];
    qg_scores scores[MAX_FILES + 1];
    size_t n;
} judge;

static void close_judge(judge *j)
{
    for (size_t i = 0; i < j->n; i++) {
        qg_eval_close(&j->sets[i]);
        qg_scores_free(&j->scores[i]);
    }
}

static qg_status read_sets(judge *j, const cli_args *args, const char *const *files, size_t n,
                           const qg_eval_options *opt, qg_err *err)
{
    for (size_t i = 0; i < n; i++)
        QG_TRY(qg_eval_read(&j->sets[j->n++], files[i], opt, err));
    if (n > 1)
        QG_TRY(qg_eval_join(&j->sets[j->n++], j->sets, n, err));
    for (size_t i = 0; i < j->n; i++)
        QG_TRY(qg_scores_of(&j->scores[i], &j->sets[i], args->bootstrap, opt->policy, err));
    return QG_OK;
}

/* With model NULL the rows hold verdicts. */
static int run_judge(judge *j, const cli_args *args, const char *const *files, size_t n,
                     bool judged)
{
    cli_rows rows = {.policy = args->policy};
    qg_err err;
    int code = judged ? EXIT_DONE : cli_rows_open(args, &rows);
    if (code != EXIT_DONE)
        return code;
    const qg_eval_options opt = {
        .engine = rows.engine,
        .decode = cli_decode(args),
        .concurrency = args->concurrency,
        .policy = rows.policy,
        .cache = args->verdict_cache,
        .opened = rows.opened,
        .special = rows.special,
        .fields = {args->prompt_field, args->response_field},
    };
    if (rows.engine) {
        qg_model_info info;
        qg_engine_info(rows.engine, &info);
        int at = snprintf(j->room, sizeof j->room, "%s (%s)", info.name, info.dtype);
        qg_engine *second = qg_engine_second(rows.engine);
        if (second) {
            qg_engine_info(second, &info);
            snprintf(j->room + at, sizeof j->room - (size_t)at, ", below %g %s (%s)",
                     rows.opened.second_below, info.name, info.dtype);
        }
        j->name = j->room;
    }
    if (read_sets(j, args, files, n, &opt, &err) != QG_OK)
        code = cli_fail(&err);
    qg_engine_close(rows.engine);
    return code;
}

/* ---- the report ------------------------------------------------------------------------------ */

typedef qg_status report_fn(const qg_report *r, qg_buf *out);

static int write_report(const qg_report *r, report_fn *make, const char *path)
{
    qg_buf out;
    qg_err err;
    qg_buf_init(&out, QG_MAX_TEXT_BYTES);
    qg_status rc = make(r, &out);
    if (rc != QG_OK)
        qg_fail(&err, rc, "the report: %s", qg_status_name(rc));
    FILE *f = path ? NULL : stdout;
    if (rc == QG_OK && path && !(f = fopen(path, "wb")))
        rc = qg_fail(&err, QG_ERR_IO, "%s: cannot be written", path);
    if (rc == QG_OK && fwrite(out.p, 1, out.n, f) != out.n)
        rc = qg_fail(&err, QG_ERR_IO, "%s: cannot be written", path ? path : "standard output");
    if (path && f && fclose(f) && rc == QG_OK)
        rc = qg_fail(&err, QG_ERR_IO, "%s: cannot be written", path);
    qg_buf_free(&out);
    return rc == QG_OK ? EXIT_DONE : cli_fail(&err);
}

static int report(const cli_args *args, const judge *a, const judge *b)
{
    qg_tuning tuning;
    qg_compared compared = {.n = 0};
    qg_err err = {""};
    qg_report r = {.model = a->name,
                   .sets = a->sets,
                   .scores = a->scores,
                   .n = a->n,
                   .concurrency = args->concurrency};
    qg_status rc = QG_OK;
    if (args->tune) {
        rc = qg_tune(&tuning, &a->sets[a->n - 1], args->max_fpr / 100.0, &err);
        r.tuning = &tuning;
    }
    if (rc == QG_OK && b) {
        r.other = b->name;
        r.other_sets = b->sets;
        r.other_scores = b->scores;
        rc = qg_compare(&compared, &a->sets[a->n - 1], &b->sets[b->n - 1], &err);
        r.compared = &compared;
    }
    int code = rc == QG_OK ? write_report(&r, args->json ? qg_report_json : qg_report_text, NULL)
                           : cli_fail(&err);
    if (code == EXIT_DONE && args->html)
        code = write_report(&r, qg_report_html, args->html);
    if (code == EXIT_DONE && args->tune)
        code = write_report(&r, qg_report_policy, args->tune);
    qg_compare_free(&compared);
    return code;
}

static int unused_rows(const judge *j)
{
    for (size_t i = 0; i < j->n; i++)
        if (j->sets[i].failed)
            return EXIT_FAILED;
    return EXIT_DONE;
}

static int evaluate(const cli_args *args, judge *a, judge *b)
{
    const char *const *files = args->positional;
    size_t n = (size_t)args->n_positional;
    int code;
    if (args->compare) {
        a->name = files[0];
        b->name = files[1];
        code = run_judge(a, args, files, 1, true);
        if (code == EXIT_DONE)
            code = run_judge(b, args, files + 1, 1, true);
    } else {
        a->name = "verdicts in the rows";
        code = run_judge(a, args, files, n, args->judged);
        cli_args other = *args;
        other.model = args->other_model; /* alone */
        other.second_model = other.second_below = other.second_dtype = NULL;
        if (code == EXIT_DONE && other.model)
            code = run_judge(b, &other, files, n, false);
    }
    bool two = args->compare || args->other_model;
    if (code == EXIT_DONE)
        code = report(args, a, two ? b : NULL);
    return code == EXIT_DONE ? unused_rows(a) : code;
}

int cmd_eval(const cli_args *args)
{
    if (args->n_positional < 1)
        return cli_usage("eval: expected: qguard eval FILE…");
    if (args->compare && args->n_positional != 2)
        return cli_usage("eval: --compare takes two outputs of qguard label");
    if (args->compare && args->other_model)
        return cli_usage("eval: --compare or --other-model, not both");
    judge *both = qg_calloc(2, sizeof *both);
    if (!both)
        return cli_fail(&(qg_err){"out of memory"});
    int code = evaluate(args, &both[0], &both[1]);
    close_judge(&both[0]);
    close_judge(&both[1]);
    qg_mfree(both);
    return code;
}
