/* Lines to a descriptor that may stop taking them: nobody but a thread of the log's own waits for
 * its reader. */
#ifndef QG_BASE_LINE_LOG_H
#define QG_BASE_LINE_LOG_H

#include "base/status.h"

typedef struct qg_line_log qg_line_log;

/* fd stays the caller's; it need not be non-blocking.  prefix stands before each line and lives as
 * long as the log.  QG_ERR_NOMEM. */
qg_status qg_line_log_open(qg_line_log **out, int fd, const char *prefix, qg_err *err);

/* Prefix, line (without an end of its own), \n.  Written within a few milliseconds; of lines for
 * which there is no room, because the reader is too slow, a later line tells the number.  Any
 * thread; never waits. */
void qg_line_log_add(qg_line_log *log, const char *line);

/* Waits until everything is written, for ms milliseconds at most, and frees; NULL is fine.  Nobody
 * may add any more.  A thread whose write hangs for longer is left behind with its memory. */
void qg_line_log_close(qg_line_log *log, int ms);

#endif
