/* Signals and descriptors of a server: what its start function takes from the system and gives
 * back. */
#ifndef QG_SVC_SIGNALS_H
#define QG_SVC_SIGNALS_H

#include "base/status.h"

#include <stdbool.h>

typedef struct qg_signals qg_signals;

typedef enum qg_signal {
    QG_SIGNAL_NONE = 0,
    QG_SIGNAL_STOP,   /* SIGTERM, SIGINT */
    QG_SIGNAL_RELOAD, /* SIGHUP */
} qg_signal;

/* Blocks SIGTERM, SIGINT and SIGHUP for the calling thread, which from then on come through a
 * descriptor, and ignores SIGPIPE.  Before other threads are started.  QG_ERR_IO, QG_ERR_NOMEM. */
qg_status qg_signals_take(qg_signals **out, qg_err *err);
/* Readable when a signal has come. */
int qg_signals_fd(const qg_signals *s);
/* What has come. */
qg_signal qg_signals_read(const qg_signals *s);
/* One that came in the meantime is forgotten, so that it cannot kill the process now.  NULL is
 * fine. */
void qg_signals_give_back(qg_signals *s);
/* Each connection is a descriptor; the usual soft limit of 1,024 is just too small. */
void qg_signals_raise_descriptors(void);

#endif
