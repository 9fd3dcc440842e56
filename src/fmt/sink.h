/* Where problems of a model go: the first one ends the work (opening), or all are told and the work
 * goes on (inspecting). */
#ifndef QG_FMT_SINK_H
#define QG_FMT_SINK_H

#include "base/status.h"

/* One problem; sentence lives only during the call. */
typedef void qg_problem_fn(void *ud, qg_status status, const char *sentence);

typedef struct qg_sink {
    qg_problem_fn *each; /* NULL: the first problem ends the work */
    void *ud;
    qg_err *err;     /* gets the first problem's sentence; may be NULL */
    qg_status first; /* status of the first problem, QG_OK so far */
} qg_sink;

/* Takes what a check returned with its sentence.  QG_OK: go on (all is well, or the problem was
 * told); anything else: stop and return it.  Out of memory always stops. */
qg_status qg_sink_take(qg_sink *sink, qg_status rc, const qg_err *e)
    __attribute__((warn_unused_result));

#endif
