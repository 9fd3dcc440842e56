#include "serve/body.h"

#include <stdarg.h>
#include <stdio.h>

qg_status qg_fault_set(qg_fault *fault, qg_status rc, const char *sentence, const char *param, ...)
{
    va_list args;
    va_start(args, param);
    vsnprintf(fault->param, sizeof fault->param, param, args);
    va_end(args);
    fault->schema = rc == QG_ERR_FORMAT;
    return qg_fail(&fault->err, rc, "%s", sentence);
}

qg_status qg_body_parse(qg_slice body, json_t **root, qg_fault *fault)
{
    *fault = (qg_fault){.schema = true};
    QG_TRY(qg_json_parse(body, QG_JSON_NUL, root, &fault->err));
    if (json_is_object(*root))
        return QG_OK;
    json_decref(*root);
    *root = NULL;
    return qg_fault_set(fault, QG_ERR_FORMAT, "The body must be an object.", "body");
}

/* The JSON getters wrote the sentence; this adds the place. */
static qg_status placed(qg_status rc, const char *where, const char *key, qg_fault *fault)
{
    if (rc == QG_OK)
        return QG_OK;
    snprintf(fault->param, sizeof fault->param, "%s.%s", where, key);
    fault->schema = true;
    return rc;
}

qg_status qg_body_opt_bool(const json_t *obj, const char *where, const char *key, bool *out,
                           qg_fault *fault)
{
    return placed(qg_json_opt_bool(obj, key, out, &fault->err), where, key, fault);
}

qg_status qg_body_opt_int(const json_t *obj, const char *where, const char *key, int64_t min,
                          int64_t max, int64_t *out, qg_fault *fault)
{
    return placed(qg_json_opt_int(obj, key, min, max, out, &fault->err), where, key, fault);
}

qg_status qg_body_opt_num(const json_t *obj, const char *where, const char *key, double min,
                          double max, double *out, qg_fault *fault)
{
    return placed(qg_json_opt_num(obj, key, min, max, out, &fault->err), where, key, fault);
}

qg_status qg_body_opt_str(const json_t *obj, const char *where, const char *key, qg_slice *out,
                          qg_fault *fault)
{
    return placed(qg_json_opt_str(obj, key, out, &fault->err), where, key, fault);
}

qg_status qg_body_opt_object(const json_t *obj, const char *where, const char *key, json_t **out,
                             qg_fault *fault)
{
    return placed(qg_json_opt_object(obj, key, out, &fault->err), where, key, fault);
}

qg_status qg_body_opt_array(const json_t *obj, const char *where, const char *key, json_t **out,
                            qg_fault *fault)
{
    return placed(qg_json_opt_array(obj, key, out, &fault->err), where, key, fault);
}

qg_status qg_body_get_str(const json_t *obj, const char *where, const char *key, qg_slice *out,
                          qg_fault *fault)
{
    return placed(qg_json_get_str(obj, key, out, &fault->err), where, key, fault);
}

qg_status qg_body_get_object(const json_t *obj, const char *where, const char *key, json_t **out,
                             qg_fault *fault)
{
    return placed(qg_json_get_object(obj, key, out, &fault->err), where, key, fault);
}

qg_status qg_body_get_array(const json_t *obj, const char *where, const char *key, json_t **out,
                            qg_fault *fault)
{
    return placed(qg_json_get_array(obj, key, out, &fault->err), where, key, fault);
}
