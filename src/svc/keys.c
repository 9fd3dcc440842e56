#include "svc/keys.h"

#include <strings.h>

/* Looks at every byte of key whatever given holds; a volatile sum keeps the compiler from stopping
 * early. */
static bool same(const char *key, qg_slice given)
{
    size_t n = strlen(key);
    volatile unsigned char wrong = n != given.n;
    for (size_t i = 0; i < n; i++)
        wrong |= (unsigned char)(key[i] ^ (i < given.n ? given.p[i] : 0));
    return wrong == 0;
}

/* Index + 1 of the key that given is; looks at all of them. */
static size_t which(const qg_keys *keys, qg_slice given)
{
    size_t found = 0;
    for (size_t i = 0; i < keys->n; i++)
        if (same(keys->keys[i], given))
            found = i + 1;
    return found;
}

bool qg_keys_match(const qg_keys *keys, qg_slice given)
{
    return which(keys, given) != 0;
}

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

size_t qg_keys_which(const qg_keys *keys, const qg_http_req *req)
{
    static const char *const others[] = {"x-api-key", "api-key", "Ocp-Apim-Subscription-Key"};
    size_t found = keys->n ? which(keys, bearer(qg_http_header(req, "Authorization"))) : 0;
    for (size_t i = 0; !found && keys->n && i < QG_COUNT(others); i++)
        found = which(keys, qg_http_header(req, others[i]));
    return found;
}

bool qg_keys_admit(const qg_keys *keys, const qg_http_req *req)
{
    return keys->n == 0 || qg_keys_which(keys, req) != 0;
}
