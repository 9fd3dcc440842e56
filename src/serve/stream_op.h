/* One append on its way through the engine, and the session that it belongs to. */
#ifndef QG_SERVE_STREAM_OP_H
#define QG_SERVE_STREAM_OP_H

#include "serve/stream_record.h"

typedef struct qg_stream_op {
    qg_task task; /* first: while the worker has it */
    qg_server *srv;
    qg_house *house; /* that the session began with */
    /* Called once per append, on any thread, when status, result and err are set: wake whoever
     * waits.  The op must not be touched after that but by the one that was woken. */
    void (*done)(struct qg_stream_op *op);
    qg_append append; /* what it points to lives until done */
    int32_t rollback; /* before it everything from this token on is forgotten; -1 = nothing.  If
                         then no turn is open, an append of nothing ends well without a result */
    size_t unsettled; /* bytes since a turn last ended: at most so many are encoded with the next */
    /* any thread */
    _Atomic(qg_session *) session; /* closed by whoever takes it out */
    atomic_int parts;
    atomic_bool gone, submitted;
    /* written before done */
    qg_status status;
    qg_stream_result *result; /* the callee's, freed with qg_stream_result_free */
    qg_err err;
    qg_stream_rules rules;   /* rules.said: of the append */
    bool rolled;             /* the rollback has happened, whatever became of the append */
    qg_stream_record record; /* server's thread */
} qg_stream_op;

/* Opens the session; op->record has begun, and gets the thresholds unless they are NULL.  Fails as
 * qg_session_open, and with QG_ERR_UNSUPPORTED when there is no Stream model. */
qg_status qg_stream_op_open(qg_stream_op *op, qg_server *srv, const qg_thresholds *thresholds,
                            qg_err *err);
/* Appends op->append; one at a time.  Server's thread; a long text, and a
 * piece behind a long one, is left to the worker. */
void qg_stream_op_run(qg_stream_op *op);
/* The same from inside done(): on that thread, whatever the length. */
void qg_stream_op_next(qg_stream_op *op);
/* Closes the session, now or as soon as a running append has been submitted, which then ends early.
 * Server's thread. */
void qg_stream_op_close(qg_stream_op *op);

/* Ends the record and lets go of the engines; nobody runs it any more. */
void qg_stream_op_end(qg_stream_op *op);

#endif
