#define _GNU_SOURCE
/* Every tokenizer vector of the shared goldens, with the real tokenizer.json. */
#include "unit.h"

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "text/json.h"
#include "tok/tok.h"

typedef struct shared {
    qg_map tokenizer;
    qg_tok *tok;
} shared;

static qg_map open_shared(const char *name)
{
    char path[4096];
    qg_map map;
    qg_err err;
    snprintf(path, sizeof path, "%s/%s", unit_shared(), name);
    if (qg_map_open(&map, path, &err) != QG_OK)
        fail_msg("%s", err.msg);
    return map;
}

/* Cuts the next line off text; false at the end. */
static bool next_line(qg_slice *text, qg_slice *line)
{
    if (!text->n)
        return false;
    const char *end = memchr(text->p, '\n', text->n);
    size_t n = end ? (size_t)(end - text->p) : text->n;
    *line = qg_slice_of(text->p, n);
    size_t step = n + (end != NULL);
    *text = qg_slice_of(text->p + step, text->n - step);
    return true;
}

static qg_ids ids_of(const json_t *list)
{
    qg_ids ids = {0};
    size_t i;
    json_t *v;
    json_array_foreach (list, i, v)
        assert_int_equal(qg_ids_push(&ids, (int32_t)json_integer_value(v)), QG_OK);
    return ids;
}

static void expect_ids(qg_slice what, const qg_ids *got, const qg_ids *want)
{
    size_t i = 0;
    while (i < got->n && i < want->n && got->p[i] == want->p[i])
        i++;
    if (i < got->n || i < want->n)
        fail_msg("%.*s\n  %zu ids, want %zu; they differ at %zu: %d, want %d", (int)what.n, what.p,
                 got->n, want->n, i, i < got->n ? got->p[i] : -1, i < want->n ? want->p[i] : -1);
}

/* Runs check over every line of a .jsonl but its birth certificate. */
static void each_line(const char *name, size_t want_lines, const shared *s,
                      void (*check)(const shared *, qg_slice, const json_t *))
{
    qg_map map = open_shared(name);
    qg_slice text = {(const char *)map.data, map.size};
    qg_slice line;
    size_t n = 0;
    while (next_line(&text, &line)) {
        json_t *v;
        qg_err err;
        if (qg_json_parse(line, QG_JSON_NUL, &v, &err) != QG_OK)
            fail_msg("%s: %s", name, err.msg);
        if (!json_object_get(v, "birth")) {
            check(s, line, v);
            n++;
        }
        json_decref(v);
    }
    assert_true(n >= want_lines);
    qg_map_close(&map);
}

static void check_encode(const shared *s, qg_slice line, const json_t *v)
{
    qg_ids got = {0};
    qg_ids want = ids_of(json_object_get(v, "ids"));
    qg_err err;
    if (qg_tok_encode(s->tok, qg_json_slice(json_object_get(v, "text")), true, &got, &err) != QG_OK)
        fail_msg("%.*s: %s", (int)line.n, line.p, err.msg);
    expect_ids(line, &got, &want);
    qg_ids_free(&got);
    qg_ids_free(&want);
}

static void encodes_as_the_reference(void **state)
{
    each_line("goldens/tokenizer-vectors.jsonl", 3640, *state, check_encode);
}

static void check_decode_one(const shared *s, qg_slice line, const json_t *v, bool skip,
                             const char *key)
{
    qg_ids ids = ids_of(json_object_get(v, "ids"));
    qg_buf out;
    qg_err err;
    qg_buf_init(&out, 1 << 20);
    assert_int_equal(qg_tok_decode(s->tok, ids.p, ids.n, skip, &out, &err), QG_OK);
    if (!qg_slice_eq(qg_buf_slice(&out), qg_json_slice(json_object_get(v, key))))
        fail_msg("%.*s\n  %s: got %.*s", (int)line.n, line.p, key, (int)out.n, out.p);
    qg_buf_free(&out);
    qg_ids_free(&ids);
}

static void check_decode(const shared *s, qg_slice line, const json_t *v)
{
    check_decode_one(s, line, v, false, "text");
    check_decode_one(s, line, v, true, "text_without_special");
}

static void decodes_as_the_reference(void **state)
{
    each_line("goldens/tokenizer-decode-vectors.jsonl", 909, *state, check_decode);
}

/* The texts of the .inp are parted by a line of their own; each line of the .out holds ids.  The
 * last text is empty and has no line. */
static void published_vectors(void **state)
{
    const shared *s = *state;
    static const char mark[] = "\n__ggml_vocab_test__\n";
    qg_map inp = open_shared("model/tokenizer/qwen2-vectors.inp");
    qg_map out = open_shared("model/tokenizer/qwen2-vectors.out");
    qg_slice texts = {(const char *)inp.data, inp.size};
    qg_slice lines = {(const char *)out.data, out.size};
    size_t n = 0;
    for (const char *end = texts.p; end;) {
        qg_slice line = {"", 0};
        next_line(&lines, &line);
        end = memmem(texts.p, texts.n, mark, sizeof mark - 1);
        size_t len = end ? (size_t)(end - texts.p) : texts.n;
        qg_ids got = {0};
        qg_ids want = {0};
        char row[4096];
        snprintf(row, sizeof row, "%.*s", (int)line.n, line.p);
        for (char *p = row, *next; strtol(p, &next, 10), next > p; p = next)
            assert_int_equal(qg_ids_push(&want, (int32_t)strtol(p, NULL, 10)), QG_OK);
        assert_int_equal(qg_tok_encode(s->tok, qg_slice_of(texts.p, len), true, &got, NULL), QG_OK);
        expect_ids(qg_slice_of(texts.p, len), &got, &want);
        qg_ids_free(&got);
        qg_ids_free(&want);
        n++;
        if (end)
            texts = qg_slice_of(end + sizeof mark - 1, texts.n - len - (sizeof mark - 1));
    }
    assert_int_equal(lines.n, 0);
    assert_int_equal(n, 47);
    qg_map_close(&inp);
    qg_map_close(&out);
}

/* Marks the contents inside the rendered text: each one is looked for behind the one before. */
static size_t mark_contents(qg_slice text, const json_t *messages, qg_span *spans, size_t max)
{
    size_t n = 0;
    size_t at = 0;
    size_t i;
    json_t *m;
    json_array_foreach (messages, i, m) {
        qg_slice c = qg_json_slice(json_object_get(m, "content"));
        const char *hit = c.n ? memmem(text.p + at, text.n - at, c.p, c.n) : NULL;
        if (!hit || n + 2 >= max)
            continue;
        size_t start = (size_t)(hit - text.p);
        spans[n++] = (qg_span){.end = start, .input = false};
        spans[n++] = (qg_span){.end = at = start + c.n, .input = true};
    }
    spans[n++] = (qg_span){.end = text.n, .input = false};
    return n;
}

static void check_injection(const shared *s, qg_slice line, const json_t *v)
{
    qg_span spans[64];
    qg_slice text = qg_json_slice(json_object_get(v, "text"));
    size_t n = mark_contents(text, json_object_get(v, "messages"), spans, COUNT(spans));
    qg_ids got = {0};
    qg_ids want = ids_of(json_object_get(v, "ids_template_tokens_only"));
    qg_slice name = qg_json_slice(json_object_get(v, "name"));
    (void)line;
    assert_int_equal(qg_tok_encode_spans(s->tok, text, spans, n, &got, NULL), QG_OK);
    expect_ids(name, &got, &want);
    got.n = 0;
    assert_int_equal(qg_tok_encode(s->tok, text, true, &got, NULL), QG_OK);
    qg_ids_free(&want);
    want = ids_of(json_object_get(v, "ids"));
    expect_ids(name, &got, &want);
    qg_ids_free(&got);
    qg_ids_free(&want);
}

static void injections_stay_text(void **state)
{
    each_line("goldens/injection-vectors.jsonl", 47, *state, check_injection);
}

static void facts_of_the_real_file(void **state)
{
    const shared *s = *state;
    assert_int_equal(qg_tok_n_ids(s->tok), 151669);
    assert_int_equal(qg_tok_added_id(s->tok, qg_str("<|im_end|>")), 151645);
    assert_int_equal(qg_tok_added_id(s->tok, qg_str("<|im_end|")), -1);
    assert_true(qg_tok_is_special(s->tok, 151645));
    assert_false(qg_tok_is_special(s->tok, 151667));
    assert_true(qg_slice_is(qg_tok_bytes(s->tok, 151667), "<think>"));
    assert_int_equal(qg_tok_bytes(s->tok, 151669).n, 0);
    assert_int_equal(qg_tok_bytes(s->tok, -1).n, 0);
}

static int setup(void **state)
{
    static shared s;
    qg_err err = {""};
    s.tokenizer = open_shared("model/tokenizer/tokenizer.json");
    *state = &s;
    if (qg_tok_open(&s.tok, (qg_slice){(const char *)s.tokenizer.data, s.tokenizer.size}, &err))
        fail_msg("%s", err.msg);
    return 0;
}

static int teardown(void **state)
{
    shared *s = *state;
    qg_tok_close(s->tok);
    qg_map_close(&s->tokenizer);
    return 0;
}

int main(void)
{
    if (!unit_shared()) {
        printf("SKIPPED test_tok_golden: QGUARD_SHARED is not set\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_of_the_real_file),   cmocka_unit_test(encodes_as_the_reference),
        cmocka_unit_test(decodes_as_the_reference), cmocka_unit_test(published_vectors),
        cmocka_unit_test(injections_stay_text),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
