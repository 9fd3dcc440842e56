#define _GNU_SOURCE
#include "batch/ident.h"

#include "base/buf.h"
#include "base/buildid.h"
#include "base/map.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SHA = QG_HASH_HEX / 2, MAX_FILES = 4096 };

static qg_status finish(EVP_MD_CTX *hash, bool fine, char out[QG_HASH_HEX + 1], qg_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    fine = fine && EVP_DigestFinal_ex(hash, digest, &n) && n == SHA;
    EVP_MD_CTX_free(hash);
    for (unsigned i = 0; fine && i < n; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    out[fine ? QG_HASH_HEX : 0] = 0;
    return fine ? QG_OK : qg_fail(err, QG_ERR_INTERNAL, "SHA-256 failed");
}

static bool start(EVP_MD_CTX **hash)
{
    *hash = EVP_MD_CTX_new();
    return *hash && EVP_DigestInit_ex(*hash, EVP_sha256(), NULL);
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool is_model_file(const char *name)
{
    static const char *const ends[] = {".json", ".jinja", ".safetensors", ".gguf", ".txt"};
    size_t n = strlen(name);
    for (size_t i = 0; i < QG_COUNT(ends); i++)
        if (n > strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i]))
            return name[0] != '.';
    return false;
}

/* SHA-256 of name and bytes. */
static qg_status hash_file(const char *path, const char *name, unsigned char out[SHA], qg_err *err)
{
    EVP_MD_CTX *hash;
    qg_map map;
    QG_TRY(qg_map_open(&map, path, err));
    bool fine = start(&hash) && EVP_DigestUpdate(hash, name, strlen(name) + 1) &&
                (!map.size || EVP_DigestUpdate(hash, map.data, map.size)) &&
                EVP_DigestFinal_ex(hash, out, NULL);
    EVP_MD_CTX_free(hash);
    qg_map_close(&map);
    return fine ? QG_OK : qg_fail(err, QG_ERR_INTERNAL, "SHA-256 failed");
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, SHA);
}

/* Appends a hash for each of the model's files in a folder. */
static qg_status hash_files(DIR *folder, const char *name, qg_buf *hashes, qg_err *err)
{
    struct dirent *entry;
    unsigned char sha[SHA];
    char path[4096];
    while ((entry = readdir(folder))) {
        if (!is_model_file(entry->d_name))
            continue;
        snprintf(path, sizeof path, "%s/%s", name, entry->d_name);
        QG_TRY(hash_file(path, entry->d_name, sha, err));
        if (qg_buf_add(hashes, sha, SHA) != QG_OK)
            return qg_fail(err, QG_ERR_NOMEM, "%s: too many files", name);
    }
    return QG_OK;
}

/* In whatever order the folder lists them. */
static qg_status add_folder(EVP_MD_CTX *hash, const char *name, bool *fine, qg_err *err)
{
    qg_buf hashes;
    qg_buf_init(&hashes, SHA * MAX_FILES);
    DIR *folder = opendir(name);
    if (!folder)
        return qg_fail(err, QG_ERR_IO, "%s: %s", name, strerror(errno));
    qg_status rc = hash_files(folder, name, &hashes, err);
    closedir(folder);
    if (rc == QG_OK && hashes.n) {
        qsort(hashes.p, hashes.n / SHA, SHA, by_bytes);
        *fine = EVP_DigestUpdate(hash, hashes.p, hashes.n);
    }
    qg_buf_free(&hashes);
    return rc;
}

static qg_status add_file(EVP_MD_CTX *hash, const char *path, bool *fine, qg_err *err)
{
    unsigned char sha[SHA];
    QG_TRY(hash_file(path, "", sha, err));
    *fine = EVP_DigestUpdate(hash, sha, SHA);
    return QG_OK;
}

static qg_status hash_model(char out[QG_HASH_HEX + 1], const char *model, bool builtin, qg_err *err)
{
    EVP_MD_CTX *hash;
    char build[128] = "";
    struct stat st;
    qg_status rc = QG_OK;
    bool fine = start(&hash);
    if (fine && builtin) {
        qg_build_id(build, sizeof build);
        fine = EVP_DigestUpdate(hash, build, strlen(build));
    } else if (fine && stat(model, &st) == 0 && !S_ISDIR(st.st_mode)) {
        rc = add_file(hash, model, &fine, err);
    } else if (fine) {
        rc = add_folder(hash, model, &fine, err);
    }
    qg_status end = finish(hash, fine, out, err);
    return rc == QG_OK ? end : rc;
}

/* ---- template -------------------------------------------------------------------------------- */

/* Whatever changes in the policy text or around it changes one of these. */
static const char *const conversations[] = {
    "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}],\"add_generation_prompt\":true}",
    "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\","
    "\"content\":\"a\"}],\"add_generation_prompt\":true}",
    "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
    "\"u\"},{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"v\"}],"
    "\"add_generation_prompt\":true}",
};

static qg_status hash_template(char out[QG_HASH_HEX + 1], const qg_engine *engine, qg_err *err)
{
    EVP_MD_CTX *hash;
    bool fine = start(&hash);
    for (size_t i = 0; fine && i < QG_COUNT(conversations); i++) {
        char *text;
        size_t n;
        qg_text vars = {conversations[i], strlen(conversations[i])};
        if (qg_render(engine, vars, &text, &n, NULL, NULL, NULL) != QG_OK)
            continue; /* this template takes no such conversation */
        fine = EVP_DigestUpdate(hash, &n, sizeof n) && EVP_DigestUpdate(hash, text, n);
        qg_free(text);
    }
    return finish(hash, fine, out, err);
}

static qg_status hash_engine(char files[QG_HASH_HEX + 1], char shown[QG_HASH_HEX + 1],
                             const qg_engine *engine, const char *model, qg_err *err)
{
    qg_model_info info;
    qg_engine_info(engine, &info);
    QG_TRY(hash_model(files, model, info.builtin || !model, err));
    return hash_template(shown, engine, err);
}

qg_status qg_ident_of(qg_ident *ident, const qg_engine *engine, const qg_ident_options *opened,
                      qg_err *err)
{
    const qg_engine *second = qg_engine_second(engine);
    *ident = (qg_ident){.model = ""};
    QG_TRY(hash_engine(ident->model, ident->shown, engine, opened->model, err));
    if (!second)
        return QG_OK;
    ident->second_below = opened->second_below;
    return hash_engine(ident->second_model, ident->second_shown, second, opened->second_model, err);
}

static json_t *engine_json(const char *sha256, const qg_engine *engine, qg_decode decode,
                           qg_special special)
{
    qg_model_info info;
    qg_engine_info(engine, &info);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:i}", "name", info.name, "sha256", sha256,
                     "dtype", info.dtype, "kv_cache_dtype", info.kv_dtype, "kernel", info.kernel,
                     "decode", decode == QG_DECODE_GENERATE ? "generate" : "verdict",
                     "special_tokens", special == QG_SPECIAL_PARSE ? "parse" : "text",
                     "max_model_len", info.max_model_len);
}

json_t *qg_ident_json(const qg_ident *ident, const qg_engine *engine, qg_decode decode,
                      qg_special special)
{
    const qg_engine *second = qg_engine_second(engine);
    json_t *o = engine_json(ident->model, engine, decode, special);
    if (!o || !second)
        return o;
    json_t *other = engine_json(ident->second_model, second, decode, special);
    json_object_set_new(other, "template_sha256", json_string(ident->second_shown));
    json_object_set_new(other, "below", json_real(ident->second_below));
    if (json_object_set_new(o, "second", other)) {
        json_decref(o);
        return NULL;
    }
    return o;
}

char *qg_ident_of_verdicts(const qg_ident *ident, const qg_engine *engine, qg_decode decode,
                           qg_special special)
{
    json_t *what =
        json_pack("{s:s,s:o,s:s}", "version", QG_VERSION, "model",
                  qg_ident_json(ident, engine, decode, special), "template_sha256", ident->shown);
    char *text = what ? qg_json_dump(what) : NULL;
    json_decref(what);
    return text;
}
