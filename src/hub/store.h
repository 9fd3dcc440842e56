/* Where the files of one repository come to lie: in a hub's cache, exactly as its Python tools
 * would leave them, or in a folder of the user's.
 *
 * A file's way: bytes come into qg_store_partial; checked, they rest under qg_store_blob; when all
 * are there, qg_store_place makes the folder that is the model.  Before that nothing that looks
 * like a model is touched. */
#ifndef QG_HUB_STORE_H
#define QG_HUB_STORE_H

#include "hub/hubenv.h"
#include "hub/listing.h"

typedef enum qg_layout { QG_LAYOUT_HF, QG_LAYOUT_MODELSCOPE, QG_LAYOUT_DIR } qg_layout;

typedef struct qg_store {
    qg_layout layout;
    const char *repo, *revision, *commit; /* borrowed; commit "" on ModelScope */
    bool hf;                              /* the hub is Hugging Face */
    bool no_symlinks;                     /* of the cache: files are moved into the snapshot */
    char *root; /* folder of the repository in the cache; the user's folder */
    char *work; /* where unfinished files lie */
    char *locks;
    char *snapshot; /* the folder that is the model */
} qg_store;

/* The name of a file that stands in a snapshot while files in it are replaced. */
#define QG_STORE_UNFINISHED ".qguard-unfinished"

/* Makes the folders that are written to.  dir: the user's, NULL = the cache.  Free with
 * qg_store_free, on failure too. */
qg_status qg_store_open(qg_store *s, const qg_hub_env *env, const char *dir, const char *repo,
                        const char *revision, const char *commit, qg_err *err);
void qg_store_free(qg_store *s);

/* Paths for a file, in new memory, NULL when there is none. */
char *qg_store_blob(const qg_store *s, const qg_hub_file *f);
char *qg_store_partial(const qg_store *s, const qg_hub_file *f);
char *qg_store_lock(const qg_store *s, const qg_hub_file *f);

/* True when the right bytes are there already, as a blob or in the model's folder; every byte is
 * read. */
bool qg_store_has(const qg_store *s, const qg_hub_file *f);
/* All of chosen are there: makes the model's folder, config.json last, and then says so to whoever
 * asks for the revision.  all: the whole repository, which the cache remembers.  QG_ERR_IO. */
qg_status qg_store_place(const qg_store *s, const qg_hub_list *all, const qg_hub_list *chosen,
                         qg_err *err);

#endif
