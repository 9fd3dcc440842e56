/* Encodes many texts for tests/golden/test_tokenizer.py:
 *
 *     tok_ids TOKENIZER.json parse|text < FRAMES > FRAMES
 *
 * A frame is a 32-bit length (this machine's byte order) and as many bytes of text; the answer to
 * each is a 32-bit count and as many 32-bit ids. */
#include "base/map.h"
#include "base/mem.h"
#include "tok/tok.h"

#include <stdio.h>
#include <stdlib.h>

static void need(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "tok_ids: %s\n", what);
    exit(1);
}

int main(int argc, char **argv)
{
    qg_map map;
    qg_tok *tok;
    qg_err err = {""};
    need(argc == 3, "usage: tok_ids TOKENIZER.json parse|text");
    need(qg_map_open(&map, argv[1], &err) == QG_OK, err.msg);
    qg_slice json = {(const char *)map.data, map.size};
    need(qg_tok_open(&tok, json, &err) == QG_OK, err.msg);
    bool parse = strcmp(argv[2], "parse") == 0;
    qg_ids ids = {0};
    uint32_t n;
    while (fread(&n, sizeof n, 1, stdin) == 1) {
        char *text = qg_malloc(n);
        need(text && fread(text, 1, n, stdin) == n, "a frame is cut short");
        ids.n = 0;
        need(qg_tok_encode(tok, qg_slice_of(text, n), parse, &ids, &err) == QG_OK, err.msg);
        uint32_t n_ids = (uint32_t)ids.n;
        fwrite(&n_ids, sizeof n_ids, 1, stdout);
        fwrite(ids.p ? ids.p : (int32_t *)&n_ids, sizeof *ids.p, n_ids, stdout);
        qg_mfree(text);
    }
    qg_ids_free(&ids);
    qg_tok_close(tok);
    qg_map_close(&map);
    return 0;
}
