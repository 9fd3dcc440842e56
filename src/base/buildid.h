/* Which build of qguard is running. */
#ifndef QG_BASE_BUILDID_H
#define QG_BASE_BUILDID_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the linker's build id of the program or library that holds this code, in hexadecimal and
 * 0-terminated, to out [n].  It differs whenever any code or table differs.  False, and out empty,
 * when there is none or it does not fit (40 digits are usual). */
bool qg_build_id(char *out, size_t n);

#endif
