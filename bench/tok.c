/* Speed of the tokenizer, one thread:
 *
 *     bench_tok TOKENIZER.json TEXT-FILE…
 *
 * Prints the time to open the tokenizer (the best of five) and MB/s (10^6 bytes) for each text (the
 * best of several runs, added tokens parsed); without texts, seconds for 10 MB of hostile ones,
 * which must stay linear.  `qguard bench text` and bench/peer_text.py set it beside Hugging Face
 * tokenizers. */
#include "tok/tok.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdio.h>

enum { HOSTILE_BYTES = 10 * 1000 * 1000 };

static double seconds(const qg_tok *tok, qg_slice text, qg_ids *ids, qg_err *err)
{
    ids->n = 0;
    int64_t start = qg_clock_us();
    if (qg_tok_encode(tok, text, true, ids, err) != QG_OK)
        return -1;
    return (double)(qg_clock_us() - start) / 1e6;
}

static int bench_text(const qg_tok *tok, const char *path, qg_ids *ids)
{
    qg_map map;
    qg_err err;
    if (qg_map_open(&map, path, &err) != QG_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    qg_slice text = {(const char *)map.data, map.size};
    double best = 1e9;
    double spent = 0;
    for (int run = 0; run < 5 || spent < 1; run++) {
        double s = seconds(tok, text, ids, &err);
        if (s < 0) {
            fprintf(stderr, "%s: %s\n", path, err.msg);
            return 1;
        }
        best = s < best ? s : best;
        spent += s + 1e-6;
    }
    printf("%-40s %9zu bytes %9zu tokens %8.1f MB/s\n", path, text.n, ids->n,
           (double)text.n / 1e6 / best);
    qg_map_close(&map);
    return 0;
}

static int bench_hostile(const qg_tok *tok, qg_ids *ids)
{
    static const struct {
        const char *name, *unit;
    } rows[] = {
        {"one letter", "a"},
        {"letters without a space", "thequickbrownfox"},
        {"Chinese without a stop", "\xE4\xBD\xA0\xE5\xA5\xBD\xE5\x90\x97"},
        {"blanks", " "},
        {"line breaks", "\n"},
        {"blanks and line breaks", " \n\t"},
        {"acute accents", "\xCC\x81"},
        {"accents of two classes", "\xCC\x81\xCC\xA3"},
        {"accents that decompose", "\xCD\x84"},
        {"jamo", "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"},
        {"open brackets", "<"},
        {"control tokens", "<|im_end|>"},
        {"almost control tokens", "<|im_end|"},
        {"apostrophes", "'"},
        {"digits", "7"},
        {"zero bytes", "\0"},
    };
    char *text = qg_malloc(HOSTILE_BYTES);
    if (!text)
        return 1;
    for (size_t r = 0; r < QG_COUNT(rows); r++) {
        size_t unit = strlen(rows[r].unit) + (rows[r].unit[0] == 0);
        size_t n = HOSTILE_BYTES / unit * unit;
        for (size_t i = 0; i < n; i++)
            text[i] = rows[r].unit[i % unit];
        qg_err err;
        double s = seconds(tok, qg_slice_of(text, n), ids, &err);
        printf("10 MB of %-31s %27zu tokens %8.3f s%s%s\n", rows[r].name, ids->n, s,
               s < 0 ? ": " : "", s < 0 ? err.msg : "");
    }
    qg_mfree(text);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_tok TOKENIZER.json TEXT-FILE...\n");
        return 2;
    }
    qg_map map;
    qg_err err;
    qg_tok *tok = NULL;
    if (qg_map_open(&map, argv[1], &err) != QG_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    int64_t opened = INT64_MAX;
    qg_status rc = QG_OK;
    for (int i = 0; i < 5 && rc == QG_OK; i++) {
        if (i)
            qg_tok_close(tok);
        int64_t start = qg_clock_us();
        rc = qg_tok_open(&tok, (qg_slice){(const char *)map.data, map.size}, &err);
        int64_t us = qg_clock_us() - start;
        opened = us < opened ? us : opened;
    }
    qg_map_close(&map);
    if (rc != QG_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], err.msg);
        return 1;
    }
    printf("%-40s %9d ids %22.1f ms to open\n", argv[1], qg_tok_n_ids(tok), (double)opened / 1e3);
    qg_ids ids = {0};
    int failed = 0;
    for (int i = 2; i < argc && !failed; i++)
        failed = bench_text(tok, argv[i], &ids);
    if (argc == 2)
        failed = bench_hostile(tok, &ids);
    qg_ids_free(&ids);
    qg_tok_close(tok);
    return failed;
}
