/* What every unit test needs: cmocka with its required includes, and the path of the shared
 * goldens. */
#ifndef QG_TESTS_UNIT_H
#define QG_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Folder of goldens and real tokenizer files (QGUARD_SHARED), or NULL: then skip, loudly, by name.
 */
static inline const char *unit_shared(void)
{
    const char *dir = getenv("QGUARD_SHARED");
    return dir && *dir ? dir : NULL;
}

#endif
