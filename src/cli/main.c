/* qguard: one command, many jobs.  Picks the subcommand; each has a file of its own. */
#include "base/limits.h"
#include "cli/config_file.h"
#include "cli/find_model.h"
#include "cli/io.h"
#include "cli/vllm_flags.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

const cli_command cli_commands[] = {
    {"check", CMD_CHECK, "[TEXT] [options]", "Judge a prompt, or with --response the reply to it",
     "TEXT is read from standard input when it is - or missing (one line break at its end is "
     "dropped).\n"
     "Prints exactly what the model would write.  Exit status: 0 judged, 1 could not judge, 2 "
     "usage.",
     1, cmd_check},
    {"stream", CMD_STREAM, "[options]", "Judge a conversation token by token, as it is written",
     "Standard input: lines {\"role\":\"user\"|\"assistant\",\"content\":\"…\"} or "
     "{\"role\":…,\"ids\":[…]}, each appended to the conversation; the same role again (or none) "
     "goes on with the turn, {\"end\":true} or the end of the input closes it.\n"
     "Standard output: a line for each judged token: all of a reply, the end of a prompt.  Those "
     "with \"final\":false may change with the text to come and are then judged again.\n"
     "A line that cannot be judged ends it.  Needs a Qwen3Guard-Stream model.",
     0, cmd_stream},
    {"serve", CMD_SERVE, "[MODEL] [options]", "Serve verdicts over HTTP, as vLLM serves the model",
     "The flags of vllm serve are taken too: what means nothing here is noted and ignored, what "
     "would change the answers and is not in this version is refused.  --config FILE reads flags "
     "from a YAML file (served-model-name: [a, b]); the command line wins.",
     1, cmd_serve},
    {"gateway", CMD_GATEWAY, "--upstream URL [options]",
     "Stand in front of a chat model; nothing unjudged leaves",
     "Takes /v1/chat/completions, /v1/completions, /v1/responses and /v1/messages, plain and "
     "streaming, and /v1/models.  The prompt is judged before the upstream is called, the reply "
     "token by token while it streams; what the policy blocks never reaches the reader "
     "(docs/GATEWAY.md).",
     0, cmd_gateway},
    {"label", CMD_LABEL, "IN OUT [options]", "Judge a data set: the same rows with their verdicts",
     "IN: JSONL, plain, .gz or .zst, - for standard input.  Rows {\"messages\":[…]}, "
     "{\"prompt\":…,\"response\":…}, lines of OpenAI's batch files, or any with --prompt-field.\n"
     "OUT: the rows as they were, in their order, with \"qguard\":VERDICT added; compressed when "
     "its "
     "name ends in .gz or .zst.  OUT.errors.jsonl: rows that could not be judged; they never stop "
     "the run.  OUT.meta.json: model, template, policy, version, counts.  OUT.journal while it "
     "runs: --resume goes on after a kill at any moment.\n"
     "Exit status: 0 all rows judged; 1 some could not be (they are in the side file), or the run "
     "failed; 2 usage; 130 interrupted.",
     2, cmd_label},
    {"eval", CMD_EVAL, "FILE… [options]", "Judge labelled rows and tell how well",
     "Rows as for label, each with \"label\":\"safe\"|\"unsafe\" or \"severity\", and if known "
     "\"categories\".\n"
     "Prints F1, precision, recall and false-positive rate, strict (Controversial counts as "
     "unsafe) "
     "and loose, with 95 % intervals; areas under the curves, calibration, confusions, latency.\n"
     "Exit status: 1 also when rows could not be used (they are counted).",
     64, cmd_eval},
    {"tokenize", CMD_TOKENIZE, "[options]", "Text on standard input to token ids, and back",
     "With --jsonl: rows {\"text\":…} -> {\"ids\":[…]}; with --decode: rows {\"ids\":[…]} -> "
     "{\"text\":…}.",
     0, cmd_tokenize},
    {"render", CMD_RENDER, "--jsonl [options]", "Messages through the model's own chat template",
     "Rows {\"messages\":[…],\"add_generation_prompt\":…} -> {\"text\":…} or {\"error\":…}.", 0,
     cmd_render},
    {"logits", CMD_LOGITS, "--jsonl [options]", "Raw logits for numeric comparison",
     "Rows {\"ids\":[…],\"positions\":[…]|\"last\",\"columns\":[…]|\"top\":K,\"splits\":[…]} -> "
     "{\"logits\":[{\"position\":P,\"values\":{\"id\":x,…},\"logsumexp\":x},…]}.",
     0, cmd_logits},
    {"pull", CMD_PULL, "REPO [options]", "Fetch a model from Hugging Face or ModelScope",
     "Prints the model's folder.  REPO is OWNER/NAME, as in Qwen/Qwen3Guard-Gen-0.6B; every "
     "command that takes --model takes it, too.\n"
     "The files lie in the hub's own cache, where its Python tools find them and leave theirs; "
     "every byte is checked against the hub's hashes.  Interrupted, the same command goes on from "
     "there.\n"
     "Environment: HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE; "
     "MODELSCOPE_ENDPOINT, MODELSCOPE_CACHE, MODELSCOPE_API_TOKEN; https_proxy (docs/MODELS.md).",
     1, cmd_pull},
    {"policy", CMD_POLICY, "check FILE", "Check a policy file",
     "Prints what the file holds, or the first mistake with its line and field.", 2, cmd_policy},
    {"audit", CMD_AUDIT, "check FILE", "Check an audit log",
     "Follows the hashes of a log that serve --audit-log wrote.  Prints the number of records, or "
     "the first line that was changed, taken out or put in.",
     2, cmd_audit},
    {"quantize", CMD_QUANTIZE, "MODEL OUT --dtype int8|int4 [options]",
     "Write a model of 8-bit or 4-bit layers that opens without packing",
     "MODEL is what --model takes elsewhere, OUT a directory to make (docs/MODELS.md).  A FILE of "
     "texts "
     "has one prompt a line, or rows as check --jsonl takes them.\n"
     "--calibrate runs its texts through the model first, so that what matters most is rounded "
     "least.  --report judges texts with both models, writes what differs, and prints a summary.",
     2, cmd_quantize},
    {"bench", CMD_BENCH, "[WORKLOAD [FILE…]] [options]",
     "Measure this model on this machine, beside what the hardware allows",
     "Workloads (all when none is named):\n"
     "  check    one prompt of 371 tokens: verdict, 8 and 14 decoded tokens, without and with the\n"
     "           prefix cache\n"
     "  bulk     64 such prompts at once\n"
     "  stream   1 and 16 tokens a step behind 128, 1024 and 4096, and 32 streams a token each;\n"
     "           of a Stream model its sessions, too\n"
     "  long     prompts of 4,096 and 16,384 tokens\n"
     "  load     a process from start to first verdict, and its memory (--cache DIR: packed, too)\n"
     "  text     tokenizer (of FILE…, line by line) and chat template\n"
     "  mixed    checks beside 64 bulk jobs, and beside one of 16,384 tokens\n"
     "  growing  a reply that is judged again after every 64 words: tokens computed\n"
     "  kernels  every kernel row beside the peak (of one job: gemm, few, attn or vec)\n"
     "A limit is the work at the compute peak, or its bytes at the read bandwidth, measured in "
     "this run.",
     4, cmd_bench},
    {"inspect", CMD_INSPECT, "[MODEL] [options]",
     "What is in a model, what it needs, what is wrong", NULL, 1, cmd_inspect},
    {"cpu", CMD_CPU, "[options]", "Processor features and the kernel row chosen for each job", NULL,
     0, cmd_cpu},
    {"version", CMD_VERSION, "[options]", "Version, commit, build options", NULL, 0, cmd_version},
};
const size_t cli_n_commands = QG_COUNT(cli_commands);

static void usage(FILE *out)
{
    fprintf(out, "usage: qguard COMMAND [options]\n\n"
                 "Judges prompts and replies with the Qwen3Guard safety models.\n\n");
    for (size_t i = 0; i < cli_n_commands; i++)
        fprintf(out, "  %-10s %s\n", cli_commands[i].name, cli_commands[i].summary);
    fprintf(out, "\nqguard COMMAND --help shows the options of a command.\n");
}

static void interrupted(int signal_number)
{
    (void)signal_number;
    _exit(130);
}

static const cli_command *find(const char *name)
{
    for (size_t i = 0; i < cli_n_commands; i++)
        if (!strcmp(cli_commands[i].name, name))
            return &cli_commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    fprintf(stderr, "qguard: unknown command '%s'\n\n", name);
    usage(stderr);
    return EXIT_USAGE;
}

static int parse_and_run(const cli_command *command, int argc, char **argv, qg_arena *arena)
{
    cli_args args = {.port = 8000,
                     .concurrency = 32,
                     .request_timeout_s = 60,
                     .probe_ms = 10000,
                     .judge_ms = 10000,
                     .upstream_timeout_s = 300,
                     .keep_alive_s = 15,
                     .upstream_stall_s = 120,
                     .checkpoint_ms = 1000,
                     .bootstrap = 1000,
                     .max_fpr = 10};
    if (command->bit == CMD_GATEWAY)
        args.port = 8080;
    if (command->bit & CMD_ROWS)
        args.concurrency = 64;
    if (!cli_parse(command, argc, argv, &args))
        return EXIT_USAGE;
    if (args.help) {
        cli_help(command);
        return cli_finish(EXIT_DONE);
    }
    if (command->bit != CMD_SERVE && command->bit != CMD_GATEWAY)
        signal(SIGINT, interrupted);
    int code = cli_find_models(command, &args, arena);
    return cli_finish(code == EXIT_DONE ? command->run(&args) : code);
}

static int run(const cli_command *command, int argc, char **argv)
{
    qg_arena arena;
    qg_arena_init(&arena, QG_MAX_TEXT_BYTES);
    bool fine = command->bit != CMD_SERVE || (cli_config_file(argc, argv, &arena, &argc, &argv) &&
                                              cli_from_vllm(argc, argv, &arena, &argc, &argv));
    int code = fine ? parse_and_run(command, argc, argv, &arena) : EXIT_USAGE;
    qg_arena_free(&arena);
    return code;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        usage(stdout);
        return cli_finish(EXIT_DONE);
    }
    const cli_command *command = find(strcmp(argv[1], "--version") ? argv[1] : "version");
    if (!command)
        return unknown(argv[1]);
    return run(command, argc - 2, argv + 2);
}
