#include "svc/keys.h"

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"

#include <strings.h>

/* Looks at every byte of key whatever given holds; a volatile sum keeps the compiler from stopping
 * early. */
static bool same(qg_slice key, qg_slice given)
{
    volatile unsigned char wrong = key.n != given.n;
    for (size_t i = 0; i < key.n; i++)
        wrong |= (unsigned char)(key.p[i] ^ (i < given.n ? given.p[i] : 0));
    return wrong == 0;
}

/* FNV-1a; never 0. */
static size_t identity(qg_slice key)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * 0x100000001B3u;
    return (size_t)h | 1;
}

bool qg_keys_match(const qg_keys *keys, qg_slice given, qg_slice *name)
{
    bool found = false;
    for (size_t i = 0; i < keys->n; i++)
        found |= same(qg_str(keys->keys[i]), given);
    for (size_t i = 0; i < keys->n_lines; i++) {
        bool here = same(keys->lines[i].key, given);
        if (here && name)
            *name = keys->lines[i].name;
        found |= here;
    }
    return found;
}

/* ---- the file ---- */

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of [*at, end). */
static qg_slice word(const char **at, const char *end)
{
    while (*at < end && blank(**at))
        (*at)++;
    const char *from = *at;
    while (*at < end && !blank(**at))
        (*at)++;
    return qg_slice_of(from, (size_t)(*at - from));
}

static qg_status read_line(qg_keys *k, const char *at, const char *end, size_t number, qg_err *err)
{
    qg_slice first = word(&at, end), second = word(&at, end), third = word(&at, end);
    if (first.n == 0 || first.p[0] == '#')
        return QG_OK;
    if (second.n && first.n >= QG_MAX_KEY_NAME)
        return qg_fail(err, QG_ERR_TOO_LONG, "%s:%zu: a name has at most %d bytes", k->path, number,
                       QG_MAX_KEY_NAME - 1);
    if (third.n)
        return qg_fail(err, QG_ERR_FORMAT, "%s:%zu: a line is a key, or a name and a key", k->path,
                       number);
    if (k->n_lines == QG_MAX_API_KEYS)
        return qg_fail(err, QG_ERR_TOO_LONG, "%s:%zu: more than %d keys", k->path, number,
                       QG_MAX_API_KEYS);
    qg_key_entry *more = qg_realloc_array(k->lines, k->n_lines + 1, sizeof *more);
    if (!more)
        return qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", k->path);
    k->lines = more;
    k->lines[k->n_lines++] =
        second.n ? (qg_key_entry){first, second} : (qg_key_entry){qg_str(""), first};
    return QG_OK;
}

static qg_status read_lines(qg_keys *k, size_t n, qg_err *err)
{
    const char *at = k->text, *end = k->text + n;
    for (size_t number = 1; at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        QG_TRY(read_line(k, at, stop, number, err));
        at = stop + 1;
    }
    return k->n_lines ? QG_OK
                      : qg_fail(err, QG_ERR_FORMAT, "%s: there is no key in this file", k->path);
}

qg_status qg_keys_load(qg_keys *keys, qg_err *err)
{
    qg_keys fresh = {.keys = keys->keys, .n = keys->n, .path = keys->path};
    qg_map map;
    if (!keys->path)
        return QG_OK;
    QG_TRY(qg_map_open(&map, keys->path, err));
    fresh.text = qg_memdup0(map.size ? (const void *)map.data : "", map.size);
    qg_status rc = fresh.text ? read_lines(&fresh, map.size, err)
                              : qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", keys->path);
    qg_map_close(&map);
    if (rc != QG_OK) {
        qg_keys_free(&fresh);
        return rc;
    }
    qg_keys_free(keys);
    *keys = fresh;
    return QG_OK;
}

void qg_keys_free(qg_keys *keys)
{
    qg_mfree(keys->text);
    qg_mfree(keys->lines);
    keys->text = NULL;
    keys->lines = NULL;
    keys->n_lines = 0;
}

/* ---- requests ---- */

/* What follows "Bearer", the word in any case. */
static qg_slice bearer(qg_slice value)
{
    static const char word[] = "bearer ";
    size_t n = sizeof word - 1;
    if (value.n < n || strncasecmp(value.p, word, n) != 0)
        return qg_slice_of(NULL, 0);
    while (n < value.n && value.p[n] == ' ')
        n++;
    return qg_slice_of(value.p + n, value.n - n);
}

/* The key that the request carries, p is NULL when it carries none of them. */
static qg_slice carried(const qg_keys *keys, const qg_http_req *req, qg_slice *name)
{
    static const char *const others[] = {"x-api-key", "api-key", "Ocp-Apim-Subscription-Key"};
    qg_slice given = bearer(qg_http_header(req, "Authorization"));
    if (name)
        *name = qg_str("");
    if (qg_keys_match(keys, given, name))
        return given;
    for (size_t i = 0; i < QG_COUNT(others); i++) {
        given = qg_http_header(req, others[i]);
        if (qg_keys_match(keys, given, name))
            return given;
    }
    return qg_slice_of(NULL, 0);
}

bool qg_keys_admit(const qg_keys *keys, const qg_http_req *req, qg_slice *name)
{
    return carried(keys, req, name).p || keys->n + keys->n_lines == 0;
}

size_t qg_keys_which(const qg_keys *keys, const qg_http_req *req)
{
    qg_slice key = carried(keys, req, NULL);
    return key.p ? identity(key) : 0;
}
