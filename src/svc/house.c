#define _GNU_SOURCE
#include "svc/house.h"

#include "base/mem.h"
#include "base/sum.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---- opening --------------------------------------------------------------------------------- */

/* Without a name of its own the model is called as it was typed ("Qwen/X"), but for paths. */
static void name_model(qg_house *h, const qg_house_options *opt)
{
    const char *typed = h->typed;
    h->names = opt->names;
    h->n_names = opt->n_names;
    h->chosen = opt->n_names > 0;
    if (h->chosen)
        return;
    h->name = typed && *typed && !strchr("/.~", *typed) ? typed : h->info.name;
    h->names = &h->name;
    h->n_names = 1;
}

/* The engine of the Stream sessions: one of its own, or the one that is there. */
static qg_status open_stream(qg_house *h, const qg_house_options *opt, qg_err *err)
{
    qg_options eo = *opt->engine;
    eo.model = h->stream_model;
    eo.chat_template = eo.second_model = NULL; /* the Gen model's */
    if (eo.model) {
        QG_TRY(qg_engine_open(&h->stream, &eo, err));
        qg_engine_info(h->stream, &h->stream_info);
        return h->stream_info.stream
                   ? QG_OK
                   : qg_fail(err, QG_ERR_UNSUPPORTED, "%s: not a Stream model", eo.model);
    }
    if (h->info.stream) {
        h->stream = h->engine;
        h->stream_info = h->info;
    } else if (h->info.builtin) {
        eo.model = "qguard-demo-stream";
        if (qg_engine_open(&h->stream, &eo, NULL) == QG_OK)
            qg_engine_info(h->stream, &h->stream_info);
    }
    return QG_OK;
}

static bool copy_path(char **to, const char *path)
{
    *to = path ? qg_memdup0(path, strlen(path)) : NULL;
    return !path || *to;
}

static qg_status open_all(qg_house *h, const qg_house_options *opt, qg_err *err)
{
    qg_options eo = *opt->engine;

    if (!copy_path(&h->model, opt->model) || !copy_path(&h->stream_model, opt->stream_model) ||
        !copy_path(&h->second_model, opt->second_model) || !copy_path(&h->typed, opt->typed))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    /* Before opening: what changes meanwhile is then seen the next time. */
    h->print = qg_house_print(opt);
    eo.model = h->model;
    eo.second_model = h->second_model;
    QG_TRY(qg_engine_open(&h->engine, &eo, err));
    qg_engine_info(h->engine, &h->info);
    h->second = qg_engine_second(h->engine);
    if (h->second)
        qg_engine_info(h->second, &h->second_info);
    name_model(h, opt);
    qg_raw_open(&h->raw, h->engine);
    QG_TRY(open_stream(h, opt, err));
    qg_probe_init(&h->probe, h->info.stream ? NULL : h->engine, false);
    qg_probe_init(&h->stream_probe, h->stream, true);
    qg_probe_init(&h->second_probe, h->second, false);
    return QG_OK;
}

qg_status qg_house_open(qg_house **out, const qg_house_options *opt, qg_err *err)
{
    qg_house *h = qg_calloc(1, sizeof *h);
    *out = NULL;
    if (!h)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    atomic_init(&h->refs, 1);
    qg_status rc = open_all(h, opt, err);
    if (rc == QG_OK)
        *out = h;
    else
        qg_house_close(h);
    return rc;
}

void qg_house_shut(qg_house *h)
{
    if (h->stream != h->engine)
        qg_engine_close(h->stream);
    qg_engine_close(h->engine);
    h->stream = h->engine = h->second = NULL;
    qg_probe_end(&h->probe);
    qg_probe_end(&h->second_probe);
    qg_probe_end(&h->stream_probe);
}

void qg_house_close(qg_house *h)
{
    if (!h)
        return;
    qg_house_shut(h);
    qg_raw_close(&h->raw);
    qg_mfree(h->model);
    qg_mfree(h->stream_model);
    qg_mfree(h->second_model);
    qg_mfree(h->typed);
    qg_mfree(h);
}

qg_house *qg_house_ref(qg_house *h)
{
    atomic_fetch_add(&h->refs, 1);
    return h;
}

void qg_house_unref(qg_house *h)
{
    if (h)
        atomic_fetch_sub(&h->refs, 1);
}

/* ---- which files ----------------------------------------------------------------------------- */

static uint64_t print_file(uint64_t sum, const char *path, const char *name)
{
    struct stat st;
    if (stat(path, &st))
        return sum;
    const int64_t what[] = {(int64_t)st.st_dev, (int64_t)st.st_ino, (int64_t)st.st_size,
                            (int64_t)st.st_mtim.tv_sec, (int64_t)st.st_mtim.tv_nsec};
    return sum + qg_sum64(qg_sum64(1, name, strlen(name)), what, sizeof what);
}

/* A sum over the folder's files, in whatever order they are listed. */
static uint64_t print_model(const char *path)
{
    char real[PATH_MAX], file[PATH_MAX + 256];
    struct dirent *entry;

    if (!path || !realpath(path, real))
        return path ? qg_sum64(2, path, strlen(path)) : 0;
    uint64_t sum = qg_sum64(3, real, strlen(real));
    DIR *d = opendir(real);
    if (!d)
        return print_file(sum, real, "");
    while ((entry = readdir(d)))
        if (entry->d_name[0] != '.' &&
            snprintf(file, sizeof file, "%s/%s", real, entry->d_name) > 0)
            sum = print_file(sum, file, entry->d_name);
    closedir(d);
    return sum;
}

uint64_t qg_house_print(const qg_house_options *opt)
{
    return print_model(opt->model) + 31 * print_model(opt->stream_model) +
           961 * print_model(opt->second_model);
}

/* ---- does it work, is there room ------------------------------------------------------------- */

static qg_status try_stream(qg_engine *engine, qg_err *err)
{
    static const int32_t one_id = 0; /* an id in every vocabulary */
    qg_session *session = NULL;
    qg_stream_result *result = NULL;
    qg_append a;

    QG_TRY(qg_session_open(&session, engine, NULL, err));
    qg_append_init(&a);
    a.role = "assistant";
    a.ids = &one_id;
    a.n_ids = 1;
    a.end = true;
    qg_status rc = qg_session_judge(session, &a, &result, err);
    qg_stream_result_free(result);
    qg_session_close(session);
    return rc;
}

static qg_status try_gen(qg_engine *engine, qg_err *err)
{
    qg_message said = {"user", {"hello", 5}};
    qg_request r;
    qg_result *result = NULL;

    qg_request_init(&r);
    r.messages = &said;
    r.n_messages = 1;
    qg_status rc = qg_judge(engine, &r, &result, err);
    qg_result_free(result);
    return rc;
}

qg_status qg_house_try(qg_house *h, qg_err *err)
{
    if (!h->info.stream)
        QG_TRY(try_gen(h->engine, err));
    if (h->second)
        QG_TRY(try_gen(h->second, err));
    return h->stream ? try_stream(h->stream, err) : QG_OK;
}

/* The number behind key in a small file, times scale; -1: none. */
static int64_t number_in(const char *path, const char *key, int64_t scale)
{
    char line[256];
    int64_t found = -1;
    FILE *f = fopen(path, "r");
    while (f && found < 0 && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key)) && strspn(line + strlen(key), " 0123456789") > 0)
            found = strtoll(line + strlen(key), NULL, 10) * scale;
    if (f)
        fclose(f);
    return found;
}

static int64_t free_memory(void)
{
    int64_t room = number_in("/proc/meminfo", "MemAvailable:", 1024);
    int64_t most = number_in("/sys/fs/cgroup/memory.max", "", 1);
    int64_t used = number_in("/sys/fs/cgroup/memory.current", "", 1);
    if (most >= 0 && used >= 0 && (room < 0 || most - used < room))
        room = most - used;
    return room;
}

/* Bytes, 0 where it cannot be told: the reason is for whoever opens it. */
static uint64_t need_of(qg_options *eo, const char *model, const char *second)
{
    uint64_t bytes = 0;
    eo->model = model;
    eo->second_model = second;
    return qg_engine_memory(eo, &bytes, NULL) == QG_OK ? bytes : 0;
}

qg_status qg_house_room(const qg_house_options *opt, qg_err *err)
{
    const int64_t room = free_memory();
    qg_options eo = *opt->engine;
    uint64_t need = need_of(&eo, opt->model, opt->second_model);
    if (opt->stream_model)
        need += need_of(&eo, opt->stream_model, NULL);
    if (room < 0 || need <= (uint64_t)room)
        return QG_OK;
    return qg_fail(err, QG_ERR_NOMEM,
                   "%s: it takes %.1f GB with its KV memory beside the model that serves, %.1f GB "
                   "are free (--kv-cache-mib and --max-model-len make it smaller)",
                   opt->model ? opt->model : "the built-in model", (double)need / 1e9,
                   (double)room / 1e9);
}
