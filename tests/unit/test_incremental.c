#define _GNU_SOURCE
/* Text in pieces gives the ids of the whole: every tokenizer vector, cut at every byte and at
 * random. */
#include "unit.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "text/json.h"
#include "text/utf8.h"
#include "tok/incremental.h"
#include "tok/tok_parts.h"
#include "tok_small.h"

typedef struct run {
    const qg_tok *tok;
    uint64_t random;
    uint64_t pushes, rerun, most_rerun; /* provisional ids thrown away by a later push */
} run;

static uint64_t draw(run *r)
{
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return r->random;
}

static void expect_same(qg_slice text, const qg_ids *got, const qg_ids *want)
{
    if (got->n != want->n || (got->n && memcmp(got->p, want->p, got->n * sizeof *got->p)))
        fail_msg("%zu ids, want %zu: %.*s", got->n, want->n, (int)text.n, text.p);
}

/* Feeds text cut at the given rising offsets and compares with the whole. */
static void feed(run *r, qg_slice text, const size_t *cuts, size_t n_cuts, const qg_ids *want)
{
    qg_inc inc;
    qg_ids stable = {0}, tail = {0};
    qg_err err;
    qg_inc_init(&inc, r->tok, 1 << 20);
    for (size_t i = 0, from = 0; i <= n_cuts; i++) {
        size_t to = i < n_cuts ? cuts[i] : text.n, thrown = tail.n;
        if (qg_inc_push(&inc, qg_slice_of(text.p + from, to - from), &stable, &tail, &err))
            fail_msg("%s", err.msg);
        r->pushes++;
        r->rerun += thrown;
        r->most_rerun = thrown > r->most_rerun ? thrown : r->most_rerun;
        /* what is stable now must be a beginning of the whole */
        assert_true(stable.n <= want->n);
        from = to;
    }
    qg_ids now = {0};
    assert_int_equal(qg_ids_add(&now, stable.p, stable.n), QG_OK);
    assert_int_equal(qg_ids_add(&now, tail.p, tail.n), QG_OK);
    expect_same(text, &now, want);
    assert_int_equal(qg_inc_finish(&inc, &stable, &err), QG_OK);
    expect_same(text, &stable, want);
    qg_ids_free(&now);
    qg_ids_free(&stable);
    qg_ids_free(&tail);
    qg_inc_free(&inc);
}

/* Every prefix pair, then random cuts; bytes, so characters are cut too. */
static void check_text(run *r, qg_slice text)
{
    qg_ids want = {0};
    qg_err err;
    if (qg_tok_encode(r->tok, text, false, &want, &err))
        fail_msg("%s", err.msg);
    size_t step = text.n > 400 ? text.n / 97 : 1;
    for (size_t at = 0; at <= text.n; at += step)
        feed(r, text, &at, 1, &want);
    for (int round = 0; round < 3; round++) {
        size_t cuts[64], n = 0, at = 0;
        size_t reach = 1 + draw(r) % 9;
        while (n < COUNT(cuts) && at < text.n) {
            at += 1 + draw(r) % reach;
            if (at < text.n)
                cuts[n++] = at;
        }
        feed(r, text, cuts, n, &want);
    }
    qg_ids_free(&want);
}

static void texts_with_every_hazard(void **state)
{
    static const char *const texts[] = {
        "",
        "hello world or hello",
        "caf\xc3\xa9 cafe\xcc\x81 e\xcc\x81\xcc\xa3 A\xcc\x8a\xcc\x81",
        "a \n\n  b\n \r\n\t c   d  \n\n",
        "it's 'S 'll'LL we'\xc5\xbf 12345 ?!\n\n...",
        "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 \xea\xb0\x80\xe1\x86\xa8 = \xcc\xb8 "
        "=\xcc\xb8<\xcc\xb8",
        "\xf0\x9f\x98\x80\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9 "
        "\xe4\xb8\xad\xe6\x96\x87\xe3\x80\x82",
        "\xcc\x81\xcc\x81 \xcc\x81 x",
    };
    run *r = *state;
    for (size_t i = 0; i < COUNT(texts); i++)
        check_text(r, qg_str(texts[i]));
}

static void broken_bytes_are_refused_and_nothing_is_taken(void **state)
{
    static const char *const bad[] = {"\xff",     "\xc3(",    "\xe4\xb8(",    "\xed\xa0\x80",
                                      "\xf4\x90", "\xc0\x80", "\xf0\x80\x80", "\xf8"};
    run *r = *state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        qg_inc inc;
        qg_ids stable = {0}, tail = {0};
        qg_err err;
        qg_inc_init(&inc, r->tok, 1 << 20);
        assert_int_equal(qg_inc_push(&inc, qg_str("hello "), &stable, &tail, &err), QG_OK);
        assert_int_equal(qg_inc_push(&inc, qg_str(bad[i]), &stable, &tail, &err), QG_ERR_ARG);
        assert_int_equal(qg_inc_push(&inc, qg_str("hell"), &stable, &tail, &err), QG_OK);
        assert_int_equal(qg_inc_push(&inc, qg_str("\xe4\xb8"), &stable, &tail, &err), QG_OK);
        assert_int_equal(qg_inc_finish(&inc, &stable, &err), QG_OK);
        qg_ids want = {0};
        assert_int_equal(
            qg_tok_encode(r->tok, qg_str("hello hell\xef\xbf\xbd"), false, &want, &err), QG_OK);
        expect_same(qg_str(bad[i]), &stable, &want);
        qg_ids_free(&want);
        qg_ids_free(&stable);
        qg_ids_free(&tail);
        qg_inc_free(&inc);
    }
}

/* One character with marks without end cannot be cut, nor can blanks behind a line break. */
static void what_cannot_be_cut_meets_the_ceiling(void **state)
{
    run *r = *state;
    qg_inc inc;
    qg_ids stable = {0}, tail = {0};
    qg_err err;
    qg_status rc = QG_OK;
    qg_inc_init(&inc, r->tok, 1000);
    for (int i = 0; i < 300 && rc == QG_OK; i++)
        rc = qg_inc_push(&inc, qg_str("e\xcc\x81\xcc\xa3\xcc\x81" + (i > 0)), &stable, &tail, &err);
    assert_int_equal(rc, QG_ERR_TOO_LONG);
    assert_int_equal(stable.n, 0);
    /* nothing was taken; and what has places to cut may be longer than that at once */
    qg_buf many;
    qg_buf_init(&many, 1 << 20);
    for (int i = 0; i < 300; i++)
        assert_int_equal(qg_buf_adds(&many, "hello"), QG_OK);
    assert_int_equal(qg_inc_push(&inc, qg_buf_slice(&many), &stable, &tail, &err), QG_OK);
    assert_true(stable.n > 298);
    qg_buf_free(&many);
    qg_ids_free(&stable);
    qg_ids_free(&tail);
    qg_inc_free(&inc);
}

static qg_tok *open_published(void)
{
    char path[4096];
    qg_map json;
    qg_tok *tok;
    qg_err err;
    snprintf(path, sizeof path, "%s/model/tokenizer/tokenizer.json", unit_shared());
    assert_int_equal(qg_map_open(&json, path, &err), QG_OK);
    assert_int_equal(qg_tok_open(&tok, qg_slice_of((const char *)json.data, json.size), &err),
                     QG_OK);
    qg_map_close(&json);
    return tok;
}

/* ---- long pieces ------------------------------------------------------------------------------
 */

static const char *const long_runs[] = {
    "a",
    "A",
    "hello",
    "abcde",
    "\xe5\x93\x88",
    "\xe4\xbb\x8a\xe5\xa4\xa9\xe6\x88\x91\xe4\xbb\xac\xe5\x9c\xa8\xe5\x8c\x97\xe4\xba\xac\xe5\xa4"
    "\xa7\xe5\xad\xa6"
    "\xe8\xa7\x81\xe5\x88\xb0\xe4\xba\x86\xe8\x80\x81\xe5\xb8\x88\xe7\x84\xb6\xe5\x90\x8e",
    "\xe0\xb8\xaa\xe0\xb8\xa7\xe0\xb8\xb1\xe0\xb8\xaa\xe0\xb8\x94\xe0\xb8\xb5\xe0\xb8\x84\xe0\xb8"
    "\xa3\xe0\xb8\xb1"
    "\xe0\xb8\x9a",
    "\xe0\xb8\x81",
    "=",
    "-=",
    "(",
    "0",
    " ",
    "\n",
    "! \n",
    "\r\n",
    "'",
    "'s",
    "\xea\xb0\x80\xeb\x82\x98",
    "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8",
    "\xf0\x9f\x98\x80",
    "e\xcc\x81",
};

/* Text, said in pieces of `piece` bytes: at the end the ids of the whole; *most the longest tail in
 * bytes on the way, *open all provisional ids that were said. */
static void say_in_pieces(const qg_tok *tok, qg_slice text, size_t piece, size_t *most,
                          size_t *open)
{
    qg_inc inc;
    qg_ids stable = {0}, tail = {0}, want = {0};
    qg_err err;
    qg_inc_init(&inc, tok, 1 << 20);
    *most = *open = 0;
    for (size_t at = 0; at < text.n; at += piece) {
        size_t n = text.n - at < piece ? text.n - at : piece;
        if (qg_inc_push(&inc, qg_slice_of(text.p + at, n), &stable, &tail, &err))
            fail_msg("%s", err.msg);
        *most = inc.tail.n > *most ? inc.tail.n : *most;
        *open += tail.n;
    }
    assert_int_equal(qg_inc_finish(&inc, &stable, &err), QG_OK);
    assert_int_equal(qg_tok_encode(tok, text, false, &want, &err), QG_OK);
    expect_same(text, &stable, &want);
    qg_ids_free(&stable);
    qg_ids_free(&tail);
    qg_ids_free(&want);
    qg_inc_free(&inc);
}

static void a_long_piece_has_a_short_tail(void **state)
{
    run *r = *state;
    qg_tok *published = unit_shared() ? open_published() : NULL;
    for (size_t i = 0; i < COUNT(long_runs); i++) {
        qg_buf text;
        qg_buf_init(&text, 1 << 20);
        while (text.n < 3000)
            assert_int_equal(qg_buf_adds(&text, long_runs[i]), QG_OK);
        for (size_t piece = 1; piece <= 48; piece = piece == 1 ? 3 : 4 * piece) {
            size_t most, open, n = (text.n + piece - 1) / piece;
            say_in_pieces(r->tok, qg_buf_slice(&text), piece, &most, &open);
            if (!published)
                continue;
            say_in_pieces(published, qg_buf_slice(&text), piece, &most, &open);
            if (piece == 1)
                print_message("%-12.12s longest tail %zu bytes, %.2f ids open\n", long_runs[i],
                              most, (double)open / (double)n);
            assert_in_range(most, 0, 300);
            assert_in_range(open, 0, 6 * n);
        }
        qg_buf_free(&text);
    }
    qg_tok_close(published);
}

/* White space that does not end, and marks behind one character, which no place to cut follows. */
static void what_never_ends(void **state)
{
    static const struct {
        const char *name, *before, *again;
        size_t n;
        const char *after[3];
        bool settles;
    } texts[] = {
        {"blanks", "a", " ", 20000, {"x", "\n", ""}, true},
        {"blanks behind a line break", "a\n", " ", 100000, {"x", "\nx", ""}, true},
        {"lines of blanks", "a\n", "          \n ", 9000, {"x", "\nx", ""}, false},
        {"blanks of all kinds", "?\r\n", "\t \xe3\x80\x80", 20000, {"7", "\r\n ", " "}, true},
        {"marks", "e", "\xcc\x81", 30000, {"x", "\xcc\xa3", "\n"}, false},
        {"vowels", "\xe1\x84\x80", "\xe1\x85\xa1", 20000, {"x", "\xe1\x86\xa8", ""}, false},
    };
    static const size_t pieces[] = {1, 7, 1000};
    run *r = *state;
    qg_tok *published = unit_shared() ? open_published() : NULL;
    for (size_t i = 0; i < COUNT(texts); i++) {
        qg_buf text;
        qg_buf_init(&text, 1 << 20);
        assert_int_equal(qg_buf_adds(&text, texts[i].before), QG_OK);
        for (size_t k = 0; k < texts[i].n; k++)
            assert_int_equal(qg_buf_adds(&text, texts[i].again), QG_OK);
        size_t n = text.n;
        for (size_t p = 0; p < COUNT(pieces); p++) {
            size_t most, open;
            text.n = n;
            assert_int_equal(qg_buf_adds(&text, texts[i].after[p]), QG_OK);
            size_t pushes = (text.n + pieces[p] - 1) / pieces[p];
            say_in_pieces(r->tok, qg_buf_slice(&text), pieces[p], &most, &open);
            assert_in_range(open, 0, QG_INC_SHOWN * pushes);
            if (!published)
                continue;
            int64_t start = qg_now_us();
            say_in_pieces(published, qg_buf_slice(&text), pieces[p], &most, &open);
            print_message("%s by %zu: %zu bytes in %.2f s, longest tail %zu, %.1f ids open\n",
                          texts[i].name, pieces[p], text.n, (double)(qg_now_us() - start) / 1e6,
                          most, (double)open / (double)pushes);
            assert_in_range(open, 0, QG_INC_SHOWN * pushes);
            if (texts[i].settles)
                assert_in_range(most, 0, 1500);
        }
        qg_buf_free(&text);
    }
    qg_tok_close(published);
}

/* Pieces of letters that are tokens' spellings side by side: what merges fight over. */
static void pieces_of_tokens(void **state)
{
    run *r = *state;
    if (!unit_shared())
        skip();
    qg_tok *tok = open_published();
    size_t longest = 0;
    for (int round = 0; round < 300; round++) {
        qg_buf text;
        size_t most, open;
        qg_buf_init(&text, 1 << 20);
        int32_t from = round % 3 ? (int32_t)(draw(r) % 150000) : 95000,
                reach = round % 3 ? 1000 : 50000;
        while (text.n < 600) {
            qg_slice s = qg_tok_bytes(tok, from + (int32_t)(draw(r) % (uint64_t)reach));
            bool blank = s.n && (s.p[0] == ' ' || s.p[0] == '\n');
            if (blank)
                s = qg_slice_of(s.p + 1, s.n - 1);
            if (qg_utf8_valid(s))
                assert_int_equal(qg_buf_add(&text, s.p, s.n), QG_OK);
        }
        say_in_pieces(tok, qg_buf_slice(&text), 1 + draw(r) % 4, &most, &open);
        longest = most > longest ? most : longest;
        qg_buf_free(&text);
    }
    print_message("pieces of tokens: longest tail %zu bytes\n", longest);
    assert_in_range(longest, 1, 400);
    qg_tok_close(tok);
}

/* A tokenizer with merges at random over three letters, in any order: also merges that rank before
 * those which make their sides. */
static qg_tok *open_random(run *r)
{
    json_t *tree = small_tree(), *model = json_object_get(tree, "model"), *vocab = small_vocab();
    json_t *merges = json_array();
    const char *sides[64] = {"a", "b", "c"};
    size_t n = 3;
    for (int i = 0; i < 14; i++) {
        const char *left = sides[draw(r) % n], *right = sides[draw(r) % n];
        json_t *joint = json_sprintf("%s%s", left, right);
        const char *spelling = json_string_value(joint);
        if (json_string_length(joint) < 12) {
            json_array_insert_new(merges, draw(r) % (json_array_size(merges) + 1),
                                  json_pack("[ss]", left, right));
            if (!json_object_get(vocab, spelling)) {
                json_object_set_new(vocab, spelling, json_integer(256 + SMALL_MERGES + (int)n));
                const char *key;
                json_t *value;
                json_object_foreach (vocab, key, value)
                    if (!strcmp(key, spelling))
                        sides[n] = key;
                n++;
            }
        }
        json_decref(joint);
    }
    json_object_set_new(model, "vocab", vocab);
    json_object_set_new(model, "merges", merges);
    char *json = qg_json_dump(tree);
    qg_tok *tok;
    qg_err err;
    if (qg_tok_open(&tok, qg_str(json), &err) != QG_OK)
        fail_msg("%s", err.msg);
    qg_mfree(json);
    json_decref(tree);
    return tok;
}

/* Everything that merges can do to each other: what is settled stays, whatever comes. */
static void what_is_settled_stays(void **state)
{
    run *r = *state;
    size_t settled_ids = 0, cases = 0;
    for (int round = 0; round < 60; round++) {
        qg_tok *tok = open_random(r);
        for (int i = 0; i < 400; i++) {
            char text[48];
            qg_ids settled = {0}, whole = {0};
            size_t n = 1 + draw(r) % 30, m = n + draw(r) % 12;
            for (size_t k = 0; k < m; k++)
                text[k] = "abc"[draw(r) % 3];
            assert_int_equal(qg_tok_settled(tok, qg_slice_of(text, n), &settled), QG_OK);
            assert_int_equal(qg_tok_encode_piece(tok, qg_slice_of(text, m), &whole), QG_OK);
            assert_true(settled.n <= whole.n);
            if (settled.n)
                assert_memory_equal(settled.p, whole.p, settled.n * sizeof *whole.p);
            settled_ids += settled.n;
            cases++;
            qg_ids_free(&settled);
            qg_ids_free(&whole);
        }
        qg_tok_close(tok);
    }
    print_message("%zu random pieces, %.1f ids settled each\n", cases,
                  (double)settled_ids / (double)cases);
    assert_true(settled_ids > cases);
}

static void every_golden_text(void **state)
{
    (void)state;
    if (!unit_shared())
        skip();
    char path[4096];
    qg_map rows;
    qg_tok *tok = open_published();
    qg_err err;
    snprintf(path, sizeof path, "%s/goldens/tokenizer-vectors.jsonl", unit_shared());
    assert_int_equal(qg_map_open(&rows, path, &err), QG_OK);
    run r = {.tok = tok, .random = 1};
    const char *at = (const char *)rows.data, *end = at + rows.size;
    for (int n = 0; at < end; n++) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        eol = eol ? eol : end;
        json_t *row;
        assert_int_equal(
            qg_json_parse(qg_slice_of(at, (size_t)(eol - at)), QG_JSON_NUL, &row, &err), QG_OK);
        qg_slice text = qg_json_slice(json_object_get(row, "text"));
        if (json_object_get(row, "text") && text.n <= 2000)
            check_text(&r, text);
        json_decref(row);
        at = eol + 1;
    }
    print_message("%llu pushes, %.2f provisional ids thrown away each, at most %llu\n",
                  (unsigned long long)r.pushes, (double)r.rerun / (double)r.pushes,
                  (unsigned long long)r.most_rerun);
    qg_tok_close(tok);
    qg_map_close(&rows);
}

static int open_small(void **state)
{
    static run r = {.random = 7};
    json_t *tree = small_tree();
    char *json = qg_json_dump(tree);
    qg_err err;
    json_decref(tree);
    if (qg_tok_open((qg_tok **)(uintptr_t)&r.tok, qg_str(json), &err) != QG_OK)
        fail_msg("%s", err.msg);
    qg_mfree(json);
    *state = &r;
    return 0;
}

static int close_small(void **state)
{
    qg_tok_close((qg_tok *)(uintptr_t)((run *)*state)->tok);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_with_every_hazard),
        cmocka_unit_test(broken_bytes_are_refused_and_nothing_is_taken),
        cmocka_unit_test(what_cannot_be_cut_meets_the_ceiling),
        cmocka_unit_test(a_long_piece_has_a_short_tail),
        cmocka_unit_test(what_never_ends),
        cmocka_unit_test(pieces_of_tokens),
        cmocka_unit_test(what_is_settled_stays),
        cmocka_unit_test(every_golden_text),
    };
    return cmocka_run_group_tests(tests, open_small, close_small);
}
