#include "cli/config_file.h"

#include "serve/serve.h"

#include <stdio.h>
#include <string.h>

/* Whether word is the option name, with or without =value, '_' as '-'. */
static bool is_option(const char *word, const char *name)
{
    if (word[0] != '-' || word[1] != '-')
        return false;
    for (word += 2; *name && *word; name++, word++)
        if ((*word == '_' ? '-' : *word) != (*name == '_' ? '-' : *name))
            return false;
    return !*name && (!*word || *word == '=');
}

static bool given(int argc, char **argv, const char *name)
{
    bool model = argc > 0 && argv[0][0] != '-' && !strcmp(name, "model");
    for (int i = 0; i < argc && !model; i++)
        model = is_option(argv[i], name);
    return model;
}

/* The file's name; *at the place of --config, *taken how many words it is. */
static const char *find(int argc, char **argv, int *at, int *taken)
{
    for (*at = 0; *at < argc && strcmp(argv[*at], "--"); (*at)++) {
        if (!is_option(argv[*at], "config"))
            continue;
        const char *inside = strchr(argv[*at], '=');
        *taken = inside ? 1 : 2;
        return inside ? inside + 1 : *at + 1 < argc ? argv[*at + 1] : "";
    }
    return NULL;
}

static bool fail(const char *sentence)
{
    fprintf(stderr, "qguard serve: %s\n", sentence);
    return false;
}

/* "--key" in the arena, or NULL. */
static char *option(qg_arena *arena, const char *key)
{
    size_t n = strlen(key);
    char *word = qg_arena_alloc(arena, n + 3);
    if (word) {
        memcpy(word, "--", 2);
        memcpy(word + 2, key, n + 1);
    }
    return word;
}

bool cli_config_file(int argc, char **argv, qg_arena *arena, int *n, char ***out)
{
    int at, taken;
    size_t n_words;
    qg_config_word *words;
    qg_err err;
    const char *path = find(argc, argv, &at, &taken);
    *n = argc;
    *out = argv;
    if (!path)
        return true;
    if (!*path)
        return fail("--config needs a value");
    if (qg_serve_config(path, arena, &words, &n_words, &err) != QG_OK)
        return fail(err.msg);
    char **list = qg_arena_calloc(arena, (size_t)argc + 2 * n_words + 1, sizeof *list);
    if (!list)
        return fail("out of memory");
    int k = 0, from = argc > 0 && argv[0][0] != '-';
    if (from)
        list[k++] = argv[0];
    for (size_t i = 0; i < n_words; i++) {
        if (given(argc, argv, words[i].key))
            continue;
        if (!(list[k++] = option(arena, words[i].key)))
            return fail("out of memory");
        if (words[i].value)
            list[k++] = words[i].value;
    }
    for (int i = from; i < argc; i++)
        if (i < at || i >= at + taken)
            list[k++] = argv[i];
    *n = k;
    *out = list;
    return true;
}
