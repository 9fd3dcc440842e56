/* Nearly all text is normal already, so the work is done run by run: a run is one stable code point
 * (one that neither changes, nor moves, nor joins what stands before it) with the unstable ones
 * that follow it.  Everything outside runs is copied. */
#include "text/nfc.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/nfc_tables.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum {
    S_BASE = 0xAC00,
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11A7,
    L_COUNT = 19,
    V_COUNT = 21,
    T_COUNT = 28,
    CCC_SHIFT = 24, /* an item is a code point with its combining class above it */
    CP_MASK = 0x1FFFFF,
};

typedef struct run {
    uint32_t *items;
    size_t n, cap;
    size_t marks; /* where the marks begin that are not sorted yet */
} run;

static uint32_t ccc_of(uint32_t cp)
{
    if (cp >= QG_NFC_LIMIT)
        return 0;
    size_t block = qg_nfc_ccc_first[cp >> QG_NFC_SHIFT];
    return qg_nfc_ccc_second[block << QG_NFC_SHIFT | (cp & ((1u << QG_NFC_SHIFT) - 1))];
}

/* Full canonical decomposition without Hangul: length, 0 for none. */
static size_t decomposition(uint32_t cp, const uint32_t **out)
{
    if (cp >= QG_NFC_LIMIT)
        return 0;
    size_t block = qg_nfc_decomp_first[cp >> QG_NFC_SHIFT];
    unsigned entry =
        qg_nfc_decomp_second[block << QG_NFC_SHIFT | (cp & ((1u << QG_NFC_SHIFT) - 1))];
    *out = qg_nfc_decomp_pool + (entry >> 3);
    return entry & 7;
}

static bool is_syllable(uint32_t cp)
{
    return cp >= S_BASE && cp < S_BASE + L_COUNT * V_COUNT * T_COUNT;
}

/* The primary composite of a and b, or 0. */
static uint32_t join(uint32_t a, uint32_t b)
{
    if (a >= L_BASE && a < L_BASE + L_COUNT && b >= V_BASE && b < V_BASE + V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + b - V_BASE) * T_COUNT;
    if (is_syllable(a) && (a - S_BASE) % T_COUNT == 0 && b > T_BASE && b < T_BASE + T_COUNT)
        return a + b - T_BASE;
    size_t low = 0;
    size_t high = qg_nfc_n_pairs;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const qg_nfc_pair *p = &qg_nfc_pairs[mid];
        if (p->first == a && p->second == b)
            return p->joined;
        if (p->first < a || (p->first == a && p->second < b))
            low = mid + 1;
        else
            high = mid;
    }
    return 0;
}

/* Stable, by class: insertion for the few marks of real text, counting for an attack. */
static qg_status sort_marks(uint32_t *marks, size_t n)
{
    if (n <= 32) {
        for (size_t i = 1; i < n; i++) {
            uint32_t item = marks[i];
            size_t k = i;
            for (; k > 0 && marks[k - 1] >> CCC_SHIFT > item >> CCC_SHIFT; k--)
                marks[k] = marks[k - 1];
            marks[k] = item;
        }
        return QG_OK;
    }
    uint32_t *copy = qg_realloc_array(NULL, n, sizeof *copy);
    if (!copy)
        return QG_ERR_NOMEM;
    memcpy(copy, marks, n * sizeof *copy);
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++)
        start[(copy[i] >> CCC_SHIFT) + 1]++;
    for (size_t k = 1; k < 257; k++)
        start[k] += start[k - 1];
    for (size_t i = 0; i < n; i++)
        marks[start[copy[i] >> CCC_SHIFT]++] = copy[i];
    qg_mfree(copy);
    return QG_OK;
}

static qg_status run_reserve(run *r, size_t n)
{
    if (r->n + n <= r->cap)
        return QG_OK;
    size_t cap = r->cap < 64 ? 128 : r->cap + r->cap / 2;
    uint32_t *items = qg_realloc_array(r->items, cap, sizeof *items);
    if (!items)
        return QG_ERR_NOMEM;
    r->items = items;
    r->cap = cap;
    return QG_OK;
}

static qg_status run_add(run *r, uint32_t cp)
{
    uint32_t ccc = ccc_of(cp);
    if (!ccc) {
        QG_TRY(sort_marks(r->items + r->marks, r->n - r->marks));
        r->marks = r->n + 1;
    }
    r->items[r->n++] = ccc << CCC_SHIFT | cp;
    return QG_OK;
}

static qg_status run_decompose(run *r, uint32_t cp)
{
    QG_TRY(run_reserve(r, 8)); /* the longest decomposition has 4 */
    if (is_syllable(cp)) {
        uint32_t s = cp - S_BASE;
        QG_TRY(run_add(r, L_BASE + s / (V_COUNT * T_COUNT)));
        QG_TRY(run_add(r, V_BASE + s % (V_COUNT * T_COUNT) / T_COUNT));
        return s % T_COUNT ? run_add(r, T_BASE + s % T_COUNT) : QG_OK;
    }
    const uint32_t *parts;
    size_t n = decomposition(cp, &parts);
    if (!n)
        return run_add(r, cp);
    for (size_t i = 0; i < n; i++)
        QG_TRY(run_add(r, parts[i]));
    return QG_OK;
}

/* Joins what can be joined, in place.  A mark joins the last starter unless one kept in between
 * has its class or a higher one; a starter only when nothing is kept in between. */
static void run_compose(run *r)
{
    size_t n = 0;
    size_t starter = SIZE_MAX;
    uint32_t last = 0; /* class of the last item kept behind the starter */
    for (size_t i = 0; i < r->n; i++) {
        uint32_t cp = r->items[i] & CP_MASK;
        uint32_t ccc = r->items[i] >> CCC_SHIFT;
        if (starter != SIZE_MAX && (last < ccc || n - 1 == starter)) {
            uint32_t both = join(r->items[starter] & CP_MASK, cp);
            if (both) {
                r->items[starter] = both;
                continue;
            }
        }
        if (ccc == 0) {
            starter = n;
            last = 0;
        } else {
            last = ccc;
        }
        r->items[n++] = r->items[i];
    }
    r->n = n;
}

static qg_status run_write(const run *r, qg_buf *out)
{
    char bytes[4];
    for (size_t i = 0; i < r->n; i++)
        QG_TRY(qg_buf_add(out, bytes, qg_utf8_put(r->items[i] & CP_MASK, bytes)));
    return QG_OK;
}

/* Bytes of the run at the start of text: one code point and the unstable ones behind it. */
static size_t run_end(qg_slice text)
{
    size_t i = 0;
    while (i < text.n) {
        size_t n;
        uint32_t cp = qg_utf8_at(text.p + i, &n);
        if (i > 0 && !(qg_uni_props(cp) & QG_UNI_UNSTABLE))
            break;
        i += n;
    }
    return i;
}

static qg_status normalise_run(run *r, qg_slice text, qg_buf *out)
{
    r->n = r->marks = 0;
    for (size_t i = 0, n; i < text.n; i += n)
        QG_TRY(run_decompose(r, qg_utf8_at(text.p + i, &n)));
    QG_TRY(sort_marks(r->items + r->marks, r->n - r->marks));
    run_compose(r);
    return run_write(r, out);
}

size_t qg_nfc_stable_prefix(qg_slice text)
{
    size_t last = 0; /* where the code point before i begins */
    size_t i = 0;
    while (i < text.n) {
        while (i + 8 <= text.n) {
            uint64_t word;
            memcpy(&word, text.p + i, 8);
            if (word & 0x8080808080808080u)
                break;
            i += 8;
            last = i - 1;
        }
        if (i == text.n)
            break;
        size_t n;
        uint32_t cp = qg_utf8_at(text.p + i, &n);
        if (cp >= 0x80 && (qg_uni_props(cp) & QG_UNI_UNSTABLE))
            return last;
        last = i;
        i += n;
    }
    return text.n;
}

qg_status qg_nfc(qg_slice text, qg_buf *out)
{
    run r = {0};
    qg_status rc = QG_OK;
    while (text.n && rc == QG_OK) {
        size_t n = qg_nfc_stable_prefix(text);
        rc = qg_buf_add(out, text.p, n);
        text = qg_slice_of(text.p + n, text.n - n);
        if (rc != QG_OK || !text.n)
            break;
        n = run_end(text);
        rc = normalise_run(&r, qg_slice_of(text.p, n), out);
        text = qg_slice_of(text.p + n, text.n - n);
    }
    qg_mfree(r.items);
    return rc;
}
