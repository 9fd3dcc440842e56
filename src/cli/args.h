/* The command line: one table (opts_table.inc) from which parsing and every --help come. */
#ifndef QG_CLI_ARGS_H
#define QG_CLI_ARGS_H

#include "qguard.h"

enum { CLI_MAX_LIST = 32 };

/* Commands as bits: an option says which ones know it. */
enum {
    CMD_CHECK = 1u << 0,
    CMD_TOKENIZE = 1u << 1,
    CMD_RENDER = 1u << 2,
    CMD_LOGITS = 1u << 3,
    CMD_INSPECT = 1u << 4,
    CMD_CPU = 1u << 5,
    CMD_VERSION = 1u << 6,
    CMD_SERVE = 1u << 7,
    CMD_BENCH = 1u << 8,
    CMD_POLICY = 1u << 9,
    CMD_STREAM = 1u << 10,
    CMD_AUDIT = 1u << 11,
    CMD_GATEWAY = 1u << 12,
    CMD_PULL = 1u << 13,
    CMD_LABEL = 1u << 16,
    CMD_EVAL = 1u << 17,
    CMD_ROWS = CMD_LABEL | CMD_EVAL,
    CMD_QUANTIZE = 1u << 18,
    CMD_SECOND = CMD_CHECK | CMD_SERVE | CMD_GATEWAY | CMD_ROWS, /* may ask a second model */
    CMD_MODEL = CMD_STREAM | CMD_CHECK | CMD_TOKENIZE | CMD_RENDER | CMD_LOGITS | CMD_INSPECT |
                CMD_SERVE | CMD_BENCH | CMD_ROWS,
    CMD_ENGINE = CMD_MODEL | CMD_GATEWAY, /* opens a model, which may not be called --model */
};

typedef struct cli_list {
    const char *at[CLI_MAX_LIST];
    int32_t n;
} cli_list;

/* What the command line said; zero or NULL where it was silent (defaults are set before parsing).
 */
typedef struct cli_args {
    const char *model, *cpu, *dtype, *decode, *special, *response, *response_file, *messages, *host;
    const char *log, *cache, *policy, *audit_log, *stream_model, *threshold, *uds, *chat_template;
    const char *calibrate, *evaluate, *report, *memory, *kv_dtype;
    const char *api_key_file, *allowed_origins, *category_map;
    const char *gen_model, *upstream_key_env, *ca_file, *upstreams_file;
    const char *shard, *errors, *prompt_field, *response_field, *keep, *where, *verdict_cache;
    const char *html, *tune, *other_model;
    const char *hub, *revision, *dir;
    const char *admin_key;
    const char *second_model, *second_below, *second_dtype;
    /* names of repositories that models were */
    const char *repo, *stream_repo, *gen_repo, *second_repo;
    cli_list names, api_keys, category_thresholds, upstreams, include;
    int32_t judge_ms, upstream_timeout_s, upstream_stall_s, keep_alive_s;
    int32_t threads, max_model_len, port, concurrency, step_rows, request_timeout_s, probe_ms,
        max_jobs, max_connections, max_connections_addr;
    int32_t kv_mib, prompt_tokens, repeat, connections;
    bool quiet, no_prefix_cache, json, jsonl, exit_verdict, decode_ids, skip_special, ids, measure,
        csv, quick, no_own_categories;
    int32_t checkpoint_ms, bootstrap, max_fpr;
    bool resume, force, compare, judged, live_view;
    bool loose, help;
    const char *positional[64];
    int32_t n_positional;
} cli_args;

typedef struct cli_command {
    const char *name;
    unsigned bit;
    const char *usage;   /* what follows the name */
    const char *summary; /* one line */
    const char *about;   /* the rest of --help, before the options */
    int32_t max_positional;
    int (*run)(const cli_args *args);
} cli_command;

/* Parses argv behind the command's name.  False: a sentence was written to stderr (wrong usage). */
bool cli_parse(const cli_command *command, int argc, char **argv, cli_args *args);
/* Writes the command's help to stdout. */
void cli_help(const cli_command *command);

extern const cli_command cli_commands[];
extern const size_t cli_n_commands;

int cmd_check(const cli_args *args);
int cmd_tokenize(const cli_args *args);
int cmd_render(const cli_args *args);
int cmd_logits(const cli_args *args);
int cmd_inspect(const cli_args *args);
int cmd_cpu(const cli_args *args);
int cmd_version(const cli_args *args);
int cmd_serve(const cli_args *args);
int cmd_stream(const cli_args *args);
int cmd_bench(const cli_args *args);
int cmd_policy(const cli_args *args);
int cmd_pull(const cli_args *args);
int cmd_quantize(const cli_args *args);
int cmd_audit(const cli_args *args);
int cmd_gateway(const cli_args *args);
int cmd_label(const cli_args *args);
int cmd_eval(const cli_args *args);

#endif
