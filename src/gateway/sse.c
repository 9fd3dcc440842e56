#include "gateway/sse.h"

#include "base/limits.h"

void qg_sse_init(qg_sse *s)
{
    *s = (qg_sse){.n_data = 0};
    qg_buf_init(&s->raw, QG_MAX_SSE_EVENT + 2); /* its last line's end */
    qg_buf_init(&s->joined, QG_MAX_SSE_EVENT + 2);
}

void qg_sse_free(qg_sse *s)
{
    qg_buf_free(&s->raw);
    qg_buf_free(&s->joined);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static bool in_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("._-:/+=", c) != NULL;
}

/* Ids and event names: short, and nothing that could be a sentence. */
static bool is_word(qg_slice s, size_t max)
{
    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !in_word(s.p[i]))
            return false;
    return s.n <= max;
}

static bool is_number(qg_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0 && s.n <= 10;
}

static qg_status take_data(qg_sse *s, qg_slice value)
{
    size_t at = (size_t)(value.p - s->raw.p);
    if (s->n_data++ == 0) {
        s->data = at;
        s->data_end = at + value.n;
        return QG_OK;
    }
    if (s->n_data == 2) {
        s->joined.n = 0;
        QG_TRY(qg_buf_add(&s->joined, s->raw.p + s->data, s->data_end - s->data));
    }
    QG_TRY(qg_buf_add(&s->joined, "\n", 1));
    return qg_buf_add(&s->joined, value.p, value.n);
}

/* Takes the words of the line out of raw, but for its first n bytes and its end. */
static void shorten(qg_sse *s, size_t n, size_t line_end)
{
    size_t tail = s->raw.n - line_end;
    if (n == 0)
        tail = 0;
    memmove(s->raw.p + s->line + n, s->raw.p + line_end, tail);
    s->raw.n = s->line + n + tail;
}

/* The line [s->line, end) of raw, not empty; its end-of-line bytes stand behind. */
static qg_status take_line(qg_sse *s, size_t end, qg_err *err)
{
    qg_slice line = qg_slice_of(s->raw.p + s->line, end - s->line);
    const char *colon = memchr(line.p, ':', line.n);
    size_t n_name = colon ? (size_t)(colon - line.p) : line.n;
    qg_slice name = qg_slice_of(line.p, n_name);
    qg_slice value = colon ? qg_slice_of(colon + 1, line.n - n_name - 1) : qg_slice_of("", 0);
    if (colon && value.n && value.p[0] == ' ')
        value = qg_slice_of(value.p + 1, value.n - 1);
    if (!colon)
        value = qg_slice_of(line.p + line.n, 0);
    if (colon && n_name == 0) {
        shorten(s, 1, end);
    } else if (qg_slice_is(name, "data")) {
        return take_data(s, value);
    } else if (qg_slice_is(name, "event")) {
        if (!is_word(value, 64))
            return qg_fail(err, QG_ERR_FORMAT, "an event's name is not a name");
        s->name = (size_t)(value.p - s->raw.p);
        s->name_end = s->name + value.n;
    } else if (!(qg_slice_is(name, "id") && is_word(value, 128)) &&
               !(qg_slice_is(name, "retry") && is_number(value))) {
        shorten(s, 0, end);
    }
    return QG_OK;
}

static void begin_event(qg_sse *s)
{
    s->raw.n = s->joined.n = 0;
    s->line = s->data = s->data_end = s->n_data = s->name = s->name_end = 0;
    s->whole = false;
}

static void give(qg_sse *s, qg_sse_event *event)
{
    const char *p = s->raw.p;
    *event = (qg_sse_event){.raw = qg_buf_slice(&s->raw), .has_data = s->n_data > 0};
    event->data =
        s->n_data > 1 ? qg_buf_slice(&s->joined) : qg_slice_of(p + s->data, s->data_end - s->data);
    event->name = qg_slice_of(p + s->name, s->name_end - s->name);
    s->whole = true;
}

/* The line that ends with the last bytes of raw, of which `eol` are its end.  *blank: it ends the
 * event. */
static qg_status end_line(qg_sse *s, size_t eol, bool *blank, qg_err *err)
{
    size_t end = s->raw.n - eol;
    if (!s->started && end - s->line >= 3 && !memcmp(s->raw.p + s->line, "\xEF\xBB\xBF", 3))
        s->line += 3;
    s->started = true;
    *blank = end == s->line;
    if (!*blank && memchr(s->raw.p + s->line, 0, end - s->line))
        return qg_fail(err, QG_ERR_FORMAT, "an event stream holds a 0 byte");
    if (!*blank)
        QG_TRY(take_line(s, end, err));
    s->line = s->raw.n;
    return QG_OK;
}

/* First CR or LF in [p, end), or end. */
static const char *line_end(const char *p, const char *end)
{
    const char *lf = memchr(p, '\n', (size_t)(end - p));
    const char *cr = memchr(p, '\r', (size_t)((lf ? lf : end) - p));
    return cr ? cr : lf ? lf : end;
}

static qg_status append(qg_sse *s, const char *p, size_t n, qg_err *err)
{
    if (n > QG_MAX_SSE_EVENT + 2 - s->raw.n)
        return qg_fail(err, QG_ERR_TOO_LONG, "an event of more than %u bytes", QG_MAX_SSE_EVENT);
    if (qg_buf_add(&s->raw, p, n) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    return QG_OK;
}

static qg_status out_of_memory(qg_status rc, qg_err *err)
{
    return rc == QG_ERR_NOMEM ? qg_fail(err, rc, "out of memory") : rc;
}

qg_status qg_sse_next(qg_sse *s, qg_slice *in, qg_sse_event *event, bool *got, qg_err *err)
{
    const char *p = in->p, *end = in->p + in->n;
    *got = false;
    if (s->whole)
        begin_event(s);
    while (p < end && !*got) {
        if (s->cr) { /* decided by the byte behind the CR */
            size_t eol = 1;
            s->cr = false;
            if (*p == '\n') {
                QG_TRY(append(s, p++, 1, err));
                eol = 2;
            }
            QG_TRY(out_of_memory(end_line(s, eol, got, err), err));
            continue;
        }
        const char *stop = line_end(p, end);
        bool more = stop < end;
        QG_TRY(append(s, p, (size_t)(stop - p) + more, err));
        p = stop + more;
        if (more && *stop == '\r')
            s->cr = true;
        else if (more)
            QG_TRY(out_of_memory(end_line(s, 1, got, err), err));
    }
    *in = qg_slice_of(p, (size_t)(end - p));
    if (*got)
        give(s, event);
    return QG_OK;
}

qg_status qg_sse_end(qg_sse *s, qg_sse_event *event, bool *got, bool *torn, qg_err *err)
{
    *got = *torn = false;
    if (s->whole)
        begin_event(s);
    if (s->cr) {
        s->cr = false;
        QG_TRY(out_of_memory(end_line(s, 1, got, err), err));
    }
    *torn = !*got && s->raw.n > 0;
    if (*got)
        give(s, event);
    return QG_OK;
}
