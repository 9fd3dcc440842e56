#include "gateway/event.h"

#include "base/limits.h"
#include "base/mem.h"

qg_event *qg_event_make(const qg_sse_event *from, const qg_marks *marks)
{
    bool inside = from->data.p >= from->raw.p && from->data.p <= from->raw.p + from->raw.n;
    size_t n_marks = marks ? marks->n : 0, n_data = inside ? 0 : from->data.n;
    qg_event *e = qg_malloc(sizeof *e + n_marks * sizeof(qg_mark) + from->raw.n + n_data);
    if (!e)
        return NULL;
    qg_mark *copy = (qg_mark *)(e + 1);
    char *raw = (char *)(copy + n_marks), *data = raw + from->raw.n;
    *e = (qg_event){.marks = copy, .n_marks = n_marks, .raw = {raw, from->raw.n}};
    if (n_marks)
        memcpy(copy, marks->p, n_marks * sizeof *copy);
    memcpy(raw, from->raw.p, from->raw.n);
    if (!inside)
        memcpy(data, from->data.p, n_data);
    e->data = qg_slice_of(inside ? raw + (from->data.p - from->raw.p) : data, from->data.n);
    return e;
}

void qg_edits_init(qg_edits *edits)
{
    *edits = (qg_edits){.n = 0};
    qg_buf_init(&edits->text, QG_MAX_REPLY_OUT);
}

void qg_edits_free(qg_edits *edits)
{
    qg_mfree(edits->p);
    qg_buf_free(&edits->text);
}

qg_status qg_edits_add(qg_edits *edits, uint32_t begin, uint32_t end, size_t at)
{
    if (edits->n == edits->cap) {
        size_t cap = edits->cap ? 2 * edits->cap : 8;
        qg_edit *p = qg_realloc_array(edits->p, cap, sizeof *p);
        if (!p)
            return QG_ERR_NOMEM;
        edits->p = p;
        edits->cap = cap;
    }
    size_t i = edits->n++;
    for (; i > 0 && edits->p[i - 1].begin > begin; i--)
        edits->p[i] = edits->p[i - 1];
    edits->p[i] = (qg_edit){begin, end, at, edits->text.n - at};
    return QG_OK;
}

/* Data in one line: outside strings JSON's line ends are blanks. */
static qg_status add_line(qg_slice data, bool one_line, qg_buf *out)
{
    size_t from = out->n;
    QG_TRY(qg_buf_add(out, data.p, data.n));
    for (size_t i = from; one_line && i < out->n; i++)
        if (out->p[i] == '\n' || out->p[i] == '\r')
            out->p[i] = ' ';
    return QG_OK;
}

static qg_status add_data(const qg_event *e, const qg_edits *edits, bool one_line, qg_buf *out)
{
    uint32_t at = 0;
    for (size_t i = 0; i < edits->n; i++) {
        const qg_edit *d = &edits->p[i];
        QG_TRY(add_line(qg_slice_of(e->data.p + at, d->begin - at), one_line, out));
        QG_TRY(qg_buf_add(out, edits->text.p + d->at, d->n));
        at = d->end;
    }
    return add_line(qg_slice_of(e->data.p + at, e->data.n - at), one_line, out);
}

qg_status qg_event_write(const qg_event *e, const qg_edits *edits, qg_buf *out)
{
    if (!edits || edits->n == 0)
        return qg_buf_add(out, e->raw.p, e->raw.n);
    const char *end = e->raw.p + e->raw.n;
    if (e->data.p < end) { /* in place */
        QG_TRY(qg_buf_add(out, e->raw.p, (size_t)(e->data.p - e->raw.p)));
        QG_TRY(add_data(e, edits, false, out));
        const char *rest = e->data.p + e->data.n;
        return qg_buf_add(out, rest, (size_t)(end - rest));
    }
    /* several data lines: its name, then one line */
    const char *name = e->raw.n > 6 && !memcmp(e->raw.p, "event:", 6) ? e->raw.p : NULL;
    const char *stop = name ? memchr(name, '\n', e->raw.n) : NULL;
    if (stop)
        QG_TRY(qg_buf_add(out, name, (size_t)(stop + 1 - name)));
    QG_TRY(qg_buf_adds(out, "data: "));
    QG_TRY(add_data(e, edits, true, out));
    return qg_buf_adds(out, "\n\n");
}
