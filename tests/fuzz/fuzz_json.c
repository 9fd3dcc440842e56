/* Arbitrary bytes as JSON: refused with a sentence, or written out and read again as the same. */
#include "base/mem.h"
#include "text/json.h"
#include "text/utf8.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    json_t *value;
    qg_err err = {""};
    qg_status rc =
        qg_json_parse(qg_slice_of((const char *)in, n), QG_JSON_NUL | QG_JSON_ANY, &value, &err);
    assert((rc == QG_OK) == (value != NULL) && (rc == QG_OK) == (err.msg[0] == 0));
    assert(!strchr(err.msg, '\n'));
    if (!value)
        return 0;
    char *text = qg_json_dump(value);
    assert(text && qg_utf8_valid(qg_str(text)));
    json_t *again;
    rc = qg_json_parse(qg_str(text), QG_JSON_NUL | QG_JSON_ANY, &again, &err);
    assert(rc == QG_OK && json_equal(value, again));
    json_decref(again);
    json_decref(value);
    qg_mfree(text);
    return 0;
}
