/* The line with its verdict: its own bytes, the new member before the last brace. */
#include "batch/row.h"

#include "base/limits.h"
#include "text/jsonscan.h"

/* A member as it stands in the line: [begin, end) from its key to the end of its value. */
typedef struct member {
    const char *begin, *end;
    bool found, first; /* first: no other stands before it */
} member;

static qg_status broken(qg_err *err)
{
    return qg_fail(err, QG_ERR_FORMAT, "the row is not a JSON object");
}

/* Walks over the members of the object; *close gets its last brace, *n how many there are beside
 * those called "qguard". */
static qg_status find(qg_slice line, member *old, const char **close, size_t *n, qg_err *err)
{
    qg_scan s = {line.p, line.p + line.n};
    qg_buf room;
    qg_slice key;
    qg_status rc = QG_OK;
    qg_buf_init(&room, QG_MAX_ROW_BYTES);
    *old = (member){.found = false};
    *n = 0;
    bool more = qg_scan_take(&s, '{') && qg_scan_peek(&s) != '}';
    while (more && rc == QG_OK) {
        qg_scan_peek(&s);
        const char *begin = s.at;
        rc = qg_scan_string(&s, &room, &key);
        if (rc != QG_OK || !qg_scan_take(&s, ':') || !qg_scan_skip(&s)) {
            rc = QG_ERR_FORMAT;
        } else if (qg_slice_is(key, "qguard")) {
            *old = (member){begin, s.at, true, *n == 0};
        } else {
            ++*n;
        }
        more = qg_scan_take(&s, ',');
    }
    qg_buf_free(&room);
    if (rc != QG_OK || qg_scan_peek(&s) != '}')
        return broken(err);
    *close = s.at;
    return QG_OK;
}

static qg_status add(qg_buf *out, const char *from, const char *to)
{
    return qg_buf_add(out, from, (size_t)(to - from));
}

/* The line's bytes up to its last brace, without the old member and the comma that goes with it. */
static qg_status add_rest(qg_slice line, const member *old, const char *close, qg_buf *out)
{
    if (!old->found)
        return add(out, line.p, close);
    const char *from = old->begin, *to = old->end;
    if (old->first) { /* the comma behind it, when others follow */
        qg_scan s = {to, line.p + line.n};
        if (qg_scan_take(&s, ','))
            to = s.at;
    } else { /* the comma before it */
        while (from > line.p && *--from != ',')
            continue;
    }
    QG_TRY(add(out, line.p, from));
    return add(out, to, close);
}

qg_status qg_row_label(qg_slice line, qg_slice value, qg_buf *out, qg_err *err)
{
    member old;
    const char *close = NULL;
    size_t n;
    QG_TRY(find(line, &old, &close, &n, err));
    qg_status rc = add_rest(line, &old, close, out);
    if (rc == QG_OK)
        rc = qg_buf_adds(out, n ? ",\"qguard\":" : "\"qguard\":");
    if (rc == QG_OK)
        rc = qg_buf_add(out, value.p, value.n);
    if (rc == QG_OK)
        rc = add(out, close, line.p + line.n);
    if (rc != QG_OK)
        qg_fail(err, rc, "the row with its verdict is too long");
    return rc;
}
