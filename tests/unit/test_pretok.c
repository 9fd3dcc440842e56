#include "unit.h"

#include "base/mem.h"
#include "tok/pretok.h"

/* Pieces parted by "|" in want; a piece holds none itself. */
static void expect(const char *text, const char *want)
{
    qg_slice t = qg_str(text);
    char got[256];
    size_t n = 0;
    for (size_t at = 0; at < t.n;) {
        size_t end = qg_pretok_next(t, at);
        assert_true(end > at && end <= t.n && n + (end - at) + 1 < sizeof got);
        if (at > 0)
            got[n++] = '|';
        memcpy(got + n, text + at, end - at);
        n += end - at;
        at = end;
    }
    got[n] = 0;
    assert_string_equal(got, want);
}

static void each_alternative(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        /* contractions, first of all and whatever stands before */
        {"don't", "don|'t"},
        {"DON'T", "DON|'T"},
        {"we'll've", "we|'ll|'ve"},
        {"'re're", "'re|'re"},
        {"'sx", "'s|x"},
        {"'\xC5\xBFx", "'\xC5\xBF|x"}, /* long s */
        {"'lx", "'lx"},
        {"'\xE2\x84\xAA", "'\xE2\x84\xAA"}, /* Kelvin sign is a letter behind a mark */
        {"\xE2\x80\x99s", "\xE2\x80\x99s"}, /* another apostrophe */
        {"'", "'"},
        {"''s", "''|s"},
        /* words take one code point before them that is no break, letter or number */
        {"hello world", "hello| world"},
        {".net", ".net"},
        {"..net", "..|net"},
        {"\tx", "\tx"},
        {"\nx", "\n|x"},
        {"1x", "1|x"},
        {"\xF0\x9F\x98\x80x", "\xF0\x9F\x98\x80x"},
        {"e\xCC\x81x", "e|\xCC\x81x"}, /* a mark is not a letter */
        /* numbers one by one */
        {"123", "1|2|3"},
        {" 12", " |1|2"},
        /* punctuation takes one blank before and the breaks behind */
        {" !?\n\n", " !?\n\n"},
        {"!\r\n x", "!\r\n| x"},
        {"  !", " | !"},
        {"\t!", "\t|!"},
        /* white space: up to the last break; else all but one; at the end all */
        {" \n \n  x", " \n \n| | x"},
        {"a   b", "a|  | b"},
        {"a   1", "a|  | |1"},
        {"a   ", "a|   "},
        {"a \t\n", "a| \t\n"},
        {"\xE3\x80\x80\xE3\x80\x80x", "\xE3\x80\x80|\xE3\x80\x80x"},
        {"  \xC2\x85x", "  |\xC2\x85x"}, /* NEL is white space, not a break */
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        expect(cases[i].text, cases[i].want);
}

/* What pretok.h promises to an incremental encoder, on every short text of these code points. */
static void ends_stay_when_text_grows(void **state)
{
    (void)state;
    static const char *const parts[] = {"a",  "s", "'", " ",        "\t",
                                        "\n", "1", ".", "\xC5\xBF", "\xCC\x81"};
    enum { LEN = 5 };
    size_t n_texts = 1;
    for (int i = 0; i < LEN; i++)
        n_texts *= COUNT(parts);
    for (size_t t = 0; t < n_texts; t++) {
        char text[32] = "";
        size_t cut = 0;
        size_t code = t;
        for (int i = 0; i < LEN; i++, code /= COUNT(parts)) {
            cut = strlen(text);
            snprintf(text + cut, sizeof text - cut, "%s", parts[code % COUNT(parts)]);
        }
        size_t before = qg_pretok_next(qg_slice_of(text, cut), 0);
        size_t after = qg_pretok_next(qg_str(text), 0);
        bool space_to_the_end = strspn(text, " \t\n") >= cut;
        if (before < cut && before != after && !space_to_the_end)
            fail_msg("\"%s\": %zu, then %zu", text, before, after);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_alternative),
        cmocka_unit_test(ends_stay_when_text_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
