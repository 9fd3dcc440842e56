/* Reading files and lines, writing JSON, opening the engine the options ask for. */
#ifndef QG_CLI_IO_H
#define QG_CLI_IO_H

#include "base/buf.h"
#include "cli/args.h"
#include "serve/serve.h"

#include <jansson.h>
#include <stdio.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_CONTROVERSIAL = 10, EXIT_UNSAFE = 11 };

/* Writes "qguard: sentence" to stderr and returns EXIT_FAILED / EXIT_USAGE. */
int cli_fail(const qg_err *err);
int cli_usage(const char *sentence);

/* Whole file, or standard input for "-".  The caller inits and frees out. */
qg_status cli_read(const char *path, qg_buf *out, qg_err *err);

/* Next line of in without its end; *more false at the end of input.  Lines end in \n or \r\n. */
qg_status cli_read_line(FILE *in, qg_buf *line, bool *more, qg_err *err);

/* Compact JSON, nine significant digits, and a line break to stdout. */
void cli_print_json(const json_t *value);
/* {"error":{"code":…,"message":…},"line":N} */
void cli_print_row_error(qg_status rc, const qg_err *err, long long line);
/* Flushes stdout; EXIT_FAILED with a sentence when the output could not be written. */
int cli_finish(int code);

/* value, or the environment's when there is none; NULL when that is empty, too. */
const char *cli_or_env(const char *value, const char *variable);

/* With --memory: what was chosen, to stderr. */
void cli_say_memory(const cli_args *args, const qg_engine *engine);

/* Engine options from the arguments; EXIT_DONE or a failure that was reported. parts: QG_PART_*. */
int cli_engine_options(const cli_args *args, uint32_t parts, qg_options *opt);
int cli_open(const cli_args *args, uint32_t parts, qg_engine **engine);
/* The same with another built-in model than the Gen one. */
int cli_open_builtin(const cli_args *args, uint32_t parts, const char *builtin, qg_engine **engine);

#endif
