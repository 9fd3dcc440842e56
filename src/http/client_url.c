/* Addresses that may be called, read by curl's own parser so that check and call agree. */
#include "http/client_priv.h"

#include <strings.h>

static bool part(CURLU *u, CURLUPart what, unsigned flags, char *out, size_t n)
{
    char *s = NULL;
    if (curl_url_get(u, what, &s, flags) != CURLUE_OK)
        return false;
    bool fits = strlen(s) < n;
    if (fits)
        memcpy(out, s, strlen(s) + 1);
    curl_free(s);
    return fits;
}

static bool has(CURLU *u, CURLUPart what)
{
    char *s = NULL;
    bool there = curl_url_get(u, what, &s, 0) == CURLUE_OK;
    curl_free(s);
    return there;
}

static const char *fault_of(CURLU *u, const char *url)
{
    char scheme[8], host[256];
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 127 || *p == '\\')
            return "holds a blank, a backslash or a control character";
    if (!strstr(url, "://") || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
        return "is not a URL";
    if (!part(u, CURLUPART_SCHEME, 0, scheme, sizeof scheme) ||
        (strcasecmp(scheme, "http") && strcasecmp(scheme, "https")))
        return "is neither http nor https";
    if (!part(u, CURLUPART_HOST, 0, host, sizeof host))
        return "names no host, or too long a one";
    if (has(u, CURLUPART_USER) || has(u, CURLUPART_PASSWORD))
        return "holds a user or a password, which do not belong there";
    if (has(u, CURLUPART_FRAGMENT))
        return "has a fragment (#)";
    return NULL;
}

qg_status qg_client_url_check(const char *url, qg_err *err)
{
    CURLU *u = url ? curl_url() : NULL;
    if (!u)
        return url ? qg_fail(err, QG_ERR_NOMEM, "out of memory for a URL")
                   : qg_fail(err, QG_ERR_ARG, "no URL was given");
    const char *fault = fault_of(u, url);
    curl_url_cleanup(u);
    return fault ? qg_fail(err, QG_ERR_ARG, "%.200s: %s", url, fault) : QG_OK;
}

bool qg_client_url_host(const char *url, char *host, size_t n)
{
    CURLU *u = curl_url();
    bool ok = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
              part(u, CURLUPART_HOST, 0, host, n);
    for (char *p = host; ok && *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    curl_url_cleanup(u);
    return ok;
}

typedef struct origin {
    char scheme[8], host[256], port[8];
} origin;

static bool origin_of(const char *url, origin *o)
{
    CURLU *u = curl_url();
    bool ok = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
              part(u, CURLUPART_SCHEME, 0, o->scheme, sizeof o->scheme) &&
              part(u, CURLUPART_HOST, 0, o->host, sizeof o->host) &&
              part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, o->port, sizeof o->port);
    curl_url_cleanup(u);
    return ok;
}

bool qg_client_url_same_origin(const char *a, const char *b)
{
    origin x, y;
    return origin_of(a, &x) && origin_of(b, &y) && strcasecmp(x.scheme, y.scheme) == 0 &&
           strcasecmp(x.host, y.host) == 0 && strcmp(x.port, y.port) == 0;
}
