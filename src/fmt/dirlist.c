#define _GNU_SOURCE
#include "fmt/dirlist.h"

#include "base/mem.h"
#include "base/slice.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool qg_strings_add(qg_strings *list, const char *s)
{
    char **grown = qg_realloc_array(list->p, list->n + 1, sizeof *grown);
    if (!grown)
        return false;
    list->p = grown;
    grown[list->n] = qg_memdup0(s, strlen(s));
    if (!grown[list->n])
        return false;
    list->n++;
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void qg_strings_sort(qg_strings *list)
{
    if (list->n)
        qsort(list->p, list->n, sizeof *list->p, by_bytes);
}

void qg_strings_free(qg_strings *list)
{
    for (size_t i = 0; i < list->n; i++)
        qg_mfree(list->p[i]);
    qg_mfree(list->p);
    *list = (qg_strings){0};
}

bool qg_has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

char *qg_path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir), m = strlen(name);
    char *path = qg_malloc(n + m + 2);
    if (!path)
        return NULL;
    memcpy(path, dir, n);
    path[n] = '/';
    memcpy(path + n + 1, name, m + 1);
    return path;
}

char *qg_path_name(const char *path)
{
    char real[PATH_MAX];
    size_t n = strlen(path), from;

    for (;;) {
        while (n > 1 && path[n - 1] == '/')
            n--;
        for (from = n; from > 0 && path[from - 1] != '/'; from--)
            ;
        bool dots = (n - from == 1 && path[from] == '.') ||
                    (n - from == 2 && path[from] == '.' && path[from + 1] == '.');
        if (!dots || path == real || !realpath(path, real))
            return qg_memdup0(path + from, n - from);
        path = real;
        n = strlen(real);
    }
}

/* The component that ends before *n, which moves to its beginning, the slash taken with it. */
static qg_slice last_part(const char *path, size_t *n)
{
    size_t end = *n;
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t from = end;
    while (from > 0 && path[from - 1] != '/')
        from--;
    *n = from;
    return (qg_slice){path + from, end - from};
}

char *qg_path_model_name(const char *path)
{
    size_t n = strlen(path);
    last_part(path, &n);
    qg_slice snapshots = last_part(path, &n), repo = last_part(path, &n);

    for (size_t i = repo.n; qg_slice_is(snapshots, "snapshots") && i > 2; i--)
        if (i < repo.n && repo.p[i - 1] == '-' && repo.p[i - 2] == '-')
            return qg_memdup0(repo.p + i, repo.n - i);
    return qg_path_name(path);
}

bool qg_path_exists(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);

    /* lstat: a broken link is there; opening it then says what is wrong.  So does opening a path
     * that is too long. */
    return n < 0 || (size_t)n >= sizeof path || lstat(path, &st) == 0;
}

qg_status qg_path_check_model(const char *path, bool *is_file, qg_err *err)
{
    struct stat st;

    *is_file = false;
    if (stat(path, &st) != 0)
        return qg_fail(err, QG_ERR_IO, "%s: %s", path[0] ? path : "(empty path)", strerror(errno));
    *is_file = S_ISREG(st.st_mode);
    if (*is_file || S_ISDIR(st.st_mode))
        return QG_OK;
    return qg_fail(err, QG_ERR_IO,
                   "%s: not a directory; a model is a directory with config.json and "
                   "*.safetensors, or a GGUF file",
                   path);
}

qg_status qg_list_files(const char *dir, const char *suffix, size_t max, qg_strings *names,
                        qg_err *err)
{
    struct dirent *entry;
    qg_status rc = QG_OK;

    DIR *d = opendir(dir);
    if (!d)
        return qg_fail(err, QG_ERR_IO, "%s: %s", dir, strerror(errno));
    errno = 0;
    while (rc == QG_OK && (entry = readdir(d))) {
        if (entry->d_name[0] == '.' || !qg_has_suffix(entry->d_name, suffix))
            continue;
        if (names->n == max)
            rc = qg_fail(err, QG_ERR_FORMAT, "%s: more than %zu files *%s", dir, max, suffix);
        else if (!qg_strings_add(names, entry->d_name))
            rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
        errno = 0;
    }
    if (rc == QG_OK && errno)
        rc = qg_fail(err, QG_ERR_IO, "%s: %s", dir, strerror(errno));
    closedir(d);
    qg_strings_sort(names);
    return rc;
}
