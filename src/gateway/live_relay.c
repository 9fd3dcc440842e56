/* What the live view is told about a request, on the back.  A request is shown from its beginning
 * or not at all: live.n is 0 for those that began while nobody watched. */
#include "gateway/gate.h"
#include "text/utf8.h"

enum { MOST_TEXT = 16 * 1024 }; /* bytes of one piece that are shown */

static bool shown(const qg_relay *r)
{
    return r->live.n && qg_live_watched(r->gate->live);
}

void qg_relay_live_begin(qg_relay *r)
{
    if (!qg_live_watched(r->gate->live))
        return;
    r->live.n = qg_live_number(r->gate->live);
    json_t *what = json_pack("{s:I,s:s,s:s,s:s,s:b,s:i}", "n", (json_int_t)r->live.n, "id", r->id,
                             "protocol", qg_proto_name(r->proto), "key", r->key, "shadow",
                             r->view.shadow, "hold_back_tokens", r->view.hold_back_tokens);
    if (what && r->asked && r->asked->model.n && r->asked->model.n <= 256)
        json_object_set_new(what, "model", json_stringn(r->asked->model.p, r->asked->model.n));
    qg_live_say(r->gate->live, "begin", what);
}

void qg_relay_live_prompt(qg_relay *r)
{
    const qg_prompt_verdict *v = &r->verdict;
    if (!shown(r))
        return;
    qg_live_say(r->gate->live, "prompt",
                json_pack("{s:I,s:s,s:s?,s:f,s:s,s:s}", "n", (json_int_t)r->live.n, "severity",
                          qg_severity_name(v->severity), "category", v->category, "p",
                          v->p_severity[v->severity], "action",
                          qg_action_name(v->hit ? v->action : QG_ACTION_ALLOW), "source",
                          v->rule ? "rule" : "model"));
}

/* ---- the reply ------------------------------------------------------------------------------- */

static json_t *piece(uint32_t lane, qg_slice text)
{
    int n = qg_utf8_cut(text, MOST_TEXT);
    json_t *string = json_stringn(text.p, (size_t)n);
    return json_pack("[I,o,I]", (json_int_t)lane, string ? string : json_string("\xEF\xBF\xBD"),
                     (json_int_t)(text.n - (size_t)n));
}

static void on_text(void *ud, uint32_t lane, bool released, qg_slice text)
{
    qg_relay *r = ud;
    json_t **list = released ? &r->live.released : &r->live.sent;
    if (!qg_live_watched(r->gate->live))
        return;
    if (!*list)
        *list = json_array();
    json_array_append_new(*list, piece(lane, text));
}

void qg_relay_live_watch(qg_relay *r)
{
    if (r->live.n && r->reply)
        qg_reply_watch(r->reply, on_text, r);
}

static json_t *new_lanes(qg_relay *r)
{
    qg_reply_lane lane;
    json_t *list = NULL;
    while (qg_reply_lane_of(r->reply, r->live.lanes, &lane)) {
        list = list ? list : json_array();
        json_array_append_new(list,
                              json_pack("{s:I,s:i,s:s,s:s}", "lane", (json_int_t)r->live.lanes,
                                        "choice", lane.choice, "field", qg_field_name(lane.kind),
                                        "name", lane.name ? lane.name : ""));
        r->live.lanes++;
    }
    return list;
}

static json_t *hit_of(size_t i, const qg_reply_hit *h)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:s,s:s?,s:f,s:s,s:s}", "i", (json_int_t)i, "lane",
                     (json_int_t)h->lane, "begin", (json_int_t)h->begin, "end", (json_int_t)h->end,
                     "severity", qg_severity_name(h->severity), "category", h->category, "p",
                     h->severity < 3 ? h->p_severity[h->severity] : 1.0, "action",
                     qg_action_name(h->action), "source", h->rule ? "rule" : "model");
}

/* Those that are new, and the last one again when it has grown. */
static json_t *new_hits(qg_relay *r)
{
    const qg_reply_hit *hits;
    size_t n = qg_reply_hits(r->reply, &hits);
    json_t *list = NULL;
    bool grown = r->live.hits && n == r->live.hits && hits[n - 1].end != r->live.hit_end;
    for (size_t i = r->live.hits - grown; i < n; i++) {
        list = list ? list : json_array();
        json_array_append_new(list, hit_of(i, &hits[i]));
    }
    r->live.hits = n;
    r->live.hit_end = n ? hits[n - 1].end : 0;
    return list;
}

static void set(json_t *what, const char *name, json_t *value)
{
    if (value)
        json_object_set_new(what, name, value);
}

void qg_relay_live_flush(qg_relay *r)
{
    if (!r->live.n || !r->reply)
        return;
    json_t *sent = r->live.sent, *released = r->live.released;
    r->live.sent = r->live.released = NULL;
    if (!shown(r)) {
        json_decref(sent);
        json_decref(released);
        return;
    }
    qg_reply_counts c = qg_reply_counts_of(r->reply);
    json_t *hits = new_hits(r), *lanes = new_lanes(r);
    if (!sent && !released && !hits && c.held_tokens == r->live.held) {
        json_decref(lanes);
        return;
    }
    r->live.held = c.held_tokens;
    json_t *what = json_pack("{s:I,s:I,s:I}", "n", (json_int_t)r->live.n, "held",
                             (json_int_t)c.held_tokens, "held_bytes", (json_int_t)c.held_bytes);
    set(what, "lanes", lanes);
    set(what, "sent", sent);
    set(what, "released", released);
    set(what, "hits", hits);
    qg_live_say(r->gate->live, "text", what);
}

void qg_relay_live_again(qg_relay *r)
{
    qg_relay_live_flush(r);
    r->live.lanes = 0;
    if (shown(r))
        qg_live_say(r->gate->live, "again", json_pack("{s:I}", "n", (json_int_t)r->live.n));
}

void qg_relay_live_end(qg_relay *r)
{
    qg_reply_counts c = {0};
    qg_relay_live_flush(r);
    if (!shown(r))
        return;
    if (r->reply)
        c = qg_reply_counts_of(r->reply);
    qg_live_say(r->gate->live, "end",
                json_pack("{s:I,s:s,s:I,s:I,s:I}", "n", (json_int_t)r->live.n, "outcome",
                          qg_gate_outcome_name(r->outcome), "text_bytes", (json_int_t)c.text_in,
                          "released_bytes", (json_int_t)c.text_out, "unjudged_bytes",
                          (json_int_t)c.text_unjudged));
}

/* ---- the page and its events, on the front --------------------------------------------------- */

void qg_gate_live(qg_gate *g, qg_http_req *req)
{
    qg_status rc = QG_ERR_UNSUPPORTED;
    if (strcmp(qg_http_method(req), "GET") == 0)
        rc = qg_live_attach(g->live, req,
                            json_pack("{s:s,s:s,s:s?}", "version", QG_VERSION, "judge",
                                      g->house->stream_info.name, "prompts",
                                      qg_gate_gen(g->house) ? g->house->info.name : NULL));
    if (rc == QG_ERR_UNSUPPORTED)
        qg_gate_fail(req, 405, "method_not_allowed", "Method Not Allowed");
    else if (rc != QG_OK)
        qg_gate_fail(req, rc == QG_ERR_BUSY ? 429 : 503, "unavailable",
                     rc == QG_ERR_BUSY ? "Enough people watch already." : "Out of memory.");
}
