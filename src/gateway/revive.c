/* Upstreams that were left out are asked for their models before they get work again. */
#include "base/mem.h"
#include "gateway/gate.h"

#include <stdio.h>

enum { TRY_MS = 5000 };

typedef struct
try {
    qg_gate *gate;
    qg_upstreams *upstreams; /* a reference */
    const qg_upstream *upstream;
}
try;

static bool on_data(void *ud, const char *p, size_t n)
{
    (void)ud;
    (void)p;
    (void)n;
    return true;
}

static void on_done(void *ud, const qg_client_end *end)
{
    try *t = ud;
    bool well = end->cause == QG_CLIENT_WHOLE && end->status < 500;
    qg_upstream_tried(t->upstreams, t->upstream, well, qg_now_us());
    if (well)
        qg_gate_note(t->gate, "upstream %s is back", t->upstream->url);
    qg_upstreams_unref(t->upstreams);
    qg_mfree(t);
}

static qg_status start(try *t)
{
    static const qg_client_events events = {NULL, on_data, on_done};
    char url[4096], bearer[4096];
    snprintf(url, sizeof url, "%s/models", t->upstream->url);
    snprintf(bearer, sizeof bearer, "Bearer %s", t->upstream->key);
    const qg_client_header header = {"Authorization", bearer};
    const qg_client_request request = {
        .url = url,
        .headers = &header,
        .n_headers = *t->upstream->key ? 1 : 0,
        .total_ms = TRY_MS,
        .ca_file = t->upstream->ca_file,
    };
    return qg_client_start(t->gate->client, &request, &events, t, NULL, NULL);
}

void qg_gate_try_upstreams(qg_gate *g, int64_t now)
{
    const qg_upstream *u;
    qg_upstreams *list = qg_gate_upstreams(g);
    while (!g->stopping && (u = qg_upstreams_due(list, now))) {
        try *t = qg_malloc(sizeof *t);
        if (t) {
            *t = (try){g, list, u};
            qg_upstreams_ref(list);
            if (start(t) == QG_OK)
                continue;
            qg_upstreams_unref(list);
            qg_mfree(t);
        }
        qg_upstream_tried(list, u, false, now);
    }
    qg_upstreams_unref(list);
}
