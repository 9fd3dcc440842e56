/* The log of serve and gateway on stderr, as --log asks for it. */
#ifndef QG_CLI_SERVE_LOG_H
#define QG_CLI_SERVE_LOG_H

#include "base/line_log.h"
#include "cli/args.h"

typedef struct cli_log {
    qg_line_log *lines; /* NULL: quiet */
    bool access;        /* requests are told, too */
} cli_log;

qg_status cli_log_open(cli_log *log, const cli_args *args, qg_err *err);
/* Any thread; never waits for who reads. */
void cli_log_add(const cli_log *log, bool access, const char *line);
/* Writes what is left, for a second at most. */
void cli_log_close(cli_log *log);

#endif
