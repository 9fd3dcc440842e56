#include "cli/find_model.h"

#include "base/mem.h"
#include "cli/io.h"
#include "cli/pull_show.h"
#include "hub/find.h"
#include "hub/repo.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *find_in(qg_hub_kind kind, const cli_args *args, const char *word)
{
    qg_hub_env env;
    if (qg_hub_env_read(&env, kind, NULL) != QG_OK)
        return NULL;
    char *path = qg_hub_find(&env, word, args->revision);
    qg_hub_env_free(&env);
    return path;
}

/* Without --hub both caches will do, the usual hub's first. */
char *cli_find_cached(const cli_args *args, const char *word)
{
    const qg_hub_kind usual = cli_hub(args);
    if (!qg_repo_is_name(word))
        return NULL;
    char *path = find_in(usual, args, word);
    if (!path && !args->hub)
        path = find_in(usual == QG_HUB_HF ? QG_HUB_MODELSCOPE : QG_HUB_HF, args, word);
    return path;
}

char *cli_locate(void *args, const char *word)
{
    if (!qg_repo_is_name(word) || !access(word, F_OK))
        return qg_memdup0(word, strlen(word));
    return cli_find_cached(args, word);
}

static int pull(const cli_args *args, const char *word, char **path)
{
    qg_hub_env env;
    qg_err err;

    if (qg_hub_env_read(&env, cli_hub(args), &err) != QG_OK)
        return cli_fail(&err);
    bool offline = env.offline;
    qg_hub_env_free(&env);
    if (offline) {
        fprintf(stderr,
                "qguard: %s: no such file or folder, and in no hub's cache; HF_HUB_OFFLINE says "
                "not to fetch it\n",
                word);
        return EXIT_FAILED;
    }
    fprintf(stderr, "qguard: %s is not here yet: pulling it from %s, as `qguard pull` would\n",
            word, qg_hub_name(cli_hub(args)));
    return cli_pull(args, word, path);
}

int cli_find_model(const cli_args *args, const char *word, qg_arena *arena, const char **path)
{
    *path = word;
    if (!word || !access(word, F_OK) || !qg_repo_is_name(word))
        return EXIT_DONE;
    char *found = cli_find_cached(args, word);
    int code = found ? EXIT_DONE : pull(args, word, &found);
    if (code != EXIT_DONE)
        return code;
    char *copy = qg_arena_alloc(arena, strlen(found) + 1);
    if (copy)
        *path = memcpy(copy, found, strlen(found) + 1);
    qg_mfree(found);
    return copy ? EXIT_DONE : cli_usage("out of memory");
}

/* One of the options' words; *name gets it when it was a repository's. */
static int find_option(const cli_args *args, const char **word, qg_arena *arena, const char **name)
{
    const char *said = *word, *path;
    int code = cli_find_model(args, said, arena, &path);
    if (code == EXIT_DONE && path != said) {
        *name = said;
        *word = path;
    }
    return code;
}

int cli_find_models(const cli_command *command, cli_args *args, qg_arena *arena)
{
    const bool first =
        command->bit & (CMD_SERVE | CMD_INSPECT | CMD_QUANTIZE) && args->n_positional;
    const char **model = first ? &args->positional[0] : &args->model, *unused;
    const char *env =
        command->bit & (CMD_INSPECT | CMD_GATEWAY | CMD_QUANTIZE) ? NULL : getenv("QGUARD_MODEL");
    int code = EXIT_DONE;

    if (!(command->bit & (CMD_ENGINE | CMD_QUANTIZE)))
        return EXIT_DONE;
    if (!*model && env && *env && qg_repo_is_name(env))
        *model = env;
    if (!(command->bit & CMD_GATEWAY))
        code = find_option(args, model, arena, &args->repo);
    if (code == EXIT_DONE)
        code = find_option(args, &args->gen_model, arena, &args->gen_repo);
    if (code == EXIT_DONE)
        code = find_option(args, &args->stream_model, arena, &args->stream_repo);
    if (code == EXIT_DONE)
        code = find_option(args, &args->second_model, arena, &args->second_repo);
    if (code == EXIT_DONE)
        code = find_option(args, &args->other_model, arena, &unused);
    return code;
}
