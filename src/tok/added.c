#include "tok/added.h"

#include "base/mem.h"
#include "text/utf8.h"

static int compare(qg_slice a, qg_slice b)
{
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* Heap sort: no recursion, no bad case, and the list comes from a file. */
static void sift(qg_added_token *t, size_t n, size_t i)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            return;
        if (child + 1 < n && compare(t[child].spelling, t[child + 1].spelling) < 0)
            child++;
        if (compare(t[i].spelling, t[child].spelling) >= 0)
            return;
        qg_added_token swap = t[i];
        t[i] = t[child];
        t[child] = swap;
        i = child;
    }
}

static void sort(qg_added_token *t, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift(t, n, i);
    for (size_t end = n; end-- > 1;) {
        qg_added_token swap = t[0];
        t[0] = t[end];
        t[end] = swap;
        sift(t, end, 0);
    }
}

static qg_status copy(qg_added *added, const qg_added_token *tokens, size_t n)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++)
        n_bytes += tokens[i].spelling.n;
    added->token = qg_realloc_array(NULL, n, sizeof *added->token);
    added->bytes = qg_malloc(n_bytes);
    if (!added->token || !added->bytes)
        return QG_ERR_NOMEM;
    char *p = added->bytes;
    for (size_t i = 0; i < n; i++) {
        qg_slice s = tokens[i].spelling;
        memcpy(p, s.p, s.n);
        added->token[i] = tokens[i];
        added->token[i].spelling.p = p;
        p += s.n;
    }
    added->n = n;
    return QG_OK;
}

qg_status qg_added_init(qg_added *added, const qg_added_token *tokens, size_t n, qg_err *err)
{
    *added = (qg_added){.only_start = -1};
    if (copy(added, tokens, n) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the added tokens");
    sort(added->token, n);
    for (size_t i = 0; i < n; i++) {
        const qg_added_token *t = &added->token[i];
        if (i > 0 && qg_slice_eq(t[-1].spelling, t->spelling))
            return qg_fail(err, QG_ERR_FORMAT, "added token \"%.*s\" is listed twice",
                           qg_utf8_cut(t->spelling, 60), t->spelling.p);
        uint8_t first = (uint8_t)t->spelling.p[0];
        added->starts[first] |= (uint8_t)t->kind;
        added->kinds |= t->kind;
        added->only_start = i == 0 || added->only_start == first ? first : -1;
    }
    return QG_OK;
}

void qg_added_free(qg_added *added)
{
    qg_mfree(added->token);
    qg_mfree(added->bytes);
    *added = (qg_added){.only_start = -1};
}

int32_t qg_added_id(const qg_added *added, qg_slice spelling)
{
    size_t low = 0;
    size_t high = added->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = compare(added->token[mid].spelling, spelling);
        if (c == 0)
            return added->token[mid].id;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

/* First token of [low, high) whose byte at depth is at least `byte`; all of them are longer than
 * depth and agree before it. */
static size_t lower(const qg_added *added, size_t low, size_t high, size_t depth, unsigned byte)
{
    while (low < high) {
        size_t mid = (low + high) / 2;
        if ((uint8_t)added->token[mid].spelling.p[depth] < byte)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The longest token that text begins with.  [low, high) are those which agree with it so far; the
 * shortest of them stands first. */
static const qg_added_token *longest(const qg_added *added, qg_slice text, unsigned kinds)
{
    const qg_added_token *best = NULL;
    size_t low = 0;
    size_t high = added->n;
    for (size_t depth = 0; depth < text.n && low < high; depth++) {
        unsigned byte = (uint8_t)text.p[depth];
        low = lower(added, low, high, depth, byte);
        high = lower(added, low, high, depth, byte + 1);
        if (low < high && added->token[low].spelling.n == depth + 1) {
            if (added->token[low].kind & kinds)
                best = &added->token[low];
            low++;
        }
    }
    return best;
}

bool qg_added_find(const qg_added *added, qg_slice text, size_t from, unsigned kinds, size_t *at,
                   const qg_added_token **found)
{
    if (!(added->kinds & kinds))
        return false;
    for (size_t i = from; i < text.n; i++) {
        if (added->only_start >= 0) {
            const char *p = memchr(text.p + i, added->only_start, text.n - i);
            if (!p)
                return false;
            i = (size_t)(p - text.p);
        }
        if (!(added->starts[(uint8_t)text.p[i]] & kinds))
            continue;
        *found = longest(added, qg_slice_of(text.p + i, text.n - i), kinds);
        *at = i;
        if (*found)
            return true;
    }
    return false;
}
