#include "unit.h"

#include "base/mem.h"
#include "text/nfc.h"
#include "text/unicode.h"
#include "text/utf8.h"

static void valid_prefix_table(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n, good;
    } cases[] = {
        {"", 0, 0},
        {"plain ascii text", 16, 16},
        {"\0\x7F", 2, 2},
        {"caf\xC3\xA9", 5, 5},
        {"\xF4\x8F\xBF\xBF", 4, 4},             /* U+10FFFF */
        {"a\xF4\x90\x80\x80", 5, 1},            /* past the end */
        {"ab\xC0\x80", 4, 2},                   /* overlong */
        {"\xC1\xBF", 2, 0},                     /* overlong */
        {"\xE0\x9F\xBF", 3, 0},                 /* overlong */
        {"\xF0\x8F\xBF\xBF", 4, 0},             /* overlong */
        {"\xED\x9F\xBF", 3, 3},                 /* U+D7FF */
        {"\xED\xA0\x80", 3, 0},                 /* surrogate */
        {"12345678\xE4\xBD", 10, 8},            /* cut */
        {"12345678\xE4", 9, 8},                 /* cut */
        {"1234567\xF0\x9F\x98\x80\x80", 12, 11} /* a stray continuation */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t good = qg_utf8_valid_prefix(qg_slice_of(cases[i].text, cases[i].n));
        if (good != cases[i].good)
            fail_msg("case %zu: %zu, want %zu", i, good, cases[i].good);
    }
}

static void lossy_table(void **state)
{
    (void)state;
#define BAD "\xEF\xBF\xBD"
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"a\xFF"
         "b",
         "a" BAD "b"},
        {"\xC3", BAD},
        {"\xC3\xC3\xA9", BAD "\xC3\xA9"},
        {"\xE4\xBD", BAD},
        {"\xE4\xBDx", BAD "x"},
        {"\xF0\x9F\x98", BAD},
        {"\xF0\x9F\x98\xF0\x9F\x98\x80", BAD "\xF0\x9F\x98\x80"},
        {"\xED\xA0\x80", BAD BAD BAD},
        {"\xC0\x80", BAD BAD},
        {"\xF4\x90\x80\x80", BAD BAD BAD BAD},
        {"\x80\x80", BAD BAD},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_buf out;
        qg_buf_init(&out, 100);
        assert_int_equal(qg_utf8_lossy(qg_str(cases[i].text), &out), QG_OK);
        if (!qg_slice_is(qg_buf_slice(&out), cases[i].want))
            fail_msg("case %zu: %s", i, out.p);
        qg_buf_free(&out);
    }
}

static void cuts_between_code_points(void **state)
{
    (void)state;
    qg_slice text = qg_str("a\xC3\xA9\xF0\x9F\x98\x80"); /* ends at 1, 3, 7 */
    static const int want[] = {0, 1, 1, 3, 3, 3, 3, 7, 7};
    for (int max = 0; max < (int)COUNT(want); max++)
        assert_int_equal(qg_utf8_cut(text, max), want[max]);
}

static void every_code_point_survives_a_round(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        char bytes[4];
        size_t n = qg_utf8_put(cp, bytes);
        bool surrogate = cp >= 0xD800 && cp <= 0xDFFF;
        if (qg_utf8_valid(qg_slice_of(bytes, n)) == surrogate)
            fail_msg("U+%04X", cp);
        size_t again;
        if (qg_utf8_at(bytes, &again) != cp || again != n)
            fail_msg("U+%04X", cp);
    }
}

static void classes(void **state)
{
    (void)state;
    static const struct {
        uint32_t cp;
        unsigned props;
    } cases[] = {
        {'a', QG_UNI_LETTER},
        {'7', QG_UNI_NUMBER},
        {' ', QG_UNI_SPACE},
        {'!', QG_UNI_OTHER},
        {0x0301, QG_UNI_UNSTABLE},
        {0x4F60, QG_UNI_LETTER},
        {0x3000, QG_UNI_SPACE},
        {0x200B, QG_UNI_OTHER},
        {0x2167, QG_UNI_NUMBER},
        {0x1C89, QG_UNI_LETTER},
        {0xA7CE, QG_UNI_OTHER},
        {0x323AF, QG_UNI_LETTER},
        {0x323B0, QG_UNI_OTHER},
        {0x10FFFF, QG_UNI_OTHER},
        {UINT32_MAX, QG_UNI_OTHER},
        {0x00E9, QG_UNI_LETTER},
        {0xAC00, QG_UNI_LETTER},
        {0x1161, QG_UNI_LETTER | QG_UNI_UNSTABLE},
        {0x212B, QG_UNI_LETTER | QG_UNI_UNSTABLE},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        if (qg_uni_props(cases[i].cp) != cases[i].props)
            fail_msg("U+%04X: %u", cases[i].cp, qg_uni_props(cases[i].cp));
}

static void nfc_table(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"e\xCC\x81", "\xC3\xA9"},
        {"\xCC\x81x", "\xCC\x81x"},                               /* a mark alone */
        {"a\xCC\x81\xCC\xA3", "\xE1\xBA\xA1\xCC\x81"},            /* reordered, then joined */
        {"\xE2\x84\xAB", "\xC3\x85"},                             /* Angstrom sign */
        {"\xE0\xA5\x98", "\xE0\xA4\x95\xE0\xA4\xBC"},             /* excluded composite */
        {"\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", "\xEA\xB0\x81"}, /* L V T */
        {"\xEA\xB0\x80\xE1\x86\xA8", "\xEA\xB0\x81"},             /* LV T */
        {"\xE1\x84\x80\xE1\x86\xA8", "\xE1\x84\x80\xE1\x86\xA8"}, /* L T stay */
        {"e\xCC\x81 e\xCC\x81", "\xC3\xA9 \xC3\xA9"},
        {"\xC3\xA9\xCC\xA3", "\xE1\xBA\xB9\xCC\x81"}, /* opened, then rejoined */
        {"\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0", "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0"}, /* newer pair */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_buf out;
        qg_buf_init(&out, 100);
        assert_int_equal(qg_nfc(qg_str(cases[i].text), &out), QG_OK);
        if (!qg_slice_is(qg_buf_slice(&out), cases[i].want))
            fail_msg("case %zu: %s", i, out.p);
        size_t stable = qg_nfc_stable_prefix(qg_str(cases[i].text));
        assert_memory_equal(cases[i].text, cases[i].want, stable);
        qg_buf_free(&out);
    }
}

/* A million marks behind one letter: sorted by class in one go, and stably. */
static void nfc_of_a_long_run(void **state)
{
    (void)state;
    enum { N = 1000000 };
    char *text = qg_malloc(1 + 2 * N);
    assert_non_null(text);
    text[0] = 'x';
    for (size_t i = 0; i < N; i++)
        memcpy(text + 1 + 2 * i, i % 2 ? "\xCC\xA3" : "\xCC\x81", 2);
    qg_buf out;
    qg_buf_init(&out, 1 + 2 * N);
    assert_int_equal(qg_nfc(qg_slice_of(text, 1 + 2 * N), &out), QG_OK);
    assert_int_equal(out.n, 1 + 2 * N);
    for (size_t i = 0; i < N; i++)
        if (memcmp(out.p + 1 + 2 * i, i < N / 2 ? "\xCC\xA3" : "\xCC\x81", 2) != 0)
            fail_msg("mark %zu", i);
    qg_buf_free(&out);
    qg_mfree(text);
}

static void nfc_stops_at_the_ceiling(void **state)
{
    (void)state;
    qg_buf out;
    qg_buf_init(&out, 3);
    assert_int_equal(qg_nfc(qg_str("ae\xCC\x81"), &out), QG_OK);
    assert_int_equal(qg_nfc(qg_str("e\xCC\x81"), &out), QG_ERR_TOO_LONG);
    qg_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_prefix_table),
        cmocka_unit_test(lossy_table),
        cmocka_unit_test(cuts_between_code_points),
        cmocka_unit_test(every_code_point_survives_a_round),
        cmocka_unit_test(classes),
        cmocka_unit_test(nfc_table),
        cmocka_unit_test(nfc_of_a_long_run),
        cmocka_unit_test(nfc_stops_at_the_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
