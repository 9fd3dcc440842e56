#include "svc/swap.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *or_builtin(const char *word)
{
    return word ? word : "the built-in model";
}

static qg_house *serving(const qg_swap *s)
{
    return *s->owner.house;
}

static void note(const qg_swap *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(const qg_swap *s, const char *fmt, ...)
{
    char text[sizeof(qg_err) + 300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    s->owner.note(s->owner.ud, text);
}

static void forget(char **s)
{
    qg_mfree(*s);
    *s = NULL;
}

static bool keep(char **to, const char *word)
{
    forget(to);
    *to = word ? qg_memdup0(word, strlen(word)) : NULL;
    return !word || *to;
}

const char *qg_swap_model(const qg_swap *s)
{
    return s->moved ? s->current : s->owner.model;
}

const char *qg_swap_stream_model(const qg_swap *s)
{
    return s->moved ? s->current_stream : s->owner.stream_model;
}

const char *qg_swap_second_model(const qg_swap *s)
{
    return s->moved ? s->current_second : s->owner.second_model;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static qg_house_options house_options(const qg_swap *s)
{
    return (qg_house_options){
        .engine = s->owner.engine,
        .model = s->path,
        .stream_model = s->stream_path,
        .second_model = s->second_path,
        .typed = s->word,
        .names = s->owner.names,
        .n_names = s->owner.n_names,
    };
}

/* Opened and tried: a model that cannot judge never takes over. */
static qg_status open_fresh(qg_swap *s)
{
    bool stream = serving(s)->info.stream;
    const qg_house_options ho = house_options(s);
    QG_TRY(qg_house_room(&ho, &s->err));
    QG_TRY(qg_house_open(&s->fresh, &ho, &s->err));
    if (s->fresh->info.stream != stream)
        return qg_fail(&s->err, QG_ERR_UNSUPPORTED, "%s: a %s model cannot take a %s model's place",
                       or_builtin(s->path), stream ? "Gen" : "Stream", stream ? "Stream" : "Gen");
    return qg_house_try(s->fresh, &s->err);
}

/* The house that serves stays while this runs: only the tick replaces it, and it waits for us. */
static void *work(void *arg)
{
    qg_swap *s = arg;
    if (s->closing) {
        qg_house_close(s->closing);
    } else {
        s->rc = open_fresh(s);
        if (s->rc != QG_OK) {
            qg_house_close(s->fresh);
            s->fresh = NULL;
        }
    }
    atomic_store(&s->done, true);
    return NULL;
}

static bool start(qg_swap *s)
{
    atomic_store(&s->done, false);
    s->running = !pthread_create(&s->thread, NULL, work, s);
    return s->running;
}

/* ---- what is asked for ----------------------------------------------------------------------- */

static bool locate(const qg_swap *s, const char *word, char **path, qg_err *err)
{
    if (!word)
        return true;
    if (!s->owner.find_model)
        return keep(path, word);
    *path = s->owner.find_model(s->owner.find_ud, word);
    if (!*path)
        qg_fail(err, QG_ERR_IO, "%s: no such model, or not whole, in the hub's cache", word);
    return *path;
}

static bool find_paths(qg_swap *s, const char *word, const char *stream_word,
                       const char *second_word, qg_err *err)
{
    forget(&s->path);
    forget(&s->stream_path);
    forget(&s->second_path);
    qg_fail(err, QG_ERR_NOMEM, "out of memory");
    return keep(&s->word, word) && keep(&s->stream_word, stream_word) &&
           keep(&s->second_word, second_word) && locate(s, word, &s->path, err) &&
           locate(s, stream_word, &s->stream_path, err) &&
           locate(s, second_word, &s->second_path, err);
}

static void kept(const qg_swap *s, const char *why)
{
    note(s, "model not changed, %s stays: %s", serving(s)->info.name, why);
}

/* always: also when the files are the same. */
static qg_status begin(qg_swap *s, const char *word, const char *stream_word,
                       const char *second_word, bool always, qg_err *err)
{
    if (s->running)
        return qg_fail(err, QG_ERR_BUSY, "another model is being opened or closed: try again");
    if (!second_word != !qg_swap_second_model(s))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "whether there is a second model is for the start to say (--second-model)");
    if (!find_paths(s, word, stream_word, second_word, err))
        return QG_ERR_IO;
    const qg_house_options ho = house_options(s);
    if (!always && qg_house_print(&ho) == serving(s)->print)
        return QG_OK;
    note(s, "opening %s%s%s beside %s", or_builtin(s->path), s->second_path ? " and " : "",
         s->second_path ? s->second_path : "", serving(s)->info.name);
    return start(s) ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "cannot start a thread");
}

qg_status qg_swap_begin(qg_swap *s, const char *model, const char *stream_model,
                        const char *second_model, qg_err *err)
{
    return begin(s, model, stream_model, second_model, true, err);
}

void qg_swap_look(qg_swap *s)
{
    qg_err err;
    if (s->running)
        s->again = true;
    else if (begin(s, qg_swap_model(s), qg_swap_stream_model(s), qg_swap_second_model(s), false,
                   &err) != QG_OK)
        kept(s, err.msg);
}

/* ---- what comes of it ------------------------------------------------------------------------ */

static void take_over(qg_swap *s)
{
    qg_house *old = serving(s);

    note(s, "%s serves now in the place of %s", s->fresh->info.name, old->info.name);
    *s->owner.house = s->fresh;
    s->fresh = NULL;
    old->next = s->retired;
    s->retired = old;
    forget(&s->current);
    forget(&s->current_stream);
    forget(&s->current_second);
    s->moved = true;
    s->current = s->word;
    s->current_stream = s->stream_word;
    s->current_second = s->second_word;
    s->word = s->stream_word = s->second_word = NULL;
    if (s->owner.taken)
        s->owner.taken(s->owner.ud);
}

static void finish(qg_swap *s)
{
    pthread_join(s->thread, NULL);
    s->running = false;
    if (s->closing) {
        s->closing = NULL;
        return;
    }
    s->swapped = s->rc == QG_OK;
    if (s->swapped)
        take_over(s);
    else
        kept(s, s->err.msg);
    if (s->req)
        qg_http_post(s->req);
    s->req = NULL;
}

/* One reference is left: the server's own. */
static qg_house *take_unused(qg_swap *s)
{
    for (qg_house **at = &s->retired; *at; at = &(*at)->next)
        if (atomic_load(&(*at)->refs) == 1) {
            qg_house *house = *at;
            *at = house->next;
            return house;
        }
    return NULL;
}

void qg_swap_tick(qg_swap *s)
{
    if (s->running && atomic_load(&s->done))
        finish(s);
    if (s->running)
        return;
    s->closing = take_unused(s);
    if (s->closing && !start(s)) {
        s->closing->next = s->retired;
        s->retired = s->closing;
        s->closing = NULL;
    } else if (!s->closing && s->again) {
        s->again = false;
        qg_swap_look(s);
    }
}

/* ---- first and last -------------------------------------------------------------------------- */

qg_status qg_swap_open(qg_swap *s, const qg_swap_owner *owner, qg_err *err)
{
    s->owner = *owner;
    if (!find_paths(s, owner->model, owner->stream_model, owner->second_model, err))
        return QG_ERR_IO;
    const qg_house_options ho = house_options(s);
    return qg_house_open(s->owner.house, &ho, err);
}

void qg_swap_end(qg_swap *s)
{
    if (s->running)
        finish(s);
    for (qg_house *h = s->retired; h; h = h->next)
        qg_house_shut(h);
    if (s->owner.house && serving(s))
        qg_house_shut(serving(s));
}

void qg_swap_free(qg_swap *s)
{
    while (s->retired) {
        qg_house *house = s->retired;
        s->retired = house->next;
        qg_house_close(house);
    }
    if (s->owner.house) {
        qg_house_close(serving(s));
        *s->owner.house = NULL;
    }
    forget(&s->word);
    forget(&s->stream_word);
    forget(&s->path);
    forget(&s->stream_path);
    forget(&s->current);
    forget(&s->current_stream);
    forget(&s->second_word);
    forget(&s->second_path);
    forget(&s->current_second);
}
