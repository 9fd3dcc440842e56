#define _GNU_SOURCE
#include "gateway/echo.h"

#include "base/limits.h"
#include "gateway/jstr.h"
#include "gateway/marks.h"

void qg_echo_init(qg_echo *echo)
{
    qg_buf_init(&echo->said, QG_MAX_REPLY_BODY);
    qg_buf_init(&echo->room, QG_MAX_REPLY_BODY);
}

void qg_echo_free(qg_echo *echo)
{
    qg_buf_free(&echo->said);
    qg_buf_free(&echo->room);
}

/* The next string of a JSON text from *p on, between its quotes; false: there is none. */
static bool next_string(const char **p, const char *end, qg_slice *s)
{
    bool plain;
    const char *quote = memchr(*p, '"', (size_t)(end - *p));
    const char *stop = quote ? qg_jstr_end(quote + 1, end, &plain) : NULL;
    if (!stop)
        return false;
    *s = qg_slice_of(quote + 1, (size_t)(stop - quote - 1));
    *p = stop + 1;
    return true;
}

static bool read_request(qg_echo *echo, qg_slice request)
{
    const char *p = request.p, *end = request.p + request.n;
    qg_slice s;
    bool good = qg_buf_add(&echo->said, "", 1) == QG_OK;
    while (good && next_string(&p, end, &s))
        good = qg_jstr_decode(s, &echo->said) == QG_OK && qg_buf_add(&echo->said, "", 1) == QG_OK;
    return good;
}

static bool said(qg_echo *echo, qg_slice s)
{
    qg_buf *room = &echo->room;
    if (s.n <= 64 && qg_marks_is_word(s))
        return true;
    room->n = 0;
    if (qg_buf_add(room, "", 1) != QG_OK || qg_jstr_decode(s, room) != QG_OK ||
        qg_buf_add(room, "", 1) != QG_OK)
        return false;
    return memmem(echo->said.p, echo->said.n, room->p, room->n) != NULL;
}

bool qg_echo_is(qg_echo *echo, qg_slice request, qg_slice value, bool nested)
{
    const char *p = value.p, *end = value.p + value.n;
    qg_slice s;
    if (!request.n || (!echo->said.n && !read_request(echo, request)))
        return false;
    if (!nested)
        return said(echo, value);
    while (next_string(&p, end, &s))
        if (!said(echo, s))
            return false;
    return true;
}
