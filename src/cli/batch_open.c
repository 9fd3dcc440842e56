#include "cli/batch_open.h"

#include <stdlib.h>

int cli_rows_open(const cli_args *args, cli_rows *rows)
{
    qg_options opt;
    cli_engine_options(args, QG_PART_ALL, &opt);
    *rows = (cli_rows){.model = opt.model, .special = opt.special};
    rows->policy = args->policy ? args->policy : getenv("QGUARD_POLICY");
    if (rows->policy && !*rows->policy)
        rows->policy = NULL;
    return cli_open(args, QG_PART_ALL, &rows->engine);
}
