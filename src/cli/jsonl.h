/* JSONL in, JSONL out, one row at a time: the loop that tokenize, render and logits share. */
#ifndef QG_CLI_JSONL_H
#define QG_CLI_JSONL_H

#include "cli/io.h"

/* Answers one row.  line: the row's bytes (qg_render wants them); row: the same parsed, an object.
 * *answer is a new reference. */
typedef qg_status cli_row_fn(qg_engine *engine, const cli_args *args, qg_slice line,
                             const json_t *row, json_t **answer, qg_err *err);

/* Reads standard input to its end; a row that fails becomes an error line and makes the exit status
 * EXIT_FAILED.  Empty lines are skipped. */
int cli_each_row(qg_engine *engine, const cli_args *args, cli_row_fn *fn);

/* A member that is a list of int32 -> ids (zero-initialised by the caller, who frees it). */
qg_status cli_get_ids(const json_t *row, const char *key, qg_ids *ids, qg_err *err);
/* Ids as a JSON list; NULL when out of memory. */
json_t *cli_ids_json(const int32_t *ids, size_t n);

#endif
