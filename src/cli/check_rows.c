#include "cli/check_rows.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/json.h"

#include <pthread.h>

int cli_verdict_exit(const qg_result *r)
{
    if (r->severity == QG_UNSAFE)
        return EXIT_UNSAFE;
    return r->severity == QG_CONTROVERSIAL ? EXIT_CONTROVERSIAL : EXIT_DONE;
}

qg_decode cli_decode(const cli_args *args)
{
    return args->decode && !strcmp(args->decode, "generate") ? QG_DECODE_GENERATE
                                                             : QG_DECODE_VERDICT;
}

/* One row between its reading and its printing.  done is set under the window's lock, by the
 * engine's thread or, for a row that was never submitted, by the reader. */
typedef struct slot {
    struct window *window;
    long long line;
    bool done;
    qg_status rc;
    qg_result *result;
    qg_err err;
} slot;

/* A ring of rows in flight: [head, head + n).  The main thread reads and submits at one end, a
 * thread of its own prints at the other, so that an answer never waits for the next row to be
 * typed. */
typedef struct window {
    qg_engine *engine;
    const cli_args *args;
    slot *slots;
    int32_t cap;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    int32_t head, n;
    bool ended; /* no more rows come */
    int code;   /* worst exit status so far */
} window;

static void finished(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    slot *s = ud;
    pthread_mutex_lock(&s->window->lock);
    s->rc = rc;
    s->result = result;
    if (err)
        s->err = *err;
    s->done = true;
    pthread_cond_broadcast(&s->window->changed);
    pthread_mutex_unlock(&s->window->lock);
}

static void worsen(window *w, int code)
{
    /* A row that could not be judged outweighs any verdict. */
    if (code == EXIT_FAILED || (w->code != EXIT_FAILED && code > w->code))
        w->code = code;
}

/* Gives the exit status that this row asks for. */
static int print_slot(const window *w, slot *s)
{
    char *json = NULL;
    int code = EXIT_FAILED;
    if (s->rc == QG_OK && !s->result->well_formed)
        s->rc = qg_fail(&s->err, QG_ERR_FORMAT, "what the model wrote is not a verdict");
    if (s->rc == QG_OK && !(json = qg_result_json(w->engine, s->result)))
        s->rc = qg_fail(&s->err, QG_ERR_NOMEM, "out of memory");
    if (s->rc == QG_OK) {
        printf("%s\n", json);
        code = w->args->exit_verdict ? cli_verdict_exit(s->result) : EXIT_DONE;
    } else {
        cli_print_row_error(s->rc, &s->err, s->line);
    }
    qg_free(json);
    qg_result_free(s->result);
    return code;
}

static bool ready(const window *w)
{
    return w->n && w->slots[w->head].done;
}

/* The printing thread: rows in the order of their reading; what is written leaves as soon as
 * nothing is ready behind it. */
static void *print_rows(void *arg)
{
    window *w = arg;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!ready(w) && (w->n || !w->ended))
            pthread_cond_wait(&w->changed, &w->lock);
        if (!w->n)
            break;
        slot *s = &w->slots[w->head];
        pthread_mutex_unlock(&w->lock);
        int code = print_slot(w, s);
        pthread_mutex_lock(&w->lock);
        worsen(w, code);
        w->head = (w->head + 1) % w->cap;
        w->n--;
        bool more = ready(w);
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
        if (!more)
            fflush(stdout);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

qg_status cli_row_messages(const json_t *row, qg_arena *arena, const qg_message **messages,
                           size_t *n, qg_err *err)
{
    const json_t *list = json_object_get(row, "messages");
    qg_slice prompt, response = {0};

    if (list)
        return qg_serve_messages(list, arena, messages, n, err);
    if (!json_object_get(row, "prompt"))
        return qg_fail(err, QG_ERR_FORMAT, "the row has neither \"messages\" nor \"prompt\"");
    QG_TRY(qg_json_get_str(row, "prompt", &prompt, err));
    bool reply =
        json_object_get(row, "response") && !json_is_null(json_object_get(row, "response"));
    if (reply)
        QG_TRY(qg_json_get_str(row, "response", &response, err));
    qg_message *m = qg_arena_calloc(arena, 2, sizeof *m);
    if (!m)
        return qg_fail(err, arena->why, "out of memory");
    m[0] = (qg_message){"user", {prompt.p, prompt.n}};
    m[1] = (qg_message){"assistant", {response.p, response.n}};
    *messages = m;
    *n = reply ? 2 : 1;
    return QG_OK;
}

static qg_status submit(const window *w, qg_slice line, slot *s)
{
    json_t *row = NULL;
    qg_arena arena;
    qg_request req;

    qg_arena_init(&arena, QG_MAX_TEXT_BYTES);
    qg_request_init(&req);
    qg_status rc = qg_json_parse(line, QG_JSON_NUL, &row, &s->err);
    if (rc == QG_OK && !json_is_object(row))
        rc = qg_fail(&s->err, QG_ERR_FORMAT, "the row is not a JSON object");
    if (rc == QG_OK)
        rc = cli_row_messages(row, &arena, &req.messages, &req.n_messages, &s->err);
    if (rc == QG_OK) {
        req.decode = cli_decode(w->args);
        req.priority = 1;
        rc = qg_submit(w->engine, &req, finished, s, NULL, &s->err);
    }
    qg_arena_free(&arena);
    json_decref(row);
    return rc;
}

/* Waits until a row in flight has been printed; false when there is none. */
static bool wait_for_one(window *w)
{
    pthread_mutex_lock(&w->lock);
    int32_t before = w->n;
    while (w->n && w->n == before)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return before > 0;
}

/* The next place in the ring, once there is one.  It belongs to the reader until it is added. */
static slot *next_slot(window *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->n == w->cap)
        pthread_cond_wait(&w->changed, &w->lock);
    slot *s = &w->slots[(w->head + w->n) % w->cap];
    pthread_mutex_unlock(&w->lock);
    return s;
}

static void take_row(window *w, qg_slice line, long long number)
{
    slot *s = next_slot(w);
    *s = (slot){.window = w, .line = number};
    qg_status rc;
    while ((rc = submit(w, line, s)) == QG_ERR_BUSY && wait_for_one(w))
        continue;
    pthread_mutex_lock(&w->lock);
    if (rc != QG_OK) {
        s->rc = rc;
        s->done = true;
    }
    w->n++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* The exit status that the reading itself asks for. */
static int read_rows(window *w)
{
    qg_buf line;
    qg_err err;
    bool more = true;
    int code = EXIT_DONE;

    qg_buf_init(&line, QG_MAX_TEXT_BYTES);
    for (long long number = 1; more; number++) {
        if (cli_read_line(stdin, &line, &more, &err) != QG_OK) {
            code = cli_fail(&err);
            break;
        }
        if (line.n)
            take_row(w, qg_buf_slice(&line), number);
    }
    qg_buf_free(&line);
    return code;
}

static int judge_rows(window *w)
{
    pthread_t printer;

    w->slots = qg_calloc((size_t)w->cap, sizeof *w->slots);
    if (!w->slots || pthread_create(&printer, NULL, print_rows, w))
        return cli_fail(&(qg_err){"out of memory, or no thread to print with"});
    int code = read_rows(w);
    pthread_mutex_lock(&w->lock);
    w->ended = true;
    worsen(w, code);
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(printer, NULL);
    return w->code;
}

int cli_check_rows(const cli_args *args)
{
    window w = {.lock = PTHREAD_MUTEX_INITIALIZER,
                .changed = PTHREAD_COND_INITIALIZER,
                .args = args,
                .cap = args->concurrency,
                .code = EXIT_DONE};

    int code = cli_open(args, QG_PART_ALL, &w.engine);
    if (code == EXIT_DONE)
        code = judge_rows(&w);
    qg_mfree(w.slots);
    qg_engine_close(w.engine);
    return code;
}
