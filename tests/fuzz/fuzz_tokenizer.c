/* Arbitrary bytes as a tokenizer.json: refused with a sentence, or good for encoding and decoding.
 */
#include "base/mem.h"
#include "tok/tok.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    static const char text[] =
        "<|end|>hello  world's\n e\xCC\x81 \xE4\xBD\xA0\xE5\xA5\xBD 123 <think>";
    qg_tok *tok;
    qg_err err = {""};
    qg_status rc = qg_tok_open(&tok, qg_slice_of((const char *)in, n), &err);
    assert((rc == QG_OK) == (tok != NULL) && (rc == QG_OK) == (err.msg[0] == 0));
    if (!tok)
        return 0;
    qg_ids ids = {0};
    qg_buf out;
    qg_buf_init(&out, 1 << 20);
    rc = qg_tok_encode(tok, qg_str(text), true, &ids, &err);
    assert(rc == QG_OK);
    for (size_t i = 0; i < ids.n; i++)
        assert(ids.p[i] >= 0 && ids.p[i] < qg_tok_n_ids(tok));
    rc = qg_tok_decode(tok, ids.p, ids.n, false, &out, &err);
    assert(rc == QG_OK);
    qg_buf_free(&out);
    qg_ids_free(&ids);
    qg_tok_close(tok);
    return 0;
}
