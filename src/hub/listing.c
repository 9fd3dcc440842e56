#include "hub/listing.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/json.h"
#include "text/utf8.h"

#include <stdlib.h>

void qg_hub_list_free(qg_hub_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        qg_mfree(list->at[i].path);
    qg_mfree(list->at);
    *list = (qg_hub_list){0};
}

const qg_hub_file *qg_hub_list_find(const qg_hub_list *list, const char *path)
{
    for (size_t i = 0; i < list->n; i++)
        if (!strcmp(list->at[i].path, path))
            return &list->at[i];
    return NULL;
}

static int by_path(const void *a, const void *b)
{
    const qg_hub_file *x = a, *y = b;
    return strcmp(x->path, y->path);
}

qg_status qg_hub_list_sort(qg_hub_list *list, qg_err *err)
{
    if (list->n)
        qsort(list->at, list->n, sizeof *list->at, by_path);
    for (size_t i = 1; i < list->n; i++)
        if (!strcmp(list->at[i].path, list->at[i - 1].path))
            return qg_fail(err, QG_ERR_FORMAT, "the hub lists %s twice", list->at[i].path);
    return QG_OK;
}

/* A file without a size and an id yet; *out lives until the next add. */
static qg_status add_file(qg_hub_list *list, qg_slice path, qg_hub_file **out, qg_err *err)
{
    QG_TRY(qg_repo_check_file(path, err));
    if (list->n == QG_MAX_HUB_FILES)
        return qg_fail(err, QG_ERR_TOO_LONG, "the repository has more than %u files",
                       QG_MAX_HUB_FILES);
    if (list->n == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 32;
        qg_hub_file *grown = qg_realloc_array(list->at, cap, sizeof *grown);
        if (!grown)
            return qg_fail(err, QG_ERR_NOMEM, "out of memory");
        list->at = grown;
        list->cap = cap;
    }
    qg_hub_file *f = &list->at[list->n];
    *f = (qg_hub_file){.path = qg_memdup0(path.p, path.n)};
    if (!f->path)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    list->n++;
    *out = f;
    return QG_OK;
}

/* Takes back what was added behind the first n. */
static void cut(qg_hub_list *list, size_t n)
{
    while (list->n > n)
        qg_mfree(list->at[--list->n].path);
}

/* Optional member of exactly n hex digits; it is written in lower case, as blobs are named. */
static qg_status get_hex(const json_t *obj, const char *key, size_t n, char *out, qg_err *err)
{
    qg_slice s = {0};
    QG_TRY(qg_json_opt_str(obj, key, &s, err));
    if (!s.n)
        return QG_OK;
    if (s.n != n || !qg_is_hex(s.p, n))
        return qg_fail(err, QG_ERR_FORMAT, "\"%s\" is not %zu hex digits", key, n);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'F' ? s.p[i] + 32 : s.p[i]);
    out[n] = 0;
    return QG_OK;
}

static qg_status get_size(const json_t *obj, const char *key, uint64_t *out, qg_err *err)
{
    int64_t size;
    QG_TRY(qg_json_get_int(obj, key, 0, QG_MAX_HUB_FILE_BYTES, &size, err));
    *out = (uint64_t)size;
    return QG_OK;
}

/* ---- Hugging Face ---------------------------------------------------------------------------- */

static qg_status parse_object(qg_slice json, const char *what, json_t **root, qg_err *err)
{
    qg_status rc = qg_json_parse(json, QG_JSON_NUL, root, err);
    if (rc == QG_OK && !json_is_object(*root)) {
        json_decref(*root);
        *root = NULL;
        rc = qg_fail(err, QG_ERR_FORMAT, "not an object");
    }
    return rc == QG_OK ? QG_OK : qg_fail_prefix(err, rc, "the hub's answer about %s", what);
}

qg_status qg_hf_read_revision(qg_slice json, char commit[QG_HUB_COMMIT + 1], qg_err *err)
{
    json_t *root;

    commit[0] = 0;
    QG_TRY(parse_object(json, "the revision", &root, err));
    qg_status rc = get_hex(root, "sha", QG_HUB_COMMIT, commit, err);
    if (rc == QG_OK && !commit[0])
        rc = qg_fail(err, QG_ERR_FORMAT, "the hub's answer about the revision names no commit");
    json_decref(root);
    return rc;
}

static qg_status read_entry(const json_t *entry, qg_hub_list *list, qg_err *err)
{
    qg_slice type, path;
    json_t *lfs = NULL;
    qg_hub_file *f;

    QG_TRY(qg_json_get_str(entry, "type", &type, err));
    QG_TRY(qg_json_get_str(entry, "path", &path, err));
    if (!qg_slice_is(type, "file"))
        return QG_OK;
    QG_TRY(add_file(list, path, &f, err));
    QG_TRY(get_size(entry, "size", &f->size, err));
    QG_TRY(get_hex(entry, "oid", QG_HUB_COMMIT, f->oid, err));
    QG_TRY(get_hex(entry, "xetHash", QG_HUB_ID, f->xet, err));
    QG_TRY(qg_json_opt_object(entry, "lfs", &lfs, err));
    if (lfs) {
        QG_TRY(get_hex(lfs, "oid", QG_HUB_ID, f->id, err));
        return get_size(lfs, "size", &f->size, err);
    }
    memcpy(f->id, f->oid, sizeof f->oid);
    f->git = true;
    return QG_OK;
}

qg_status qg_hf_read_tree(qg_slice json, qg_hub_list *list, qg_err *err)
{
    const size_t had = list->n;
    json_t *root, *entry;
    size_t i;

    qg_status rc = qg_json_parse(json, QG_JSON_NUL, &root, err);
    if (rc == QG_OK && !json_is_array(root))
        rc = qg_fail(err, QG_ERR_FORMAT, "not a list");
    for (i = 0; rc == QG_OK && i < json_array_size(root); i++) {
        entry = json_array_get(root, i);
        rc = read_entry(entry, list, err);
    }
    json_decref(root);
    if (rc == QG_OK)
        return QG_OK;
    cut(list, had);
    return qg_fail_prefix(err, rc, "the hub's list of files");
}

qg_slice qg_hf_next_page(qg_slice link)
{
    static const char rel[] = ">; rel=\"next\"";

    for (size_t i = 0; i < link.n; i++) {
        if (link.p[i] != '<')
            continue;
        const char *end = memchr(link.p + i, '>', link.n - i);
        if (!end)
            break;
        size_t at = (size_t)(end - link.p);
        if (link.n - at >= sizeof rel - 1 && !memcmp(end, rel, sizeof rel - 1))
            return qg_slice_of(link.p + i + 1, at - i - 1);
        i = at;
    }
    return (qg_slice){"", 0};
}

static qg_status read_cached(const char *path, const json_t *info, qg_hub_list *list, qg_err *err)
{
    qg_hub_file *f;

    if (!json_is_object(info))
        return qg_fail(err, QG_ERR_FORMAT, "not an object");
    QG_TRY(add_file(list, qg_str(path), &f, err));
    QG_TRY(get_size(info, "size", &f->size, err));
    QG_TRY(get_hex(info, "blob_id", QG_HUB_COMMIT, f->oid, err));
    QG_TRY(get_hex(info, "lfs_sha256", QG_HUB_ID, f->id, err));
    QG_TRY(get_hex(info, "xet_hash", QG_HUB_ID, f->xet, err));
    f->git = !f->id[0];
    if (f->git)
        memcpy(f->id, f->oid, sizeof f->oid);
    return QG_OK;
}

qg_status qg_hf_read_tree_cache(qg_slice json, qg_hub_list *list, qg_err *err)
{
    const size_t had = list->n;
    json_t *root, *files, *info;
    const char *path;
    int64_t version;

    QG_TRY(qg_json_parse(json, 0, &root, err));
    qg_status rc = qg_json_get_int(root, "format_version", 1, 1, &version, err);
    if (rc == QG_OK)
        rc = qg_json_get_object(root, "files", &files, err);
    if (rc == QG_OK)
        json_object_foreach (files, path, info)
            if (rc == QG_OK)
                rc = read_cached(path, info, list, err);
    json_decref(root);
    if (rc != QG_OK)
        cut(list, had);
    return rc;
}

static json_t *cached_json(const qg_hub_file *f)
{
    json_t *o = json_pack("{s:I, s:s}", "size", (json_int_t)f->size, "blob_id", f->oid);
    bool fine = o;
    if (fine && !f->git)
        fine = !json_object_set_new(o, "lfs_sha256", json_string(f->id)) &&
               !json_object_set_new(o, "lfs_size", json_integer((json_int_t)f->size));
    if (fine && f->xet[0])
        fine = !json_object_set_new(o, "xet_hash", json_string(f->xet));
    if (fine)
        return o;
    json_decref(o);
    return NULL;
}

qg_status qg_hf_write_tree_cache(const qg_hub_list *list, qg_buf *json, qg_err *err)
{
    json_t *files = json_object();
    bool fine = files;

    for (size_t i = 0; fine && i < list->n; i++)
        fine = !json_object_set_new(files, list->at[i].path, cached_json(&list->at[i]));
    json_t *root = fine ? json_pack("{s:i, s:O}", "format_version", 1, "files", files) : NULL;
    char *text = root ? qg_json_dump(root) : NULL;
    fine = text && qg_buf_adds(json, text) == QG_OK;
    qg_mfree(text);
    json_decref(root);
    json_decref(files);
    return fine ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

/* ---- ModelScope ------------------------------------------------------------------------------ */

/* Some failures come with HTTP 200: the body says whether it worked. */
static qg_status open_answer(qg_slice json, json_t **root, json_t **data, qg_err *err)
{
    int64_t code = 0;
    bool success = false;
    char words[160];

    QG_TRY(parse_object(json, "the files", root, err));
    qg_status rc = qg_json_get_int(*root, "Code", INT64_MIN, INT64_MAX, &code, err);
    if (rc == QG_OK)
        rc = qg_json_opt_bool(*root, "Success", &success, err);
    if (rc == QG_OK && (code != 200 || !success)) {
        qg_hub_error_words(json, words, sizeof words);
        rc = qg_fail(err, QG_ERR_IO, "the hub says: %s (code %lld)",
                     words[0] ? words : "it did not work", (long long)code);
    }
    if (rc == QG_OK)
        rc = qg_json_get_object(*root, "Data", data, err);
    if (rc == QG_OK)
        return QG_OK;
    json_decref(*root);
    *root = NULL;
    return rc;
}

static qg_status read_ms_file(const json_t *entry, qg_hub_list *list, qg_err *err)
{
    qg_slice type, path;
    qg_hub_file *f;

    QG_TRY(qg_json_get_str(entry, "Type", &type, err));
    QG_TRY(qg_json_get_str(entry, "Path", &path, err));
    if (qg_slice_is(type, "tree"))
        return QG_OK;
    QG_TRY(add_file(list, path, &f, err));
    QG_TRY(get_size(entry, "Size", &f->size, err));
    return get_hex(entry, "Sha256", QG_HUB_ID, f->id, err);
}

qg_status qg_ms_read_files(qg_slice json, qg_hub_list *list, qg_err *err)
{
    const size_t had = list->n;
    json_t *root, *data, *files;

    QG_TRY(open_answer(json, &root, &data, err));
    qg_status rc = qg_json_get_array(data, "Files", &files, err);
    for (size_t i = 0; rc == QG_OK && i < json_array_size(files); i++)
        rc = read_ms_file(json_array_get(files, i), list, err);
    json_decref(root);
    if (rc == QG_OK)
        return QG_OK;
    cut(list, had);
    return qg_fail_prefix(err, rc, "the hub's list of files");
}

static qg_status add_revisions(const json_t *map, const char *key, const char *wanted, bool *there,
                               qg_buf *out, qg_err *err)
{
    json_t *list = NULL;
    qg_slice name;

    QG_TRY(qg_json_opt_array(map, key, &list, err));
    for (size_t i = 0; list && i < json_array_size(list); i++) {
        QG_TRY(qg_json_get_str(json_array_get(list, i), "Revision", &name, err));
        *there |= qg_slice_is(name, wanted);
        if (!qg_utf8_valid(name) || out->n + name.n > 100)
            continue;
        QG_TRY(qg_buf_adds(out, out->n ? ", " : ""));
        QG_TRY(qg_buf_add(out, name.p, name.n));
    }
    return QG_OK;
}

qg_status qg_ms_read_revisions(qg_slice json, const char *wanted, bool *there, qg_buf *out,
                               qg_err *err)
{
    json_t *root, *data, *map;

    *there = false;
    QG_TRY(open_answer(json, &root, &data, err));
    qg_status rc = qg_json_get_object(data, "RevisionMap", &map, err);
    if (rc == QG_OK)
        rc = add_revisions(map, "Branches", wanted, there, out, err);
    if (rc == QG_OK)
        rc = add_revisions(map, "Tags", wanted, there, out, err);
    json_decref(root);
    return rc;
}

/* ---- both ------------------------------------------------------------------------------------ */

void qg_hub_error_words(qg_slice json, char *words, size_t n)
{
    static const char *const keys[] = {"error", "Message", "message", "msg"};
    json_t *root;
    qg_slice said = {"", 0};

    words[0] = 0;
    if (qg_json_parse(json, QG_JSON_NUL, &root, NULL) != QG_OK)
        return;
    for (size_t i = 0; !said.n && i < QG_COUNT(keys); i++)
        said = qg_json_slice(json_object_get(root, keys[i]));
    size_t fits = (size_t)qg_utf8_cut(said, (int)n - 1);
    for (size_t i = 0; i < fits; i++)
        words[i] = (unsigned char)said.p[i] < 32 || said.p[i] == 127 ? ' ' : said.p[i];
    words[fits] = 0;
    json_decref(root);
}

qg_status qg_hub_read_index(qg_slice json, qg_hub_list *list, qg_err *err)
{
    const size_t had = list->n;
    json_t *root, *map, *name;
    const char *tensor;
    qg_hub_file *f;

    QG_TRY(qg_json_parse(json, 0, &root, err));
    qg_status rc = qg_json_get_object(root, "weight_map", &map, err);
    if (rc == QG_OK)
        json_object_foreach (map, tensor, name)
            if (rc == QG_OK && json_is_string(name) &&
                !qg_hub_list_find(list, json_string_value(name)))
                rc = add_file(list, qg_json_slice(name), &f, err);
    json_decref(root);
    if (rc != QG_OK)
        cut(list, had);
    return rc;
}
