#define _XOPEN_SOURCE 700 /* realpath */
#include "engine/packcache.h"

#include "base/buildid.h"
#include "base/mem.h"
#include "base/sum.h"
#include "fmt/dirlist.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    KEY_BYTES = 1 << 20, /* 1,024 shards of 400 bytes, and room */
    SAMPLES = 64,        /* pages of each file that the key looks at besides its first 64 KiB */
    PAGE = 4096,
};
/* A file's times move by ticks of the system's clock: a write within the tick of the last one
 * leaves them as they were.  A second is more than any tick. */
static const int64_t settled_ns = 1000000000;

/* ---- key ------------------------------------------------------------------------------------- */

/* Size and times tell a changed file from the old one; for whoever sets them back there are the
 * header and pages from all over the file.  All of it would cost as much as packing. */
static uint64_t sample(const qg_map *map)
{
    size_t head = map->size < 65536 ? map->size : 65536;
    uint64_t sum = qg_sum64(map->size, map->data, head);
    for (uint64_t i = 1; i <= SAMPLES && map->size > 65536 + PAGE; i++)
        sum = qg_sum64(sum, map->data + (map->size - PAGE) / SAMPLES * i, PAGE);
    return sum;
}

static qg_status add_files(qg_buf *key, const qg_modeldir *model, bool *settled)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    const int64_t now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    *settled = true;
    for (size_t i = 0; i < qg_modeldir_n_shards(model); i++) {
        const qg_shard *s = qg_modeldir_shard(model, i);
        const qg_file_id *id = &s->map.id;
        *settled &= now - id->ctime_ns > settled_ns && now - id->mtime_ns > settled_ns;
        QG_TRY(qg_buf_addf(key, "file %s bytes %zu inode %llu mtime %lld ctime %lld sample %llx\n",
                           s->file, s->map.size, (unsigned long long)id->inode,
                           (long long)id->mtime_ns, (long long)id->ctime_ns,
                           (unsigned long long)sample(&s->map)));
        qg_map_drop(&s->map, 0, s->map.size);
    }
    return QG_OK;
}

static const char *format_of(const qg_model_options *opt)
{
    return opt->dtype == QG_DTYPE_F32    ? "float32"
           : opt->dtype == QG_DTYPE_INT8 ? "int8"
           : opt->dtype == QG_DTYPE_INT4 ? "int4"
                                         : "bfloat16";
}

/* What the file is for: the first lines of the key, and its name.  What may change under it: the
 * rest.  The C library counts because the angles of positions come from its sine. */
static qg_status make_key(qg_packcache *c, const char *real, const qg_model_options *opt,
                          const char *build, bool *settled)
{
    char rows[128], libc[64] = "";
    qg_slice config = {0};
    qg_model_rows(opt, rows, sizeof rows);
    QG_TRY(qg_buf_addf(&c->key, "model %s\nformat %s\nrows %s features %x\n", real, format_of(opt),
                       rows, (unsigned)opt->features));
    uint64_t hash = qg_sum64(0, c->key.p, c->key.n);
    char *base = qg_path_name(real);
    char name[128];
    for (char *p = base; p && *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", *p))
            *p = '_';
    snprintf(name, sizeof name, "model-%.60s-%s-%016llx%s", base ? base : "", format_of(opt),
             (unsigned long long)hash, QG_PACKFILE_SUFFIX);
    qg_mfree(base);
    c->name = qg_memdup0(name, strlen(name));
    if (!base || !c->name)
        return QG_ERR_NOMEM;
    confstr(_CS_GNU_LIBC_VERSION, libc, sizeof libc);
    QG_TRY(qg_buf_addf(&c->key, "qguard %s build %s, %s\n", QG_VERSION, build, libc));
    if (qg_modeldir_file((qg_modeldir *)(uintptr_t)c->model, "config.json", &config, NULL) == QG_OK)
        QG_TRY(qg_buf_addf(&c->key, "config %zu %llx\n", config.n,
                           (unsigned long long)qg_sum64(0, config.p, config.n)));
    return add_files(&c->key, c->model, settled);
}

/* ---- opening and writing --------------------------------------------------------------------- */

static void look(qg_packcache *c, bool create, qg_pool *pool)
{
    bool exists;
    char *path = qg_path_join(c->dir, c->name);
    if (!path)
        return;
    qg_err why = {""};
    qg_status rc = qg_packfile_open(&c->file, path, qg_buf_slice(&c->key), pool, &exists, &why);
    c->write = rc != QG_OK && rc != QG_ERR_NOMEM && (create || exists);
    if (rc != QG_OK && exists)
        c->note = why;
    qg_mfree(path);
}

qg_status qg_packcache_open(qg_packcache *c, const char *dir, bool create, const qg_modeldir *model,
                            const qg_model_options *opt, qg_pool *pool, qg_err *err)
{
    char build[128];
    bool settled;
    *c = (qg_packcache){.model = model};
    qg_buf_init(&c->key, KEY_BYTES);
    const char *path = qg_modeldir_path(model);
    if (!dir || !path || !qg_build_id(build, sizeof build))
        return QG_OK;
    char real[PATH_MAX];
    if (!realpath(path, real))
        return QG_OK;
    qg_status rc = make_key(c, real, opt, build, &settled);
    c->dir = rc == QG_OK ? qg_memdup0(dir, strlen(dir)) : NULL;
    if (!c->dir) {
        qg_packcache_close(c);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    }
    look(c, create, pool);
    if (c->write && !settled) {
        c->write = false;
        qg_fail(&c->note, QG_OK, "%s: changed a moment ago; its packed weights are not kept", path);
    }
    return QG_OK;
}

/* Whether the model's files still are the ones that were mapped when it was opened. */
static bool unchanged(const qg_modeldir *model)
{
    for (size_t i = 0; i < qg_modeldir_n_shards(model); i++) {
        const qg_shard *s = qg_modeldir_shard(model, i);
        qg_map now;
        char *path = qg_modeldir_shard_path(model, i);
        bool same = path && qg_map_open(&now, path, NULL) == QG_OK;
        qg_mfree(path);
        if (!same)
            return false;
        same = now.size == s->map.size && now.id.inode == s->map.id.inode &&
               now.id.mtime_ns == s->map.id.mtime_ns && now.id.ctime_ns == s->map.id.ctime_ns;
        qg_map_close(&now);
        if (!same)
            return false;
    }
    return true;
}

void qg_packcache_write(qg_packcache *c, qg_slice packed, qg_slice kv, qg_pool *pool)
{
    const qg_slice parts[QG_PACKFILE_PARTS] = {packed, kv};
    if (!c->write || !unchanged(c->model))
        return;
    c->write = false;
    qg_err why;
    if (qg_packfile_write(c->dir, c->name, qg_buf_slice(&c->key), parts, pool, &why) != QG_OK)
        qg_fail(&c->note, QG_OK, "packed weights are not kept: %s", why.msg);
    else if (c->note.msg[0])
        qg_fail_prefix(&c->note, QG_OK, "packed weights written anew");
}

void qg_packcache_close(qg_packcache *c)
{
    qg_packfile_close(&c->file);
    qg_buf_free(&c->key);
    qg_mfree(c->dir);
    qg_mfree(c->name);
    *c = (qg_packcache){0};
}
