/* Prompts kept for the replies to come: found again by owner and id, bounded in number and bytes.
 */
#include "unit.h"

#include "base/limits.h"
#include "base/mem.h"
#include "serve/pairs.h"

#include <pthread.h>

static void put(qg_pairs *p, const char *owner, const char *id, const char *text)
{
    qg_pairs_put(p, qg_str(owner), qg_str(id), qg_str(text));
}

static void expect(qg_pairs *p, const char *owner, const char *id, const char *text)
{
    size_t n = 0;
    char *got = qg_pairs_get(p, qg_str(owner), qg_str(id), &n);
    if (!text) {
        assert_null(got);
        return;
    }
    assert_non_null(got);
    assert_string_equal(got, text);
    assert_int_equal(n, strlen(text));
    qg_mfree(got);
}

static void found_by_owner_and_id(void **state)
{
    qg_pairs *p;
    (void)state;
    assert_int_equal(qg_pairs_open(&p, NULL), QG_OK);
    put(p, "a", "1", "one");
    put(p, "b", "1", "other");
    put(p, "", "1", "nobody");
    put(p, "a", "", "no id");
    expect(p, "a", "1", "one");
    expect(p, "b", "1", "other");
    expect(p, "", "1", "nobody");
    expect(p, "a", "2", NULL);
    expect(p, "a1", "", NULL); /* the border between owner and id counts */
    expect(p, "a", "", NULL);
    put(p, "a", "1", "newer");
    expect(p, "a", "1", "newer");
    put(p, "a", "1", "");
    expect(p, "a", "1", "");
    qg_pairs_close(p);
    qg_pairs_close(NULL);
}

static void the_oldest_make_room(void **state)
{
    enum { BYTES = 100000, N = 2000 };
    qg_pairs *p;
    char id[16];
    char *text = calloc(1, BYTES + 1);
    (void)state;
    memset(text, 'x', BYTES);
    assert_int_equal(qg_pairs_open(&p, NULL), QG_OK);
    for (int i = 0; i < N; i++) {
        snprintf(id, sizeof id, "%d", i);
        put(p, "o", id, text);
    }
    int kept = 0;
    for (int i = 0; i < N; i++) {
        size_t n;
        snprintf(id, sizeof id, "%d", i);
        char *got = qg_pairs_get(p, qg_str("o"), qg_str(id), &n);
        assert_true(got || !kept); /* the last ones, without a gap */
        kept += got != NULL;
        qg_mfree(got);
    }
    assert_true((size_t)kept * BYTES <= QG_MAX_PAIR_BYTES &&
                (size_t)(kept + 2) * (BYTES + 200) > QG_MAX_PAIR_BYTES);
    free(text);
    qg_pairs_close(p);
}

static void too_large_is_not_kept(void **state)
{
    qg_pairs *p;
    size_t n = QG_MAX_PAIR_BYTES / 16 + 1;
    char *text = calloc(1, n + 1);
    (void)state;
    memset(text, 'x', n);
    assert_int_equal(qg_pairs_open(&p, NULL), QG_OK);
    put(p, "o", "1", text);
    expect(p, "o", "1", NULL);
    free(text);
    qg_pairs_close(p);
}

static void *churn(void *arg)
{
    char id[16];
    for (int i = 0; i < 3000; i++) {
        size_t n;
        snprintf(id, sizeof id, "%d", i % 50);
        put(arg, "o", id, id);
        char *got = qg_pairs_get(arg, qg_str("o"), qg_str(id), &n);
        if (!got || strcmp(got, id))
            return arg;
        qg_mfree(got);
    }
    return NULL;
}

static void from_many_threads(void **state)
{
    qg_pairs *p;
    pthread_t threads[4];
    (void)state;
    assert_int_equal(qg_pairs_open(&p, NULL), QG_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, p), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    qg_pairs_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_by_owner_and_id),
        cmocka_unit_test(the_oldest_make_room),
        cmocka_unit_test(too_large_is_not_kept),
        cmocka_unit_test(from_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
