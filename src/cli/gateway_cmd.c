#include "cli/find_model.h"
#include "cli/io.h"
#include "cli/serve_log.h"
#include "gateway/gateway.h"

#include <stdlib.h>
#include <string.h>

static void log_line(void *ud, qg_gateway_log level, const char *line)
{
    cli_log_add(ud, level == QG_GATEWAY_LOG_ACCESS, line);
}

/* The upstream's key: from a variable, since a command line is for everybody to read. */
static bool take_key(const cli_args *args, qg_gateway_options *opt)
{
    if (!args->upstream_key_env)
        return true;
    opt->upstream_key = getenv(args->upstream_key_env);
    if (opt->upstream_key && *opt->upstream_key)
        return true;
    fprintf(stderr, "qguard: gateway: the variable %s (--upstream-key-env) is not set\n",
            args->upstream_key_env);
    return false;
}

static void take_judge(const cli_args *args, qg_gateway_options *opt)
{
    opt->gen_model = args->gen_repo ? args->gen_repo : args->gen_model;
    opt->judge_ms = args->judge_ms;
    opt->policy = args->policy ? args->policy : getenv("QGUARD_POLICY");
    if (opt->policy && !*opt->policy)
        opt->policy = NULL;
    if (!opt->engine.model && !args->quiet)
        fprintf(stderr, "qguard: no --stream-model given: judging with the built-in demonstration "
                        "model, a toy; do not rely on its verdicts\n");
}

int cmd_gateway(const cli_args *args)
{
    cli_args local = *args;
    qg_gateway_options opt;
    cli_log log;
    qg_err err;

    if (!args->upstreams.n && !args->upstreams_file)
        return cli_usage("gateway: --upstream URL is missing");
    if (args->upstreams_file && (args->upstreams.n || args->upstream_key_env))
        return cli_usage("gateway: --upstreams FILE says it all: --upstream and --upstream-key-env "
                         "do not go with it");
    const char *key = getenv("QGUARD_API_KEY");
    if (key && *key && !local.api_keys.n)
        local.api_keys.at[local.api_keys.n++] = key;
    qg_gateway_options_init(&opt);
    if (args->second_model && !args->gen_model)
        return cli_usage("gateway: --second-model is asked after --gen-model");
    if (cli_engine_options(&local, QG_PART_ALL, &opt.engine) != EXIT_DONE)
        return EXIT_USAGE;
    if (args->second_repo)
        opt.engine.second_model = args->second_repo;
    /* QGUARD_MODEL is a Gen model, as a rule */
    opt.engine.model = args->stream_repo ? args->stream_repo : args->stream_model;
    opt.find_model = cli_locate; /* where repositories are, now and later */
    opt.find_ud = &local;
    opt.upstreams = local.upstreams.at;
    opt.n_upstreams = (size_t)local.upstreams.n;
    opt.upstreams_file = args->upstreams_file;
    if (!take_key(args, &opt))
        return EXIT_FAILED;
    opt.ca_file = args->ca_file;
    take_judge(args, &opt);
    if (args->host)
        opt.host = args->host;
    opt.port = (uint16_t)args->port;
    opt.api_keys = local.api_keys.at;
    opt.n_api_keys = (size_t)local.api_keys.n;
    opt.api_key_file = args->api_key_file;
    opt.admin_key = cli_or_env(args->admin_key, "QGUARD_ADMIN_KEY");
    opt.live_view = args->live_view;
    if (opt.live_view && !opt.admin_key)
        return cli_usage("gateway: --live-view shows users' texts: it needs --admin-key");
    opt.audit_log = args->audit_log;
    opt.header_ms = args->upstream_timeout_s * 1000;
    opt.keep_alive_ms = args->keep_alive_s * 1000;
    opt.stall_ms = args->upstream_stall_s * 1000;
    opt.log = log_line;
    opt.log_ud = &log;
    qg_status rc = cli_log_open(&log, args, &err);
    if (rc == QG_OK)
        rc = qg_gateway(&opt, &err);
    cli_log_close(&log);
    return rc == QG_OK ? EXIT_DONE : cli_fail(&err);
}
