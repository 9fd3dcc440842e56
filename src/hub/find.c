#define _POSIX_C_SOURCE 200809L
#include "hub/find.h"

#include "base/limits.h"
#include "base/mem.h"
#include "hub/hubfile.h"
#include "hub/store.h"
#include "hub/wanted.h"

#include <dirent.h>

static bool has(const char *folder, const char *name, uint64_t *size)
{
    char *path = qg_pathf("%s/%s", folder, name);
    bool yes = path && qg_is_file(path, size);
    qg_mfree(path);
    return yes;
}

static bool read_below(const char *folder, const char *name, qg_buf *out)
{
    char *path = qg_pathf("%s/%s", folder, name);
    bool fine = path && qg_read_whole(path, out, NULL) == QG_OK && out->n;
    qg_mfree(path);
    return fine;
}

static bool has_any_weights(const char *folder)
{
    struct dirent *entry;
    bool yes = false;
    DIR *d = opendir(folder);
    while (d && !yes && (entry = readdir(d))) {
        size_t n = strlen(entry->d_name), m = sizeof ".safetensors" - 1;
        yes = entry->d_name[0] != '.' && n > m && !strcmp(entry->d_name + n - m, ".safetensors") &&
              has(folder, entry->d_name, NULL);
    }
    if (d)
        closedir(d);
    return yes;
}

/* Every file that the index names, when there is one. */
static bool has_weights(const char *folder)
{
    qg_hub_list list = {0};
    qg_buf json;

    if (!has(folder, "model.safetensors.index.json", NULL))
        return has_any_weights(folder);
    qg_buf_init(&json, QG_MAX_HUB_LIST_BYTES);
    bool fine = read_below(folder, "model.safetensors.index.json", &json) &&
                qg_hub_read_index(qg_buf_slice(&json), &list, NULL) == QG_OK && list.n;
    for (size_t i = 0; fine && i < list.n; i++)
        fine = has(folder, list.at[i].path, NULL);
    qg_hub_list_free(&list);
    qg_buf_free(&json);
    return fine;
}

bool qg_hub_is_whole(const char *folder)
{
    return !has(folder, QG_STORE_UNFINISHED, NULL) && has(folder, "config.json", NULL) &&
           has(folder, "tokenizer.json", NULL) && has_weights(folder);
}

/* 1 whole, 0 not, -1: the cache does not say. */
static int whole_by_tree(const char *root, const char *commit, const char *folder)
{
    qg_hub_list list = {0};
    qg_buf json;
    char below[sizeof "trees/.json" + QG_HUB_COMMIT];
    uint64_t size;

    memcpy(below, "trees/", 6);
    memcpy(below + 6, commit, QG_HUB_COMMIT);
    memcpy(below + 6 + QG_HUB_COMMIT, ".json", 6);
    qg_buf_init(&json, QG_MAX_HUB_LIST_BYTES);
    int whole = -1;
    if (read_below(root, below, &json) &&
        qg_hf_read_tree_cache(qg_buf_slice(&json), &list, NULL) == QG_OK) {
        whole = 1;
        for (size_t i = 0; whole == 1 && i < list.n; i++)
            if (qg_wanted(list.at[i].path, (qg_patterns){0}))
                whole = has(folder, list.at[i].path, &size) && size == list.at[i].size;
    }
    qg_hub_list_free(&list);
    qg_buf_free(&json);
    return whole;
}

/* The commit that the cache has for a revision; "" = none. */
static void read_ref(const char *root, const char *revision, char commit[QG_HUB_COMMIT + 1])
{
    qg_buf text;
    commit[0] = 0;
    if (qg_repo_is_commit(revision)) {
        memcpy(commit, revision, QG_HUB_COMMIT + 1);
        return;
    }
    char *below = qg_pathf("refs/%s", revision);
    qg_buf_init(&text, 256);
    if (below && read_below(root, below, &text) && text.n >= QG_HUB_COMMIT &&
        qg_is_hex(text.p, QG_HUB_COMMIT) &&
        strspn(text.p + QG_HUB_COMMIT, " \r\n") == text.n - QG_HUB_COMMIT) {
        memcpy(commit, text.p, QG_HUB_COMMIT);
        commit[QG_HUB_COMMIT] = 0;
    }
    qg_buf_free(&text);
    qg_mfree(below);
}

static char *find_hf(const char *cache, const char *repo, const char *revision)
{
    char commit[QG_HUB_COMMIT + 1];
    int owner = (int)strcspn(repo, "/");
    char *root = qg_pathf("%s/models--%.*s--%s", cache, owner, repo, repo + owner + 1);
    char *folder = NULL;

    if (root)
        read_ref(root, revision, commit);
    if (root && commit[0])
        folder = qg_pathf("%s/snapshots/%s", root, commit);
    int whole = folder ? whole_by_tree(root, commit, folder) : 0;
    if (folder && !(whole < 0 ? qg_hub_is_whole(folder) : whole)) {
        qg_mfree(folder);
        folder = NULL;
    }
    qg_mfree(root);
    return folder;
}

/* "Qwen3Guard-Gen-0___6B": how old versions of the SDK wrote dots. */
static char *old_name(const char *name)
{
    qg_buf text;
    qg_buf_init(&text, 512);
    qg_status rc = QG_OK;
    for (const char *c = name; rc == QG_OK && *c; c++)
        rc = *c == '.' ? qg_buf_adds(&text, "___") : qg_buf_add(&text, c, 1);
    char *out = rc == QG_OK ? qg_buf_take(&text) : NULL;
    qg_buf_free(&text);
    return out;
}

static char *whole_or_null(char *folder)
{
    if (folder && qg_hub_is_whole(folder))
        return folder;
    qg_mfree(folder);
    return NULL;
}

static char *find_modelscope(const char *cache, const char *repo, const char *revision)
{
    int n = (int)strcspn(repo, "/");
    const char *name = repo + n + 1;
    char *old = old_name(name);
    char *at =
        whole_or_null(qg_pathf("%s/models/%.*s--%s/snapshots/%s", cache, n, repo, name, revision));

    /* The old layouts have one revision, and do not say which. */
    if (!at && old && !strcmp(revision, "master")) {
        at = whole_or_null(qg_pathf("%s/models/%.*s/%s", cache, n, repo, old));
        if (!at)
            at = whole_or_null(qg_pathf("%s/hub/models/%.*s/%s", cache, n, repo, old));
        if (!at)
            at = whole_or_null(qg_pathf("%s/%.*s/%s", cache, n, repo, name));
    }
    qg_mfree(old);
    return at;
}

char *qg_hub_find(const qg_hub_env *env, const char *repo, const char *revision)
{
    if (!qg_repo_is_name(repo) || (revision && qg_repo_check_revision(revision, NULL) != QG_OK))
        return NULL;
    return env->kind == QG_HUB_HF
               ? find_hf(env->cache, repo, revision ? revision : "main")
               : find_modelscope(env->cache, repo, revision ? revision : "master");
}
