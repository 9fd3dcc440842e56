/* Events and bodies come in: their texts go to lanes, they themselves wait in the queue. */
#include "base/mem.h"
#include "gateway/jstr.h"
#include "gateway/reply_int.h"
#include "gateway/token_probs.h"
#include "text/utf8.h"

/* ---- lanes ----------------------------------------------------------------------------------- */

static uint64_t hash_of(qg_slice name)
{
    uint64_t h = 1469598103934665603u; /* as in lane.c */
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 1099511628211u;
    return h;
}

static bool is_lane(const qg_lane *l, const qg_mark *m, uint64_t hash)
{
    return l->choice == m->choice && l->sub == m->sub && l->kind == m->kind && l->name_hash == hash;
}

static qg_status grow(qg_reply *r, qg_err *err)
{
    if (r->n_lanes == QG_MAX_REPLY_LANES)
        return qg_fail(err, QG_ERR_TOO_LONG, "a reply of more than %u texts", QG_MAX_REPLY_LANES);
    if (r->n_lanes < r->lanes_cap)
        return QG_OK;
    uint32_t cap = r->lanes_cap ? 2 * r->lanes_cap : 4;
    qg_lane **lanes = qg_realloc_array(r->lanes, cap, sizeof *lanes);
    if (!lanes)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    r->lanes = lanes;
    r->lanes_cap = cap;
    return QG_OK;
}

static qg_status lane_for(qg_reply *r, const qg_mark *m, qg_slice name, qg_lane **out, qg_err *err)
{
    uint64_t hash = hash_of(name);
    if (r->last_lane < r->n_lanes && is_lane(r->lanes[r->last_lane], m, hash)) {
        *out = r->lanes[r->last_lane];
        return QG_OK;
    }
    for (uint32_t i = 0; i < r->n_lanes; i++)
        if (is_lane(r->lanes[i], m, hash)) {
            *out = r->lanes[r->last_lane = i];
            return QG_OK;
        }
    QG_TRY(grow(r, err));
    qg_lane *l = qg_malloc(sizeof *l);
    if (!l)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_lane_init(l, &r->env, r->n_lanes, (qg_field_kind)m->kind, name);
    l->choice = m->choice;
    l->sub = m->sub;
    l->keep = r->opt.proto == QG_PROTO_RESPONSES && r->opt.stream && r->kept <= QG_REPLY_KEPT_BYTES;
    r->last_lane = r->n_lanes;
    r->lanes[r->n_lanes++] = *out = l;
    return QG_OK;
}

/* Another text begins while this one is open: it need not wait for more.  One that went on after
 * all (an upstream that mixes its texts) waits longer each time, and one of another choice for 16
 * events. */
static qg_status end_others(qg_reply *r, const qg_lane *now, qg_err *err)
{
    for (uint32_t i = 0; i < r->n_lanes; i++) {
        qg_lane *l = r->lanes[i];
        if (l == now || (l->last_end == qg_lane_total(l) && !l->half.n) ||
            l->waited++ < l->patience + (l->choice != now->choice ? 16 : 0))
            continue;
        l->patience = l->patience < 128 ? 2 * l->patience + 8 : 256;
        QG_TRY(qg_lane_end(l, true, err));
    }
    return QG_OK;
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* A text that stands for itself and was said before: what the deltas of a lane were, or what the
 * lane's last text was.  It need not be judged again. */
static bool repeats(const qg_reply *r, const qg_lane *own, qg_slice text, qg_mark *m)
{
    for (uint32_t i = 0; i < r->n_lanes; i++) {
        const qg_lane *l = r->lanes[i];
        uint64_t total = qg_lane_total(l);
        if (!l->keep && l != own)
            continue;
        uint64_t from = l == own && l->whole_to == total ? l->whole_from : 0;
        qg_slice said = qg_lane_text(l, from, total);
        if (total > 0 && said.n == total - from && qg_slice_eq(said, text)) {
            m->in = l->number;
            m->from = m->to = total;
            return true;
        }
    }
    return false;
}

static qg_status text_of(qg_reply *r, const qg_mark *m, qg_slice data, qg_slice *text)
{
    *text = qg_slice_of(data.p + m->begin, m->end - m->begin);
    if (m->plain || !memchr(text->p, '\\', text->n))
        return QG_OK; /* of a value as it stands the escapes are read, too */
    r->room.n = 0;
    QG_TRY(qg_jstr_decode(*text, &r->room));
    *text = qg_buf_slice(&r->room);
    return QG_OK;
}

/* Arguments are JSON in a string: what a judge must see is what the tool will. */
static qg_status inner_text(qg_reply *r, qg_lane *l, qg_mark *m, qg_slice *text)
{
    bool goes_on = m->what == QG_MARK_TEXT;
    qg_jstr_half none = {.n = 0}, *half = goes_on ? &l->half : &none;
    bool had = half->n > 0;
    if (m->kind != QG_FIELD_TOOL || m->what > QG_MARK_WHOLE || l->passed ||
        (!had && !memchr(text->p, '\\', text->n)))
        return QG_OK;
    r->inner.n = 0;
    QG_TRY(qg_jstr_read_inner(*text, half, &r->inner));
    QG_TRY(qg_buf_add(&r->inner, none.p, none.n));
    m->read = had || (goes_on && l->half.n) || r->inner.n != text->n;
    *text = qg_buf_slice(&r->inner);
    return QG_OK;
}

/* What the protocol says again at its end is kept, up to a point; then only contexts are. */
static void count_kept(qg_reply *r, const qg_lane *l, size_t n)
{
    r->kept += l->keep ? n : 0;
    for (uint32_t i = 0; i < r->n_lanes && r->kept > QG_REPLY_KEPT_BYTES && l->keep; i++)
        r->lanes[i]->keep = false;
}

/* Puts a mark's text into the lane; goes_on: it is no text that stands for itself. */
static qg_status add_text(qg_reply *r, qg_lane *l, qg_mark *m, qg_slice text, bool goes_on,
                          qg_err *err)
{
    r->counts.text_in += text.n;
    QG_TRY(goes_on ? end_others(r, l, err) : qg_lane_end(l, false, err));
    m->in = l->number;
    m->from = qg_lane_total(l);
    m->to = m->from + text.n + (goes_on && l->half.n > 0); /* waits for the rest of an escape */
    l->waited = 0;
    count_kept(r, l, text.n);
    if (r->watch)
        r->watch(r->watch_ud, l->number, false, text);
    QG_TRY(qg_lane_add(l, text, err));
    if (goes_on || !r->opt.stream)
        return QG_OK;
    l->whole_from = m->from;
    l->whole_to = m->to;
    return qg_lane_end(l, false, err);
}

static qg_status take_text(qg_reply *r, qg_mark *m, qg_slice data, qg_err *err)
{
    qg_slice text;
    qg_lane *l = NULL;
    qg_slice name = m->lane ? qg_str(m->lane) : qg_slice_of(data.p + m->name, m->n_name);
    if (m->echo &&
        qg_echo_is(&r->echo, r->opt.request, qg_slice_of(data.p + m->begin, m->end - m->begin),
                   m->what == QG_MARK_RAW))
        return QG_OK;
    if (text_of(r, m, data, &text) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (r->view.fields[m->kind] == QG_FIELD_WITHHELD) {
        r->counts.text_in += text.n;
        return QG_OK;
    }
    QG_TRY(lane_for(r, m, name, &l, err));
    if (inner_text(r, l, m, &text) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    m->in = l->number;
    if (r->opt.stream && m->what != QG_MARK_TEXT && repeats(r, l, text, m))
        return QG_OK;
    return add_text(r, l, m, text, m->what == QG_MARK_TEXT, err);
}

/* What the texts of a choice say in this event, one after the other. */
static qg_status choice_text(const qg_reply *r, int32_t choice, qg_slice data, qg_buf *out)
{
    for (size_t i = 0; i < r->marks.n; i++) {
        const qg_mark *m = &r->marks.p[i];
        if (m->choice == choice && m->what <= QG_MARK_WHOLE)
            QG_TRY(qg_jstr_decode(qg_slice_of(data.p + m->begin, m->end - m->begin), out));
    }
    return QG_OK;
}

/* Log probabilities leave with the text that they repeat.  What they say beside it (half
 * characters, a server's own tokens, what could have stood there) is a text of its own, and
 * judged. */
static qg_status logprobs_text(const qg_reply *r, const qg_mark *m, qg_slice data, qg_buf *tokens,
                               qg_buf *said, qg_buf *others)
{
    QG_TRY(qg_token_probs_text(qg_slice_of(data.p + m->begin, m->end - m->begin), tokens, others));
    QG_TRY(choice_text(r, m->choice, data, said));
    bool same = tokens->n == 0 || qg_slice_eq(qg_buf_slice(tokens), qg_buf_slice(said));
    return same ? QG_OK : qg_utf8_lossy(qg_buf_slice(tokens), others);
}

static qg_status take_logprobs(qg_reply *r, qg_mark *m, qg_slice data, qg_err *err)
{
    qg_buf tokens, said, others;
    qg_lane *l = NULL;
    qg_buf_init(&tokens, QG_MAX_REPLY_BODY);
    qg_buf_init(&said, QG_MAX_REPLY_BODY);
    qg_buf_init(&others, 3 * QG_MAX_REPLY_BODY);
    qg_status rc = logprobs_text(r, m, data, &tokens, &said, &others);
    if (rc != QG_OK)
        rc = qg_fail(err, rc, "the log probabilities are too large");
    else if (others.n && (rc = lane_for(r, m, qg_str("logprobs"), &l, err)) == QG_OK)
        rc = add_text(r, l, m, qg_buf_slice(&others), true, err);
    qg_buf_free(&tokens);
    qg_buf_free(&said);
    qg_buf_free(&others);
    return rc;
}

static qg_status take_texts(qg_reply *r, qg_slice data, bool *has_text, qg_err *err)
{
    for (size_t i = 0; i < r->marks.n; i++)
        r->marks.p[i].in = QG_NO_LANE;
    for (size_t i = 0; i < r->marks.n; i++) {
        qg_mark *m = &r->marks.p[i];
        if (m->what == QG_MARK_LOGPROBS)
            QG_TRY(take_logprobs(r, m, data, err));
        else if (m->what <= QG_MARK_RAW)
            QG_TRY(take_text(r, m, data, err));
        *has_text |= m->in != QG_NO_LANE;
    }
    qg_echo_free(&r->echo); /* servers say it twice or three times; a stream lives for minutes */
    return QG_OK;
}

/* ---- ends ------------------------------------------------------------------------------------ */

static qg_status end_choice(qg_reply *r, int32_t choice, bool all, qg_err *err)
{
    for (uint32_t i = 0; i < r->n_lanes; i++)
        if (all || r->lanes[i]->choice == choice)
            QG_TRY(qg_lane_end(r->lanes[i], false, err));
    return QG_OK;
}

static void failed(qg_reply *r, qg_status rc, const qg_err *err)
{
    if (rc == QG_ERR_NOMEM)
        qg_reply_no_memory(r);
    else if (rc == QG_ERR_UNSUPPORTED)
        qg_reply_fail(r, QG_REPLY_UNJUDGED, true, 503, "judge_failed", err->msg);
    else if (rc != QG_OK)
        qg_reply_fail(r, QG_REPLY_MALFORMED, false, 502, "upstream_malformed", err->msg);
}

void qg_reply_end_lanes(qg_reply *r)
{
    qg_err err = {""};
    failed(r, end_choice(r, 0, true, &err), &err);
}

static qg_status end_texts(qg_reply *r, const qg_wire_event *what, qg_err *err)
{
    bool by_finish = r->opt.proto <= QG_PROTO_COMPLETIONS;
    for (size_t i = 0; i < r->marks.n && by_finish; i++)
        if (r->marks.p[i].what == QG_MARK_FINISH) {
            r->n_finished++;
            QG_TRY(end_choice(r, r->marks.p[i].choice, false, err));
        }
    if (what->ends_choice || what->ends_all)
        QG_TRY(end_choice(r, r->marks.choice, what->ends_all || r->marks.choice < 0, err));
    return QG_OK;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void push(qg_reply *r, qg_event *e)
{
    e->next = NULL;
    if (r->tail)
        r->tail->next = e;
    else
        r->head = e;
    r->tail = e;
    r->held += e->raw.n;
}

static qg_status read_event(qg_reply *r, const qg_sse_event *event, qg_wire_event *what,
                            bool *has_text, qg_err *err)
{
    r->marks.n = 0;
    *what = (qg_wire_event){.root = NULL};
    if (!event->has_data || event->data.n == 0)
        return QG_OK;
    if (qg_wire_is_done(r->opt.proto, event->data)) {
        what->last = what->ends_all = true;
        return end_choice(r, 0, true, err);
    }
    *what = qg_wire_event_of(r->opt.proto, event->data);
    QG_TRY(qg_marks_read(&r->marks, what->root, event->data, err));
    QG_TRY(take_texts(r, event->data, has_text, err));
    return end_texts(r, what, err);
}

void qg_reply_take_event(qg_reply *r, const qg_sse_event *event)
{
    qg_err err = {""};
    qg_wire_event what;
    bool has_text = false;
    r->counts.events += event->has_data;
    qg_status rc = read_event(r, event, &what, &has_text, &err);
    if (rc == QG_ERR_FORMAT && r->view.open[QG_PHASE_RESPONSE]) { /* passes unread, counted */
        r->counts.text_unjudged += event->data.n;
        r->marks.n = 0;
        rc = QG_OK;
    }
    if (rc != QG_OK) {
        failed(r, rc, &err);
        qg_reply_end_lanes(r);
        return;
    }
    r->saw_last |= what.last;
    if (r->view.shadow)
        return;
    qg_event *e = qg_event_make(event, &r->marks);
    if (!e) {
        qg_reply_no_memory(r);
        return;
    }
    e->last = what.last;
    e->has_text = has_text;
    push(r, e);
}

void qg_reply_take_body(qg_reply *r)
{
    qg_err err = {""};
    bool has_text = false;
    qg_sse_event event = {.raw = qg_buf_slice(&r->body), .has_data = true};
    event.data = event.raw;
    qg_status rc = qg_marks_read(&r->marks, qg_wire_body(r->opt.proto), event.data, &err);
    if (rc == QG_ERR_FORMAT && r->view.open[QG_PHASE_RESPONSE]) {
        r->counts.text_unjudged += event.data.n;
        r->marks.n = 0;
        rc = QG_OK;
    } else if (rc == QG_OK) {
        rc = take_texts(r, event.data, &has_text, &err);
    }
    if (rc != QG_OK) {
        failed(r, rc, &err);
        return;
    }
    r->saw_last = true;
    qg_event *e = r->view.shadow ? NULL : qg_event_make(&event, &r->marks);
    if (!e && !r->view.shadow)
        qg_reply_no_memory(r);
    if (!e)
        return;
    e->last = true;
    e->has_text = has_text;
    push(r, e);
    qg_buf_free(&r->body);
}
