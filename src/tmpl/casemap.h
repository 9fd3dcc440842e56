/* Upper and lower case of single code points, as Python's str methods have it. */
#ifndef QG_TMPL_CASEMAP_H
#define QG_TMPL_CASEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes one to three code points; returns how many.  title: the form for a word's first letter. */
size_t qg_case_upper(uint32_t cp, bool title, uint32_t out[3]);
size_t qg_case_lower(uint32_t cp, uint32_t out[3]);
/* Letters that have case: str.title() starts a word behind everything else. */
bool qg_case_cased(uint32_t cp);
/* str.isprintable() of one character: others are escaped in repr(). */
bool qg_case_printable(uint32_t cp);
/* Whether the sigma at p[at] ends a word (of the text p[0..n)). */
bool qg_case_final_sigma(const char *p, size_t at, size_t n);

#endif
