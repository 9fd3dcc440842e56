/* Upper and lower case of single code points, as Python's str methods have it. */
#ifndef QG_TEXT_CASEMAP_H
#define QG_TEXT_CASEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes one to three code points; returns how many.  title: the form for a word's first letter. */
size_t qg_case_upper(uint32_t cp, bool title, uint32_t out[3]);
/* The same; the sigma gets its usual small form. */
size_t qg_case_lower(uint32_t cp, uint32_t out[3]);
/* Letters that have case: str.title() starts a word behind everything else. */
bool qg_case_cased(uint32_t cp);
/* str.isprintable() of one character: others are escaped in repr(). */
bool qg_case_printable(uint32_t cp);
/* Marks and apostrophes: looked through when the sigma of a word's end is sought. */
bool qg_case_ignorable(uint32_t cp);
/* What cp is compared by where case does not count: the small form of its capital form, one to
 * three code points ("ß" and "ss" are equal, so are "K" and the Kelvin sign). */
size_t qg_case_fold(uint32_t cp, uint32_t out[3]);

/* ---- tables (case_tables.c, made by tools/make_case_tables) ---------------------------------- */

typedef struct qg_case_run {
    uint32_t first, last; /* every step-th code point from first to last … */
    int32_t step, delta;  /* … maps to itself plus delta */
} qg_case_run;

typedef struct qg_case_long {
    uint32_t cp, to[3]; /* 0: unused */
} qg_case_long;

extern const qg_case_run qg_case_upper_runs[], qg_case_lower_runs[], qg_case_title_runs[];
extern const qg_case_long qg_case_upper_long[], qg_case_lower_long[], qg_case_title_long[];
/* first of a range, first behind it, … */
extern const uint32_t qg_case_cased_ranges[], qg_case_ignorable_ranges[];
extern const uint32_t qg_case_printable_ranges[];
extern const size_t qg_case_upper_runs_n, qg_case_lower_runs_n, qg_case_title_runs_n;
extern const size_t qg_case_upper_long_n, qg_case_lower_long_n, qg_case_title_long_n;
extern const size_t qg_case_cased_ranges_n, qg_case_ignorable_ranges_n, qg_case_printable_ranges_n;

#endif
