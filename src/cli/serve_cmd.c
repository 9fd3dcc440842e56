#include "cli/find_model.h"
#include "cli/io.h"
#include "cli/serve_log.h"
#include "serve/serve.h"

#include <stdlib.h>
#include <string.h>

static void log_line(void *ud, qg_serve_log level, const char *line)
{
    cli_log_add(ud, level == QG_SERVE_LOG_ACCESS, line);
}

int cmd_serve(const cli_args *args)
{
    cli_args local = *args;
    qg_serve_options opt;
    cli_log log;
    qg_err err;

    if (args->n_positional && args->model)
        return cli_usage("serve: the model is given twice, as MODEL and as --model");
    if (args->n_positional)
        local.model = args->positional[0];
    const char *key = getenv("QGUARD_API_KEY");
    if (key && *key && !local.api_keys.n)
        local.api_keys.at[local.api_keys.n++] = key;
    qg_serve_options_init(&opt);
    if (cli_engine_options(&local, QG_PART_ALL, &opt.engine) != EXIT_DONE)
        return EXIT_USAGE;
    if (args->memory && args->stream_model)
        return cli_usage("serve: --memory is for one model; beside --stream-model give --dtype and "
                         "--kv-cache-mib");
    if (args->repo)
        opt.engine.model = args->repo; /* find_model says where it is, now and after SIGHUP */
    if (!opt.engine.model && !args->quiet)
        fprintf(stderr, "qguard: no model given: serving the built-in demonstration model, a toy; "
                        "do not rely on its verdicts\n");
    if (args->host)
        opt.host = args->host;
    opt.port = (uint16_t)args->port;
    opt.socket = args->uds;
    opt.stream_model = args->stream_repo ? args->stream_repo : args->stream_model;
    if (args->second_repo)
        opt.engine.second_model = args->second_repo;
    opt.find_model = cli_locate;
    opt.find_ud = &local;
    opt.admin_key = cli_or_env(args->admin_key, "QGUARD_ADMIN_KEY");
    opt.names = local.names.at;
    opt.n_names = (size_t)local.names.n;
    opt.api_keys = local.api_keys.at;
    opt.n_api_keys = (size_t)local.api_keys.n;
    opt.api_key_file = args->api_key_file;
    if (args->allowed_origins)
        opt.origins = args->allowed_origins;
    opt.bare_categories = args->category_map && !strcmp(args->category_map, "bare");
    opt.no_own_categories = args->no_own_categories;
    if (args->decode && !strcmp(args->decode, "generate"))
        opt.decode = QG_DECODE_GENERATE;
    opt.policy = args->policy ? args->policy : getenv("QGUARD_POLICY");
    if (opt.policy && !*opt.policy)
        opt.policy = NULL;
    opt.audit_log = args->audit_log;
    if (args->max_connections)
        opt.http.connections = (uint32_t)args->max_connections;
    if (args->max_connections_addr)
        opt.http.connections_addr = (uint32_t)args->max_connections_addr;
    opt.probe_ms = args->probe_ms;
    opt.request_timeout_ms = args->request_timeout_s * 1000;
    opt.log = log_line;
    opt.log_ud = &log;
    qg_status rc = cli_log_open(&log, args, &err);
    if (rc == QG_OK)
        rc = qg_serve(&opt, &err);
    cli_log_close(&log);
    return rc == QG_OK ? EXIT_DONE : cli_fail(&err);
}
