#include "unit.h"

#include "tok_small.h"

#include "base/limits.h"
#include "base/mem.h"
#include "tok/tok.h"

#include <pthread.h>

/* Opens tree (which is given away) and closes or gives what it opened. */
static qg_status open_tree(json_t *tree, qg_tok **tok, qg_err *err)
{
    char *text = qg_json_dump(tree);
    assert_non_null(text);
    json_decref(tree);
    err->msg[0] = 0;
    qg_status rc = qg_tok_open(tok, qg_str(text), err);
    assert_true((*tok == NULL) == (rc != QG_OK));
    qg_mfree(text);
    return rc;
}

static qg_tok *open_small(void)
{
    qg_tok *tok;
    qg_err err;
    if (open_tree(small_tree(), &tok, &err) != QG_OK)
        fail_msg("%s", err.msg);
    return tok;
}

/* Sets the member at a dotted path ("a.b.0.c") to the JSON text value; NULL removes it. */
static void patch(json_t *tree, const char *path, const char *value)
{
    char part[64];
    const char *dot;
    for (; (dot = strchr(path, '.')); path = dot + 1) {
        snprintf(part, sizeof part, "%.*s", (int)(dot - path), path);
        tree = json_is_array(tree) ? json_array_get(tree, strtoul(part, NULL, 10))
                                   : json_object_get(tree, part);
    }
    json_t *v = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    if (json_is_array(tree))
        json_array_set_new(tree, strtoul(path, NULL, 10), v);
    else if (v)
        json_object_set_new(tree, path, v);
    else
        json_object_del(tree, path);
}

static const struct {
    const char *path, *value;
    qg_status want;
    const char *says;
} variants[] = {
    /* fine: nothing of this changes an id */
    {"version", "\"1.0\"", QG_OK, NULL},
    {"normalizer", "null", QG_OK, NULL},
    {"normalizer", NULL, QG_OK, NULL},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}", QG_OK, NULL},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[]}", QG_OK, NULL},
    {"pre_tokenizer.pretokenizers.0.invert", NULL, QG_OK, NULL},
    {"pre_tokenizer.pretokenizers.1.trim_offsets", "true", QG_OK, NULL},
    {"post_processor", "{\"type\":\"ByteLevel\",\"trim_offsets\":true}", QG_OK, NULL},
    {"decoder.use_regex", "true", QG_OK, NULL},
    {"added_tokens", NULL, QG_OK, NULL},
    {"added_tokens.0.normalized", "true", QG_OK, NULL},
    {"added_tokens.0.rstrip", "false", QG_OK, NULL},
    {"model.type", NULL, QG_OK, NULL},
    {"model.dropout", "0.0", QG_OK, NULL},
    {"model.continuing_subword_prefix", "\"\"", QG_OK, NULL},
    {"model.end_of_word_suffix", "null", QG_OK, NULL},
    {"model.merges.0", "\"#version: 0.2\"", QG_OK, NULL},
    {"truncation", "{\"max_length\":8}", QG_OK, NULL},
    /* refused by name */
    {"normalizer", "{\"type\":\"NFKC\"}", QG_ERR_UNSUPPORTED, "normalizer: NFKC"},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Strip\"}]}",
     QG_ERR_UNSUPPORTED, "Strip"},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":7}", QG_ERR_FORMAT, "array"},
    {"normalizer", "[]", QG_ERR_FORMAT, "normalizer"},
    {"pre_tokenizer", "null", QG_ERR_UNSUPPORTED, "pre_tokenizer: null"},
    {"pre_tokenizer", "{\"type\":\"Whitespace\"}", QG_ERR_UNSUPPORTED, "Whitespace"},
    {"pre_tokenizer.pretokenizers", "[]", QG_ERR_UNSUPPORTED, "sequence of 0"},
    {"pre_tokenizer.pretokenizers.0", "{\"type\":\"Digits\"}", QG_ERR_UNSUPPORTED, "Digits"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"String\":\" \"}", QG_ERR_FORMAT, "Regex"},
    {"pre_tokenizer.pretokenizers.0.pattern.Regex", "\"\\\\p{N}{1,3}\"", QG_ERR_UNSUPPORTED,
     "\\p{N}{1,3}"},
    {"pre_tokenizer.pretokenizers.0.behavior", "\"Removed\"", QG_ERR_UNSUPPORTED, "Removed"},
    {"pre_tokenizer.pretokenizers.0.invert", "true", QG_ERR_UNSUPPORTED, "invert"},
    {"pre_tokenizer.pretokenizers.1.use_regex", "true", QG_ERR_UNSUPPORTED, "use_regex"},
    {"pre_tokenizer.pretokenizers.1.use_regex", NULL, QG_ERR_UNSUPPORTED, "use_regex"},
    {"pre_tokenizer.pretokenizers.1.add_prefix_space", "true", QG_ERR_UNSUPPORTED,
     "add_prefix_space"},
    {"post_processor", "{\"type\":\"TemplateProcessing\"}", QG_ERR_UNSUPPORTED,
     "post_processor: TemplateProcessing"},
    {"decoder", NULL, QG_ERR_UNSUPPORTED, "decoder: null"},
    {"decoder", "{\"type\":\"WordPiece\"}", QG_ERR_UNSUPPORTED, "WordPiece"},
    {"model.type", "\"Unigram\"", QG_ERR_UNSUPPORTED, "Unigram"},
    {"model.dropout", "0.1", QG_ERR_UNSUPPORTED, "dropout"},
    {"model.unk_token", "\"<unk>\"", QG_ERR_UNSUPPORTED, "unk_token"},
    {"model.continuing_subword_prefix", "\"##\"", QG_ERR_UNSUPPORTED, "continuing_subword"},
    {"model.end_of_word_suffix", "\"</w>\"", QG_ERR_UNSUPPORTED, "end_of_word_suffix"},
    {"model.fuse_unk", "true", QG_ERR_UNSUPPORTED, "fuse_unk"},
    {"model.byte_fallback", "true", QG_ERR_UNSUPPORTED, "byte_fallback"},
    {"model.ignore_merges", "true", QG_ERR_UNSUPPORTED, "ignore_merges"},
    {"added_tokens.1.lstrip", "true", QG_ERR_UNSUPPORTED, "\"<|end\": \"lstrip\""},
    {"added_tokens.1.rstrip", "true", QG_ERR_UNSUPPORTED, "rstrip"},
    {"added_tokens.1.single_word", "true", QG_ERR_UNSUPPORTED, "single_word"},
    {"model.vocab.A", NULL, QG_ERR_UNSUPPORTED, "no token for byte 41"},
    /* damaged */
    {"model", NULL, QG_ERR_FORMAT, "\"model\" is missing"},
    {"model.vocab", "[]", QG_ERR_FORMAT, "vocab"},
    {"model.merges", "{}", QG_ERR_FORMAT, "merges"},
    {"model.vocab.A", "-1", QG_ERR_FORMAT, "\"A\" has id -1"},
    {"model.vocab.A", "2097152", QG_ERR_FORMAT, "has id 2097152"},
    {"model.vocab.A", "9000000000000000000", QG_ERR_FORMAT, "has id 9000000000000000000"},
    {"model.vocab.A", "66", QG_ERR_FORMAT, "two tokens have id 66"},
    {"model.vocab.A", "65.5", QG_ERR_FORMAT, "a real number"},
    {"model.vocab.A", "\"65\"", QG_ERR_FORMAT, "a string"},
    {"model.merges.3", "7", QG_ERR_FORMAT, "merge 3 is not a pair"},
    {"model.merges.3", "[\"h\"]", QG_ERR_FORMAT, "merge 3 is not a pair"},
    {"model.merges.3", "[\"h\",\"e\",\"l\"]", QG_ERR_FORMAT, "merge 3 is not a pair"},
    {"model.merges.3", "\"h e l\"", QG_ERR_FORMAT, "merge 3 is not a pair"},
    {"model.merges.3", "\"he\"", QG_ERR_FORMAT, "merge 3 is not a pair"},
    {"model.merges.3", "\" e\"", QG_ERR_FORMAT, "merge 3 is not a pair"},
    {"model.merges.3", "[\"xx\",\"e\"]", QG_ERR_FORMAT, "the first of \"xx\" and \"e\""},
    {"model.merges.3", "[\"e\",\"xx\"]", QG_ERR_FORMAT, "the second of"},
    {"model.merges.3", "[\"e\",\"e\"]", QG_ERR_FORMAT, "the joint of"},
    {"model.merges.3", "[\"<|end|>\",\"e\"]", QG_ERR_FORMAT, "the first of"},
    {"added_tokens", "7", QG_ERR_FORMAT, "added_tokens"},
    {"added_tokens.0", "7", QG_ERR_FORMAT, "content"},
    {"added_tokens.0.content", "\"\"", QG_ERR_FORMAT, "0 bytes"},
    {"added_tokens.0.content", "\"<think>\"", QG_ERR_FORMAT, "listed twice"},
    {"added_tokens.0.content", "\"A\"", QG_ERR_FORMAT, "65 in the vocabulary"},
    {"added_tokens.0.id", NULL, QG_ERR_FORMAT, "is nothing"},
    {"added_tokens.0.id", "301", QG_ERR_FORMAT, "belongs to another token"},
    {"added_tokens.0.id", "65", QG_ERR_FORMAT, "belongs to another token"},
    {"added_tokens.0.special", "1", QG_ERR_FORMAT, "special"},
};

static void variants_of_a_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(variants); i++) {
        json_t *tree = small_tree();
        patch(tree, variants[i].path, variants[i].value);
        qg_tok *tok;
        qg_err err;
        qg_status rc = open_tree(tree, &tok, &err);
        if (rc != variants[i].want || (rc != QG_OK && !strstr(err.msg, variants[i].says)))
            fail_msg("%s = %s: status %d, %s", variants[i].path, variants[i].value, rc, err.msg);
        qg_tok_close(tok);
    }
}

static void not_json_at_all(void **state)
{
    (void)state;
    static const char *const cases[] = {"", "{", "[]", "null", "{\"model\":1}", "\xFF"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_tok *tok;
        qg_err err;
        qg_status rc = qg_tok_open(&tok, qg_str(cases[i]), &err);
        assert_true(rc == QG_ERR_FORMAT || rc == QG_ERR_UNSUPPORTED);
        assert_null(tok);
        assert_memory_equal(err.msg, "tokenizer.json: ", 16);
    }
    qg_tok_close(NULL);
}

static void long_tokens_are_refused(void **state)
{
    (void)state;
    char name[QG_MAX_TOKEN_BYTES + 2];
    memset(name, 'x', sizeof name);
    for (int extra = 0; extra < 2; extra++) {
        name[QG_MAX_TOKEN_BYTES + extra] = 0;
        json_t *tree = small_tree();
        json_object_set_new(json_object_get(json_object_get(tree, "model"), "vocab"), name,
                            json_integer(400));
        qg_tok *tok;
        qg_err err;
        assert_int_equal(open_tree(tree, &tok, &err), extra ? QG_ERR_FORMAT : QG_OK);
        qg_tok_close(tok);
        name[QG_MAX_TOKEN_BYTES] = 'x';
    }
}

static void expect(const qg_tok *tok, const char *text, const qg_span *spans, size_t n_spans,
                   bool parse, const int32_t *want, size_t n)
{
    qg_ids ids = {0};
    qg_err err;
    qg_status rc = spans ? qg_tok_encode_spans(tok, qg_str(text), spans, n_spans, &ids, &err)
                         : qg_tok_encode(tok, qg_str(text), parse, &ids, &err);
    if (rc != QG_OK)
        fail_msg("%s: %s", text, err.msg);
    for (size_t i = 0; i < ids.n || i < n; i++)
        if (i >= ids.n || i >= n || ids.p[i] != want[i])
            fail_msg("%s: id %zu is %d, want %d", text, i, i < ids.n ? ids.p[i] : -1,
                     i < n ? want[i] : -1);
    qg_ids_free(&ids);
}

#define IDS(...) (const int32_t[]){__VA_ARGS__}, COUNT(((const int32_t[]){__VA_ARGS__}))

static void merges_by_rank(void **state)
{
    qg_tok *tok = *state;
    expect(tok, "hello", NULL, 0, true, IDS(259));
    expect(tok, "hell", NULL, 0, true, IDS(258));
    expect(tok, " wor", NULL, 0, true, IDS(262));
    expect(tok, " worh", NULL, 0, true, IDS(262, 'h'));
    expect(tok, "aaaaaaa", NULL, 0, true, IDS(264, 263, 'a')); /* leftmost pairs first */
    expect(tok, "e\xCC\x81", NULL, 0, true, IDS(265));         /* NFC, then the bytes of é */
}

static void added_tokens_by_longest_match(void **state)
{
    qg_tok *tok = *state;
    expect(tok, "<|end|>", NULL, 0, true, IDS(300));
    expect(tok, "<|end|<|end|>", NULL, 0, true, IDS(301, '|', 300));
    expect(tok, "<<think>>", NULL, 0, true, IDS('<', 302, '>'));
    expect(tok, "<think>", NULL, 0, false, IDS('<', 't', 'h', 'i', 'n', 'k', '>'));
    expect(tok, "<think>\xCC\xB8", NULL, 0, true, IDS(302, 0xCC, 0xB8)); /* not joined to > */
}

static void spans_guard_the_contents(void **state)
{
    qg_tok *tok = *state;
    const char *text = "<think>he<|end|>llo<|end|>";
    const qg_span all[] = {{26, false}};
    const qg_span content[] = {{7, false}, {19, true}, {26, false}};
    const qg_span broken[] = {{3, false}, {4, true}, {26, false}};
    const qg_span pieces[] = {{0, false}, {3, false}, {7, false},
                              {7, true},  {19, true}, {26, false}};
    expect(tok, text, all, 1, true, IDS(302, 256, 300, 257, 'o', 300));
    expect(tok, text, content, 3, true,
           IDS(302, 256, '<', '|', 'e', 'n', 'd', '|', '>', 257, 'o', 300));
    expect(tok, text, pieces, 6, true,
           IDS(302, 256, '<', '|', 'e', 'n', 'd', '|', '>', 257, 'o', 300));
    expect(tok, text, broken, 3, true,
           IDS('<', 't', 'h', 'i', 'n', 'k', '>', 256, 300, 257, 'o', 300));
    /* half of the spelling is the caller's: the shorter token that is whole still counts */
    const qg_span half[] = {{5, false}, {7, true}};
    expect(tok, "<|end|>", half, 2, true, IDS(301, '|', '>'));
    /* one piece across the border between template and content */
    const qg_span seam[] = {{2, false}, {5, true}};
    expect(tok, "hello", seam, 2, true, IDS(259));
}

static void spans_must_cover_the_text(void **state)
{
    qg_tok *tok = *state;
    qg_ids ids = {0};
    qg_err err;
    const qg_span bad[][2] = {
        {{3, false}, {4, true}}, {{3, false}, {2, true}}, {{9, true}, {5, true}}};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(qg_tok_encode_spans(tok, qg_str("hello"), bad[i], 2, &ids, &err),
                         QG_ERR_ARG);
    assert_int_equal(qg_tok_encode_spans(tok, qg_str("hello"), NULL, 0, &ids, &err), QG_ERR_ARG);
    assert_int_equal(qg_tok_encode_spans(tok, qg_str(""), NULL, 0, &ids, &err), QG_OK);
    assert_int_equal(ids.n, 0);
}

static void broken_text_is_refused(void **state)
{
    qg_tok *tok = *state;
    qg_ids ids = {0};
    qg_err err;
    assert_int_equal(qg_tok_encode(tok, qg_str("he"), true, &ids, &err), QG_OK);
    assert_int_equal(qg_tok_encode(tok, qg_str("abc\xED\xA0\x80"), true, &ids, &err), QG_ERR_ARG);
    assert_string_equal(err.msg, "text is not UTF-8 at byte 3");
    assert_int_equal(ids.n, 1);
    qg_ids_free(&ids);
}

static void decodes_with_replacement(void **state)
{
    qg_tok *tok = *state;
    static const int32_t ids[] = {259, 300, 0xC3, 999, -5, 302, 0xA9, 0xC3, 0xA9, 400000000};
    qg_buf out;
    qg_err err;
    qg_buf_init(&out, 100);
    assert_int_equal(qg_tok_decode(tok, ids, COUNT(ids), false, &out, &err), QG_OK);
    assert_string_equal(out.p, "hello<|end|>\xEF\xBF\xBD<think>\xEF\xBF\xBD\xC3\xA9");
    qg_buf_free(&out);
    assert_int_equal(qg_tok_decode(tok, ids, 3, true, &out, &err), QG_OK);
    assert_string_equal(out.p, "hello\xEF\xBF\xBD");
    out.max = 10;
    assert_int_equal(qg_tok_decode(tok, ids, COUNT(ids), false, &out, &err), QG_ERR_TOO_LONG);
    assert_string_equal(out.p, "hello\xEF\xBF\xBD");
    qg_buf_free(&out);
}

static void *encode_again_and_again(void *arg)
{
    for (int i = 0; i < 300; i++)
        expect(arg, "<think>hello wor e\xCC\x81", NULL, 0, true, IDS(302, 259, 262, ' ', 265));
    return NULL;
}

/* For the thread sanitizer: one tokenizer, many threads. */
static void is_shared_by_threads(void **state)
{
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_again_and_again, *state), 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

/* Every allocation of opening and using a tokenizer fails once; nothing leaks, nothing crashes. */
static void survives_failing_allocations(void **state)
{
    (void)state;
    json_t *tree = small_tree();
    char *json = qg_json_dump(tree);
    json_decref(tree);
    assert_non_null(json);
    char text[700];
    memset(text, 'a', sizeof text);
    memcpy(text + 300, " e\xCC\x81<|end|>", 11);
    int64_t live = qg_live_blocks();
    for (int64_t nth = 0; nth < 1000; nth++) {
        qg_tok *tok = NULL;
        qg_ids ids = {0};
        qg_buf out;
        qg_err err;
        qg_buf_init(&out, 10000);
        qg_fault_arm(nth);
        qg_status rc = qg_tok_open(&tok, qg_str(json), &err);
        if (rc == QG_OK)
            rc = qg_tok_encode(tok, qg_slice_of(text, sizeof text), true, &ids, &err);
        if (rc == QG_OK)
            rc = qg_tok_decode(tok, ids.p, ids.n, false, &out, &err);
        bool fired = qg_fault_fired();
        qg_fault_arm(-1);
        assert_int_equal(rc, fired ? QG_ERR_NOMEM : QG_OK);
        qg_buf_free(&out);
        qg_ids_free(&ids);
        qg_tok_close(tok);
        assert_int_equal(qg_live_blocks(), live);
        if (!fired)
            break;
    }
    qg_mfree(json);
}

static int setup(void **state)
{
    *state = open_small();
    return 0;
}

static int teardown(void **state)
{
    qg_tok_close(*state);
    return 0;
}

/* Once a control character outside of strings was read for ever. */
static void bytes_that_are_no_json_end_the_reading(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"a\": [\x01]}", "{\"model\": {\"vocab\": {\x02", "\x01",
                                        "{\"model\": {\"merges\": [\"a\" \x1f]}}", "{\"a\": \x7f}"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        qg_tok *tok;
        qg_err err = {""};
        assert_int_equal(qg_tok_open(&tok, qg_str(texts[i]), &err), QG_ERR_FORMAT);
        assert_true(err.msg[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_that_are_no_json_end_the_reading),
        cmocka_unit_test(variants_of_a_file),
        cmocka_unit_test(not_json_at_all),
        cmocka_unit_test(long_tokens_are_refused),
        cmocka_unit_test_setup_teardown(merges_by_rank, setup, teardown),
        cmocka_unit_test_setup_teardown(added_tokens_by_longest_match, setup, teardown),
        cmocka_unit_test_setup_teardown(spans_guard_the_contents, setup, teardown),
        cmocka_unit_test_setup_teardown(spans_must_cover_the_text, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_text_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(decodes_with_replacement, setup, teardown),
        cmocka_unit_test_setup_teardown(is_shared_by_threads, setup, teardown),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
