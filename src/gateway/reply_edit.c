/* What is changed in an event before it leaves: texts cut or withheld, annotations put in. */
#define _GNU_SOURCE

#include "gateway/jstr.h"
#include "gateway/reply_int.h"
#include "gateway/token_probs.h"

static bool withheld(const qg_reply *r, const qg_mark *m)
{
    return m->what <= QG_MARK_RAW && r->view.fields[m->kind] == QG_FIELD_WITHHELD;
}

qg_status qg_reply_say(qg_edits *d, uint32_t begin, uint32_t end, const char *text)
{
    size_t at = d->text.n;
    QG_TRY(qg_buf_adds(&d->text, text));
    return qg_edits_add(d, begin, end, at);
}

/* The mark's text up to byte `safe` of its lane; what is no string goes as a whole.  note: said
 * behind it, NULL. */
qg_status qg_reply_cut_text(const qg_event *e, const qg_mark *m, uint64_t safe, const char *note,
                            qg_edits *d)
{
    if (safe >= m->to && m->to > m->from)
        return QG_OK;
    if (m->what == QG_MARK_RAW)
        return qg_reply_say(d, m->begin, m->end, e->data.p[m->begin] == '{' ? "{}" : "null");
    qg_slice raw = qg_slice_of(e->data.p + m->begin, m->end - m->begin);
    size_t keep = safe > m->from && !m->read ? qg_jstr_cut(raw, (size_t)(safe - m->from)) : 0;
    size_t at = d->text.n;
    if (note) {
        QG_TRY(qg_buf_adds(&d->text, keep ? "\\n\\n" : ""));
        size_t quote = d->text.n;
        QG_TRY(qg_jstr_put(qg_str(note), &d->text));
        d->text.n--; /* without its quotes: it stands inside a string */
        memmove(d->text.p + quote, d->text.p + quote + 1, d->text.n - quote - 1);
        d->text.n--;
    }
    return qg_edits_add(d, m->begin + (uint32_t)keep, m->end, at);
}

qg_status qg_reply_trim(const qg_event *e, const qg_mark *m, uint64_t n, qg_edits *d)
{
    size_t at = d->text.n;
    bool trims = m->what == QG_MARK_LOGPROBS && m->in == QG_NO_LANE &&
                 qg_slice_is(qg_slice_of(e->data.p + m->name, m->n_name), "logprobs");
    if (!trims)
        return qg_reply_say(d, m->begin, m->end, "null");
    QG_TRY(qg_token_probs_trim(qg_slice_of(e->data.p + m->begin, m->end - m->begin), (size_t)n,
                               &d->text));
    return qg_edits_add(d, m->begin, m->end, at);
}

static bool same_note(const qg_wire_note *a, const qg_reply_hit *b)
{
    return a->category && b->category && !strcmp(a->category, b->category);
}

/* What the hits of a choice say together: one note a category, the most severe.  Gives their
 * number. */
static size_t notes_of(const qg_reply *r, int32_t choice, qg_wire_note *notes)
{
    bool by_choice = r->opt.proto <= QG_PROTO_COMPLETIONS;
    size_t n = 0;
    for (size_t i = r->hits_before; i < r->n_hits; i++) {
        const qg_reply_hit *h = &r->hits[i];
        double p = h->severity <= QG_UNSAFE ? h->p_severity[h->severity] : 0;
        size_t k = 0;
        if (by_choice && h->choice != choice && h->choice >= 0)
            continue;
        while (k < n && !same_note(&notes[k], h))
            k++;
        bool filtered = (k < n && notes[k].filtered) || h->action == QG_ACTION_BLOCK;
        if (k == n || h->severity > notes[k].severity)
            notes[k] = (qg_wire_note){h->severity, h->category, p, h->begin, h->end, filtered};
        notes[k].filtered = filtered;
        n += k == n;
    }
    return n;
}

/* Some upstreams annotate, too; a name must not stand twice in an object. */
static const char *notes_name(const qg_event *e)
{
    static const char name[] = "\"content_filter_results\"";
    return memmem(e->data.p, e->data.n, name, sizeof name - 1) ? "\"qguard_filter_results\":{"
                                                               : "\"content_filter_results\":{";
}

/* Flags of a choice's texts become an annotation in front of its finish reason. */
qg_status qg_reply_annotate(const qg_reply *r, const qg_event *e, const qg_mark *m, qg_edits *d)
{
    qg_wire_note notes[QG_MAX_REPLY_HITS];
    size_t at = d->text.n, n;
    if (m->what != QG_MARK_FINISH || !m->note ||
        (!e->last && r->opt.stream && r->opt.proto == QG_PROTO_RESPONSES))
        return QG_OK;
    for (size_t i = 0; i < d->n; i++)
        if (d->p[i].begin == m->note && d->p[i].end == m->note)
            return QG_OK;
    n = notes_of(r, m->choice, notes);
    for (size_t i = 0; i < n; i++) {
        QG_TRY(qg_buf_adds(&d->text, i ? "," : notes_name(e)));
        QG_TRY(qg_wire_note_put(&notes[i], &d->text));
    }
    if (n == 0)
        return QG_OK;
    QG_TRY(qg_buf_adds(&d->text, "},"));
    return qg_edits_add(d, m->note, m->note, at);
}

/* Withheld texts and annotations of an event that leaves whole. */
qg_status qg_reply_plain_edits(const qg_reply *r, const qg_event *e, qg_edits *d)
{
    bool content = false;
    for (size_t i = 0; i < e->n_marks; i++)
        content |= withheld(r, &e->marks[i]) && e->marks[i].kind == QG_FIELD_CONTENT;
    for (size_t i = 0; i < e->n_marks; i++) {
        const qg_mark *m = &e->marks[i];
        if (withheld(r, m))
            QG_TRY(qg_reply_cut_text(e, m, 0, NULL, d));
        else if (content && m->what == QG_MARK_LOGPROBS)
            QG_TRY(qg_reply_say(d, m->begin, m->end, "null"));
        QG_TRY(qg_reply_annotate(r, e, m, d));
    }
    return QG_OK;
}
