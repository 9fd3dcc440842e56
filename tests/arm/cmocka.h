/* As much of cmocka as kerncheck uses: a cross compiler comes without that library.  The first
 * failure ends the program. */
#ifndef QG_TESTS_ARM_CMOCKA_H
#define QG_TESTS_ARM_CMOCKA_H

#include <stddef.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func, teardown_func;
    void *initial_state;
};

#define cmocka_unit_test(f)                                                                        \
    {                                                                                              \
#f, f, NULL, NULL, NULL                                                                    \
    }

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n,
                            CMFixtureFunction setup, CMFixtureFunction teardown);
void fail_msg(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void skip(void) __attribute__((noreturn));

#define assert_true(c)         ((c) ? (void)0 : fail_msg("%s:%d: %s", __FILE__, __LINE__, #c))
#define assert_int_equal(a, b) assert_true((a) == (b))
#define assert_non_null(p)     assert_true((p) != NULL)

#endif
