/* Verdicts that a model wrote itself: lenient where the meaning is plain, never Safe in doubt. */
#include "unit.h"

#include "guard/parse.h"

#define C(i) (1u << (i))

static const struct {
    const char *name, *text;
    bool finished;
    int severity;
    unsigned categories;
    int refusal;
} cases[] = {
    {"safe", "Safety: Safe\nCategories: None", true, QG_SAFE, 0, -1},
    {"unsafe", "Safety: Unsafe\nCategories: Violent", true, QG_UNSAFE, C(0), -1},
    {"two categories", "Safety: Unsafe\nCategories: Violent, PII", true, QG_UNSAFE, C(0) | C(3),
     -1},
    {"reply", "Safety: Safe\nCategories: None\nRefusal: Yes", true, QG_SAFE, 0, 1},
    {"reply, no", "Safety: Controversial\nCategories: Jailbreak\nRefusal: No", true,
     QG_CONTROVERSIAL, C(8), 0},
    {"blanks and case", "  safety :  UNSAFE \r\n categories: violent ,  pii\r\n", true, QG_UNSAFE,
     C(0) | C(3), -1},
    {"alias", "Safety: Unsafe\nCategories: Personally Identifiable Information", true, QG_UNSAFE,
     C(3), -1},
    {"unknown category", "Safety: Unsafe\nCategories: Gambling, Violent", true, QG_UNSAFE, C(0),
     -1},
    {"repeated category", "Safety: Unsafe\nCategories: PII, PII", true, QG_UNSAFE, C(3), -1},
    {"last line dropped when cut", "Safety: Unsafe\nCategories: Vio", false, QG_UNSAFE, 0, -1},
    {"cut label", "Safety: Unsa", false, QG_SEVERITY_UNKNOWN, 0, -1},
    {"cut behind a whole label", "Safety: Safe", false, QG_SEVERITY_UNKNOWN, 0, -1},
    {"cut label that ended", "Safety: Unsa", true, QG_SEVERITY_UNKNOWN, 0, -1},
    {"unknown label", "Safety: Fine\nCategories: None", true, QG_SEVERITY_UNKNOWN, 0, -1},
    {"label with a tail", "Safety: Safe-ish\nCategories: None", true, QG_SEVERITY_UNKNOWN, 0, -1},
    {"no label", "Safety:\nCategories: None", true, QG_SEVERITY_UNKNOWN, 0, -1},
    {"contradiction", "Safety: Safe\nSafety: Unsafe", true, QG_SEVERITY_UNKNOWN, 0, -1},
    {"repeated, agreeing", "Safety: Safe\nSafety: Safe\n", true, QG_SAFE, 0, -1},
    {"prose", "The text is Safe.", true, QG_SEVERITY_UNKNOWN, 0, -1},
    {"safe inside prose", "I think Safety: Safe", true, QG_SEVERITY_UNKNOWN, 0, -1},
    {"empty", "", true, QG_SEVERITY_UNKNOWN, 0, -1},
    {"only breaks", "\n\n\n", true, QG_SEVERITY_UNKNOWN, 0, -1},
    {"rubbish", "\xff\xfe::::,,,,\n:Safe", true, QG_SEVERITY_UNKNOWN, 0, -1},
};

static void every_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_parsed p;
        qg_parse_verdict(qg_str(cases[i].text), cases[i].finished, &p);
        if (p.severity != cases[i].severity || p.categories != cases[i].categories ||
            p.refusal != cases[i].refusal)
            fail_msg("%s: got %d %x %d", cases[i].name, p.severity, p.categories, p.refusal);
    }
}

/* Cut anywhere, a text that says Unsafe or Controversial first must never read as Safe. */
static void no_beginning_of_unsafe_is_safe(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (cases[i].severity != QG_UNSAFE && cases[i].severity != QG_CONTROVERSIAL)
            continue;
        for (size_t n = 0; n <= strlen(cases[i].text); n++) {
            qg_parsed p;
            qg_parse_verdict(qg_slice_of(cases[i].text, n), false, &p);
            assert_int_not_equal(p.severity, QG_SAFE);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case),
        cmocka_unit_test(no_beginning_of_unsafe_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
