/* What is wrong with a request's body, and typed members whose errors tell where they stand. */
#ifndef QG_SERVE_BODY_H
#define QG_SERVE_BODY_H

#include "base/status.h"
#include "text/json.h"

/* A sentence, and where ("body.messages.0.content", or "" for the whole body). */
typedef struct qg_fault {
    qg_err err;
    char param[96];
    bool schema; /* syntax or type, rather than meaning */
} qg_fault;

/* Fills in fault and returns rc; schema when rc is QG_ERR_FORMAT.  param is a printf format. */
qg_status qg_fault_set(qg_fault *fault, qg_status rc, const char *sentence, const char *param, ...)
    __attribute__((format(printf, 4, 5)));

/* Parses body into *root, an object (to be freed with json_decref; NULL on failure). */
qg_status qg_body_parse(qg_slice body, json_t **root, qg_fault *fault);

/* Members of obj, which stands at where ("body", "body.params"): as qg_json_opt_… and _get_…. */
qg_status qg_body_opt_bool(const json_t *obj, const char *where, const char *key, bool *out,
                           qg_fault *fault);
qg_status qg_body_opt_int(const json_t *obj, const char *where, const char *key, int64_t min,
                          int64_t max, int64_t *out, qg_fault *fault);
qg_status qg_body_opt_num(const json_t *obj, const char *where, const char *key, double min,
                          double max, double *out, qg_fault *fault);
qg_status qg_body_opt_str(const json_t *obj, const char *where, const char *key, qg_slice *out,
                          qg_fault *fault);
qg_status qg_body_opt_object(const json_t *obj, const char *where, const char *key, json_t **out,
                             qg_fault *fault);
qg_status qg_body_opt_array(const json_t *obj, const char *where, const char *key, json_t **out,
                            qg_fault *fault);
qg_status qg_body_get_str(const json_t *obj, const char *where, const char *key, qg_slice *out,
                          qg_fault *fault);
qg_status qg_body_get_object(const json_t *obj, const char *where, const char *key, json_t **out,
                             qg_fault *fault);
qg_status qg_body_get_array(const json_t *obj, const char *where, const char *key, json_t **out,
                            qg_fault *fault);

#endif
