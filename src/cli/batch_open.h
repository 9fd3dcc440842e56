/* What label and eval open before their rows. */
#ifndef QG_CLI_BATCH_OPEN_H
#define QG_CLI_BATCH_OPEN_H

#include "batch/ident.h"
#include "cli/io.h"

typedef struct cli_rows {
    qg_engine *engine;
    qg_ident_options opened; /* what it was opened with */
    qg_special special;
    const char *policy; /* file; NULL: none was given */
} cli_rows;

/* Opens the engine the options ask for; EXIT_DONE, or a failure that was reported. */
int cli_rows_open(const cli_args *args, cli_rows *rows);

#endif
