/* Arbitrary text through a small tokenizer: what is not UTF-8 is refused, everything else comes
 * back from decoding as its NFC, and what the caller owns never becomes an added token. */
#include "../unit/tok_small.h"

#include "base/mem.h"
#include "text/nfc.h"
#include "tok/tok.h"

#include <assert.h>

static qg_tok *small;

static void expect_nfc(const qg_ids *ids, qg_slice text)
{
    qg_buf decoded;
    qg_buf again;
    qg_buf normal;
    qg_buf_init(&decoded, 4 * text.n);
    qg_buf_init(&again, 4 * text.n);
    qg_buf_init(&normal, 4 * text.n);
    qg_status rc = qg_tok_decode(small, ids->p, ids->n, false, &decoded, NULL);
    assert(rc == QG_OK);
    rc = qg_nfc(text, &normal);
    assert(rc == QG_OK);
    rc = qg_nfc(qg_buf_slice(&decoded), &again);
    assert(rc == QG_OK);
    assert(qg_slice_eq(qg_buf_slice(&again), qg_buf_slice(&normal)));
    qg_buf_free(&decoded);
    qg_buf_free(&again);
    qg_buf_free(&normal);
}

static void encode(qg_slice text, bool parse)
{
    qg_ids ids = {0};
    qg_status rc = qg_tok_encode(small, text, parse, &ids, NULL);
    assert(rc == (qg_utf8_valid(text) ? QG_OK : QG_ERR_ARG));
    if (rc == QG_OK)
        expect_nfc(&ids, text);
    for (size_t i = 0; !parse && i < ids.n; i++)
        assert(ids.p[i] < SMALL_ADDED);
    qg_ids_free(&ids);
}

/* The caller owns the middle third: as many added tokens as the outer thirds have, or fewer. */
static void encode_thirds(qg_slice text)
{
    const qg_span spans[] = {{text.n / 3, false}, {text.n - text.n / 3, true}, {text.n, false}};
    qg_ids ids = {0};
    qg_status rc = qg_tok_encode_spans(small, text, spans, 3, &ids, NULL);
    assert(rc == (qg_utf8_valid(text) ? QG_OK : QG_ERR_ARG));
    if (rc == QG_OK)
        expect_nfc(&ids, text);
    size_t n_added = 0;
    for (size_t i = 0; i < ids.n; i++)
        n_added += ids.p[i] >= SMALL_ADDED;
    assert(n_added * 5 <= 2 * (text.n / 3)); /* the shortest has 5 bytes */
    qg_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    if (!small) {
        json_t *tree = small_tree();
        char *json = qg_json_dump(tree);
        json_decref(tree);
        qg_status rc = qg_tok_open(&small, qg_str(json), NULL);
        assert(rc == QG_OK);
        qg_mfree(json);
    }
    qg_slice text = {(const char *)in, n};
    encode(text, true);
    encode(text, false);
    encode_thirds(text);
    return 0;
}
