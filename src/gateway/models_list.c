/* GET /v1/models: the lists of all upstreams as one.  They are asked at the same time; each model
 * is named once, by the upstream that requests for it would go to; who does not answer is left out.
 * The list is kept for a while, and requests that come meanwhile wait for the one that is being
 * made; where clients' own keys go to the upstreams each gets a list of its own. */
#include "base/mem.h"
#include "gateway/gate.h"
#include "text/json.h"

#include <stdio.h>

enum {
    KEPT_US = 10 * 1000 * 1000,
    TIMEOUT_MS = 5000,
    LONGEST = 2 * 1024 * 1024, /* of one upstream */
    MOST = 16384,              /* models */
};

typedef struct asker {
    struct asker *next;
    qg_http_req *req;
    qg_gathering *of; /* a reference */
} asker;

typedef struct part {
    qg_gathering *of;
    const qg_upstream *upstream;
    qg_buf body;
    bool well;
} part;

struct qg_gathering {
    qg_task task; /* first: merges, on the worker */
    atomic_int refs, left;
    qg_gate *gate;
    qg_upstreams *list; /* a reference */
    bool shared;
    char *auth; /* the client's own, for upstreams without a key; NULL = none */
    /* under the gate's desk */
    asker *askers;
    /* once the task has run */
    char *body; /* NULL: nobody answered */
    size_t n_body;
    size_t n;
    part parts[];
};

static void unref(qg_gathering *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    for (size_t i = 0; i < m->n; i++)
        qg_buf_free(&m->parts[i].body);
    qg_upstreams_unref(m->list);
    qg_mfree(m->auth);
    qg_mfree(m->body);
    qg_mfree(m);
}

/* ---- merging, on the worker ------------------------------------------------------------------ */

static void add_model(const qg_gathering *m, const part *p, json_t *model, json_t *seen,
                      json_t *all)
{
    qg_slice id = {"", 0};
    if (!json_is_object(model) || qg_json_opt_str(model, "id", &id, NULL) != QG_OK || !id.n ||
        id.n > 256 || memchr(id.p, 0, id.n) || json_object_get(seen, id.p) ||
        json_array_size(all) >= MOST || !qg_upstreams_serves(m->list, p->upstream->index, id))
        return;
    json_object_set_new(seen, id.p, json_true());
    json_array_append(all, model);
}

static bool add_part(const qg_gathering *m, const part *p, json_t *seen, json_t *all)
{
    json_t *root = NULL, *model;
    size_t i;
    if (!p->well || qg_json_parse(qg_buf_slice(&p->body), 0, &root, NULL) != QG_OK)
        return false;
    json_t *data = json_is_object(root) ? json_object_get(root, "data") : NULL;
    json_array_foreach (data, i, model) {
        add_model(m, p, model, seen, all);
    }
    bool good = json_is_array(data);
    json_decref(root);
    return good;
}

static void merge(qg_gathering *m)
{
    json_t *all = json_array(), *seen = json_object();
    bool any = false;
    for (size_t i = 0; i < m->n && all && seen; i++)
        any |= add_part(m, &m->parts[i], seen, all);
    json_t *root = any ? json_pack("{s:s,s:O}", "object", "list", "data", all) : NULL;
    m->body = root ? qg_json_dump(root) : NULL;
    m->n_body = m->body ? strlen(m->body) : 0;
    json_decref(root);
    json_decref(all);
    json_decref(seen);
}

static void run_merge(qg_task *task)
{
    qg_gathering *m = (qg_gathering *)task;
    qg_gate *g = m->gate;
    qg_gathering *old = NULL;
    merge(m);
    pthread_mutex_lock(&g->desk);
    asker *a = m->askers;
    m->askers = NULL;
    if (m->shared) {
        g->models_now = NULL; /* its reference goes on to models_kept, or ends here */
        old = m;
        if (m->body) {
            old = g->models_kept;
            g->models_kept = m;
            g->models_until_us = qg_now_us() + KEPT_US;
        }
    }
    pthread_mutex_unlock(&g->desk);
    for (asker *next; a; a = next) {
        next = a->next;
        qg_http_post(a->req);
    }
    unref(old);
    unref(m);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void end_part(qg_gathering *m)
{
    if (atomic_fetch_sub(&m->left, 1) != 1)
        return;
    m->task.run = run_merge;
    qg_worker_post(m->gate->worker, &m->task);
}

static bool on_data(void *ud, const char *bytes, size_t n)
{
    return qg_buf_add(&((part *)ud)->body, bytes, n) == QG_OK;
}

static void on_done(void *ud, const qg_client_end *end)
{
    part *p = ud;
    p->well = end->cause == QG_CLIENT_WHOLE && end->status == 200;
    if (end->cause != QG_CLIENT_WHOLE && end->cause != QG_CLIENT_ABORTED) {
        qg_upstream_tried(p->of->list, p->upstream, false, qg_now_us());
        qg_gate_note(p->of->gate, "upstream %s: models: %s", p->upstream->url, end->err.msg);
    }
    end_part(p->of);
}

/* OpenAI's way and Anthropic's, since nobody knows which one the server speaks. */
static size_t add_headers(const part *p, char *bearer, size_t n_bearer, qg_client_header *headers)
{
    const char *key = p->upstream->key;
    if (*key) {
        snprintf(bearer, n_bearer, "Bearer %s", key);
        headers[0] = (qg_client_header){"Authorization", bearer};
        headers[1] = (qg_client_header){"x-api-key", key};
        headers[2] = (qg_client_header){"anthropic-version", "2023-06-01"};
        return 3;
    }
    headers[0] = (qg_client_header){"Authorization", p->of->auth};
    return p->of->auth ? 1 : 0;
}

static void ask(part *p)
{
    static const qg_client_events events = {NULL, on_data, on_done};
    char url[4096], bearer[QG_MAX_UPSTREAM_KEY + 16];
    qg_client_header headers[3];
    int n = snprintf(url, sizeof url, "%s/models", p->upstream->url);
    const qg_client_request request = {
        .url = url,
        .headers = headers,
        .n_headers = add_headers(p, bearer, sizeof bearer, headers),
        .total_ms = TIMEOUT_MS,
        .decode = true,
        .ca_file = p->upstream->ca_file,
    };
    if (n < 0 || (size_t)n >= sizeof url ||
        qg_client_start(p->of->gate->client, &request, &events, p, NULL, NULL) != QG_OK)
        end_part(p->of);
}

/* Those that are left out are not asked, unless all are. */
static void choose(qg_gathering *m)
{
    qg_upstream_state s;
    for (int pass = 0; pass < 2 && m->n == 0; pass++)
        for (size_t i = 0; qg_upstreams_at(m->list, i, &s); i++)
            if (!s.out || pass == 1) {
                m->parts[m->n] = (part){.of = m, .upstream = s.upstream};
                qg_buf_init(&m->parts[m->n++].body, LONGEST);
            }
}

static qg_gathering *new_gathering(qg_gate *g, qg_slice auth)
{
    qg_gathering *m = qg_calloc(1, sizeof *m + QG_MAX_UPSTREAMS * sizeof m->parts[0]);
    if (!m)
        return NULL;
    m->gate = g;
    atomic_init(&m->refs, 1); /* the task's */
    m->list = qg_gate_upstreams(g);
    m->auth = auth.p ? qg_memdup0(auth.p, auth.n) : NULL;
    choose(m);
    atomic_init(&m->left, (int)m->n + 1);
    if (!auth.p || m->auth)
        return m;
    unref(m);
    return NULL;
}

/* ---- answering, on the front -------------------------------------------------------------------
 */

static void reply_list(qg_http_req *req, const qg_gathering *m)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, 200);
    answer.type = "application/json";
    answer.n = m->n_body;
    answer.body = m->body ? qg_memdup0(m->body, m->n_body) : NULL;
    if (answer.body)
        qg_http_reply(req, &answer);
    else
        qg_gate_fail(req, m->body ? 503 : 502, m->body ? "unavailable" : "upstream_error",
                     m->body ? "Out of memory." : "No upstream gave a list of its models.");
}

static void on_ready(void *ud, qg_http_req *req)
{
    reply_list(req, ((asker *)ud)->of);
}

static void on_gone(void *ud)
{
    (void)ud; /* the list is made all the same */
}

static void on_free(void *ud)
{
    asker *a = ud;
    unref(a->of);
    qg_mfree(a);
}

static qg_gathering *ref(qg_gathering *m)
{
    if (m)
        atomic_fetch_add(&m->refs, 1);
    return m;
}

static void put_asker(asker *a, qg_gathering *m)
{
    a->of = m;
    atomic_fetch_add(&m->refs, 1);
    a->next = m->askers;
    m->askers = a;
}

/* The list that is kept and still holds (a reference); else a joins the one that is being made, if
 * there is one, or fresh. */
static qg_gathering *find(qg_gate *g, asker *a, qg_gathering *fresh)
{
    qg_gathering *kept = NULL;
    pthread_mutex_lock(&g->desk);
    if (fresh->shared && g->models_kept && g->models_kept->list == g->upstreams &&
        qg_now_us() < g->models_until_us) {
        kept = ref(g->models_kept);
    } else if (fresh->shared && g->models_now && g->models_now->list == g->upstreams) {
        put_asker(a, g->models_now);
    } else {
        put_asker(a, fresh);
        if (fresh->shared && !g->models_now)
            g->models_now = ref(fresh);
        else
            fresh->shared = false; /* beside one of older upstreams: not kept */
    }
    pthread_mutex_unlock(&g->desk);
    return kept;
}

void qg_gate_models(qg_gate *g, qg_http_req *req)
{
    static const qg_http_waiter waiter = {on_ready, on_gone, on_free};
    bool keys = g->keys.n + g->keys.n_lines > 0;
    qg_slice auth = keys ? qg_slice_of(NULL, 0) : qg_http_header(req, "Authorization");
    qg_gathering *m = new_gathering(g, auth);
    asker *a = m ? qg_calloc(1, sizeof *a) : NULL;
    if (!a) {
        unref(m);
        qg_gate_fail(req, 503, "unavailable", "Out of memory.");
        return;
    }
    a->req = req;
    m->shared = !auth.p;
    qg_gathering *kept = find(g, a, m);
    if (kept) {
        reply_list(req, kept);
        unref(kept);
        qg_mfree(a);
    } else {
        qg_http_wait(req, &waiter, a);
    }
    if (kept || a->of != m) {
        unref(m);
        return;
    }
    for (size_t i = 0; i < m->n; i++)
        ask(&m->parts[i]);
    end_part(m);
}

void qg_gate_models_free(qg_gate *g)
{
    unref(g->models_kept);
    g->models_kept = NULL;
}
