/* The one place where the words behind --model become a folder: a path, a built-in model, or a
 * repository's name. */
#ifndef QG_CLI_FIND_MODEL_H
#define QG_CLI_FIND_MODEL_H

#include "cli/args.h"

#include "base/arena.h"

/* A repository's name in word (when no file or folder is called so) becomes its folder in a hub's
 * cache; what is not there is pulled first, after saying so.  Everything else stays as it is.
 * *path lies in arena or is word; NULL stays NULL.  EXIT_DONE, or EXIT_FAILED with a sentence
 * written. */
int cli_find_model(const cli_args *args, const char *word, qg_arena *arena, const char **path);
/* The same without writing, pulling or the network; NULL when nothing is found.  Free with
 * qg_mfree. */
char *cli_find_cached(const cli_args *args, const char *word);
/* For servers, which look again later: a repository by what the hub's cache has now, everything
 * else is what it is.  args: the cli_args.  NULL: nowhere; free with qg_mfree. */
char *cli_locate(void *args, const char *word);
/* Puts folders in the place of names in args->model (the environment's when there is none, or the
 * first word of commands that take MODEL there) and in whatever else names a model. */
int cli_find_models(const cli_command *command, cli_args *args, qg_arena *arena);

#endif
