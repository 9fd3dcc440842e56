/* The audit log: one JSON object a line, each holding the hash of the line before, so that a line
 * that is changed, taken out or put in shows.  No text of users unless asked for.
 *
 *   {"seq":N,"time":"…Z",…,"prev":"<64 hex>","hash":"<64 hex>"}
 *
 * hash = SHA-256 of the line's bytes up to and without `,"hash":`.  The first line's prev is 64
 * zeros.  A log that exists is continued. */
#ifndef QG_SVC_AUDIT_H
#define QG_SVC_AUDIT_H

#include "text/json.h"

typedef struct qg_audit qg_audit; /* one thread at a time */

/* Opens or creates path (mode 0600) for appending; a last line that was cut by a crash is ended and
 * noted in the next record.  QG_ERR_IO; QG_ERR_FORMAT: the last line is not of an audit log. */
qg_status qg_audit_open(qg_audit **out, const char *path, qg_err *err);
/* Appends record (an object; keys seq, time, prev and hash are ours).  QG_ERR_IO: not written (disk
 * full, …); the chain goes on from the last line that was. */
qg_status qg_audit_add(qg_audit *audit, const json_t *record, qg_err *err);
void qg_audit_close(qg_audit *audit);

/* Adds to a verdict's line what became of asking a second model, if one was asked:
 * "second":{"first":{"severity","p"}} or {"error"}. */
void qg_audit_second(json_t *line, const qg_result *result);

/* Reads a whole log and follows the chain: *n lines held. QG_ERR_FORMAT names the first line that
 * breaks it. */
qg_status qg_audit_check(const char *path, uint64_t *n, qg_err *err);

#endif
