/* What hubs say about a repository: their JSON read strictly, into one list of files. */
#ifndef QG_HUB_LISTING_H
#define QG_HUB_LISTING_H

#include "hub/repo.h"

#include <stdint.h>

typedef struct qg_hub_file {
    char *path;    /* in the repository, owned; passed qg_repo_check_file */
    uint64_t size; /* bytes */
    /* What the bytes must hash to, and the name of the blob in the cache: SHA-256, or where git is
     * set the SHA-1 of a git blob; "" = the hub did not say. */
    char id[QG_HUB_ID + 1];
    bool git;
    char oid[QG_HUB_COMMIT + 1]; /* git's object (of an LFS file: its pointer); "" = not said */
    char xet[QG_HUB_ID + 1];     /* "" = none; only carried along */
} qg_hub_file;

typedef struct qg_hub_list {
    qg_hub_file *at;
    size_t n, cap;
} qg_hub_list; /* zero-initialise */

void qg_hub_list_free(qg_hub_list *list);
/* The file of this path, or NULL. */
const qg_hub_file *qg_hub_list_find(const qg_hub_list *list, const char *path);
/* Sorted by path; QG_ERR_FORMAT when a path is there twice. */
qg_status qg_hub_list_sort(qg_hub_list *list, qg_err *err);

/* The readers below take an answer's whole body and add to list (which keeps what it had when they
 * fail).  QG_ERR_FORMAT: not what the protocol says; QG_ERR_TOO_LONG: more than QG_MAX_HUB_FILES;
 * QG_ERR_NOMEM. */

/* Hugging Face, /api/models/ID/revision/REV: the commit. */
qg_status qg_hf_read_revision(qg_slice json, char commit[QG_HUB_COMMIT + 1], qg_err *err);
/* …/tree/COMMIT: one page. */
qg_status qg_hf_read_tree(qg_slice json, qg_hub_list *list, qg_err *err);
/* The address of the next page out of a Link header, borrowed; n is 0 when there is none. */
qg_slice qg_hf_next_page(qg_slice link);
/* trees/COMMIT.json of the cache, as huggingface_hub keeps it; and writing it. */
qg_status qg_hf_read_tree_cache(qg_slice json, qg_hub_list *list, qg_err *err);
qg_status qg_hf_write_tree_cache(const qg_hub_list *list, qg_buf *json, qg_err *err);

/* ModelScope, …/repo/files.  An answer that says it failed is QG_ERR_IO with the hub's words. */
qg_status qg_ms_read_files(qg_slice json, qg_hub_list *list, qg_err *err);
/* …/revisions: branches and tags, comma between them, for a sentence; out is filled.  *there tells
 * whether wanted is one. */
qg_status qg_ms_read_revisions(qg_slice json, const char *wanted, bool *there, qg_buf *out,
                               qg_err *err);

/* The words of an error answer (either hub's), cleaned of control characters, at most n - 1 bytes;
 * "" when there are none. */
void qg_hub_error_words(qg_slice json, char *words, size_t n);

/* model.safetensors.index.json: the files that weight_map names, each once, as a list without sizes
 * and ids. */
qg_status qg_hub_read_index(qg_slice json, qg_hub_list *list, qg_err *err);

#endif
