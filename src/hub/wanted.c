#include "hub/wanted.h"

#include "base/mem.h"

#include <fnmatch.h>

static const char *const standard[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
};

static bool ends_in(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n > m && !memcmp(s + n - m, suffix, m);
}

static bool is_weights(const char *path)
{
    return !strchr(path, '/') && ends_in(path, ".safetensors");
}

bool qg_wanted(const char *path, qg_patterns include)
{
    for (size_t i = 0; i < include.n; i++)
        if (!fnmatch(include.at[i], path, 0))
            return true;
    if (include.n)
        return false;
    for (size_t i = 0; i < QG_COUNT(standard); i++)
        if (!strcmp(path, standard[i]))
            return true;
    return is_weights(path);
}

static qg_status copy(qg_hub_list *out, const qg_hub_file *f, qg_err *err)
{
    qg_hub_file *at = &out->at[out->n];
    *at = *f;
    at->path = qg_memdup0(f->path, strlen(f->path));
    if (!at->path)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    out->n++;
    return QG_OK;
}

static const char *other_weights(const qg_hub_list *all)
{
    for (size_t i = 0; i < all->n; i++)
        if (ends_in(all->at[i].path, ".gguf"))
            return "; it has GGUF files: --include '*NAME.gguf' fetches one";
    for (size_t i = 0; i < all->n; i++)
        if (ends_in(all->at[i].path, ".bin") || ends_in(all->at[i].path, ".pth"))
            return "; its weights are PyTorch files, which are not read";
    return "";
}

static qg_status check_model(const qg_hub_list *all, const qg_hub_list *chosen, qg_err *err)
{
    bool weights = false;
    for (size_t i = 0; i < chosen->n; i++)
        weights |= is_weights(chosen->at[i].path);
    if (!weights)
        return qg_fail(err, QG_ERR_FORMAT, "no *.safetensors among its %zu files%s", all->n,
                       other_weights(all));
    return qg_hub_list_find(chosen, "config.json")
               ? QG_OK
               : qg_fail(err, QG_ERR_FORMAT, "no config.json among its %zu files", all->n);
}

qg_status qg_choose_files(const qg_hub_list *all, qg_patterns include, qg_hub_list *out,
                          qg_err *err)
{
    *out = (qg_hub_list){.at = qg_calloc(all->n + 1, sizeof *out->at), .cap = all->n + 1};
    qg_status rc = out->at ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (size_t i = 0; rc == QG_OK && i < all->n; i++)
        if (qg_wanted(all->at[i].path, include))
            rc = copy(out, &all->at[i], err);
    if (rc == QG_OK)
        rc = qg_hub_list_sort(out, err);
    if (rc == QG_OK && include.n && !out->n)
        rc = qg_fail(err, QG_ERR_FORMAT, "--include matches none of its %zu files", all->n);
    if (rc == QG_OK && !include.n)
        rc = check_model(all, out, err);
    if (rc != QG_OK)
        qg_hub_list_free(out);
    return rc;
}
