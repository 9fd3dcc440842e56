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

bool qg_keys_match(const qg_keys *keys, qg_slice given)
{
    bool found = false;
    for (size_t i = 0; i < keys->n; i++)
        found |= same(keys->keys[i], given);
    return found;
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

bool qg_keys_admit(const qg_keys *keys, const qg_http_req *req)
{
    static const char *const others[] = {"x-api-key", "api-key", "Ocp-Apim-Subscription-Key"};
    if (keys->n == 0 || qg_keys_match(keys, bearer(qg_http_header(req, "Authorization"))))
        return true;
    for (size_t i = 0; i < QG_COUNT(others); i++)
        if (qg_keys_match(keys, qg_http_header(req, others[i])))
            return true;
    return false;
}
