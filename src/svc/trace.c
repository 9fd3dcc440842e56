#include "svc/trace.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Lower-case hex digits; all_zero tells whether they are worth nothing. */
static bool hex_run(const char *p, size_t n, bool *all_zero)
{
    *all_zero = true;
    for (size_t i = 0; i < n; i++) {
        if (hex_value(p[i]) < 0)
            return false;
        *all_zero &= p[i] == '0';
    }
    return true;
}

static void random_hex(char *out, size_t n)
{
    uint8_t bytes[16];
    struct timespec now;
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        clock_gettime(CLOCK_REALTIME, &now); /* unique enough for a trace */
        memcpy(bytes, &now, sizeof bytes);
    }
    for (size_t i = 0; i < n; i++)
        out[i] = "0123456789abcdef"[bytes[i / 2] >> (i % 2 ? 0 : 4) & 15];
    out[n - 1] = out[n - 1] == '0' ? '1' : out[n - 1]; /* never all zero */
    out[n] = 0;
}

/* version "-" trace "-" span "-" flags, and for versions above 00 perhaps more behind it. */
static bool parse(qg_trace *t, qg_slice h)
{
    bool zero;
    if (h.n < 55 || h.p[2] != '-' || h.p[35] != '-' || h.p[52] != '-')
        return false;
    if (!hex_run(h.p, 2, &zero) || (h.p[0] == 'f' && h.p[1] == 'f'))
        return false;
    if (zero ? h.n != 55 : h.n > 55 && h.p[55] != '-')
        return false;
    if (!hex_run(h.p + 3, 32, &zero) || zero || !hex_run(h.p + 36, 16, &zero) || zero)
        return false;
    if (!hex_run(h.p + 53, 2, &zero))
        return false;
    memcpy(t->trace_id, h.p + 3, 32);
    memcpy(t->parent_id, h.p + 36, 16);
    t->flags = (uint8_t)(hex_value(h.p[53]) << 4 | hex_value(h.p[54]));
    return true;
}

void qg_trace_begin(qg_trace *t, qg_slice header)
{
    *t = (qg_trace){0};
    if (!header.p || !parse(t, header))
        random_hex(t->trace_id, 32);
    random_hex(t->span_id, 16);
}

void qg_trace_text(const qg_trace *t, char out[QG_TRACE_TEXT])
{
    snprintf(out, QG_TRACE_TEXT, "%s-%s%s%s", t->trace_id, t->span_id, t->parent_id[0] ? "-" : "",
             t->parent_id);
}

void qg_trace_header(const qg_trace *t, char out[56])
{
    snprintf(out, 56, "00-%s-%s-%02x", t->trace_id, t->span_id, t->flags);
}
