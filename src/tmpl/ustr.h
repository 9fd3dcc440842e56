/* Strings of the template language: UTF-8 seen as code points, each byte knowing its origin. */
#ifndef QG_TMPL_USTR_H
#define QG_TMPL_USTR_H

#include "tmpl/value.h"

/* Reads the code point at p[0..n), n >= 1, and tells its length.  A byte that starts nothing valid
 * stands for itself, so that any bytes can be walked. */
uint32_t qg_cp_read(const char *p, size_t n, size_t *len);
/* Length of the code point that ends at p[n-1]. */
size_t qg_cp_before(const char *p, size_t n);
/* Makes text from outside fit for an error: no control characters, no character cut in two. */
void qg_sentence_clean(char *sentence);
/* str.isspace() of one code point. */
bool qg_cp_space(uint32_t cp);

/* A string that grows. */
typedef struct qg_sb {
    char *p;
    uint8_t *map; /* NULL as long as all bytes are of one origin */
    size_t n, cap;
    bool input;
} qg_sb; /* zero-initialise; lives in the arena of r */

qg_status qg_sb_reserve(qg_run *r, qg_sb *b, size_t n);
qg_status qg_sb_bytes(qg_run *r, qg_sb *b, const char *p, size_t n, bool input);
qg_status qg_sb_adds(qg_run *r, qg_sb *b, const char *s); /* not input */
qg_status qg_sb_add(qg_run *r, qg_sb *b, const qg_val *s);
qg_val qg_sb_done(const qg_sb *b);

/* Bytes [from, to) of s, which share its memory. */
qg_val qg_ustr_cut(const qg_val *s, size_t from, size_t to);
size_t qg_ustr_length(const qg_val *s); /* code points */
/* First place of needle in s at or after byte from, or SIZE_MAX. */
size_t qg_ustr_find(const qg_val *s, qg_slice needle, size_t from);

/* The line that starts at byte from < s->n, as str.splitlines() sees lines: *end is behind its
 * text, *next behind its line break. */
void qg_ustr_line(const qg_val *s, size_t from, size_t *end, size_t *next);

enum { QG_STRIP_LEFT = 1, QG_STRIP_RIGHT = 2 };
/* str.strip(): chars NULL means blanks. */
qg_val qg_ustr_strip(const qg_val *s, const qg_val *chars, int sides);
/* str.replace(): max < 0 means all. */
qg_status qg_ustr_replace(qg_run *r, const qg_val *s, const qg_val *old, const qg_val *with,
                          int64_t max, qg_val *out);
/* s[from:to:step] in code points, already within bounds; step not 0. */
qg_status qg_ustr_slice(qg_run *r, const qg_val *s, int64_t from, int64_t to, int64_t step,
                        qg_val *out);

typedef enum qg_case { QG_LOWER, QG_UPPER, QG_TITLE, QG_CAPITALIZE, QG_FILTER_TITLE } qg_case;
/* str.lower(), .upper(), .title(), .capitalize(), and the title filter. */
qg_status qg_ustr_case(qg_run *r, const qg_val *s, qg_case how, qg_val *out);

#endif
