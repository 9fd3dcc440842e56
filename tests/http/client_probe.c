/* Calls one URL with src/http/client and tells every event as a line:
 *     client_probe URL [--method M] [--body TEXT] [--header NAME VALUE]… [--ca FILE] [--proxy]
 *         [--header-ms N] [--stall-ms N] [--total-ms N] [--buffer N] [--decode]
 *         [--redirects N] [--allow HOST] [--show NAME]… [--times N] [--at-once N]
 *         [--pause-after BYTES MS] [--abort-after BYTES] [--refuse-after BYTES] [--quiet]
 *         [--fetch MAX]
 * head STATUS / data N / done CAUSE STATUS BYTES SENTENCE; exit status 0 but for wrong usage. */
#include "base/mem.h"
#include "http/client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST = 16 };

typedef struct probe {
    qg_client_request request;
    qg_client_header headers[MOST];
    const char *shown[MOST], *allowed, *ca;
    size_t n_shown;
    long pause_after, pause_ms, abort_after, refuse_after, fetch;
    int times, at_once;
    bool proxy, quiet;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int running;
} probe;

typedef struct run {
    probe *p;
    qg_client_call *call;
    uint64_t n_bytes;
    bool paused, aborted;
    pthread_t resumer;
} run;

static bool on_head(void *ud, qg_client_call *call, int status)
{
    run *r = ud;
    if (!r->p->quiet)
        printf("head %d\n", status);
    for (size_t i = 0; i < r->p->n_shown; i++) {
        qg_slice v = qg_client_answer_header(call, r->p->shown[i]);
        printf("header %s: %.*s\n", r->p->shown[i], (int)v.n, v.p ? v.p : "");
    }
    return true;
}

static void *resume_later(void *arg)
{
    run *r = arg;
    struct timespec t = {r->p->pause_ms / 1000, r->p->pause_ms % 1000 * 1000000};
    nanosleep(&t, NULL);
    printf("resume\n");
    qg_client_pause(r->call, false);
    return NULL;
}

static bool on_data(void *ud, const char *p, size_t n)
{
    run *r = ud;
    r->n_bytes += n;
    if (!r->p->quiet)
        printf("data %zu %.*s\n", n, n < 60 ? (int)n : 0, p);
    if (r->p->pause_after && !r->paused && r->n_bytes >= (uint64_t)r->p->pause_after) {
        r->paused = true;
        qg_client_pause(r->call, true);
        printf("pause at %llu\n", (unsigned long long)r->n_bytes);
        pthread_create(&r->resumer, NULL, resume_later, r);
    }
    if (r->p->abort_after && !r->aborted && r->n_bytes >= (uint64_t)r->p->abort_after) {
        r->aborted = true;
        qg_client_abort(r->call);
    }
    return !r->p->refuse_after || r->n_bytes < (uint64_t)r->p->refuse_after;
}

static void on_done(void *ud, const qg_client_end *end)
{
    run *r = ud;
    probe *p = r->p;
    printf("done %s %d %llu %s\n", qg_client_cause_name(end->cause), end->status,
           (unsigned long long)end->n_bytes, end->err.msg);
    pthread_mutex_lock(&p->lock);
    p->running--;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static void call_all(probe *p, qg_client *client)
{
    static const qg_client_events events = {on_head, on_data, on_done};
    qg_err err;
    run *runs = qg_calloc((size_t)p->at_once, sizeof *runs);
    for (int i = 0; i < p->at_once; i++) {
        runs[i].p = p;
        pthread_mutex_lock(&p->lock);
        p->running++;
        pthread_mutex_unlock(&p->lock);
        qg_status rc = qg_client_start(client, &p->request, &events, &runs[i], &runs[i].call, &err);
        if (rc != QG_OK) {
            printf("refused %s\n", err.msg);
            p->running--;
        }
    }
    pthread_mutex_lock(&p->lock);
    while (p->running)
        pthread_cond_wait(&p->wake, &p->lock);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->at_once; i++) {
        if (runs[i].paused)
            pthread_join(runs[i].resumer, NULL);
        qg_client_release(runs[i].call);
    }
    qg_mfree(runs);
}

static void fetch(probe *p, qg_client *client)
{
    qg_client_sink sink = {.max_bytes = (size_t)p->fetch};
    qg_client_answer answer;
    qg_err err = {""};
    for (size_t i = 0; i < p->n_shown; i++)
        sink.headers[i] = p->shown[i];
    qg_status rc = qg_client_fetch(client, &p->request, &sink, &answer, &err);
    printf("fetch %s %d %zu %s\n", qg_status_name(rc), answer.end.status, answer.n, err.msg);
    for (size_t i = 0; i < p->n_shown; i++)
        printf("header %s: %s\n", p->shown[i], answer.headers[i] ? answer.headers[i] : "");
    qg_client_answer_free(&answer);
}

static bool allow(void *ud, const char *url)
{
    char host[256];
    return qg_client_url_host(url, host, sizeof host) && strcmp(host, ((probe *)ud)->allowed) == 0;
}

static long number(const char *s)
{
    return s ? strtol(s, NULL, 10) : 0;
}

static int read_option(probe *p, char **a)
{
    qg_client_request *r = &p->request;
    const char *name = a[0];
    const struct {
        const char *name;
        int32_t *to;
    } numbers[] = {{"--header-ms", &r->header_ms}, {"--stall-ms", &r->stall_ms},
                   {"--total-ms", &r->total_ms},   {"--redirects", &r->redirects},
                   {"--times", &p->times},         {"--at-once", &p->at_once}};
    for (size_t i = 0; i < QG_COUNT(numbers); i++)
        if (strcmp(name, numbers[i].name) == 0)
            return *numbers[i].to = (int32_t)number(a[1]), 2;
    if (strcmp(name, "--method") == 0)
        return r->method = a[1], 2;
    if (strcmp(name, "--body") == 0)
        return r->body = qg_str(a[1]), 2;
    if (strcmp(name, "--header") == 0 && r->n_headers < MOST)
        return p->headers[r->n_headers++] = (qg_client_header){a[1], a[2]}, 3;
    if (strcmp(name, "--show") == 0 && p->n_shown < 8)
        return p->shown[p->n_shown++] = a[1], 2;
    if (strcmp(name, "--ca") == 0)
        return p->ca = a[1], 2;
    if (strcmp(name, "--allow") == 0)
        return p->allowed = a[1], r->allow = allow, r->allow_ud = p, 2;
    if (strcmp(name, "--buffer") == 0)
        return r->buffer_bytes = (size_t)number(a[1]), 2;
    if (strcmp(name, "--pause-after") == 0)
        return p->pause_after = number(a[1]), p->pause_ms = number(a[2]), 3;
    if (strcmp(name, "--abort-after") == 0)
        return p->abort_after = number(a[1]), 2;
    if (strcmp(name, "--refuse-after") == 0)
        return p->refuse_after = number(a[1]), 2;
    if (strcmp(name, "--fetch") == 0)
        return p->fetch = number(a[1]), 2;
    if (strcmp(name, "--decode") == 0)
        return r->decode = true, 1;
    if (strcmp(name, "--proxy") == 0)
        return p->proxy = true, 1;
    if (strcmp(name, "--quiet") == 0)
        return p->quiet = true, 1;
    return 0;
}

int main(int argc, char **argv)
{
    probe p = {.times = 1, .at_once = 1};
    qg_client *client;
    qg_err err;
    if (argc < 2)
        return 2;
    p.request.url = argv[1];
    p.request.headers = p.headers;
    for (int i = 2, used; i < argc; i += used)
        if (!(used = read_option(&p, argv + i)))
            return 2;
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.wake, NULL);
    if (qg_client_open(
            &client, &(qg_client_options){.ca_file = p.ca, .proxy_env = p.proxy, .agent = "probe"},
            &err) != QG_OK)
        return 2;
    for (int i = 0; i < p.times; i++)
        if (p.fetch)
            fetch(&p, client);
        else
            call_all(&p, client);
    qg_client_close(client);
    return 0;
}
