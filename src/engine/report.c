/* What this processor can do. */
#include "engine/engine_int.h"

#include "base/cpu.h"
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
        rc = qg_fail(err, QG_ERR_UNSUPPORTED, "measuring is not built yet");
    if (rc == QG_OK && !(*json = qg_json_dump(o)))
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    json_decref(o);
    return rc;
}
