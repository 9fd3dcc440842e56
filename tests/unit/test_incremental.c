#define _GNU_SOURCE
/* Text in pieces gives the ids of the whole: every tokenizer vector, cut at every byte and at
 * random. */
#include "unit.h"

#include "base/map.h"
#include "base/mem.h"
#include "text/json.h"
#include "text/utf8.h"
#include "tok/incremental.h"
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

static void an_endless_word_meets_the_ceiling(void **state)
{
    run *r = *state;
    qg_inc inc;
    qg_ids stable = {0}, tail = {0};
    qg_err err;
    qg_status rc = QG_OK;
    qg_inc_init(&inc, r->tok, 1000);
    for (int i = 0; i < 300 && rc == QG_OK; i++)
        rc = qg_inc_push(&inc, qg_str("hello"), &stable, &tail, &err);
    assert_int_equal(rc, QG_ERR_TOO_LONG);
    assert_int_equal(stable.n, 0);
    /* nothing was taken; and what has places to cut may be longer than that at once */
    qg_buf many;
    qg_buf_init(&many, 1 << 20);
    for (int i = 0; i < 300; i++)
        assert_int_equal(qg_buf_adds(&many, " hello"), QG_OK);
    assert_int_equal(qg_inc_push(&inc, qg_buf_slice(&many), &stable, &tail, &err), QG_OK);
    assert_true(stable.n > 298);
    qg_buf_free(&many);
    qg_ids_free(&stable);
    qg_ids_free(&tail);
    qg_inc_free(&inc);
}

static void every_golden_text(void **state)
{
    (void)state;
    if (!unit_shared())
        skip();
    char path[4096];
    qg_map json, rows;
    qg_tok *tok;
    qg_err err;
    snprintf(path, sizeof path, "%s/model/tokenizer/tokenizer.json", unit_shared());
    assert_int_equal(qg_map_open(&json, path, &err), QG_OK);
    assert_int_equal(qg_tok_open(&tok, qg_slice_of((const char *)json.data, json.size), &err),
                     QG_OK);
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
    qg_map_close(&json);
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
        cmocka_unit_test(an_endless_word_meets_the_ceiling),
        cmocka_unit_test(every_golden_text),
    };
    return cmocka_run_group_tests(tests, open_small, close_small);
}
