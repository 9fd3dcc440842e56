#include "cmocka.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static jmp_buf skipped;
static const char *running;

void fail_msg(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n[  FAILED  ] %s\n", running);
    exit(1);
}

void skip(void)
{
    longjmp(skipped, 1);
}

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n,
                            CMFixtureFunction setup, CMFixtureFunction teardown)
{
    (void)setup;
    (void)teardown;
    for (volatile size_t i = 0; i < n; i++) {
        void *state = tests[i].initial_state;
        running = tests[i].name;
        if (strstr(running, "ref: ")) /* plain C is tested where it runs faster */
            continue;
        printf("[ RUN      ] %s\n", running);
        if (setjmp(skipped))
            printf("[  SKIPPED ] %s\n", running);
        else {
            tests[i].test_func(&state);
            printf("[       OK ] %s\n", running);
        }
        fflush(stdout);
    }
    printf("%s: %zu test(s) run\n", name, n);
    return 0;
}
