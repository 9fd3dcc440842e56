#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the UTF-8 sequence at s, 0 when it is none. */
static size_t utf8_bytes(const char *s)
{
    unsigned char c = (unsigned char)s[0], d = (unsigned char)(c ? s[1] : 0);
    size_t n = c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;

    for (size_t i = 1; i < n; i++)
        if (((unsigned char)s[i] & 0xC0) != 0x80)
            return 0;
    bool wrong = (c == 0xE0 && d < 0xA0) || (c == 0xED && d > 0x9F) || /* overlong, surrogate */
                 (c == 0xF0 && d < 0x90) || (c == 0xF4 && d > 0x8F);   /* overlong, too large */
    return wrong ? 0 : n;
}

/* Sentences quote file names, tensor names, JSON: one line of UTF-8 must come out all the same. */
static void make_readable(char *s)
{
    while (*s) {
        size_t n = utf8_bytes(s);
        if (n == 0 || (unsigned char)*s < 0x20 || *s == 0x7F) {
            *s = '?';
            n = 1;
        }
        s += n;
    }
}

qg_status qg_fail(qg_err *err, qg_status rc, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        make_readable(err->msg);
    }
    return rc;
}

qg_status qg_fail_prefix(qg_err *err, qg_status rc, const char *fmt, ...)
{
    if (err) {
        qg_err old = *err;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        size_t n = strlen(err->msg);
        snprintf(err->msg + n, sizeof err->msg - n, ": %s", old.msg);
        make_readable(err->msg);
    }
    return rc;
}

const char *qg_status_name(qg_status status)
{
    static const char *const names[] = {
        [QG_OK] = "ok",
        [QG_ERR_ARG] = "invalid_argument",
        [QG_ERR_NOMEM] = "out_of_memory",
        [QG_ERR_IO] = "io_error",
        [QG_ERR_FORMAT] = "bad_format",
        [QG_ERR_UNSUPPORTED] = "unsupported",
        [QG_ERR_TOO_LONG] = "too_long",
        [QG_ERR_TEMPLATE] = "template_error",
        [QG_ERR_BUSY] = "overloaded",
        [QG_ERR_DEADLINE] = "deadline_exceeded",
        [QG_ERR_CANCELLED] = "cancelled",
        [QG_ERR_CLOSED] = "closed",
        [QG_ERR_INTERNAL] = "internal_error",
        [QG_ERR_GONE] = "gone",
    };
    if ((unsigned)status >= QG_COUNT(names) || !names[status])
        return "unknown";
    return names[status];
}
