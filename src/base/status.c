#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

qg_status qg_fail(qg_err *err, qg_status rc, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
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
    };
    if ((unsigned)status >= QG_COUNT(names) || !names[status])
        return "unknown";
    return names[status];
}
