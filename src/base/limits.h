/* Every ceiling of the house, in one place.  A ceiling is the point where input stops being a
 * request and becomes an attack or a mistake; reaching one is always an error with a sentence. */
#ifndef QG_BASE_LIMITS_H
#define QG_BASE_LIMITS_H

/* token lists */
#define QG_MAX_IDS (16u * 1024 * 1024) /* ids in one list */

/* text: contents and rendered prompts.  64 MiB is 2,000 times the longest context in bytes, so the
 * context limit always speaks first for honest input; this stops memory from growing before it. */
#define QG_MAX_TEXT_BYTES (64u * 1024 * 1024)
#define QG_MAX_JSON_DEPTH 64 /* nesting; stops stack exhaustion */

/* threads of one pool; far above any machine this is built for, stops a typing mistake */
#define QG_MAX_THREADS 1024

#endif
