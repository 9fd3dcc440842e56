#include "cli/args.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { KIND_FLAG, KIND_TEXT, KIND_LIST, KIND_WORD, KIND_INT } kind;

typedef struct option_row {
    const char *name;
    unsigned commands;
    kind kind;
    int32_t min, max;
    size_t field;
    const char *value, *standard, *help;
} option_row;

#define FLAG          KIND_FLAG, 0, 0
#define TEXT          KIND_TEXT, 0, 0
#define LIST          KIND_LIST, 0, 0
#define WORD          KIND_WORD, 0, 0
#define INT(min, max) KIND_INT, min, max
#define OPT(name, commands, kind, field, value, standard, help)                                    \
    {name, commands, kind, offsetof(cli_args, field), value, standard, help},
static const option_row rows[] = {
#include "cli/opts_table.inc"
};
#undef OPT

enum { N_ROWS = sizeof rows / sizeof rows[0] };

static const option_row *find(const cli_command *command, const char *name, size_t n)
{
    for (int i = 0; i < N_ROWS; i++)
        if ((rows[i].commands & command->bit) && strlen(rows[i].name) == n &&
            !strncmp(rows[i].name, name, n))
            return &rows[i];
    return NULL;
}

static bool is_word(const char *words, const char *value)
{
    size_t n = strlen(value);
    while (*words) {
        size_t len = strcspn(words, "|");
        if (len == n && !memcmp(words, value, n))
            return true;
        words += len + (words[len] == '|');
    }
    return false;
}

static bool to_int(const char *text, int32_t min, int32_t max, int32_t *out)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || text[0] == ' ' || v < min || v > max)
        return false;
    *out = (int32_t)v;
    return true;
}

static bool set(const option_row *row, const char *value, cli_args *args)
{
    void *field = (char *)args + row->field;
    cli_list *list = field;

    switch (row->kind) {
    case KIND_FLAG:
        *(bool *)field = true;
        return true;
    case KIND_WORD:
        if (!is_word(row->value, value)) {
            fprintf(stderr, "qguard: --%s: '%s' is not one of %s\n", row->name, value, row->value);
            return false;
        }
        *(const char **)field = value;
        return true;
    case KIND_TEXT:
        *(const char **)field = value;
        return true;
    case KIND_LIST:
        if (list->n == CLI_MAX_LIST) {
            fprintf(stderr, "qguard: --%s: more than %d\n", row->name, CLI_MAX_LIST);
            return false;
        }
        list->at[list->n++] = value;
        return true;
    case KIND_INT:
        break;
    }
    if (!to_int(value, row->min, row->max, field)) {
        fprintf(stderr, "qguard: --%s: '%s' is not a number in %d..%d\n", row->name, value,
                row->min, row->max);
        return false;
    }
    return true;
}

static bool parse_option(const cli_command *command, int argc, char **argv, int *i, cli_args *args)
{
    const char *name = argv[*i] + 2;
    size_t n = strcspn(name, "=");
    const option_row *row = find(command, name, n);

    if (!row) {
        fprintf(stderr, "qguard %s: unknown option --%.*s; see qguard %s --help\n", command->name,
                (int)n, name, command->name);
        return false;
    }
    if (row->kind == KIND_FLAG && name[n] == '=') {
        fprintf(stderr, "qguard: --%s takes no value\n", row->name);
        return false;
    }
    const char *value = name[n] == '=' ? name + n + 1 : NULL;
    if (row->kind != KIND_FLAG && !value) {
        if (*i + 1 >= argc) {
            fprintf(stderr, "qguard: --%s needs a value (%s)\n", row->name, row->value);
            return false;
        }
        value = argv[++*i];
    }
    return set(row, value, args);
}

bool cli_parse(const cli_command *command, int argc, char **argv, cli_args *args)
{
    bool only_positional = false;

    for (int i = 0; i < argc; i++) {
        const char *a = argv[i];
        if (!only_positional && !strcmp(a, "--")) {
            only_positional = true;
        } else if (!only_positional && a[0] == '-' && a[1] == '-') {
            if (!parse_option(command, argc, argv, &i, args))
                return false;
        } else if (!only_positional && !strcmp(a, "-h")) {
            args->help = true;
        } else if (!only_positional && a[0] == '-' && a[1]) {
            fprintf(stderr, "qguard %s: unknown option %s; see qguard %s --help\n", command->name,
                    a, command->name);
            return false;
        } else if (args->n_positional == command->max_positional) {
            fprintf(stderr, "qguard %s: unexpected '%s'; usage: qguard %s %s\n", command->name, a,
                    command->name, command->usage);
            return false;
        } else {
            args->positional[args->n_positional++] = a;
        }
    }
    return true;
}

void cli_help(const cli_command *command)
{
    printf("usage: qguard %s %s\n\n%s.\n", command->name, command->usage, command->summary);
    if (command->about)
        printf("%s\n", command->about);
    printf("\noptions:\n");
    for (int i = 0; i < N_ROWS; i++) {
        char left[80];
        if (!(rows[i].commands & command->bit))
            continue;
        snprintf(left, sizeof left, "--%s%s%s", rows[i].name, rows[i].value ? " " : "",
                 rows[i].value ? rows[i].value : "");
        printf("  %-28s %s%s", left, strlen(left) > 28 ? "\n                               " : "",
               rows[i].help);
        if (rows[i].standard)
            printf(" (default: %s)", rows[i].standard);
        printf("\n");
    }
}
