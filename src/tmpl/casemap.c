#include "tmpl/casemap.h"

size_t qg_case_upper(uint32_t cp, bool title, uint32_t out[3])
{
    (void)title;
    out[0] = cp >= 'a' && cp <= 'z' ? cp - 32 : cp;
    return 1;
}

size_t qg_case_lower(uint32_t cp, uint32_t out[3])
{
    out[0] = cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
    return 1;
}

bool qg_case_cased(uint32_t cp)
{
    return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
}

bool qg_case_final_sigma(const char *p, size_t at, size_t n)
{
    (void)p, (void)at, (void)n;
    return false;
}

bool qg_case_printable(uint32_t cp)
{
    return cp >= 0x20 && cp != 0x7f;
}
