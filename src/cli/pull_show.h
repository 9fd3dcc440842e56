/* Pulling as people see it: notes, and a line that tells how far it is. */
#ifndef QG_CLI_PULL_SHOW_H
#define QG_CLI_PULL_SHOW_H

#include "cli/args.h"
#include "hub/hubenv.h"

/* The hub that the options or the environment name. */
qg_hub_kind cli_hub(const cli_args *args);
/* Pulls repo as the options say; *path (qg_mfree) is the folder.  EXIT_DONE, or EXIT_FAILED with a
 * sentence written.  Interrupted by SIGINT it ends the process with 130. */
int cli_pull(const cli_args *args, const char *repo, char **path);

#endif
