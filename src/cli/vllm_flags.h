/* The command line of `vllm serve` (and of SGLang's launch_server) in the words of our own. */
#ifndef QG_CLI_VLLM_FLAGS_H
#define QG_CLI_VLLM_FLAGS_H

#include "base/arena.h"

/* What `qguard serve` was given -> arguments that the table of options knows: other spellings
 * become ours, what has no meaning here is left out with a note on stderr.  *out [*n] and new
 * strings live in arena.  False: a sentence was written to stderr (a flag that would change answers
 * and is not in this version, a value missing). */
bool cli_from_vllm(int argc, char **argv, qg_arena *arena, int *n, char ***out);

#endif
