#include "text/casemap.h"

/* Whether cp lies in one of the ranges: an odd number of borders is at or below it. */
static bool in_ranges(const uint32_t *borders, size_t n, uint32_t cp)
{
    size_t low = 0, high = n; /* borders[low - 1] <= cp < borders[high] */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (borders[mid] <= cp)
            low = mid + 1;
        else
            high = mid;
    }
    return low & 1;
}

static size_t find_long(const qg_case_long *rows, size_t n, uint32_t cp, uint32_t out[3])
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (rows[mid].cp == cp) {
            size_t k = 0;
            for (; k < 3 && rows[mid].to[k]; k++)
                out[k] = rows[mid].to[k];
            return k;
        }
        if (rows[mid].cp < cp)
            low = mid + 1;
        else
            high = mid;
    }
    return 0;
}

static uint32_t map_one(const qg_case_run *rows, size_t n, uint32_t cp)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const qg_case_run *run = &rows[mid];
        if (cp > run->last)
            low = mid + 1;
        else if (cp < run->first)
            high = mid;
        else
            return (cp - run->first) % (uint32_t)run->step ? cp : cp + (uint32_t)run->delta;
    }
    return cp;
}

size_t qg_case_upper(uint32_t cp, bool title, uint32_t out[3])
{
    if (cp < 0x80) {
        out[0] = cp >= 'a' && cp <= 'z' ? cp - 32 : cp;
        return 1;
    }
    size_t n = title ? find_long(qg_case_title_long, qg_case_title_long_n, cp, out)
                     : find_long(qg_case_upper_long, qg_case_upper_long_n, cp, out);
    if (n)
        return n;
    out[0] = title ? map_one(qg_case_title_runs, qg_case_title_runs_n, cp)
                   : map_one(qg_case_upper_runs, qg_case_upper_runs_n, cp);
    return 1;
}

size_t qg_case_lower(uint32_t cp, uint32_t out[3])
{
    if (cp < 0x80) {
        out[0] = cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
        return 1;
    }
    size_t n = find_long(qg_case_lower_long, qg_case_lower_long_n, cp, out);
    if (n)
        return n;
    out[0] = map_one(qg_case_lower_runs, qg_case_lower_runs_n, cp);
    return 1;
}

bool qg_case_cased(uint32_t cp)
{
    return in_ranges(qg_case_cased_ranges, qg_case_cased_ranges_n, cp);
}

bool qg_case_printable(uint32_t cp)
{
    if (cp < 0x7f)
        return cp >= 0x20;
    return in_ranges(qg_case_printable_ranges, qg_case_printable_ranges_n, cp);
}

bool qg_case_ignorable(uint32_t cp)
{
    return in_ranges(qg_case_ignorable_ranges, qg_case_ignorable_ranges_n, cp);
}

size_t qg_case_fold(uint32_t cp, uint32_t out[3])
{
    uint32_t upper[3], lower[3];
    size_t n = 0, k = qg_case_upper(cp, false, upper);
    for (size_t i = 0; i < k && n < 3; i++) {
        size_t m = qg_case_lower(upper[i], lower);
        for (size_t j = 0; j < m && n < 3; j++)
            out[n++] = lower[j];
    }
    return n;
}
