/* W3C trace context: the caller's trace, or a new one (CONTRACTS 11.3). */
#ifndef QG_SVC_TRACE_H
#define QG_SVC_TRACE_H

#include "base/slice.h"

#include <stdint.h>

typedef struct qg_trace {
    char trace_id[33];  /* 32 lower-case hex digits, never all zero */
    char span_id[17];   /* ours: 16 */
    char parent_id[17]; /* the caller's span, "" when the trace began here */
    uint8_t flags;
} qg_trace;

/* header: traceparent as it came, or the empty slice.  Anything malformed starts a new trace. */
void qg_trace_begin(qg_trace *t, qg_slice header);
/* For logs: "trace-span" or "trace-span-parent", the span being this request's. */
enum { QG_TRACE_AT = 0, QG_TRACE_SPAN_AT = 33, QG_TRACE_PARENT_AT = 50, QG_TRACE_TEXT = 67 };
void qg_trace_text(const qg_trace *t, char out[QG_TRACE_TEXT]);
/* Ours to hand on: "00-trace-span-flags". */
void qg_trace_header(const qg_trace *t, char out[56]);

#endif
