#define _POSIX_C_SOURCE 200809L
#include "hub/store.h"

#include "base/limits.h"
#include "base/mem.h"
#include "hub/digest.h"
#include "hub/hubfile.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* "Qwen--Qwen3Guard-Gen-0.6B" */
static char *dashed(const char *repo)
{
    int owner = (int)strcspn(repo, "/");
    return qg_pathf("%.*s--%s", owner, repo, repo + owner + 1);
}

static bool set_paths(qg_store *s, const qg_hub_env *env, const char *dir)
{
    char *name = dashed(s->repo);
    if (!name)
        return false;
    switch (s->layout) {
    case QG_LAYOUT_HF:
        s->root = qg_pathf("%s/models--%s", env->cache, name);
        s->work = s->root ? qg_pathf("%s/blobs", s->root) : NULL;
        s->locks = qg_pathf("%s/.locks/models--%s", env->cache, name);
        s->snapshot = s->root ? qg_pathf("%s/snapshots/%s", s->root, s->commit) : NULL;
        break;
    case QG_LAYOUT_MODELSCOPE:
        s->root = qg_pathf("%s/models/%s", env->cache, name);
        s->work = s->root ? qg_pathf("%s/.qguard", s->root) : NULL;
        s->locks = s->root ? qg_pathf("%s/.qguard", s->root) : NULL;
        s->snapshot = s->root ? qg_pathf("%s/snapshots/%s", s->root, s->revision) : NULL;
        break;
    case QG_LAYOUT_DIR:
        s->root = qg_pathf("%s", dir);
        s->work = qg_pathf("%s/.cache/qguard", dir);
        s->locks = qg_pathf("%s/.cache/qguard", dir);
        s->snapshot = qg_pathf("%s", dir);
        break;
    }
    qg_mfree(name);
    return s->root && s->work && s->locks && s->snapshot;
}

qg_status qg_store_open(qg_store *s, const qg_hub_env *env, const char *dir, const char *repo,
                        const char *revision, const char *commit, qg_err *err)
{
    *s = (qg_store){.repo = repo, .revision = revision, .commit = commit};
    s->hf = env->kind == QG_HUB_HF;
    s->no_symlinks = env->no_symlinks;
    s->layout = dir ? QG_LAYOUT_DIR : s->hf ? QG_LAYOUT_HF : QG_LAYOUT_MODELSCOPE;
    if (!set_paths(s, env, dir))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory, or a path that is too long");
    QG_TRY(qg_make_dirs(s->work, err));
    return qg_make_dirs(s->locks, err);
}

void qg_store_free(qg_store *s)
{
    qg_mfree(s->root);
    qg_mfree(s->work);
    qg_mfree(s->locks);
    qg_mfree(s->snapshot);
    *s = (qg_store){0};
}

/* The cache of Hugging Face names blobs by their hash alone, so that revisions share them;
 * elsewhere the path goes into the name, so that two files of the same bytes are two files. */
static char *work_path(const qg_store *s, const char *folder, const qg_hub_file *f,
                       const char *suffix)
{
    if (s->layout == QG_LAYOUT_HF)
        return qg_pathf("%s/%s%s", folder, f->id, suffix);
    char *flat = qg_memdup0(f->path, strlen(f->path));
    for (char *c = flat; c && *c; c++)
        *c = *c == '/' ? '%' : *c;
    /* long names are cut: the hash still tells them apart */
    char *path = flat ? qg_pathf("%s/%.64s.%s%s", folder, flat, f->id, suffix) : NULL;
    qg_mfree(flat);
    return path;
}

char *qg_store_blob(const qg_store *s, const qg_hub_file *f)
{
    return work_path(s, s->work, f, "");
}

char *qg_store_partial(const qg_store *s, const qg_hub_file *f)
{
    return work_path(s, s->work, f, ".qguard.incomplete");
}

char *qg_store_lock(const qg_store *s, const qg_hub_file *f)
{
    return work_path(s, s->locks, f, ".lock");
}

bool qg_store_has(const qg_store *s, const qg_hub_file *f)
{
    char *blob = qg_store_blob(s, f), *placed = qg_pathf("%s/%s", s->snapshot, f->path);
    bool has = (blob && qg_digest_matches(blob, f->size, f->id, f->git)) ||
               (placed && qg_digest_matches(placed, f->size, f->id, f->git));
    qg_mfree(blob);
    qg_mfree(placed);
    return has;
}

/* ---- placing --------------------------------------------------------------------------------- */

/* "../../blobs/ID", one "../" more for each folder in the file's path. */
static char *link_target(const qg_hub_file *f)
{
    qg_buf up;
    qg_buf_init(&up, 2 * QG_MAX_HUB_PATH + 256);
    qg_status rc = qg_buf_adds(&up, "../../");
    for (const char *c = f->path; rc == QG_OK && *c; c++)
        if (*c == '/')
            rc = qg_buf_adds(&up, "../");
    if (rc == QG_OK)
        rc = qg_buf_addf(&up, "blobs/%s", f->id);
    char *target = rc == QG_OK ? qg_buf_take(&up) : NULL;
    qg_buf_free(&up);
    return target;
}

static qg_status place_link(const char *path, const qg_hub_file *f, qg_err *err)
{
    char *target = link_target(f);
    qg_status rc =
        target ? qg_link_whole(target, path, err) : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(target);
    return rc;
}

/* What is not a new blob is there already, as qg_store_has found. */
static qg_status place_file(const qg_store *s, const qg_hub_file *f, const char *blob,
                            const char *path, qg_err *err)
{
    QG_TRY(qg_make_dirs_above(path, err));
    if (!qg_is_file(blob, NULL))
        return QG_OK;
    if (s->layout == QG_LAYOUT_HF && !s->no_symlinks) {
        if (place_link(path, f, err) == QG_OK)
            return QG_OK;
        if (errno != EPERM && errno != EOPNOTSUPP)
            return QG_ERR_IO;
    }
    return qg_rename_synced(blob, path, err);
}

static qg_status place_one(const qg_store *s, const qg_hub_file *f, qg_err *err)
{
    char *blob = qg_store_blob(s, f), *path = qg_pathf("%s/%s", s->snapshot, f->path);
    qg_status rc = blob && path ? place_file(s, f, blob, path, err)
                                : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(blob);
    qg_mfree(path);
    return rc;
}

/* A reader that finds config.json finds the rest. */
static qg_status place_all(const qg_store *s, const qg_hub_list *chosen, qg_err *err)
{
    const qg_hub_file *config = qg_hub_list_find(chosen, "config.json");

    for (size_t i = 0; i < chosen->n; i++)
        if (&chosen->at[i] != config)
            QG_TRY(place_one(s, &chosen->at[i], err));
    if (config)
        QG_TRY(place_one(s, config, err));
    char *any = qg_pathf("%s/x", s->snapshot);
    if (any)
        qg_sync_dir_of(any);
    qg_mfree(any);
    return QG_OK;
}

/* Writes text under root; small files that only help others. */
static qg_status write_below(const char *root, const char *below, qg_slice text, qg_err *err)
{
    char *path = qg_pathf("%s/%s", root, below);
    qg_status rc =
        path ? qg_make_dirs_above(path, err) : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (rc == QG_OK)
        rc = qg_write_whole(path, text, err);
    qg_mfree(path);
    return rc;
}

/* The list of the whole repository: huggingface_hub, and we, tell by it whether a snapshot is
 * complete. */
static qg_status write_tree(const qg_store *s, const qg_hub_list *all, qg_err *err)
{
    char below[sizeof ".cache/huggingface/trees/.json" + QG_HUB_COMMIT];
    qg_buf json;

    qg_buf_init(&json, QG_MAX_HUB_LIST_BYTES);
    snprintf(below, sizeof below, "%strees/%.40s.json",
             s->layout == QG_LAYOUT_DIR ? ".cache/huggingface/" : "", s->commit);
    qg_status rc = qg_hf_write_tree_cache(all, &json, err);
    if (rc == QG_OK)
        rc = write_below(s->root, below, qg_buf_slice(&json), err);
    qg_buf_free(&json);
    return rc;
}

static qg_status write_ref(const qg_store *s, qg_err *err)
{
    char below[160];
    if (qg_repo_is_commit(s->revision))
        return QG_OK;
    snprintf(below, sizeof below, "refs/%s", s->revision);
    return write_below(s->root, below, qg_str(s->commit), err);
}

/* By these huggingface_hub knows in a folder of the user's what it has. */
static qg_status write_metadata(const qg_store *s, const qg_hub_list *chosen, qg_err *err)
{
    char below[QG_MAX_HUB_PATH + 64], text[192];
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < chosen->n; i++) {
        const qg_hub_file *f = &chosen->at[i];
        snprintf(below, sizeof below, ".cache/huggingface/download/%s.metadata", f->path);
        int n = snprintf(text, sizeof text, "%s\n%s\n%lld.%03ld\n", s->commit, f->id,
                         (long long)now.tv_sec + 1, now.tv_nsec / 1000000);
        QG_TRY(write_below(s->root, below, qg_slice_of(text, (size_t)n), err));
    }
    return QG_OK;
}

/* While files are replaced that somebody may be reading under their names. */
static qg_status place_marked(const qg_store *s, const qg_hub_list *chosen, qg_err *err)
{
    char *marker = qg_pathf("%s/%s", s->snapshot, QG_STORE_UNFINISHED);

    qg_status rc =
        marker ? qg_make_dirs(s->snapshot, err) : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (rc == QG_OK)
        rc = qg_mark(marker, err);
    if (rc == QG_OK)
        rc = place_all(s, chosen, err);
    if (rc == QG_OK)
        unlink(marker);
    qg_mfree(marker);
    return rc;
}

qg_status qg_store_place(const qg_store *s, const qg_hub_list *all, const qg_hub_list *chosen,
                         qg_err *err)
{
    if (s->hf)
        QG_TRY(write_tree(s, all, err));
    if (s->layout == QG_LAYOUT_HF) {
        QG_TRY(place_all(s, chosen, err));
        return write_ref(s, err);
    }
    QG_TRY(place_marked(s, chosen, err));
    return s->hf ? write_metadata(s, chosen, err) : QG_OK;
}
