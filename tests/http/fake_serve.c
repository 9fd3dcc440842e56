/* The server of src/serve on the fake engine: `qguard-fake-serve --name value …`, where every limit
 * can be set, so that the tests need not wait for the real ones. */
#include "base/status.h"
#include "serve/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void log_line(void *ud, qg_serve_log level, const char *line)
{
    (void)ud;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

typedef struct knob {
    const char *name;
    int32_t *i32;
    uint32_t *u32;
    size_t *size;
} knob;

static int turn(const knob *knobs, size_t n, const char *name, const char *value)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(knobs[i].name, name) != 0)
            continue;
        long v = strtol(value, NULL, 10);
        if (knobs[i].i32)
            *knobs[i].i32 = (int32_t)v;
        if (knobs[i].u32)
            *knobs[i].u32 = (uint32_t)v;
        if (knobs[i].size)
            *knobs[i].size = (size_t)v;
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    qg_serve_options opt;
    qg_err err;
    const char *names[8];
    const char *keys[8];
    qg_serve_options_init(&opt);
    opt.port = 0;
    opt.log = log_line;
    opt.names = names;
    opt.api_keys = keys;
    const knob knobs[] = {
        {"--header-ms", &opt.http.header_ms, NULL, NULL},
        {"--body-ms", &opt.http.body_ms, NULL, NULL},
        {"--idle-ms", &opt.http.idle_ms, NULL, NULL},
        {"--write-ms", &opt.http.write_ms, NULL, NULL},
        {"--drain-ms", &opt.http.drain_ms, NULL, NULL},
        {"--linger-ms", &opt.http.linger_ms, NULL, NULL},
        {"--body-rate", &opt.http.body_rate, NULL, NULL},
        {"--body-grace-ms", &opt.http.body_grace_ms, NULL, NULL},
        {"--request-timeout-ms", &opt.request_timeout_ms, NULL, NULL},
        {"--stuck-ms", &opt.stuck_ms, NULL, NULL},
        {"--probe-ms", &opt.probe_ms, NULL, NULL},
        {"--talk-ms", &opt.http.talk_ms, NULL, NULL},
        {"--max-sessions", &opt.engine.max_sessions, NULL, NULL},
        {"--max-model-len", &opt.engine.max_model_len, NULL, NULL},
        {"--max-jobs", &opt.engine.max_jobs, NULL, NULL},
        {"--connections", NULL, &opt.http.connections, NULL},
        {"--connections-addr", NULL, &opt.http.connections_addr, NULL},
        {"--conn-requests", NULL, &opt.http.conn_requests, NULL},
        {"--uri-bytes", NULL, NULL, &opt.http.uri_bytes},
        {"--header-bytes", NULL, NULL, &opt.http.header_bytes},
        {"--body-bytes", NULL, NULL, &opt.http.body_bytes},
        {"--body-bytes-total", NULL, NULL, &opt.http.body_bytes_total},
    };
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--served-model-name") == 0 && opt.n_names < 8)
            names[opt.n_names++] = value;
        else if (strcmp(argv[i], "--api-key") == 0 && opt.n_api_keys < 8)
            keys[opt.n_api_keys++] = value;
        else if (strcmp(argv[i], "--api-key-file") == 0)
            opt.api_key_file = value;
        else if (strcmp(argv[i], "--allowed-origins") == 0)
            opt.origins = value;
        else if (strcmp(argv[i], "--decode") == 0)
            opt.decode = strcmp(value, "generate") ? QG_DECODE_VERDICT : QG_DECODE_GENERATE;
        else if (strcmp(argv[i], "--bare-categories") == 0)
            opt.bare_categories = *value == '1';
        else if (strcmp(argv[i], "--no-own-categories") == 0)
            opt.no_own_categories = *value == '1';
        else if (strcmp(argv[i], "--model") == 0)
            opt.engine.model = value;
        else if (strcmp(argv[i], "--policy") == 0)
            opt.policy = value;
        else if (strcmp(argv[i], "--audit-log") == 0)
            opt.audit_log = value;
        else if (strcmp(argv[i], "--stream-model") == 0)
            opt.stream_model = value;
        else if (strcmp(argv[i], "--host") == 0)
            opt.host = value;
        else if (strcmp(argv[i], "--uds") == 0)
            opt.socket = value;
        else if (strcmp(argv[i], "--port") == 0)
            opt.port = (uint16_t)strtol(value, NULL, 10);
        else if (!turn(knobs, QG_COUNT(knobs), argv[i], value)) {
            fprintf(stderr, "unknown option %s\n", argv[i]);
            return 2;
        }
    }
    if (qg_serve(&opt, &err) == QG_OK)
        return 0;
    fprintf(stderr, "error: %s\n", err.msg);
    return 1;
}
