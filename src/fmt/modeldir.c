#include "fmt/modeldir.h"

#include "base/limits.h"
#include "base/mem.h"
#include "fmt/dirlist.h"
#include "fmt/gguf.h"
#include "fmt/shardindex.h"

#include <stdlib.h>

typedef struct small_file {
    char *name;
    qg_map map;
    char *made; /* the bytes, where they were written from a GGUF file's metadata */
} small_file;

struct qg_modeldir {
    char *path; /* NULL: in memory */
    char *name;
    const qg_file *files; /* in memory: borrowed */
    size_t n_files;
    bool is_gguf; /* shards[0] is the file */
    qg_gguf gguf;
    qg_config config;
    bool has_config;
    qg_shard *shards; /* sorted by file name */
    size_t n_shards;
    qg_tensor *tensors; /* of all shards, sorted by name */
    size_t n_tensors;
    small_file *small;
    size_t n_small;
    qg_strings warnings;
};

static qg_status no_memory(qg_err *err)
{
    return qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

static const qg_file *memory_file(const qg_modeldir *dir, const char *name)
{
    for (size_t i = 0; i < dir->n_files; i++)
        if (strcmp(dir->files[i].name, name) == 0)
            return &dir->files[i];
    return NULL;
}

static qg_status open_map(const qg_modeldir *dir, const char *name, qg_map *map, qg_err *err)
{
    if (dir->path) {
        char *path = qg_path_join(dir->path, name);
        *map = (qg_map){0};
        if (!path)
            return no_memory(err);
        qg_status rc = qg_map_open(map, path, err);
        qg_mfree(path);
        return rc;
    }
    const qg_file *f = memory_file(dir, name);
    if (!f)
        return qg_fail(err, QG_ERR_IO, "%s: no such file in the built-in model", name);
    *map = qg_map_borrow(f->data, f->size);
    return QG_OK;
}

/* What a GGUF file's metadata tell, as files. */
static bool gguf_has(const qg_modeldir *dir, const char *name)
{
    if (strcmp(name, "tokenizer.json") == 0)
        return qg_gguf_find(&dir->gguf, "tokenizer.ggml.tokens") != NULL;
    if (strcmp(name, "chat_template.jinja") == 0)
        return qg_gguf_find(&dir->gguf, "tokenizer.chat_template") != NULL;
    return strcmp(name, "config.json") == 0;
}

bool qg_modeldir_has(const qg_modeldir *dir, const char *name)
{
    if (dir->is_gguf)
        return gguf_has(dir, name);
    return dir->path ? qg_path_exists(dir->path, name) : memory_file(dir, name) != NULL;
}

static qg_status make_small(const qg_modeldir *dir, const char *name, small_file *f, qg_err *err)
{
    qg_slice text = {0};
    qg_buf out;

    if (!gguf_has(dir, name))
        return qg_fail(err, QG_ERR_IO, "%s: a GGUF file has nothing like %s", dir->gguf.file, name);
    if (strcmp(name, "chat_template.jinja") == 0) {
        QG_TRY(qg_gguf_str(&dir->gguf, "tokenizer.chat_template", &text, err));
        f->map = qg_map_borrow(text.p, text.n);
        return QG_OK;
    }
    qg_buf_init(&out, QG_MAX_TOKENIZER_BYTES);
    qg_status rc = strcmp(name, "config.json") == 0 ? qg_gguf_config(&dir->gguf, &out, err)
                                                    : qg_gguf_tokenizer(&dir->gguf, &out, err);
    if (rc == QG_OK) {
        const size_t n = out.n;
        f->made = qg_buf_take(&out);
        f->map = qg_map_borrow(f->made, n);
        rc = f->made ? QG_OK : no_memory(err);
    }
    qg_buf_free(&out);
    return rc;
}

/* Never NULL, so that an empty file is not taken for an absent one. */
static qg_slice bytes_of(const qg_map *map)
{
    return (qg_slice){map->size ? (const char *)map->data : "", map->size};
}

qg_status qg_modeldir_file(qg_modeldir *dir, const char *name, qg_slice *bytes, qg_err *err)
{
    *bytes = (qg_slice){0};
    for (size_t i = 0; i < dir->n_small; i++) {
        if (strcmp(dir->small[i].name, name) == 0) {
            *bytes = bytes_of(&dir->small[i].map);
            return QG_OK;
        }
    }
    small_file *grown = qg_realloc_array(dir->small, dir->n_small + 1, sizeof *grown);
    if (!grown)
        return no_memory(err);
    dir->small = grown;
    small_file f = {0};
    if (dir->is_gguf)
        QG_TRY(make_small(dir, name, &f, err));
    else
        QG_TRY(open_map(dir, name, &f.map, err));
    f.name = qg_memdup0(name, strlen(name));
    if (!f.name) {
        qg_map_close(&f.map);
        qg_mfree(f.made);
        return no_memory(err);
    }
    grown[dir->n_small++] = f;
    *bytes = bytes_of(&f.map);
    return QG_OK;
}

static qg_status load_config(qg_modeldir *dir, qg_sink *sink)
{
    static const char generation_file[] = "generation_config.json";
    qg_slice conf, generation = {0};
    qg_err e;

    qg_status rc = qg_modeldir_file(dir, "config.json", &conf, &e);
    if (rc == QG_OK && qg_modeldir_has(dir, generation_file))
        rc = qg_modeldir_file(dir, generation_file, &generation, &e);
    if (rc)
        return qg_sink_take(sink, rc, &e);
    rc = qg_config_read(&dir->config, conf, generation, sink);
    dir->has_config = rc == QG_OK;
    return sink->each && rc != QG_ERR_NOMEM ? QG_OK : rc;
}

/* Names of the files that hold tensors, sorted: so that order, and with it every sentence, does not
 * depend on the file system. */
static qg_status list_shards(const qg_modeldir *dir, qg_strings *names, qg_err *err)
{
    static const char suffix[] = ".safetensors";

    if (dir->path)
        return qg_list_files(dir->path, suffix, QG_MAX_SHARDS, names, err);
    for (size_t i = 0; i < dir->n_files; i++) {
        const char *name = dir->files[i].name;
        if (qg_has_suffix(name, suffix) && !qg_strings_add(names, name))
            return no_memory(err);
    }
    qg_strings_sort(names);
    return QG_OK;
}

/* Weights of another kind are worth a word of their own. */
static qg_status no_shards(const qg_modeldir *dir, qg_err *err)
{
    static const char *const others[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                         "consolidated.00.pth", "model.onnx"};
    const char *where = dir->path ? dir->path : dir->name;
    qg_strings gguf = {0};
    qg_status rc;

    for (size_t i = 0; i < QG_COUNT(others); i++)
        if (qg_modeldir_has(dir, others[i]))
            return qg_fail(err, QG_ERR_UNSUPPORTED,
                           "%s: has %s, but only *.safetensors weights can be read", where,
                           others[i]);
    if (dir->path && qg_list_files(where, ".gguf", QG_MAX_SHARDS, &gguf, NULL) == QG_OK && gguf.n)
        rc = qg_fail(err, QG_ERR_IO,
                     "%s: no *.safetensors file in it, but %s: give that file's path", where,
                     gguf.p[0]);
    else
        rc = qg_fail(err, QG_ERR_IO, "%s: no *.safetensors file in it", where);
    qg_strings_free(&gguf);
    return rc;
}

static qg_status load_shards(qg_modeldir *dir, qg_sink *sink)
{
    qg_strings names = {0};
    qg_err e;

    qg_status rc = list_shards(dir, &names, &e);
    if (rc == QG_OK && names.n == 0)
        rc = no_shards(dir, &e);
    if (rc == QG_OK) {
        dir->shards = qg_calloc(names.n, sizeof *dir->shards);
        if (!dir->shards)
            rc = no_memory(&e);
    }
    rc = qg_sink_take(sink, rc, &e);
    for (size_t i = 0; rc == QG_OK && dir->shards && i < names.n; i++) {
        qg_map map;
        rc = open_map(dir, names.p[i], &map, &e);
        if (rc == QG_OK)
            rc = qg_shard_open(&dir->shards[dir->n_shards], names.p[i], map, &e);
        if (rc == QG_OK)
            dir->n_shards++;
        rc = qg_sink_take(sink, rc, &e);
    }
    qg_strings_free(&names);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    const qg_tensor *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order ? order : strcmp(x->file, y->file);
}

static qg_status collect_tensors(qg_modeldir *dir, qg_err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < dir->n_shards; i++)
        n += dir->shards[i].n_tensors;
    if (n > QG_MAX_TENSORS)
        return qg_fail(err, QG_ERR_FORMAT, "%zu tensors in all files, more than the limit of %d", n,
                       QG_MAX_TENSORS);
    dir->tensors = qg_calloc(n, sizeof *dir->tensors);
    if (!dir->tensors)
        return no_memory(err);
    for (size_t i = 0; i < dir->n_shards; i++) {
        const qg_shard *s = &dir->shards[i];
        if (s->n_tensors)
            memcpy(dir->tensors + dir->n_tensors, s->tensors, s->n_tensors * sizeof *s->tensors);
        dir->n_tensors += s->n_tensors;
    }
    if (n)
        qsort(dir->tensors, n, sizeof *dir->tensors, by_name);
    return QG_OK;
}

static qg_status check_duplicates(const qg_modeldir *dir, qg_sink *sink)
{
    for (size_t i = 1; i < dir->n_tensors; i++) {
        const qg_tensor *a = &dir->tensors[i - 1], *b = &dir->tensors[i];
        qg_err e;
        if (strcmp(a->name, b->name) != 0)
            continue;
        qg_status rc =
            qg_fail(&e, QG_ERR_FORMAT, "%s: %s is also in %s", b->file, b->name, a->file);
        QG_TRY(qg_sink_take(sink, rc, &e));
    }
    return QG_OK;
}

static qg_status check_index(qg_modeldir *dir, qg_err *err)
{
    qg_slice bytes;
    qg_err e;

    if (!qg_modeldir_has(dir, QG_SHARD_INDEX))
        return QG_OK;
    qg_status rc = qg_modeldir_file(dir, QG_SHARD_INDEX, &bytes, &e);
    if (rc == QG_OK)
        rc = qg_shardindex_compare(bytes, dir->tensors, dir->n_tensors, &e);
    if (rc == QG_ERR_NOMEM || (rc && !qg_strings_add(&dir->warnings, e.msg)))
        return no_memory(err);
    return QG_OK;
}

static qg_status load(qg_modeldir *dir, qg_sink *sink)
{
    qg_err e;

    QG_TRY(load_config(dir, sink));
    if (dir->is_gguf) {
        qg_status rc = qg_gguf_tensors(&dir->gguf, &dir->shards[0], &e);
        QG_TRY(qg_sink_take(sink, rc, &e));
    } else {
        QG_TRY(load_shards(dir, sink));
    }
    qg_status rc = collect_tensors(dir, &e);
    QG_TRY(qg_sink_take(sink, rc, &e));
    QG_TRY(check_duplicates(dir, sink));
    rc = check_index(dir, &e);
    return qg_sink_take(sink, rc, &e);
}

/* The file, or the one file in memory, as GGUF: adopts the map. */
static qg_status open_gguf(qg_modeldir *dir, qg_map map, qg_err *err)
{
    const char *file = dir->path ? dir->path : dir->files[0].name;
    dir->shards = qg_calloc(1, sizeof *dir->shards);
    char *name = qg_path_name(file);
    if (!dir->shards || !name) {
        qg_map_close(&map);
        qg_mfree(name);
        return no_memory(err);
    }
    dir->is_gguf = true;
    dir->n_shards = 1;
    dir->shards[0] = (qg_shard){.map = map, .file = name};
    const size_t n = strlen(dir->name), m = strlen(".gguf");
    if (n > m && qg_has_suffix(dir->name, ".gguf"))
        dir->name[n - m] = 0;
    return qg_gguf_open(&dir->gguf, name, bytes_of(&map), err);
}

static qg_status open_file(qg_modeldir *dir, qg_err *err)
{
    qg_map map;
    QG_TRY(qg_map_open(&map, dir->path, err));
    if (qg_gguf_is(bytes_of(&map)))
        return open_gguf(dir, map, err);
    qg_map_close(&map);
    return qg_fail(err, QG_ERR_FORMAT,
                   "%s: no GGUF file; a model is a directory with config.json and *.safetensors, "
                   "or a GGUF file",
                   dir->path);
}

static bool is_gguf_in_memory(const qg_file *files, size_t n)
{
    return n == 1 && qg_has_suffix(files[0].name, ".gguf");
}

/* path NULL: over files in memory. */
static qg_status open_dir(qg_modeldir **out, const char *path, const qg_file *files, size_t n_files,
                          unsigned flags, qg_sink *sink)
{
    qg_err e;
    qg_status rc = QG_OK;

    bool is_file = false;

    *out = NULL;
    if (path)
        rc = qg_path_check_model(path, &is_file, &e);
    if (rc) {
        sink->each = NULL;
        return qg_sink_take(sink, rc, &e);
    }
    qg_modeldir *dir = qg_calloc(1, sizeof *dir);
    if (dir) {
        dir->files = files;
        dir->n_files = n_files;
        dir->path = path ? qg_memdup0(path, strlen(path)) : NULL;
        dir->name = path ? qg_path_model_name(path) : qg_memdup0("qguard-demo", 11);
    }
    if (!dir || !dir->name || (path && !dir->path))
        rc = no_memory(&e);
    else if (is_file)
        rc = open_file(dir, &e);
    else if (!path && is_gguf_in_memory(files, n_files))
        rc = open_gguf(dir, qg_map_borrow(files[0].data, files[0].size), &e);
    if (rc) {
        sink->each = NULL;
        rc = qg_sink_take(sink, rc, &e);
    } else if (flags & QG_MODELDIR_TENSORS) {
        rc = load(dir, sink);
    }
    if (rc) {
        qg_modeldir_close(dir);
        return rc;
    }
    *out = dir;
    return sink->first;
}

qg_status qg_modeldir_open(qg_modeldir **out, const char *path, unsigned flags, qg_err *err)
{
    qg_sink sink = {.err = err};
    return open_dir(out, path, NULL, 0, flags, &sink);
}

qg_status qg_modeldir_open_files(qg_modeldir **out, const qg_file *files, size_t n_files,
                                 unsigned flags, qg_err *err)
{
    qg_sink sink = {.err = err};
    return open_dir(out, NULL, files, n_files, flags, &sink);
}

qg_status qg_modeldir_survey(qg_modeldir **out, const char *path, qg_problem_fn *each, void *ud,
                             qg_err *err)
{
    qg_sink sink = {.each = each, .ud = ud, .err = err};
    return open_dir(out, path, NULL, 0, QG_MODELDIR_TENSORS, &sink);
}

qg_status qg_modeldir_survey_files(qg_modeldir **out, const qg_file *files, size_t n_files,
                                   qg_problem_fn *each, void *ud, qg_err *err)
{
    qg_sink sink = {.each = each, .ud = ud, .err = err};
    return open_dir(out, NULL, files, n_files, QG_MODELDIR_TENSORS, &sink);
}

void qg_modeldir_close(qg_modeldir *dir)
{
    if (!dir)
        return;
    for (size_t i = 0; i < dir->n_shards; i++)
        qg_shard_close(&dir->shards[i]);
    for (size_t i = 0; i < dir->n_small; i++) {
        qg_mfree(dir->small[i].name);
        qg_map_close(&dir->small[i].map);
        qg_mfree(dir->small[i].made);
    }
    qg_gguf_close(&dir->gguf);
    qg_config_free(&dir->config);
    qg_strings_free(&dir->warnings);
    qg_mfree(dir->small);
    qg_mfree(dir->shards);
    qg_mfree(dir->tensors);
    qg_mfree(dir->path);
    qg_mfree(dir->name);
    qg_mfree(dir);
}

const char *qg_modeldir_name(const qg_modeldir *dir)
{
    return dir->name;
}

const char *qg_modeldir_path(const qg_modeldir *dir)
{
    return dir->path;
}

const qg_config *qg_modeldir_config(const qg_modeldir *dir)
{
    return dir->has_config ? &dir->config : NULL;
}

size_t qg_modeldir_n_tensors(const qg_modeldir *dir)
{
    return dir->n_tensors;
}

const qg_tensor *qg_modeldir_tensor_at(const qg_modeldir *dir, size_t i)
{
    return &dir->tensors[i];
}

const qg_tensor *qg_modeldir_tensor(const qg_modeldir *dir, const char *name)
{
    const qg_tensor *p = dir->tensors;
    size_t n = dir->n_tensors;

    while (n) {
        int order = strcmp(name, p[n / 2].name);
        if (order == 0)
            return &p[n / 2];
        if (order > 0) {
            p += n / 2 + 1;
            n -= n / 2 + 1;
        } else {
            n /= 2;
        }
    }
    return NULL;
}

void qg_modeldir_drop(const qg_modeldir *dir, const qg_tensor *t)
{
    qg_modeldir_drop_part(dir, t, 0, t->bytes);
}

void qg_modeldir_drop_part(const qg_modeldir *dir, const qg_tensor *t, size_t first, size_t n)
{
    uintptr_t at = (uintptr_t)t->data + first;

    for (size_t i = 0; i < dir->n_shards; i++) {
        const qg_map *map = &dir->shards[i].map;
        uintptr_t from = (uintptr_t)map->data;
        if (at >= from && at - from < map->size)
            qg_map_drop(map, at - from, n);
    }
}

size_t qg_modeldir_n_shards(const qg_modeldir *dir)
{
    return dir->n_shards;
}

const qg_shard *qg_modeldir_shard(const qg_modeldir *dir, size_t i)
{
    return &dir->shards[i];
}

char *qg_modeldir_shard_path(const qg_modeldir *dir, size_t i)
{
    if (dir->is_gguf)
        return qg_memdup0(dir->path, strlen(dir->path));
    return qg_path_join(dir->path, dir->shards[i].file);
}

size_t qg_modeldir_n_warnings(const qg_modeldir *dir)
{
    return dir->warnings.n;
}

const char *qg_modeldir_warning(const qg_modeldir *dir, size_t i)
{
    return dir->warnings.p[i];
}
