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

/* One row between its reading and its printing.  done is set under the window's lock by the
 * engine's thread; everything else is the main thread's until the row is submitted and after it is
 * done. */
typedef struct slot {
    struct window *window;
    long long line;
    bool done;
    qg_status rc;
    qg_result *result;
    qg_err err;
} slot;

/* A ring of rows in flight: [head, head + n). */
typedef struct window {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    slot *slots;
    int32_t cap, head, n;
    int code; /* worst exit status so far */
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
    pthread_cond_signal(&s->window->cond);
    pthread_mutex_unlock(&s->window->lock);
}

static void worsen(window *w, int code)
{
    /* A row that could not be judged outweighs any verdict. */
    if (code == EXIT_FAILED || (w->code != EXIT_FAILED && code > w->code))
        w->code = code;
}

static void print_slot(const qg_engine *engine, const cli_args *args, window *w, slot *s)
{
    char *json = NULL;
    if (s->rc == QG_OK && !s->result->well_formed)
        s->rc = qg_fail(&s->err, QG_ERR_FORMAT, "what the model wrote is not a verdict");
    if (s->rc == QG_OK && !(json = qg_result_json(engine, s->result)))
        s->rc = qg_fail(&s->err, QG_ERR_NOMEM, "out of memory");
    if (s->rc == QG_OK) {
        printf("%s\n", json);
        worsen(w, args->exit_verdict ? cli_verdict_exit(s->result) : EXIT_DONE);
    } else {
        cli_print_row_error(s->rc, &s->err, s->line);
        worsen(w, EXIT_FAILED);
    }
    qg_free(json);
    qg_result_free(s->result);
}

/* Waits for the oldest row and prints it. */
static void print_oldest(const qg_engine *engine, const cli_args *args, window *w)
{
    slot *s = &w->slots[w->head];
    pthread_mutex_lock(&w->lock);
    while (!s->done)
        pthread_cond_wait(&w->cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
    print_slot(engine, args, w, s);
    w->head = (w->head + 1) % w->cap;
    w->n--;
}

/* A row is {"messages":[…]} or {"prompt":…[,"response":…]}. */
static qg_status row_messages(const json_t *row, json_t *store, qg_message **messages, size_t *n,
                              qg_err *err)
{
    const json_t *list = json_object_get(row, "messages");
    qg_slice prompt, response = {0};

    if (list)
        return cli_messages(list, messages, n, store, err);
    if (!json_object_get(row, "prompt"))
        return qg_fail(err, QG_ERR_FORMAT, "the row has neither \"messages\" nor \"prompt\"");
    QG_TRY(qg_json_get_str(row, "prompt", &prompt, err));
    bool reply =
        json_object_get(row, "response") && !json_is_null(json_object_get(row, "response"));
    if (reply)
        QG_TRY(qg_json_get_str(row, "response", &response, err));
    qg_message *m = qg_calloc(2, sizeof *m);
    if (!m)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    m[0] = (qg_message){"user", {prompt.p, prompt.n}};
    m[1] = (qg_message){"assistant", {response.p, response.n}};
    *messages = m;
    *n = reply ? 2 : 1;
    return QG_OK;
}

static qg_status submit(qg_engine *engine, const cli_args *args, qg_slice line, slot *s)
{
    json_t *row = NULL, *store = json_array();
    qg_message *messages = NULL;
    qg_request req;

    qg_request_init(&req);
    qg_status rc = qg_json_parse(line, QG_JSON_NUL, &row, &s->err);
    if (rc == QG_OK && !json_is_object(row))
        rc = qg_fail(&s->err, QG_ERR_FORMAT, "the row is not a JSON object");
    if (rc == QG_OK)
        rc = row_messages(row, store, &messages, &req.n_messages, &s->err);
    if (rc == QG_OK) {
        req.messages = messages;
        req.decode = cli_decode(args);
        req.priority = 1;
        rc = qg_submit(engine, &req, finished, s, NULL, &s->err);
    }
    qg_mfree(messages);
    json_decref(row);
    json_decref(store);
    return rc;
}

/* Takes the next place in the ring, waiting for the oldest when it is full or the engine is. */
static void take_row(qg_engine *engine, const cli_args *args, window *w, qg_slice line,
                     long long number)
{
    if (w->n == w->cap)
        print_oldest(engine, args, w);
    slot *s = &w->slots[(w->head + w->n) % w->cap];
    *s = (slot){.window = w, .line = number};
    qg_status rc;
    while ((rc = submit(engine, args, line, s)) == QG_ERR_BUSY && w->n)
        print_oldest(engine, args, w);
    if (rc != QG_OK) {
        s->rc = rc;
        s->done = true;
    }
    w->n++;
}

static void read_rows(qg_engine *engine, const cli_args *args, window *w)
{
    qg_buf line;
    qg_err err;
    bool more;

    qg_buf_init(&line, QG_MAX_TEXT_BYTES);
    for (long long number = 1;; number++) {
        if (cli_read_line(stdin, &line, &more, &err) != QG_OK) {
            worsen(w, cli_fail(&err));
            break;
        }
        if (!more)
            break;
        if (line.n)
            take_row(engine, args, w, qg_buf_slice(&line), number);
    }
    while (w->n)
        print_oldest(engine, args, w);
    qg_buf_free(&line);
}

int cli_check_rows(const cli_args *args)
{
    window w = {.lock = PTHREAD_MUTEX_INITIALIZER,
                .cond = PTHREAD_COND_INITIALIZER,
                .cap = args->concurrency,
                .code = EXIT_DONE};
    qg_engine *engine;

    int code = cli_open(args, QG_PART_ALL, &engine);
    if (code != EXIT_DONE)
        return code;
    w.slots = qg_calloc((size_t)w.cap, sizeof *w.slots);
    if (w.slots)
        read_rows(engine, args, &w);
    else
        w.code = cli_fail(&(qg_err){"out of memory"});
    qg_mfree(w.slots);
    qg_engine_close(engine);
    return w.code;
}
