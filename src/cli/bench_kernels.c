/* qguard bench kernels: every kernel row of this processor beside the peak of the same seconds. */
#include "cli/bench.h"

#include "text/json.h"

#include <stdlib.h>
#include <string.h>

static qg_status print_rows(bench *b, const char *text)
{
    json_t *o, *row;
    size_t i;

    QG_TRY(qg_json_parse(qg_str(text), 0, &o, &b->err));
    b->out.threads = (int32_t)json_integer_value(json_object_get(o, "threads"));
    json_array_foreach (json_object_get(o, "rows"), i, row) {
        const char *job, *kernel, *dtype, *shape, *unit;
        double value, limit = 0, fraction = 0;
        char metric[80], notes[80];
        if (json_unpack(row, "{s:s, s:s, s:s, s:s, s:s, s:F, s?F, s?F}", "job", &job, "row",
                        &kernel, "dtype", &dtype, "shape", &shape, "unit", &unit, "value", &value,
                        "limit", &limit, "fraction", &fraction))
            continue;
        b->out.dtype = dtype;
        snprintf(metric, sizeof metric, "%s %s", job, shape);
        if (limit > 0)
            snprintf(notes, sizeof notes, "row %s; %.0f%% of %.4g", kernel, 100 * fraction, limit);
        else
            snprintf(notes, sizeof notes, "row %s; one thread", kernel);
        bench_row(&b->out, "kernels", metric, value, unit, 0, notes);
    }
    json_decref(o);
    return QG_OK;
}

qg_status bench_kernels(bench *b)
{
    static const char *const jobs[] = {"gemm", "few", "attn", "vec"};
    const char *only = b->args->n_positional > 1 ? b->args->positional[1] : NULL;
    qg_options opt;
    qg_status rc = QG_OK;

    cli_engine_options(b->args, 0, &opt);
    for (size_t i = 0; i < (only ? 1 : QG_COUNT(jobs)) && rc == QG_OK; i++) {
        char *json;
        rc = qg_kernel_report(only ? only : jobs[i], opt.cpu, opt.n_threads, &json, &b->err);
        if (rc == QG_OK)
            rc = print_rows(b, json);
        qg_free(json);
    }
    return rc;
}
