#include "cli/serve_log.h"

#include <string.h>
#include <unistd.h>

qg_status cli_log_open(cli_log *log, const cli_args *args, qg_err *err)
{
    const char *level = args->log ? args->log : "";
    *log = (cli_log){.access = strcmp(level, "note") != 0};
    if (strcmp(level, "quiet") == 0)
        return QG_OK;
    return qg_line_log_open(&log->lines, STDERR_FILENO, "qguard: ", err);
}

void cli_log_add(const cli_log *log, bool access, const char *line)
{
    if (log->lines && (log->access || !access))
        qg_line_log_add(log->lines, line);
}

void cli_log_close(cli_log *log)
{
    enum { LAST_MS = 1000 };
    qg_line_log_close(log->lines, LAST_MS);
    log->lines = NULL;
}
