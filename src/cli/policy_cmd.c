#include "cli/io.h"
#include "serve/serve.h"

#include <string.h>

int cmd_policy(const cli_args *args)
{
    char summary[256];
    qg_err err;
    if (args->n_positional != 2 || strcmp(args->positional[0], "check") != 0)
        return cli_usage("policy: expected: qguard policy check FILE");
    if (qg_serve_policy_check(args->positional[1], summary, sizeof summary, &err) != QG_OK)
        return cli_fail(&err);
    printf("%s: ok: %s\n", args->positional[1], summary);
    return EXIT_DONE;
}
