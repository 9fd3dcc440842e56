#include "cli/vllm_flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum fate {
    OURS,         /* handed on, under the name in the row when there is one */
    LIST,         /* ours, but may be followed by several values */
    IGNORE_FLAG,  /* tunes another engine, or is always so here; has no value */
    IGNORE_VALUE, /* the same with a value */
    REFUSE,       /* would change what is served: leaving it out would be a lie */
} fate;

typedef struct row {
    const char *name;
    fate fate;
    const char *ours;
} row;

static const row rows[] = {
    {"served-model-name", LIST, "served-model-name"},
    {"api-key", LIST, "api-key"},
    {"model-path", OURS, "model"},
    {"context-length", OURS, "max-model-len"},
    {"max-model-len", OURS, "max-model-len"},
    {"dtype", OURS, "dtype"},
    {"enforce-eager", IGNORE_FLAG, NULL},
    {"trust-remote-code", IGNORE_FLAG, NULL},
    {"enable-prefix-caching", IGNORE_FLAG, NULL},
    {"enable-chunked-prefill", IGNORE_FLAG, NULL},
    {"enable-request-id-headers", IGNORE_FLAG, NULL},
    {"enable-force-include-usage", IGNORE_FLAG, NULL},
    {"enable-prompt-tokens-details", IGNORE_FLAG, NULL},
    {"enable-log-requests", IGNORE_FLAG, NULL},
    {"disable-log-requests", IGNORE_FLAG, NULL},
    {"disable-fastapi-docs", IGNORE_FLAG, NULL},
    {"disable-uvicorn-access-log", IGNORE_FLAG, NULL},
    {"allow-credentials", IGNORE_FLAG, NULL},
    {"gpu-memory-utilization", IGNORE_VALUE, NULL},
    {"mem-fraction-static", IGNORE_VALUE, NULL},
    {"max-num-seqs", IGNORE_VALUE, NULL},
    {"max-num-batched-tokens", IGNORE_VALUE, NULL},
    {"tensor-parallel-size", IGNORE_VALUE, NULL},
    {"tp-size", IGNORE_VALUE, NULL},
    {"tp", IGNORE_VALUE, NULL},
    {"quantization", IGNORE_VALUE, NULL},
    {"q", IGNORE_VALUE, NULL},
    {"swap-space", IGNORE_VALUE, NULL},
    {"seed", IGNORE_VALUE, NULL},
    {"generation-config", IGNORE_VALUE, NULL},
    {"load-format", IGNORE_VALUE, NULL},
    {"kv-cache-dtype", OURS, "kv-cache-dtype"},
    {"limit-mm-per-prompt", IGNORE_VALUE, NULL},
    {"chat-template-content-format", IGNORE_VALUE, NULL},
    {"response-role", IGNORE_VALUE, NULL},
    {"download-dir", IGNORE_VALUE, NULL},
    {"hf-token", IGNORE_VALUE, NULL},
    {"uvicorn-log-level", IGNORE_VALUE, NULL},
    {"max-log-len", IGNORE_VALUE, NULL},
    {"h11-max-incomplete-event-size", IGNORE_VALUE, NULL},
    {"allowed-origins", OURS, "allowed-origins"},
    {"allowed-methods", IGNORE_VALUE, NULL},
    {"allowed-headers", IGNORE_VALUE, NULL},
    {"tokenizer", REFUSE, NULL},
    {"middleware", REFUSE, NULL},
    {"root-path", REFUSE, NULL},
    {"ssl-keyfile", REFUSE, NULL},
    {"ssl-certfile", REFUSE, NULL},
    {"ssl-ca-certs", REFUSE, NULL},
};

typedef struct translation {
    int argc, at; /* arguments read so far */
    char **argv;
    qg_arena *arena;
    char **out;
    int n;
    bool has_model; /* bare words behind a list can only be more of its values */
    bool failed;    /* out of memory */
} translation;

static const row *find(const char *name)
{
    bool no = !strncmp(name, "no-", 3);
    for (size_t i = 0; i < QG_COUNT(rows); i++)
        if (!strcmp(rows[i].name, name) ||
            (no && rows[i].fate == IGNORE_FLAG && !strcmp(rows[i].name, name + 3)))
            return &rows[i];
    return NULL;
}

/* "32k" is 32,000 and "32K" 32,768, as vLLM reads them; -1 and "auto" are the model's own. */
static const char *plain_length(translation *t, const char *value)
{
    static const struct {
        char suffix;
        long factor;
    } units[] = {{'k', 1000}, {'K', 1024}, {'m', 1000000}, {'M', 1048576}};
    char *end;
    double x = strtod(value, &end);

    if (!strcmp(value, "auto") || !strcmp(value, "-1"))
        return NULL;
    for (size_t i = 0; i < QG_COUNT(units); i++) {
        if (end == value || end[0] != units[i].suffix || end[1] || !(x > 0 && x < 1e6))
            continue;
        char *text = qg_arena_alloc(t->arena, 32);
        if (text)
            snprintf(text, 32, "%.0f", x * (double)units[i].factor);
        return text ? text : value;
    }
    return value;
}

static const char *our_dtype(const char *value)
{
    if (!strcmp(value, "float"))
        return "float32";
    return !strcmp(value, "half") || !strcmp(value, "float16") ? "auto" : value;
}

/* What vLLM keeps in 8 bits is kept in 8 bits here, too.  NULL: ignored, as are all its other
 * words: they name layouts of its kernels. */
static const char *our_kv_dtype(const char *value)
{
    static const char *const words[] = {"auto", "bf16", "int8"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(value, words[i]))
            return value;
    if (!strcmp(value, "bfloat16"))
        return "bf16";
    const bool eight = !strncmp(value, "fp8", 3) || !strncmp(value, "int8", 4);
    fprintf(stderr, "qguard serve: --kv-cache-dtype %s: %s\n", value,
            eight ? "8 bits are int8 here" : "means nothing here and is ignored");
    return eight ? "int8" : NULL;
}

static void put(translation *t, const char *word)
{
    size_t n = strlen(word) + 1;
    char *copy = qg_arena_alloc(t->arena, n);
    t->failed |= !copy;
    if (copy)
        t->out[t->n++] = memcpy(copy, word, n);
}

/* The option's value: behind '=' or the next argument; NULL when there is none. */
static const char *take_value(translation *t, const char *inside)
{
    if (inside)
        return inside;
    return t->at < t->argc ? t->argv[t->at++] : NULL;
}

static void put_ours(translation *t, const row *r, const char *value)
{
    char option[32];
    snprintf(option, sizeof option, "--%s", r->ours);
    if (!strcmp(r->ours, "max-model-len"))
        value = plain_length(t, value);
    else if (!strcmp(r->ours, "dtype"))
        value = our_dtype(value);
    else if (!strcmp(r->ours, "kv-cache-dtype"))
        value = our_kv_dtype(value);
    t->has_model |= !strcmp(r->ours, "model");
    if (!value)
        return;
    put(t, option);
    put(t, value);
    while (r->fate == LIST && t->has_model && t->at < t->argc && t->argv[t->at][0] != '-') {
        put(t, option);
        put(t, t->argv[t->at++]);
    }
}

static bool translate(translation *t, const row *r, const char *shown, const char *inside)
{
    if (r->fate == REFUSE) {
        fprintf(stderr, "qguard serve: %s is not in this version\n", shown);
        return false;
    }
    const char *value = r->fate == IGNORE_FLAG ? "" : take_value(t, inside);
    if (!value) {
        fprintf(stderr, "qguard serve: %s needs a value\n", shown);
        return false;
    }
    if (r->ours)
        put_ours(t, r, value);
    else
        fprintf(stderr, "qguard serve: %s means nothing here and is ignored\n", shown);
    return true;
}

/* Both --max-model-len and --max_model_len are written; the value behind '=' stays as it is. */
static char *normal_form(translation *t, const char *word, size_t *n_name)
{
    size_t n = strlen(word);
    char *copy = qg_arena_alloc(t->arena, n + 1);
    if (!copy)
        return NULL;
    memcpy(copy, word, n + 1);
    *n_name = strcspn(copy, "=");
    for (size_t i = 0; i < *n_name; i++)
        copy[i] = copy[i] == '_' ? '-' : copy[i];
    return copy;
}

static bool take_option(translation *t, const char *word)
{
    size_t n;
    char *shown = normal_form(t, word, &n);
    if (!shown) {
        t->failed = true;
        return true;
    }
    char *inside = shown[n] ? shown + n + 1 : NULL;
    char after = shown[n];
    shown[n] = 0;
    const row *r = find(shown + strspn(shown, "-"));
    if (r)
        return translate(t, r, shown, inside);
    shown[n] = after;
    t->has_model |= !strncmp(shown, "--model", n) && n == strlen("--model");
    put(t, shown);
    return true;
}

bool cli_from_vllm(int argc, char **argv, qg_arena *arena, int *n, char ***out)
{
    translation t = {.argc = argc, .argv = argv, .arena = arena};
    bool fine = true, options = true;

    t.has_model = argc > 0 && argv[0][0] != '-'; /* `serve MODEL …`; else a bare word is MODEL */
    /* One argument gives at most an option and its value. */
    t.out = qg_arena_calloc(arena, 2 * (size_t)argc + 1, sizeof *t.out);
    t.failed = !t.out;
    while (!t.failed && fine && t.at < argc) {
        const char *word = argv[t.at++];
        options &= strcmp(word, "--") != 0;
        if (options && word[0] == '-' && word[1])
            fine = take_option(&t, word);
        else
            put(&t, word);
    }
    if (t.failed)
        fprintf(stderr, "qguard serve: out of memory\n");
    *n = t.n;
    *out = t.out;
    return fine && !t.failed;
}
