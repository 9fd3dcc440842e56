/* qguard check --jsonl: many rows at the same time, answers in input order. */
#ifndef QG_CLI_CHECK_ROWS_H
#define QG_CLI_CHECK_ROWS_H

#include "cli/io.h"

int cli_check_rows(const cli_args *args);

/* Exit status that --exit-verdict asks for. */
int cli_verdict_exit(const qg_result *result);
qg_decode cli_decode(const cli_args *args);

#endif
