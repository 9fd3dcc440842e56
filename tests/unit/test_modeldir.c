/* Model directories: the goldens, the hub cache's links, files in memory, and what must be refused
 * at the level of files. */
#include "tinydir.h"

#include "base/mem.h"

#define TWO_TENSORS                                                                                \
    "{\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"                             \
    "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]}}"

static tiny_file conf, shard, extra;

static void fill(void)
{
    tiny_put_config(&conf, NULL, NULL);
    tiny_put_shard(&shard, "model.safetensors", TWO_TENSORS, 20);
}

static void open_golden(const char *name, size_t n_shards, size_t n_tensors)
{
    char path[512];
    qg_modeldir *dir;
    qg_err err = {0};
    const char *shared = unit_shared();

    if (!shared) {
        print_message("SKIPPED: QGUARD_SHARED is not set, %s not opened\n", name);
        skip();
    }
    snprintf(path, sizeof path, "%s/goldens/%s/", shared, name);
    if (qg_modeldir_open(&dir, path, QG_MODELDIR_TENSORS, &err) != QG_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(qg_modeldir_name(dir), name);
    assert_int_equal(qg_modeldir_n_shards(dir), n_shards);
    assert_int_equal(qg_modeldir_n_tensors(dir), n_tensors);
    assert_int_equal(qg_modeldir_n_warnings(dir), 0);
    const qg_config *c = qg_modeldir_config(dir);
    const qg_tensor *t = qg_modeldir_tensor(dir, "model.embed_tokens.weight");
    assert_non_null(t);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dim[0], c->vocab_size);
    assert_int_equal(t->dim[1], c->hidden);
    assert_int_equal(t->dtype, QG_DTYPE_BF16);
    qg_modeldir_drop(dir, t);
    assert_null(qg_modeldir_tensor(dir, "model.embed_tokens"));
    for (size_t i = 0; i < n_tensors; i++) {
        t = qg_modeldir_tensor_at(dir, i);
        assert_ptr_equal(qg_modeldir_tensor(dir, t->name), t);
    }
    qg_modeldir_close(dir);
}

static void golden_tied_is_opened(void **state)
{
    (void)state;
    open_golden("tiny-gen", 1, 11 * 3 + 3);
}

static void golden_shards_are_opened(void **state)
{
    (void)state;
    open_golden("tiny-gen-untied", 2, 11 * 5 + 3);
}

static void golden_stream_is_opened(void **state)
{
    (void)state;
    open_golden("tiny-stream", 1, 11 * 3 + 2 + 8);
}

static void both_layouts_give_the_same_config(void **state)
{
    (void)state;
    char path[512];
    qg_slice bytes[2];
    qg_config c[2];
    qg_map map[2];
    qg_err err;
    const char *shared = unit_shared();

    if (!shared) {
        print_message("SKIPPED: QGUARD_SHARED is not set\n");
        skip();
    }
    for (int i = 0; i < 2; i++) {
        qg_sink sink = {.err = &err};
        snprintf(path, sizeof path, "%s/goldens/tiny-gen/%s", shared,
                 i ? "config.transformers5.json" : "config.json");
        assert_int_equal(qg_map_open(&map[i], path, &err), QG_OK);
        bytes[i] = (qg_slice){(const char *)map[i].data, map[i].size};
        assert_int_equal(qg_config_read(&c[i], bytes[i], (qg_slice){0}, &sink), QG_OK);
    }
    assert_int_equal(c[0].hidden, 96);
    assert_int_equal(c[0].n_heads, 6);
    assert_true(c[0].rope_theta == 1e6);
    assert_int_equal(c[0].dtype, QG_DTYPE_BF16);
    assert_string_equal(c[0].architecture, c[1].architecture);
    size_t from = offsetof(qg_config, vocab_size), to = offsetof(qg_config, n_eos);
    assert_memory_equal((char *)&c[0] + from, (char *)&c[1] + from, to - from);
    for (int i = 0; i < 2; i++) {
        qg_config_free(&c[i]);
        qg_map_close(&map[i]);
    }
}

static void files_in_memory_are_a_directory(void **state)
{
    (void)state;
    fill();
    const qg_file files[] = {
        {conf.name, conf.data, conf.n}, {shard.name, shard.data, shard.n}, {"empty.txt", NULL, 0}};
    qg_modeldir *dir;
    qg_slice bytes;
    qg_err err = {0};
    if (qg_modeldir_open_files(&dir, files, 3, QG_MODELDIR_TENSORS, &err) != QG_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(qg_modeldir_name(dir), "qguard-demo");
    const qg_tensor *a = qg_modeldir_tensor_at(dir, 0), *b = qg_modeldir_tensor_at(dir, 1);
    assert_string_equal(a->name, "a");
    assert_string_equal(b->name, "b");
    assert_string_equal(a->file, "model.safetensors");
    assert_int_equal(a->bytes, 12);
    assert_int_equal(a->dim[1], 3);
    assert_int_equal(a->dim[2], 1);
    assert_int_equal(*(const unsigned char *)a->data, 8);
    assert_int_equal(b->n_dims, 1);
    qg_modeldir_drop(dir, a);
    assert_int_equal(qg_modeldir_file(dir, "config.json", &bytes, &err), QG_OK);
    assert_int_equal(bytes.n, conf.n);
    assert_int_equal(qg_modeldir_file(dir, "empty.txt", &bytes, &err), QG_OK);
    assert_non_null(bytes.p);
    assert_int_equal(qg_modeldir_file(dir, "tokenizer.json", &bytes, &err), QG_ERR_IO);
    assert_non_null(strstr(err.msg, "tokenizer.json"));
    qg_modeldir_close(dir);
    assert_int_equal(qg_modeldir_open_files(&dir, files, 1, 0, &err), QG_OK);
    assert_null(qg_modeldir_config(dir));
    qg_modeldir_close(dir);
    assert_int_equal(qg_modeldir_open_files(&dir, files, 1, 1, &err), QG_ERR_IO);
    assert_non_null(strstr(err.msg, ".safetensors"));
    assert_null(dir);
    qg_modeldir_close(NULL);
}

/* models--X/blobs/HASH, models--X/snapshots/REV/name -> ../../blobs/HASH */
static void links_of_the_hub_cache_are_followed(void **state)
{
    (void)state;
    char root[64], path[512];
    qg_modeldir *dir;
    qg_err err = {0};

    fill();
    tiny_mkdir(root);
    snprintf(shard.name, sizeof shard.name, "0badc0de");
    tiny_write(root, &shard);
    snprintf(path, sizeof path, "%s/rev", root);
    assert_int_equal(mkdir(path, 0700), 0);
    tiny_write(path, &conf);
    snprintf(path, sizeof path, "%s/rev/model.safetensors", root);
    assert_int_equal(symlink("../0badc0de", path), 0);
    snprintf(path, sizeof path, "%s/latest", root);
    assert_int_equal(symlink("rev", path), 0);
    if (qg_modeldir_open(&dir, path, QG_MODELDIR_TENSORS, &err) != QG_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(qg_modeldir_name(dir), "latest");
    assert_int_equal(qg_modeldir_n_tensors(dir), 2);
    qg_modeldir_close(dir);
    snprintf(path, sizeof path, "%s/0badc0de", root);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/rev/.", root);
    assert_int_equal(qg_modeldir_open(&dir, path, QG_MODELDIR_TENSORS, &err), QG_ERR_IO);
    assert_non_null(strstr(err.msg, "model.safetensors: No such file"));
    assert_int_equal(qg_modeldir_open(&dir, path, 0, &err), QG_OK);
    assert_string_equal(qg_modeldir_name(dir), "rev");
    qg_modeldir_close(dir);
    tiny_rmdir(root);
}

static void expect_refusal(const char *path, unsigned flags, qg_status want, const char *word)
{
    qg_modeldir *dir;
    qg_err err = {0};
    qg_status rc = qg_modeldir_open(&dir, path, flags, &err);

    if (rc != want || !strstr(err.msg, word))
        fail_msg("%s: %s: %s (wanted %s)", path, qg_status_name(rc), err.msg, word);
    assert_null(dir);
}

static void what_is_no_model_is_refused(void **state)
{
    (void)state;
    char root[64], path[512];
    qg_modeldir *dir;
    qg_err err;

    tiny_mkdir(root);
    expect_refusal("", 0, QG_ERR_IO, "empty path");
    expect_refusal("/does/not/exist", 1, QG_ERR_IO, "/does/not/exist: No such file");
    expect_refusal("/dev/null", 1, QG_ERR_IO, "not a directory");
    expect_refusal(root, 1, QG_ERR_IO, "config.json: No such file");
    fill();
    tiny_write(root, &conf);
    expect_refusal(root, 1, QG_ERR_IO, "no *.safetensors file");
    tiny_text(&extra, "pytorch_model.bin", "x");
    tiny_write(root, &extra);
    expect_refusal(root, 1, QG_ERR_UNSUPPORTED, "pytorch_model.bin");
    tiny_text(&extra, "model.gguf", "GGUF");
    tiny_write(root, &extra);
    snprintf(path, sizeof path, "%s/model.gguf", root);
    expect_refusal(path, 1, QG_ERR_FORMAT, "cut short");
    snprintf(path, sizeof path, "%s/model.safetensors", root);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refusal(root, 1, QG_ERR_IO, "not a regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refusal(root, 1, QG_ERR_IO, "not a regular file");
    assert_int_equal(unlink(path), 0);
    tiny_write(root, &shard);
    tiny_text(&extra, "._model.safetensors", "rubbish of an archive");
    tiny_write(root, &extra);
    assert_int_equal(qg_modeldir_open(&dir, root, 1, &err), QG_OK);
    qg_modeldir_close(dir);
    if (geteuid() != 0) { /* root may read anything */
        assert_int_equal(chmod(path, 0), 0);
        expect_refusal(root, 1, QG_ERR_IO, "model.safetensors: Permission denied");
    }
    tiny_rmdir(root);
}

static void one_tensor_in_two_files_is_refused(void **state)
{
    (void)state;
    fill();
    tiny_put_shard(&extra, "consolidated.safetensors",
                   "{\"a\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,2]}}", 2);
    const qg_file files[] = {{shard.name, shard.data, shard.n},
                             {conf.name, conf.data, conf.n},
                             {extra.name, extra.data, extra.n}};
    qg_modeldir *dir;
    qg_err err;
    assert_int_equal(qg_modeldir_open_files(&dir, files, 3, 1, &err), QG_ERR_FORMAT);
    assert_string_equal(err.msg, "model.safetensors: a is also in consolidated.safetensors");
}

static void wrong_index_is_a_warning(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word; /* NULL: no warning */
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"model.safetensors\",\"b\":\"model.safetensors\"}}", NULL},
        {"{\"weight_map\":{\"a\":\"model.safetensors\",\"b\":\"x.safetensors\"}}", "first is b"},
        {"{\"weight_map\":{\"a\":\"model.safetensors\"}}", "first is b"},
        {"{\"weight_map\":{\"a\":1,\"b\":[]}}", "about 2 tensors"},
        {"{\"weight_map\":{\"a\":\"model.safetensors\",\"b\":\"model.safetensors\",\"c\":\"d\"}}",
         "1 tensors that no file has"},
        {"{\"weight_map\":[]}", "weight_map"},
        {"{}", "weight_map"},
        {"[", "line 1"},
        {"", "empty"},
    };
    fill();
    for (size_t i = 0; i < COUNT(cases); i++) {
        const qg_file files[] = {
            {shard.name, shard.data, shard.n},
            {conf.name, conf.data, conf.n},
            {"model.safetensors.index.json", cases[i].text, strlen(cases[i].text)}};
        qg_modeldir *dir;
        qg_err err = {0};
        if (qg_modeldir_open_files(&dir, files, 3, 1, &err) != QG_OK)
            fail_msg("case %zu: %s", i, err.msg);
        assert_int_equal(qg_modeldir_n_warnings(dir), cases[i].word ? 1 : 0);
        if (cases[i].word && !strstr(qg_modeldir_warning(dir, 0), cases[i].word))
            fail_msg("case %zu: %s", i, qg_modeldir_warning(dir, 0));
        qg_modeldir_close(dir);
    }
}

static void count_problem(void *ud, qg_status status, const char *sentence)
{
    assert_int_not_equal(status, QG_OK);
    assert_true(strlen(sentence) > 10);
    ++*(int *)ud;
}

static void survey_goes_on(void **state)
{
    (void)state;
    fill();
    const qg_file files[] = {{"a.safetensors", "short", 5},
                             {shard.name, shard.data, shard.n},
                             {"config.json", "{}", 2},
                             {"z.safetensors", shard.data, shard.n}};
    qg_modeldir *dir;
    qg_err err;
    int n = 0;
    assert_int_equal(qg_modeldir_survey_files(&dir, files, 4, count_problem, &n, &err),
                     QG_ERR_FORMAT);
    assert_non_null(dir);
    assert_null(qg_modeldir_config(dir));
    assert_int_equal(qg_modeldir_n_tensors(dir), 4);
    /* 7 sizes, architecture, eps, theta; the short file; two tensors twice */
    assert_int_equal(n, 10 + 1 + 2);
    qg_modeldir_close(dir);
    assert_int_equal(qg_modeldir_survey(&dir, "/nowhere", count_problem, &n, &err), QG_ERR_IO);
    assert_null(dir);
}

static void expect_template(const qg_file *files, size_t n, qg_status want, const char *word)
{
    qg_modeldir *dir;
    qg_buf source;
    qg_err err = {0};

    assert_int_equal(qg_modeldir_open_files(&dir, files, n, 0, &err), QG_OK);
    qg_buf_init(&source, 1 << 20);
    qg_status rc = qg_modeldir_chat_template(dir, &source, &err);
    if (rc != want || !strstr(rc ? err.msg : source.p, word))
        fail_msg("%s: %s", qg_status_name(rc), rc ? err.msg : source.p);
    qg_buf_free(&source);
    qg_modeldir_close(dir);
}

static void chat_template_is_found(void **state)
{
    (void)state;
#define FILE_OF(name, text)                                                                        \
    {                                                                                              \
        name, text, sizeof(text) - 1                                                               \
    }
    const qg_file jinja = FILE_OF("chat_template.jinja", "from jinja");
    const qg_file tok = FILE_OF("tokenizer_config.json", "{\"chat_template\":\"from config\"}");
    const qg_file list = FILE_OF("tokenizer_config.json",
                                 "{\"chat_template\":[{\"name\":\"tool\",\"template\":\"no\"},"
                                 "{\"name\":\"default\",\"template\":\"from list\"}]}");
    const qg_file no_default =
        FILE_OF("tokenizer_config.json", "{\"chat_template\":[{\"name\":\"tool\"}, 3]}");
    const qg_file silent = FILE_OF("tokenizer_config.json", "{\"chat_template\":null}");
    const qg_file broken = FILE_OF("tokenizer_config.json", "{\"chat_template\":");
    const qg_file number = FILE_OF("tokenizer_config.json", "{\"chat_template\":1}");
    const qg_file old = FILE_OF("chat_template.json", "{\"chat_template\":\"from old\"}");

    expect_template((qg_file[]){tok, old, jinja}, 3, QG_OK, "from jinja");
    expect_template((qg_file[]){tok, old}, 2, QG_OK, "from config");
    expect_template((qg_file[]){list}, 1, QG_OK, "from list");
    expect_template((qg_file[]){silent, old}, 2, QG_OK, "from old");
    expect_template((qg_file[]){old}, 1, QG_OK, "from old");
    expect_template((qg_file[]){no_default, old}, 2, QG_ERR_FORMAT, "default");
    expect_template((qg_file[]){broken, old}, 2, QG_ERR_FORMAT, "tokenizer_config.json: line");
    expect_template((qg_file[]){number}, 1, QG_ERR_FORMAT, "must be a string");
    expect_template((qg_file[]){silent}, 1, QG_ERR_FORMAT, "chat_template.jinja");
    expect_template(NULL, 0, QG_ERR_FORMAT, "tokenizer_config.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_tied_is_opened),
        cmocka_unit_test(golden_shards_are_opened),
        cmocka_unit_test(golden_stream_is_opened),
        cmocka_unit_test(both_layouts_give_the_same_config),
        cmocka_unit_test(files_in_memory_are_a_directory),
        cmocka_unit_test(links_of_the_hub_cache_are_followed),
        cmocka_unit_test(what_is_no_model_is_refused),
        cmocka_unit_test(one_tensor_in_two_files_is_refused),
        cmocka_unit_test(wrong_index_is_a_warning),
        cmocka_unit_test(survey_goes_on),
        cmocka_unit_test(chat_template_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
