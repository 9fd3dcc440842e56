/* The gateway of src/gateway on the fake engine: `qguard-fake-gateway --name value …`, where every
 * limit can be set, so that the tests need not wait for the real ones. */
#include "base/status.h"
#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16 };

static void log_line(void *ud, qg_gateway_log level, const char *line)
{
    (void)ud;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

typedef struct knob {
    const char *name;
    int32_t *i32;
    const char **text;
} knob;

static bool turn(const knob *knobs, size_t n, const char *name, const char *value)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(knobs[i].name, name) != 0)
            continue;
        if (knobs[i].i32)
            *knobs[i].i32 = (int32_t)strtol(value, NULL, 10);
        if (knobs[i].text)
            *knobs[i].text = value;
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    qg_gateway_options opt;
    qg_err err;
    const char *upstreams[MOST], *keys[MOST];
    qg_gateway_options_init(&opt);
    opt.port = 0;
    opt.log = log_line;
    opt.upstreams = upstreams;
    opt.api_keys = keys;
    opt.engine.model = "fake-stream";
    const knob knobs[] = {
        {"--judge-ms", &opt.judge_ms, NULL},
        {"--header-ms", &opt.header_ms, NULL},
        {"--stall-ms", &opt.stall_ms, NULL},
        {"--keep-alive-ms", &opt.keep_alive_ms, NULL},
        {"--total-ms", &opt.total_ms, NULL},
        {"--write-ms", &opt.http.write_ms, NULL},
        {"--drain-ms", &opt.http.drain_ms, NULL},
        {"--max-sessions", &opt.engine.max_sessions, NULL},
        {"--max-model-len", &opt.engine.max_model_len, NULL},
        {"--max-jobs", &opt.engine.max_jobs, NULL},
        {"--gen-model", NULL, &opt.gen_model},
        {"--upstream-key", NULL, &opt.upstream_key},
        {"--ca-file", NULL, &opt.ca_file},
        {"--policy", NULL, &opt.policy},
        {"--admin-key", NULL, &opt.admin_key},
        {"--upstreams", NULL, &opt.upstreams_file},
        {"--audit-log", NULL, &opt.audit_log},
        {"--api-key-file", NULL, &opt.api_key_file},
        {"--model", NULL, &opt.engine.model},
    };
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--upstream") == 0 && opt.n_upstreams < MOST)
            upstreams[opt.n_upstreams++] = value;
        else if (strcmp(argv[i], "--api-key") == 0 && opt.n_api_keys < MOST)
            keys[opt.n_api_keys++] = value;
        else if (strcmp(argv[i], "--live-view") == 0)
            opt.live_view = strcmp(value, "1") == 0;
        else if (strcmp(argv[i], "--port") == 0)
            opt.port = (uint16_t)strtol(value, NULL, 10);
        else if (!turn(knobs, QG_COUNT(knobs), argv[i], value)) {
            fprintf(stderr, "unknown option %s\n", argv[i]);
            return 2;
        }
    }
    if (qg_gateway(&opt, &err) == QG_OK)
        return 0;
    fprintf(stderr, "error: %s\n", err.msg);
    return 1;
}
