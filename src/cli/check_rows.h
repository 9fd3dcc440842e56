/* qguard check --jsonl: many rows at the same time, answers in input order. */
#ifndef QG_CLI_CHECK_ROWS_H
#define QG_CLI_CHECK_ROWS_H

#include "base/arena.h"
#include "cli/io.h"

int cli_check_rows(const cli_args *args);

/* The messages of a row {"messages":[…]} or {"prompt":…[,"response":…]}; their texts live in row.
 */
qg_status cli_row_messages(const json_t *row, qg_arena *arena, const qg_message **messages,
                           size_t *n, qg_err *err);

/* Exit status that --exit-verdict asks for. */
int cli_verdict_exit(const qg_result *result);
qg_decode cli_decode(const cli_args *args);

#endif
