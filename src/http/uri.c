#define _GNU_SOURCE

#include "http/http_priv.h"

#include <strings.h>

/* Value of a hexadecimal digit, or 16 and more. */
static unsigned hex(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

/* "http://host/path" is allowed in every request (RFC 9112 3.2.2); the host does not matter here.
 */
static const char *skip_authority(const char *uri)
{
    size_t n = strncasecmp(uri, "http://", 7) == 0    ? 7
               : strncasecmp(uri, "https://", 8) == 0 ? 8
                                                      : 0;
    return n ? uri + n + strcspn(uri + n, "/?") : uri;
}

qg_status qg_http_uri_path(const char *uri, qg_buf *path)
{
    for (const char *s = skip_authority(uri); *s && *s != '?' && *s != '#'; s++) {
        char c = *s;
        if (c == '%') {
            unsigned high = hex(s[1]);
            unsigned low = high < 16 ? hex(s[2]) : 16;
            if (low > 15 || (high | low) == 0)
                return QG_ERR_FORMAT;
            c = (char)(high << 4 | low);
            s += 2;
        }
        QG_TRY(qg_buf_add(path, &c, 1));
    }
    return path->n ? QG_OK : qg_buf_adds(path, "/");
}
