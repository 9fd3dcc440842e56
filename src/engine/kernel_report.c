/* What the kernels do on this machine. */
#include "engine/engine_int.h"

#include "base/cpu.h"
#include "kern/kernbench.h"
#include "text/json.h"

static void add_row(void *ud, const qg_kernbench_row *row)
{
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:f, s:s}", "job", row->job, "row", row->row, "dtype",
                  row->dtype, "shape", row->shape, "value", row->value, "unit", row->unit);
    if (row->limit > 0) {
        json_object_set_new(o, "limit", json_real(row->limit));
        json_object_set_new(o, "fraction", json_real(row->value / row->limit));
    }
    json_array_append_new(ud, o); /* takes NULL for what it is: out of memory, a row less */
}

qg_status qg_kernel_report(const char *job, const char *cpu, int32_t n_threads, char **json,
                           qg_err *err)
{
    uint32_t mask = UINT32_MAX;
    qg_pool *pool;

    *json = NULL;
    if (!job || n_threads < 0)
        return qg_fail(err, QG_ERR_ARG, "a kernel job and a number of threads are needed");
    if (cpu)
        QG_TRY(qg_cpu_parse(cpu, &mask, err));
    QG_TRY(qg_pool_open(&pool, n_threads ? n_threads : qg_cpu_count(), err));
    json_t *rows = json_array();
    qg_status rc = qg_kernbench(job, qg_cpu_detect() & mask, pool, add_row, rows, err);
    json_t *o = json_pack("{s:i, s:O}", "threads", qg_pool_threads(pool), "rows", rows);
    if (rc == QG_OK && !(*json = qg_json_dump_digits(o, 4)))
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    json_decref(o);
    json_decref(rows);
    qg_pool_close(pool);
    return rc;
}
