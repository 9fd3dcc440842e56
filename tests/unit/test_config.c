/* config.json and generation_config.json: every key, both layouts, every kind of damage. */
#include "tinydir.h"

#include "base/mem.h"

static tiny_file conf;

static qg_status read_config(qg_config *c, const char *generation, qg_err *err)
{
    qg_sink sink = {.err = err};
    qg_slice bytes = {(const char *)conf.data, conf.n};
    qg_slice gen = generation ? qg_str(generation) : (qg_slice){0};
    return qg_config_read(c, bytes, gen, &sink);
}

static void plain_config_is_read(void **state)
{
    (void)state;
    qg_config c;
    qg_err err;
    tiny_put_config(&conf, NULL, NULL);
    assert_int_equal(read_config(&c, NULL, &err), QG_OK);
    assert_string_equal(c.architecture, "Qwen3ForCausalLM");
    assert_int_equal(c.vocab_size, 32);
    assert_int_equal(c.hidden, 8);
    assert_int_equal(c.intermediate, 16);
    assert_int_equal(c.n_layers, 2);
    assert_int_equal(c.n_heads, 4);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 4);
    assert_int_equal(c.max_positions, 64);
    assert_true(c.rms_eps == 1e-6f);
    assert_true(c.rope_theta == 1e6);
    assert_true(c.tied);
    assert_int_equal(c.dtype, QG_DTYPE_BF16);
    assert_int_equal(c.n_eos, 1);
    assert_int_equal(c.eos[0], 2);
    qg_config_free(&c);
}

typedef struct variant {
    const char *drop, *extra, *generation;
} variant;

static void harmless_variants_are_read(void **state)
{
    (void)state;
    static const variant cases[] = {
        {"rope_theta", "\"rope_parameters\": {\"rope_theta\": 1e6, \"rope_type\": \"default\"}", 0},
        {0, "\"rope_parameters\": {\"rope_theta\": 1000000, \"rope_type\": \"default\"}", 0},
        {"rope_scaling", 0, 0},
        {"rope_scaling", "\"rope_scaling\": {\"rope_type\": \"default\"}", 0},
        {"rope_scaling", "\"rope_scaling\": {\"type\": \"default\", \"factor\": null}", 0},
        {"torch_dtype", "\"dtype\": \"float32\"", 0},
        {"torch_dtype", 0, 0},
        {"torch_dtype", "\"torch_dtype\": null", 0},
        {0, "\"layer_types\": [\"full_attention\", \"full_attention\"]", 0},
        {"sliding_window", "\"sliding_window\": 4096", 0}, /* not in use */
        {"hidden_act", 0, 0},
        {"attention_bias", 0, 0},
        {"tie_word_embeddings", 0, 0},
        {"model_type", 0, 0},
        {"eos_token_id", 0, 0},
        {"eos_token_id", "\"eos_token_id\": null", 0},
        {"eos_token_id", "\"eos_token_id\": [1, 2]", 0},
        {0, "\"partial_rotary_factor\": 1.0", 0},
        {0, "\"quantization_config\": null", 0},
        {0, "\"some_new_key\": {\"a\": [1, 2, null]}", 0},
        {0, 0, "{\"eos_token_id\": null}"},
        {0, 0, "{}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_config c;
        qg_err err = {0};
        tiny_put_config(&conf, cases[i].drop, cases[i].extra);
        if (read_config(&c, cases[i].generation, &err) != QG_OK)
            fail_msg("case %zu: %s", i, err.msg);
        assert_true(c.rope_theta == 1e6);
        qg_config_free(&c);
    }
}

static void head_dim_is_128_unless_said(void **state)
{
    (void)state;
    qg_config c;
    qg_err err;
    tiny_put_config(&conf, "head_dim", NULL);
    assert_int_equal(read_config(&c, NULL, &err), QG_OK);
    assert_int_equal(c.head_dim, 128);
    qg_config_free(&c);
}

static void end_ids_come_from_the_generation_file_first(void **state)
{
    (void)state;
    qg_config c;
    qg_err err;
    tiny_put_config(&conf, NULL, NULL);
    assert_int_equal(read_config(&c, "{\"eos_token_id\": [7, 0]}", &err), QG_OK);
    assert_int_equal(c.n_eos, 2);
    assert_int_equal(c.eos[0], 7);
    assert_int_equal(c.eos[1], 0);
    qg_config_free(&c);
    assert_int_equal(read_config(&c, "{\"eos_token_id\": 9}", &err), QG_OK);
    assert_int_equal(c.n_eos, 1);
    assert_int_equal(c.eos[0], 9);
    qg_config_free(&c);
}

typedef struct damage {
    const char *drop, *extra;
    qg_status want;
    const char *word; /* must be in the sentence */
} damage;

#define F QG_ERR_FORMAT
#define U QG_ERR_UNSUPPORTED

static const damage damages[] = {
    {"architectures", 0, F, "architectures"},
    {"architectures", "\"architectures\": []", F, "architectures"},
    {"architectures", "\"architectures\": \"Qwen3ForCausalLM\"", F, "architectures"},
    {"architectures", "\"architectures\": [3]", F, "architectures"},
    {"architectures", "\"architectures\": [\"\"]", F, "architectures"},
    {"architectures", "\"architectures\": [\"A\", \"B\"]", F, "architectures"},
    {"model_type", "\"model_type\": \"llama\"", U, "llama"},
    {"model_type", "\"model_type\": \"qwen3_moe\"", U, "qwen3_moe"},
    {"model_type", "\"model_type\": 3", F, "model_type"},
    {"vocab_size", 0, F, "vocab_size"},
    {"vocab_size", "\"vocab_size\": 0", F, "vocab_size"},
    {"vocab_size", "\"vocab_size\": -1", F, "vocab_size"},
    {"vocab_size", "\"vocab_size\": 2147483648", F, "vocab_size"},
    {"vocab_size", "\"vocab_size\": 9223372036854775807", F, "vocab_size"},
    {"vocab_size", "\"vocab_size\": 92233720368547758070", F, "too big integer"},
    {"vocab_size", "\"vocab_size\": 32.0", F, "integer"},
    {"vocab_size", "\"vocab_size\": \"32\"", F, "integer"},
    {"vocab_size", "\"vocab_size\": null", F, "vocab_size"},
    {"vocab_size", "\"vocab_size\": true", F, "vocab_size"},
    {"hidden_size", 0, F, "hidden_size"},
    {"hidden_size", "\"hidden_size\": 0", F, "hidden_size"},
    {"hidden_size", "\"hidden_size\": 65537", F, "hidden_size"},
    {"intermediate_size", 0, F, "intermediate_size"},
    {"intermediate_size", "\"intermediate_size\": 1048577", F, "intermediate_size"},
    {"num_hidden_layers", 0, F, "num_hidden_layers"},
    {"num_hidden_layers", "\"num_hidden_layers\": 0", F, "num_hidden_layers"},
    {"num_hidden_layers", "\"num_hidden_layers\": 1000000", F, "num_hidden_layers"},
    {"num_attention_heads", 0, F, "num_attention_heads"},
    {"num_attention_heads", "\"num_attention_heads\": 5", F, "multiple"},
    {"num_attention_heads", "\"num_attention_heads\": 1", F, "multiple"},
    {"num_key_value_heads", 0, F, "num_key_value_heads"},
    {"num_key_value_heads", "\"num_key_value_heads\": 3", F, "multiple"},
    {"num_key_value_heads", "\"num_key_value_heads\": 0", F, "num_key_value_heads"},
    {"head_dim", "\"head_dim\": 3", F, "even"},
    {"head_dim", "\"head_dim\": 0", F, "head_dim"},
    {"head_dim", "\"head_dim\": 1025", F, "head_dim"},
    {"max_position_embeddings", 0, F, "max_position_embeddings"},
    {"max_position_embeddings", "\"max_position_embeddings\": 0", F, "max_position_embeddings"},
    {"max_position_embeddings", "\"max_position_embeddings\": 1e9", F, "integer"},
    {"rms_norm_eps", 0, F, "rms_norm_eps"},
    {"rms_norm_eps", "\"rms_norm_eps\": 0", F, "rms_norm_eps"},
    {"rms_norm_eps", "\"rms_norm_eps\": -1e-6", F, "rms_norm_eps"},
    {"rms_norm_eps", "\"rms_norm_eps\": 2", F, "rms_norm_eps"},
    {"rms_norm_eps", "\"rms_norm_eps\": 1e-300", F, "rms_norm_eps"},
    {"rms_norm_eps", "\"rms_norm_eps\": NaN", F, "line"},
    {"rms_norm_eps", "\"rms_norm_eps\": Infinity", F, "line"},
    {"rms_norm_eps", "\"rms_norm_eps\": 1e999", F, "overflow"},
    {"rms_norm_eps", "\"rms_norm_eps\": \"1e-6\"", F, "number"},
    {"rope_theta", 0, F, "rope_theta"},
    {"rope_theta", "\"rope_theta\": null", F, "rope_theta"},
    {"rope_theta", "\"rope_theta\": 0", F, "rope_theta"},
    {"rope_theta", "\"rope_theta\": -1e6", F, "rope_theta"},
    {"rope_theta", "\"rope_theta\": 1e300", F, "rope_theta"},
    {"rope_theta", "\"rope_theta\": \"1e6\"", F, "rope_theta"},
    {"rope_theta", "\"rope_parameters\": {\"rope_type\": \"default\"}", F, "rope_theta"},
    {"rope_theta", "\"rope_parameters\": []", F, "rope_parameters"},
    {"rope_theta", "\"rope_parameters\": {\"rope_theta\": 0}", F, "rope_theta"},
    {0, "\"rope_parameters\": {\"rope_theta\": 10000}", F, "rope_parameters"},
    {0, "\"rope_parameters\": {\"rope_type\": \"yarn\"}", U, "rope_type"},
    {0, "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e6}}", U, "full_attention"},
    {0, "\"rope_parameters\": {\"partial_rotary_factor\": 0.5}", U, "partial_rotary_factor"},
    {"rope_scaling", "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0}", U, "rope_scaling"},
    {"rope_scaling", "\"rope_scaling\": {\"factor\": 4.0}", U, "factor"},
    {"rope_scaling", "\"rope_scaling\": 4", F, "rope_scaling"},
    {0, "\"partial_rotary_factor\": 0.25", U, "partial_rotary_factor"},
    {"attention_bias", "\"attention_bias\": true", U, "attention_bias"},
    {"attention_bias", "\"attention_bias\": 1", F, "attention_bias"},
    {0, "\"mlp_bias\": true", U, "mlp_bias"},
    {"use_sliding_window", "\"use_sliding_window\": true", U, "use_sliding_window"},
    {"hidden_act", "\"hidden_act\": \"gelu\"", U, "gelu"},
    {"hidden_act", "\"hidden_act\": 1", F, "hidden_act"},
    {0, "\"quantization_config\": {\"bits\": 4}", U, "quantization_config"},
    {0, "\"quantization_config\": false", U, "quantization_config"},
    {0, "\"layer_types\": [\"full_attention\"]", F, "layer_types"},
    {0, "\"layer_types\": [\"full_attention\", \"sliding_attention\"]", U, "sliding_attention"},
    {0, "\"layer_types\": [\"full_attention\", 1]", F, "layer_types"},
    {0, "\"layer_types\": \"full_attention\"", F, "layer_types"},
    {"tie_word_embeddings", "\"tie_word_embeddings\": 1", F, "tie_word_embeddings"},
    {"torch_dtype", "\"torch_dtype\": \"float8_e4m3fn\"", U, "float8_e4m3fn"},
    {"torch_dtype", "\"dtype\": 16", F, "dtype"},
    {"eos_token_id", "\"eos_token_id\": 32", F, "eos_token_id"},
    {"eos_token_id", "\"eos_token_id\": -1", F, "eos_token_id"},
    {"eos_token_id", "\"eos_token_id\": \"2\"", F, "eos_token_id"},
    {"eos_token_id", "\"eos_token_id\": [1, [2]]", F, "eos_token_id"},
    {"eos_token_id", "\"eos_token_id\": [1,2,3,4,5,6,7,8,9]", F, "eos_token_id"},
    {0, "\"vocab_size\": 33", F, "vocab_size"}, /* twice */
    {0, "\"a\": \"\xff\"", F, "line"},
    {0, "\"a\": \"\\ud800\"", F, "line"},
    {0, "\"a\": [1, 2", F, "line"},
    {0, "\"a\": 01", F, "line"},
    {0, "a: 1", F, "line"},
};

static void damage_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(damages); i++) {
        qg_config c;
        qg_err err = {0};
        tiny_put_config(&conf, damages[i].drop, damages[i].extra);
        qg_status rc = read_config(&c, NULL, &err);
        if (rc != damages[i].want || strncmp(err.msg, "config.json: ", 13) != 0 ||
            !strstr(err.msg, damages[i].word))
            fail_msg("case %zu (%s): %s: %s", i, damages[i].extra ? damages[i].extra : "dropped",
                     qg_status_name(rc), err.msg);
        assert_null(c.architecture);
    }
}

static void whole_file_damage_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",         " ",     "{",   "[]",    "null",
                                        "1",        "\"x\"", "{}x", "{} {}", "\xef\xbb\xbf{}",
                                        "{\"a\":}", "{,}",   "\x00"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        qg_config c;
        qg_err err = {0};
        tiny_text(&conf, "config.json", texts[i]);
        if (read_config(&c, NULL, &err) != QG_ERR_FORMAT || !strstr(err.msg, "config.json"))
            fail_msg("case %zu: %s", i, err.msg);
    }
    qg_config c;
    qg_err err;
    memset(conf.data, '[', TINY_FILE_MAX);
    conf.n = TINY_FILE_MAX;
    assert_int_equal(read_config(&c, NULL, &err), QG_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "deeper"));
    tiny_put_config(&conf, NULL, NULL);
    assert_int_equal(read_config(&c, "{\"eos_token_id\": 32}", &err), QG_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "generation_config.json"));
    assert_int_equal(read_config(&c, "", &err), QG_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "generation_config.json"));
}

static void count_problem(void *ud, qg_status status, const char *sentence)
{
    assert_int_not_equal(status, QG_OK);
    assert_non_null(strstr(sentence, "config.json: "));
    ++*(int *)ud;
}

static void survey_tells_every_problem(void **state)
{
    (void)state;
    qg_config c;
    int n = 0;
    qg_err err;
    qg_sink sink = {.each = count_problem, .ud = &n, .err = &err};
    qg_slice bytes = qg_str("{\"hidden_size\": -4, \"head_dim\": 3, \"attention_bias\": true}");
    assert_int_equal(qg_config_read(&c, bytes, qg_str("[]"), &sink), QG_ERR_FORMAT);
    /* generation file; 7 sizes; architecture, eps, theta, bias */
    assert_int_equal(n, 1 + 7 + 4);
    assert_non_null(strstr(err.msg, "generation_config.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_config_is_read),
        cmocka_unit_test(harmless_variants_are_read),
        cmocka_unit_test(head_dim_is_128_unless_said),
        cmocka_unit_test(end_ids_come_from_the_generation_file_first),
        cmocka_unit_test(damage_is_refused_by_name),
        cmocka_unit_test(whole_file_damage_is_refused),
        cmocka_unit_test(survey_tells_every_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
