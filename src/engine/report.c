/* What this processor can do. */
#include "engine/engine_int.h"

#include "base/cpu.h"
#include "kern/measure.h"
#include "text/json.h"

static void add_features(json_t *o, const char *key, uint32_t features)
{
    char names[256];
    qg_cpu_names(features, names, sizeof names);
    json_object_set_new(o, key, json_string(names));
}

static void add_rows(json_t *o, uint32_t features)
{
    const struct {
        const char *job, *row;
    } rows[] = {
        {"matrix product, bfloat16", qg_gemm_pick(QG_W_BF16, features)->name},
        {"matrix product, int8", qg_gemm_pick(QG_W_I8, features)->name},
        {"matrix product, int4", qg_gemm_pick(QG_W_I4, features)->name},
        {"matrix product, float32", qg_gemm_pick(QG_W_F32, features)->name},
        {"attention, bfloat16 KV", qg_attn_pick(QG_W_BF16, features)->name},
        {"attention, float32 KV", qg_attn_pick(QG_W_F32, features)->name},
        {"row-wise vectors", qg_vec_pick(features)->name},
    };
    json_t *list = json_object();
    for (size_t i = 0; i < QG_COUNT(rows); i++)
        json_object_set_new(list, rows[i].job, json_string(rows[i].row));
    json_object_set_new(o, "rows", list);
}

static void add_figure(json_t *o, const char *name, double value)
{
    json_object_set_new(o, name, json_real((double)(int64_t)(value * 10 + 0.5) / 10));
}

static qg_status add_measures(json_t *o, uint32_t features, qg_err *err)
{
    qg_pool *pool;
    double memory = 0, cache = 0;
    QG_TRY(qg_pool_open(&pool, qg_cpu_count(), err));
    json_t *m = json_object();
    json_object_set_new(m, "threads", json_integer(qg_pool_threads(pool)));
    add_figure(m, "bfloat16 GFLOP/s", qg_measure_peak(qg_peak_pick(QG_W_BF16, features), pool));
    add_figure(m, "int8 GOP/s", qg_measure_peak(qg_peak_pick(QG_W_I8, features), pool));
    add_figure(m, "float32 GFLOP/s", qg_measure_peak(qg_peak_pick(QG_W_F32, features), pool));
    qg_status rc = qg_measure_read(&memory, (size_t)256 << 20, pool, err);
    if (rc == QG_OK)
        rc = qg_measure_read(&cache, (size_t)512 << 10, pool, err);
    add_figure(m, "memory read GB/s", memory);
    add_figure(m, "second-level cache read GB/s", cache);
    json_object_set_new(o, "measured", m);
    qg_pool_close(pool);
    return rc;
}

qg_status qg_cpu_report(const char *cpu, bool measure, char **json, qg_err *err)
{
    uint32_t mask = UINT32_MAX, found = qg_cpu_detect();
    qg_status rc = QG_OK;

    *json = NULL;
    if (cpu)
        QG_TRY(qg_cpu_parse(cpu, &mask, err));
    json_t *o = json_object();
    add_features(o, "found", found);
    add_features(o, "used", found & mask);
    json_object_set_new(o, "processors", json_integer(qg_cpu_count()));
    add_rows(o, found & mask);
    if (measure)
        rc = add_measures(o, found & mask, err);
    if (rc == QG_OK && !(*json = qg_json_dump_digits(o, 9)))
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    json_decref(o);
    return rc;
}
