/* `serve --config FILE`: the file's settings become words of the command line. */
#ifndef QG_CLI_CONFIG_FILE_H
#define QG_CLI_CONFIG_FILE_H

#include "base/arena.h"

#include <stdbool.h>

/* Replaces --config FILE in argv [argc] by what the file says, behind MODEL and before the other
 * words; what the command line says itself is left out, so that it wins.  *out lies in arena, or is
 * argv.  False: a sentence was written to stderr. */
bool cli_config_file(int argc, char **argv, qg_arena *arena, int *n, char ***out);

#endif
