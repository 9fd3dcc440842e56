#include "base/mem.h"
#include "cli/io.h"
#include "cli/pull_show.h"

int cmd_pull(const cli_args *args)
{
    char *path;

    if (args->n_positional != 1)
        return cli_usage("pull: name the repository, as in qguard pull Qwen/Qwen3Guard-Gen-0.6B");
    int code = cli_pull(args, args->positional[0], &path);
    if (code == EXIT_DONE)
        printf("%s\n", path);
    qg_mfree(path);
    return code;
}
