/* Checks that libmicrohttpd 0.9.75 leaves out (DEPENDENCIES.md "Hardening"): a header block in
 * which two readers could see two different bodies is refused, and the connection with it. */
#define _GNU_SOURCE

#include "http/http_priv.h"

#include "base/limits.h"

#include <strings.h>

static bool is(qg_slice s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static bool token_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *bad_bytes(qg_slice name, qg_slice value)
{
    for (size_t i = 0; i < name.n; i++)
        if (!token_char((unsigned char)name.p[i]))
            return "A header name holds a character that is not allowed.";
    for (size_t i = 0; i < value.n; i++)
        if (((unsigned char)value.p[i] < 0x20 && value.p[i] != '\t') || value.p[i] == 0x7F)
            return "A header value holds a control character.";
    return name.n ? NULL : "A header has no name.";
}

/* Digits only: a sign, a list or an empty value means different things to different readers. */
static const char *parse_length(qg_slice value, uint64_t *length)
{
    uint64_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        unsigned digit = (unsigned)(unsigned char)value.p[i] - '0';
        if (digit > 9 || n > (UINT64_MAX - digit) / 10)
            return "Content-Length is not a number.";
        n = n * 10 + digit;
    }
    *length = n;
    return value.n ? NULL : "Content-Length is empty.";
}

void qg_http_framing_add(qg_http_framing *f, qg_slice name, qg_slice value)
{
    const char *fault = bad_bytes(name, value);
    f->n_headers++;
    f->bytes += name.n + value.n + 4; /* ": " and the line's end */
    if (is(name, "Content-Length")) {
        const char *wrong = parse_length(value, &f->length);
        fault = fault ? fault : wrong;
        f->n_length++;
    } else if (is(name, "Transfer-Encoding")) {
        f->chunked = is(value, "chunked");
        f->n_coding++;
    } else if (is(name, "Host")) {
        f->n_host++;
    } else if (is(name, "Expect")) {
        if (is(value, "100-continue"))
            f->expect = true;
        else
            f->odd_expect = true;
    }
    if (fault && !f->fault)
        f->fault = fault;
}

const char *qg_http_framing_fault(const qg_http_framing *f, const char *version)
{
    bool old = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
    if (f->fault)
        return f->fault;
    if (f->n_headers > QG_MAX_HTTP_HEADERS)
        return "Too many headers.";
    if (f->n_length > 1)
        return "Content-Length is given more than once.";
    if (f->n_coding > 1)
        return "Transfer-Encoding is given more than once.";
    if (f->n_coding && f->n_length)
        return "Content-Length and Transfer-Encoding contradict each other.";
    if (f->n_coding && !f->chunked)
        return "This transfer coding is not known; only chunked is.";
    if (f->n_coding && old)
        return "HTTP/1.0 has no Transfer-Encoding.";
    if (f->n_host > 1)
        return "Host is given more than once.";
    if (f->n_host == 0 && !old)
        return "Host is missing.";
    return NULL;
}
