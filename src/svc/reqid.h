/* Request ids and traces: the client's own, or random ones. */
#ifndef QG_SVC_REQID_H
#define QG_SVC_REQID_H

#include "http/http.h"

/* True for an id that may be echoed into headers, logs and JSON: 1 to QG_MAX_ID_BYTES - 1 letters,
 * digits and "-_.:/+=@". */
bool qg_reqid_ok(qg_slice id);

/* Gives the request its id: X-Request-Id when it is well-formed, else 32 random hex digits;
 * and its trace: traceparent's when that is well-formed, else a new one. */
void qg_reqid_assign(qg_http_req *req);

#endif
