#include "unit.h"

#include "base/arena.h"

#include <string.h>

static void blocks_are_aligned_and_apart(void **state)
{
    (void)state;
    qg_arena a;
    qg_arena_init(&a, 1 << 20);
    unsigned char *p[200];
    for (int i = 0; i < 200; i++) {
        p[i] = qg_arena_alloc(&a, (size_t)i);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], i, (size_t)i);
    }
    for (int i = 0; i < 200; i++)
        for (int k = 0; k < i; k++)
            assert_int_equal(p[i][k], i);
    qg_arena_free(&a);
    assert_int_equal(a.held, 0);
}

static void the_ceiling_holds(void **state)
{
    (void)state;
    qg_arena a;
    qg_arena_init(&a, 64 * 1024);
    size_t got = 0;
    while (qg_arena_alloc(&a, 1000))
        got += 1000;
    assert_int_equal(a.why, QG_ERR_TOO_LONG);
    assert_true(a.held <= a.max);
    assert_true(got >= 60 * 1000);
    assert_null(qg_arena_alloc(&a, SIZE_MAX));
    assert_null(qg_arena_calloc(&a, SIZE_MAX / 2, 16));
    qg_arena_free(&a);
    assert_non_null(qg_arena_alloc(&a, 1000));
    qg_arena_free(&a);
}

static void large_wishes_keep_the_open_block(void **state)
{
    (void)state;
    qg_arena a;
    qg_arena_init(&a, 16 << 20);
    char *small = qg_arena_alloc(&a, 10);
    char *large = qg_arena_alloc(&a, 3 << 20);
    char *next = qg_arena_alloc(&a, 10);
    assert_non_null(large);
    assert_true(next > small && next - small <= 64);
    memset(large, 1, 3 << 20);
    qg_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_apart),
        cmocka_unit_test(the_ceiling_holds),
        cmocka_unit_test(large_wishes_keep_the_open_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
