/* POST /api/v2/text/detection/stream-content: the streaming contract of the FMS guardrails
 * orchestrator (CONTRACTS.md 10.1).  NDJSON both ways; the text is judged as a reply without a
 * prompt, and an answer goes out as soon as more of it is judged for good. */
#include "base/limits.h"
#include "base/mem.h"
#include "serve/talk.h"
#include "text/utf8.h"

#include <strings.h>

static const char detector[] = "qwen3guard";

typedef struct span {
    uint64_t begin, end; /* code points */
    double score;
    qg_severity severity;
    const char *category;
} span;

typedef struct fms {
    qg_buf text;     /* from code point start on */
    uint64_t start;  /* code points that were answered for */
    uint64_t judged; /* that are judged for good */
    span *spans;     /* [n_spans] found, and not told yet */
    size_t n_spans, cap_spans;
} fms;

static qg_status read_detectors(const json_t *root, bool first, qg_thresholds *t, qg_err *err)
{
    json_t *all = NULL, *params;
    const char *name;
    QG_TRY(first ? qg_json_get_object(root, "detectors", &all, err)
                 : qg_json_opt_object(root, "detectors", &all, err));
    if (first && json_object_size(all) == 0)
        return qg_fail(err, QG_ERR_ARG, "\"detectors\" must not be empty");
    json_object_foreach (all, name, params) {
        if (strcmp(name, detector) != 0)
            return qg_fail(err, QG_ERR_ARG, "the detector here is %s", detector);
        if (!json_is_object(params))
            return qg_fail(err, QG_ERR_FORMAT, "\"detectors\".\"%s\" must be an object", detector);
        QG_TRY(qg_json_opt_num(params, "threshold", 0, 1, &t->unsafe, err));
    }
    return QG_OK;
}

static qg_status read_fms(qg_talk *t, qg_slice line, qg_err *err)
{
    qg_stream_ask *ask = &t->ask;
    fms *own = t->own;
    qg_slice content;
    const char *name;
    json_t *value;
    ask->rollback = -1;
    qg_thresholds_init(&ask->thresholds);
    QG_TRY(qg_json_parse(line, QG_JSON_NUL, &ask->root, err));
    json_object_foreach (ask->root, name, value)
        if (strcmp(name, "detectors") != 0 && strcmp(name, "content") != 0)
            return qg_fail(err, QG_ERR_FORMAT, "unknown field \"%.64s\"", name);
    QG_TRY(read_detectors(ask->root, t->first, &ask->thresholds, err));
    ask->has_thresholds = ask->thresholds.unsafe > 0;
    QG_TRY(qg_json_get_str(ask->root, "content", &content, err));
    if (content.n == 0)
        return qg_fail(err, QG_ERR_ARG, "\"content\" must not be empty");
    ask->appends = qg_calloc(1, sizeof *ask->appends);
    if (!ask->appends || qg_buf_add(&own->text, content.p, content.n) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_append_init(ask->appends);
    ask->appends[0].role = "assistant";
    ask->appends[0].content = (qg_text){content.p, content.n};
    ask->n = 1;
    return QG_OK;
}

/* Bytes of the first n code points of text, or all of it. */
static size_t bytes_of(qg_slice text, uint64_t n)
{
    size_t at = 0;
    while (n && at < text.n) {
        size_t used;
        (void)qg_utf8_at(text.p + at, &used);
        at += used;
        n--;
    }
    return at;
}

static double score_of(const qg_token *token)
{
    return token->p_severity[QG_CONTROVERSIAL] + token->p_severity[QG_UNSAFE];
}

static json_t *span_json(const fms *own, const span *s)
{
    qg_slice text = qg_buf_slice(&own->text);
    size_t a = bytes_of(text, s->begin - own->start), b = bytes_of(text, s->end - own->start);
    return json_pack("{s:I,s:I,s:s%,s:s,s:s,s:s,s:f}", "start", (json_int_t)s->begin, "end",
                     (json_int_t)s->end, "text", text.p + a, b - a, "detection",
                     s->category ? s->category : "None", "detection_type",
                     s->severity == QG_UNSAFE ? "qwen3guard_unsafe" : "qwen3guard_controversial",
                     "detector_id", detector, "score", s->score);
}

static span *add_span(fms *own, uint64_t begin, qg_severity severity, const char *category)
{
    if (own->n_spans == own->cap_spans) {
        size_t cap = own->cap_spans ? 2 * own->cap_spans : 8;
        span *spans = qg_realloc_array(own->spans, cap, sizeof *spans);
        if (!spans)
            return NULL;
        own->spans = spans;
        own->cap_spans = cap;
    }
    span *s = &own->spans[own->n_spans++];
    *s = (span){.begin = begin > own->start ? begin : own->start,
                .severity = severity,
                .category = category};
    return s;
}

/* Runs of flagged tokens with one severity and category.  A token is flagged when it and the one
 * before are hits, so the run begins with that one. */
static bool add_spans(fms *own, const qg_stream_result *r)
{
    span *s = NULL;
    const qg_token *before = NULL;
    for (size_t i = 0; i < r->n_tokens && r->tokens[i].final; i++) {
        const qg_token *t = &r->tokens[i];
        uint64_t begin = before && before->hit ? before->begin : t->begin;
        bool counts = t->flagged && t->end > own->start;
        bool same = s && counts && t->begin <= s->end && t->category == s->category &&
                    t->severity == s->severity;
        if (!same)
            s = NULL;
        if (counts && !same && !(s = add_span(own, begin, t->severity, t->category)))
            return false;
        if (counts) {
            s->end = t->end;
            s->score = score_of(t) > s->score ? score_of(t) : s->score;
        }
        before = t;
    }
    return true;
}

static bool add_rule(fms *own, const qg_stream_rule *said)
{
    span *s = add_span(own, said->begin, said->rule->severity, said->rule->category);
    if (!s)
        return false;
    s->end = said->end;
    s->score = 1;
    return true;
}

/* Those that end in the part that is answered for move to the list. */
static bool tell_spans(fms *own, json_t *list, uint64_t end)
{
    size_t n = 0;
    bool ok = true;
    for (size_t i = 0; i < own->n_spans; i++) {
        if (own->spans[i].end <= end)
            ok = ok && json_array_append_new(list, span_json(own, &own->spans[i])) == 0;
        else
            own->spans[n++] = own->spans[i];
    }
    own->n_spans = n;
    return ok;
}

/* Where the judged part ends: behind the last final token; at the end of the turn, all of it. */
static uint64_t judged(const fms *own, const qg_stream_result *r)
{
    uint64_t end = own->judged;
    for (size_t i = 0; i < r->n_tokens; i++) {
        if (!r->tokens[i].final)
            return end < r->tokens[i].begin ? end : r->tokens[i].begin;
        end = r->tokens[i].end > end ? r->tokens[i].end : end;
    }
    return end;
}

/* … and no further than where a rule's match may still begin, nor into the middle of what was
 * found. */
static uint64_t answered(const qg_talk *t)
{
    const fms *own = t->own;
    uint64_t end = own->judged < t->said.held ? own->judged : t->said.held;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < own->n_spans; i++)
            if (own->spans[i].begin < end && own->spans[i].end > end) {
                end = own->spans[i].begin;
                moved = true;
            }
    }
    return end;
}

static bool show(qg_talk *t, const qg_stream_result *r, size_t step)
{
    fms *own = t->own;
    const qg_stream_rule *now = &t->said.now;
    bool safe = now->rule && now->rule->final && now->rule->severity == QG_SAFE;
    (void)step;
    bool ok = safe || add_spans(own, r);
    if (t->said.now_news && qg_stream_rule_hits(now, &t->op.record.view))
        ok = ok && add_rule(own, now);
    own->judged = judged(own, r);
    uint64_t end = answered(t);
    if (ok && end <= own->start)
        return false;
    json_t *list = ok ? json_array() : NULL;
    ok = list && tell_spans(own, list, end);
    if (!ok)
        json_decref(list);
    qg_talk_json(t, ok ? json_pack("{s:o,s:I,s:I}", "detections", list, "processed_index",
                                   (json_int_t)end, "start_index", (json_int_t)own->start)
                       : NULL);
    size_t used = bytes_of(qg_buf_slice(&own->text), end > own->start ? end - own->start : 0);
    memmove(own->text.p, own->text.p + used, own->text.n - used);
    own->text.n -= used;
    own->start = end;
    return false;
}

static void fail(qg_talk *t, const qg_serve_error *error)
{
    int code = error->status == 400 ? 422 : error->status;
    qg_talk_json(t, json_pack("{s:i,s:s}", "code", code, "details", error->message));
}

static void put(qg_talk *t, const char *line, size_t n)
{
    qg_talk_write(t, "", line, n, "\n");
}

static void free_fms(qg_talk *t)
{
    fms *own = t->own;
    qg_buf_free(&own->text);
    qg_mfree(own->spans);
    qg_mfree(own);
}

void qg_serve_stream_fms(qg_server *srv, qg_http_req *req)
{
    /* No Content-Type: the orchestrator sets none. */
    static const qg_talk_format format = {
        .read = read_fms, .show = show, .fail = fail, .put = put, .free = free_fms};
    static const char type[] = "application/x-ndjson";
    static const char wrong[] = "{\"code\":415,\"details\":\"expected application/x-ndjson\"}";
    qg_slice given = qg_http_header(req, "Content-Type");
    fms *own = NULL;
    if (given.n < sizeof type - 1 || strncasecmp(given.p, type, sizeof type - 1) != 0) {
        qg_http_answer answer;
        qg_http_answer_init(&answer, 415);
        answer.type = "application/json";
        answer.body = qg_memdup0(wrong, sizeof wrong - 1);
        answer.n = answer.body ? sizeof wrong - 1 : 0;
        qg_http_reply(req, &answer);
        return;
    }
    own = qg_calloc(1, sizeof *own);
    if (!own) {
        qg_serve_fail_memory(srv, req);
        return;
    }
    qg_buf_init(&own->text, QG_MAX_TEXT_BYTES);
    qg_talk_body(srv, req, &format, own);
}
