/* Text that a model wrote, read as a verdict.  Whatever it is: a Safe verdict needs a line that
 * says so, and cutting the text off can lose a verdict but never make it milder. */
#include "guard/parse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n);

static bool says_safe(qg_slice text)
{
    for (size_t i = 0; i + 4 <= text.n; i++)
        if (qg_same_word(qg_slice_of(text.p + i, 4), "safe"))
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    const qg_slice text = {n ? (const char *)in : "", n};
    qg_parsed whole, cut;

    qg_parse_verdict(text, true, &whole);
    qg_parse_verdict(text, false, &cut);
    if (whole.severity == QG_SAFE && !says_safe(text))
        abort();
    if (whole.n_categories < 0 || whole.n_categories > QG_N_CATEGORIES - 1)
        abort();
    if (cut.severity != QG_SEVERITY_UNKNOWN && whole.severity != QG_SEVERITY_UNKNOWN &&
        cut.severity != whole.severity)
        abort();
    return 0;
}
