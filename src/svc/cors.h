/* Cross-origin requests: which web pages may call this server from a browser. */
#ifndef QG_SVC_CORS_H
#define QG_SVC_CORS_H

#include "http/http.h"

#include <jansson.h>

typedef struct qg_cors {
    json_t *origins; /* array of strings; NULL = no page may */
    bool all;        /* "*" is among them */
} qg_cors;

/* spec: "*", one origin, or a JSON list of origins; NULL or "" or "[]" = none.  QG_ERR_ARG names
 * it. */
qg_status qg_cors_open(qg_cors *cors, const char *spec, qg_err *err);
void qg_cors_close(qg_cors *cors);

/* Adds what a browser needs to see when the request comes from a page of an allowed origin;
 * preflight: to an answer to OPTIONS, too. */
void qg_cors_dress(const qg_cors *cors, const qg_http_req *req, qg_http_answer *answer);

#endif
