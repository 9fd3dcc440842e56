/* The file system side of a model directory: paths, and which files are there. */
#ifndef QG_FMT_DIRLIST_H
#define QG_FMT_DIRLIST_H

#include "base/status.h"

typedef struct qg_strings {
    char **p; /* each owned, 0-terminated */
    size_t n;
} qg_strings; /* zero-initialise */

/* Adds a copy; false when out of memory. */
bool qg_strings_add(qg_strings *list, const char *s) __attribute__((warn_unused_result));
void qg_strings_sort(qg_strings *list); /* by bytes */
void qg_strings_free(qg_strings *list);

/* Whether s ends in suffix. */
bool qg_has_suffix(const char *s, const char *suffix);

/* "dir/name" in new memory, or NULL. */
char *qg_path_join(const char *dir, const char *name) __attribute__((warn_unused_result));
/* Last component of path in new memory (the directory's own name for "." and ".."), or NULL. */
char *qg_path_name(const char *path) __attribute__((warn_unused_result));
/* What the model in path is called, in new memory, or NULL: the last component, but in a hub's
 * cache (…/models--OWNER--NAME/snapshots/COMMIT, or OWNER--NAME) NAME. */
char *qg_path_model_name(const char *path) __attribute__((warn_unused_result));
/* Whether dir has an entry of this name, be it readable or not. */
bool qg_path_exists(const char *dir, const char *name);
/* Whether path is a directory or (*is_file) a file, which may be a GGUF file; else QG_ERR_IO with a
 * sentence that says what a model is. */
qg_status qg_path_check_model(const char *path, bool *is_file, qg_err *err);
/* Adds the names in dir that end in suffix and do not begin with a dot (archives made on a Mac
 * carry "._model.safetensors", which is none), sorted.  QG_ERR_IO, QG_ERR_NOMEM, or QG_ERR_FORMAT
 * when there are more than max. */
qg_status qg_list_files(const char *dir, const char *suffix, size_t max, qg_strings *names,
                        qg_err *err);

#endif
