#include "cli/io.h"
#include "serve/serve.h"

#include <inttypes.h>
#include <string.h>

int cmd_audit(const cli_args *args)
{
    uint64_t n;
    qg_err err;
    if (args->n_positional != 2 || strcmp(args->positional[0], "check") != 0)
        return cli_usage("audit: expected: qguard audit check FILE");
    if (qg_serve_audit_check(args->positional[1], &n, &err) != QG_OK)
        return cli_fail(&err);
    printf("%s: ok: %" PRIu64 " records\n", args->positional[1], n);
    return EXIT_DONE;
}
