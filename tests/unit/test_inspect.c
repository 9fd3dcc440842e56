/* The report about a model: facts, warnings, and every problem told. */
#include "tinydir.h"

#include "fmt/inspect.h"

#define TWO_TENSORS                                                                                \
    "{\"model.embed_tokens.weight\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"     \
    "\"lm_head.weight\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[4,8]}}"

static tiny_file conf, shard;

static int64_t number(const json_t *report, const char *group, const char *key)
{
    const json_t *v = json_object_get(json_object_get(report, group), key);
    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

static const char *text(const json_t *report, const char *key)
{
    const char *s = json_string_value(json_object_get(report, key));
    assert_non_null(s);
    return s;
}

static size_t count(const json_t *report, const char *list)
{
    assert_true(json_is_array(json_object_get(report, list)));
    return json_array_size(json_object_get(report, list));
}

static bool told(const json_t *report, const char *list, const char *word)
{
    const json_t *v;
    size_t i;
    json_array_foreach (json_object_get(report, list), i, v) {
        if (strstr(json_string_value(v), word))
            return true;
    }
    return false;
}

static void facts_are_reported(void **state)
{
    (void)state;
    tiny_put_config(&conf, NULL, NULL);
    tiny_put_shard(&shard, "model.safetensors", TWO_TENSORS, 8);
    const char gen[] = "{{ '<BEGIN UNSAFE CONTENT CATEGORIES>' }}";
    const qg_file files[] = {{conf.name, conf.data, conf.n},
                             {shard.name, shard.data, shard.n},
                             {"chat_template.jinja", gen, sizeof gen - 1}};
    qg_inspection in;
    qg_err err;
    assert_int_equal(qg_inspection_open(&in, NULL, files, 3, &err), QG_OK);
    assert_int_equal(in.first, QG_OK);
    const json_t *r = in.report;
    assert_string_equal(text(r, "name"), "qguard-demo");
    assert_string_equal(text(r, "kind"), "gen");
    assert_string_equal(text(r, "template"), "gen");
    assert_int_equal(number(r, "config", "hidden_size"), 8);
    assert_int_equal(number(r, "tensors", "count"), 2);
    assert_int_equal(number(r, "tensors", "parameters"), 4);
    /* hidden 8, q 16, kv 8, inter 16, 2 layers, vocab 32, and lm_head differs: 2 such matrices */
    int64_t matrices = 2 * (8 * (16 + 8 + 8) + 16 * 8 + 3 * 8 * 16) + 2 * 32 * 8;
    assert_int_equal(number(r, "memory", "weight_bytes"), 2 * matrices + 4 * (2 * 2 * (8 + 4) + 8));
    assert_int_equal(number(r, "memory", "kv_bytes_per_token"), 2 * 2 * 2 * 8);
    assert_int_equal(count(r, "problems"), 0);
    assert_true(told(r, "warnings", "lm_head.weight differs"));
    assert_true(told(r, "warnings", "tokenizer.json"));
    assert_int_equal(count(r, "warnings"), 2);
    qg_err e;
    qg_inspection_add(&in, QG_OK, NULL, &err);
    qg_inspection_add(&in, qg_fail(&e, QG_ERR_UNSUPPORTED, "first"), &e, &err);
    qg_inspection_add(&in, qg_fail(&e, QG_ERR_FORMAT, "second"), &e, &err);
    assert_int_equal(in.first, QG_ERR_UNSUPPORTED);
    assert_string_equal(err.msg, "first");
    assert_int_equal(count(r, "problems"), 2);
    qg_inspection_close(&in);
}

static void every_problem_is_reported(void **state)
{
    (void)state;
    tiny_put_shard(&shard, "b.safetensors", TWO_TENSORS, 7);
    const qg_file files[] = {{"config.json", "{\"head_dim\": 3}", 15},
                             {"a.safetensors", "", 0},
                             {shard.name, shard.data, shard.n},
                             {"tokenizer_config.json", "[", 1}};
    qg_inspection in;
    qg_err err;
    assert_int_equal(qg_inspection_open(&in, NULL, files, 4, &err), QG_OK);
    assert_int_equal(in.first, QG_ERR_FORMAT);
    assert_true(told(in.report, "problems", "config.json: \"vocab_size\""));
    assert_true(told(in.report, "problems", "config.json: \"rms_norm_eps\""));
    assert_true(told(in.report, "problems", "a.safetensors"));
    assert_true(told(in.report, "problems", "b.safetensors: lm_head.weight"));
    assert_true(told(in.report, "problems", "tokenizer_config.json: line 1"));
    assert_string_equal(text(in.report, "kind"), "unknown");
    assert_string_equal(text(in.report, "template"), "none");
    assert_null(json_object_get(in.report, "config"));
    qg_inspection_close(&in);
}

static void no_directory_is_a_problem_too(void **state)
{
    (void)state;
    qg_inspection in;
    qg_err err;
    assert_int_equal(qg_inspection_open(&in, "/nowhere", NULL, 0, &err), QG_OK);
    assert_int_equal(in.first, QG_ERR_IO);
    assert_null(in.dir);
    assert_int_equal(count(in.report, "problems"), 1);
    assert_true(told(in.report, "problems", "/nowhere"));
    qg_inspection_close(&in);
}

/* Names in a file system are bytes, JSON is UTF-8. */
static void names_that_are_not_utf8_do_no_harm(void **state)
{
    (void)state;
    char root[64];
    qg_inspection in;
    qg_err err;
    tiny_mkdir(root);
    tiny_put_config(&conf, NULL, NULL);
    tiny_write(root, &conf);
    tiny_put_shard(&shard, "m\xff\n.safetensors", TWO_TENSORS, 8);
    tiny_write(root, &shard);
    assert_int_equal(qg_inspection_open(&in, root, NULL, 0, &err), QG_OK);
    assert_int_equal(in.first, QG_OK);
    assert_int_equal(number(in.report, "tensors", "count"), 2);
    qg_inspection_close(&in);
    tiny_put_shard(&shard, "m\xff\n.safetensors", TWO_TENSORS, 7);
    tiny_write(root, &shard);
    assert_int_equal(qg_inspection_open(&in, root, NULL, 0, &err), QG_OK);
    assert_true(told(in.report, "problems", "m??.safetensors: lm_head.weight"));
    qg_inspection_close(&in);
    tiny_rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_reported),
        cmocka_unit_test(every_problem_is_reported),
        cmocka_unit_test(no_directory_is_a_problem_too),
        cmocka_unit_test(names_that_are_not_utf8_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
