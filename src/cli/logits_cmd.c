#include "base/mem.h"
#include "cli/jsonl.h"
#include "text/json.h"

#include <math.h>

/* What a row asks for beside the ids. */
typedef struct wanted {
    qg_ids ids, positions, columns, splits;
    int64_t top; /* 0 = columns are named */
} wanted;

static void wanted_free(wanted *w)
{
    qg_ids_free(&w->ids);
    qg_ids_free(&w->positions);
    qg_ids_free(&w->columns);
    qg_ids_free(&w->splits);
}

static qg_status read_positions(const json_t *row, wanted *w, qg_err *err)
{
    const json_t *positions = json_object_get(row, "positions");
    if (!w->ids.n)
        return qg_fail(err, QG_ERR_FORMAT, "\"ids\" is empty");
    if (!positions || (json_is_string(positions) && !strcmp(json_string_value(positions), "last")))
        return qg_ids_push(&w->positions, (int32_t)w->ids.n - 1);
    return cli_get_ids(row, "positions", &w->positions, err);
}

static qg_status read_wanted(const json_t *row, int32_t vocab, wanted *w, qg_err *err)
{
    QG_TRY(cli_get_ids(row, "ids", &w->ids, err));
    QG_TRY(read_positions(row, w, err));
    if (json_object_get(row, "splits"))
        QG_TRY(cli_get_ids(row, "splits", &w->splits, err));
    if (json_object_get(row, "columns")) {
        QG_TRY(cli_get_ids(row, "columns", &w->columns, err));
        for (size_t i = 0; i < w->columns.n; i++)
            if (w->columns.p[i] < 0 || w->columns.p[i] >= vocab)
                return qg_fail(err, QG_ERR_ARG, "\"columns\"[%zu]: %d is not in 0..%d", i,
                               w->columns.p[i], vocab - 1);
        return QG_OK;
    }
    w->top = 20;
    return qg_json_opt_int(row, "top", 1, vocab, &w->top, err);
}

static double logsumexp(const float *x, int32_t n)
{
    double top = -INFINITY, sum = 0;
    for (int32_t i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (int32_t i = 0; i < n; i++)
        sum += exp(x[i] - top);
    return top + log(sum);
}

/* Puts the k largest into ids, falling; ties by the smaller id. */
static qg_status top_ids(const float *x, int32_t n, int64_t k, qg_ids *ids)
{
    for (int32_t i = 0; i < n; i++) {
        if ((int64_t)ids->n == k && x[i] <= x[ids->p[k - 1]])
            continue;
        if ((int64_t)ids->n < k)
            QG_TRY(qg_ids_push(ids, i));
        size_t at = ids->n - 1;
        for (; at > 0 && x[ids->p[at - 1]] < x[i]; at--)
            ids->p[at] = ids->p[at - 1];
        ids->p[at] = i;
    }
    return QG_OK;
}

static json_t *number(double v)
{
    json_t *n = json_real(v); /* NULL for what JSON cannot hold */
    return n ? n : json_null();
}

static qg_status position_json(const wanted *w, int32_t position, const float *logits,
                               int32_t vocab, json_t **out, qg_err *err)
{
    qg_ids top = {0};
    const qg_ids *columns = &w->columns;
    if (w->top) {
        if (top_ids(logits, vocab, w->top, &top) != QG_OK)
            return qg_fail(err, QG_ERR_NOMEM, "out of memory");
        columns = &top;
    }
    json_t *values = json_object();
    for (size_t i = 0; i < columns->n; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", columns->p[i]);
        json_object_set_new(values, key, number(logits[columns->p[i]]));
    }
    qg_ids_free(&top);
    *out = json_pack("{s:i, s:o, s:o}", "position", position, "values", values, "logsumexp",
                     number(logsumexp(logits, vocab)));
    return QG_OK;
}

/* A Stream model's four groups at one position. */
static json_t *heads_json(const qg_model_info *info, int32_t position, const float *heads)
{
    static const char *const names[] = {"risk", "category", "query_risk", "query_category"};
    json_t *o = json_pack("{s:i}", "position", position);
    for (size_t g = 0; g < QG_COUNT(names); g++) {
        json_t *list = json_array();
        for (int32_t i = 0; i < info->n_labels[g]; i++)
            json_array_append_new(list, number(*heads++));
        json_object_set_new(o, names[g], list);
    }
    return o;
}

static qg_status answer(qg_engine *engine, const qg_model_info *info, const wanted *w, json_t **out,
                        qg_err *err)
{
    const int32_t vocab = info->vocab_size;
    size_t width = (size_t)vocab;
    for (int g = 0; info->stream && g < 4; g++)
        width = (g ? width : 0) + (size_t)info->n_labels[g];
    const qg_logits_request request = {
        .ids = w->ids.p,
        .n_ids = w->ids.n,
        .positions = w->positions.p,
        .n_positions = w->positions.n,
        .splits = w->splits.p,
        .n_splits = w->splits.n,
    };
    size_t n;
    float *logits = qg_mul_size(w->positions.n, width * sizeof *logits, &n) ? qg_malloc(n) : NULL;
    if (!logits)
        return qg_fail(err, QG_ERR_NOMEM, "no memory for %zu positions of %d logits",
                       w->positions.n, (int)width);
    qg_status rc = qg_logits(engine, &request, logits, err);
    json_t *list = json_array();
    for (size_t i = 0; i < w->positions.n && rc == QG_OK; i++) {
        const float *at = logits + i * width;
        json_t *item = NULL;
        if (info->stream)
            item = heads_json(info, w->positions.p[i], at);
        else
            rc = position_json(w, w->positions.p[i], at, vocab, &item, err);
        json_array_append_new(list, item);
    }
    qg_mfree(logits);
    *out = json_pack("{s:o}", info->stream ? "heads" : "logits", list);
    return rc;
}

static qg_status logits_row(qg_engine *engine, const cli_args *args, qg_slice line,
                            const json_t *row, json_t **out, qg_err *err)
{
    qg_model_info info;
    wanted w = {0};

    (void)args;
    (void)line;
    qg_engine_info(engine, &info);
    qg_status rc = read_wanted(row, info.vocab_size, &w, err);
    if (rc == QG_OK)
        rc = answer(engine, &info, &w, out, err);
    wanted_free(&w);
    return rc;
}

int cmd_logits(const cli_args *args)
{
    qg_engine *engine;

    if (!args->jsonl)
        return cli_usage("logits: reads rows on standard input, so it needs --jsonl");
    int code = cli_open(args, QG_PART_WEIGHTS, &engine);
    if (code != EXIT_DONE)
        return code;
    code = cli_each_row(engine, args, logits_row);
    qg_engine_close(engine);
    return code;
}
