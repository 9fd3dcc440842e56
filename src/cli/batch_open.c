#include "cli/batch_open.h"

#include <stdlib.h>

int cli_rows_open(const cli_args *args, cli_rows *rows)
{
    qg_options opt;
    int code = cli_engine_options(args, QG_PART_ALL, &opt);
    if (code != EXIT_DONE)
        return code;
    *rows = (cli_rows){.opened = {.model = opt.model,
                                  .second_model = opt.second_model,
                                  .second_below = opt.second_below},
                       .special = opt.special};
    rows->policy = args->policy ? args->policy : getenv("QGUARD_POLICY");
    if (rows->policy && !*rows->policy)
        rows->policy = NULL;
    return cli_open(args, QG_PART_ALL, &rows->engine);
}
