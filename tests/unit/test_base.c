#include "unit.h"

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"

static void buf_stops_at_its_ceiling(void **state)
{
    (void)state;
    qg_buf b;
    qg_buf_init(&b, 5);
    assert_int_equal(qg_buf_adds(&b, "abc"), QG_OK);
    assert_int_equal(qg_buf_adds(&b, "def"), QG_ERR_TOO_LONG);
    assert_int_equal(b.n, 3);
    assert_int_equal(qg_buf_addf(&b, "%d", 42), QG_OK);
    assert_string_equal(b.p, "abc42");
    assert_int_equal(qg_buf_add(&b, "x", 1), QG_ERR_TOO_LONG);
    assert_int_equal(qg_buf_add(&b, "x", SIZE_MAX), QG_ERR_TOO_LONG);
    qg_buf_free(&b);
    char *taken = qg_buf_take(&b);
    assert_string_equal(taken, "");
    qg_mfree(taken);
}

static void ids_grow(void **state)
{
    (void)state;
    qg_ids ids = {0};
    for (int32_t i = 0; i < 1000; i++)
        assert_int_equal(qg_ids_push(&ids, i), QG_OK);
    assert_int_equal(ids.n, 1000);
    assert_int_equal(ids.p[999], 999);
    assert_int_equal(qg_ids_add(&ids, NULL, SIZE_MAX), QG_ERR_TOO_LONG);
    qg_ids_free(&ids);
}

static void errors_are_sentences_with_prefixes(void **state)
{
    (void)state;
    qg_err err;
    assert_int_equal(qg_fail(&err, QG_ERR_FORMAT, "header of %d bytes", 7), QG_ERR_FORMAT);
    assert_int_equal(qg_fail_prefix(&err, QG_ERR_FORMAT, "%s", "a.safetensors"), QG_ERR_FORMAT);
    assert_string_equal(err.msg, "a.safetensors: header of 7 bytes");
    assert_int_equal(qg_fail(NULL, QG_ERR_IO, "x"), QG_ERR_IO);
    qg_fail(&err, QG_ERR_IO, "a\nb\x1b[1m \xE4\xB8\xAD \xE4\xB8 \xFF\x80 %s", "\x7F.");
    assert_string_equal(err.msg, "a?b?[1m \xE4\xB8\xAD ?? ?? ?.");
    qg_fail(&err, QG_ERR_IO, "%600s", "x"); /* cut, but still one sentence */
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
    assert_string_equal(qg_status_name(QG_ERR_TOO_LONG), "too_long");
    assert_string_equal(qg_status_name((qg_status)99), "unknown");
}

static void sizes_do_not_wrap(void **state)
{
    (void)state;
    size_t out = 1;
    assert_false(qg_mul_size(SIZE_MAX, 2, &out));
    assert_int_equal(out, 1);
    assert_true(qg_mul_size(3, 4, &out));
    assert_int_equal(out, 12);
    assert_null(qg_realloc_array(NULL, SIZE_MAX, 8));
}

static void maps_refuse_what_is_not_a_file(void **state)
{
    (void)state;
    qg_map map;
    qg_err err;
    assert_int_equal(qg_map_open(&map, "/", &err), QG_ERR_IO);
    assert_int_equal(qg_map_open(&map, "/dev/null", &err), QG_ERR_IO);
    assert_int_equal(qg_map_open(&map, "/does/not/exist", &err), QG_ERR_IO);
    assert_non_null(strstr(err.msg, "/does/not/exist"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_stops_at_its_ceiling),           cmocka_unit_test(ids_grow),
        cmocka_unit_test(errors_are_sentences_with_prefixes), cmocka_unit_test(sizes_do_not_wrap),
        cmocka_unit_test(maps_refuse_what_is_not_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
