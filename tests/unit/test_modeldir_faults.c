/* Every allocation of the file level failed once: out of memory is said, nothing is left behind.
 * (JSON trees are the library's own and do not go through the hook.) */
#include "tinydir.h"

#include "fmt/inspect.h"

#define SHARD                                                                                      \
    "{\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"                             \
    "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]}}"

static tiny_file conf, shard, index_file, template_file;
static char root[64];

static int make_directory(void **state)
{
    (void)state;
    tiny_mkdir(root);
    tiny_put_config(&conf, NULL, NULL);
    tiny_put_shard(&shard, "model.safetensors", SHARD, 20);
    tiny_text(&index_file, "model.safetensors.index.json", "{\"weight_map\":{}}");
    tiny_text(&template_file, "tokenizer_config.json", "{\"chat_template\":\"x\"}");
    tiny_write(root, &conf);
    tiny_write(root, &shard);
    tiny_write(root, &index_file);
    tiny_write(root, &template_file);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    tiny_rmdir(root);
    return 0;
}

/* One complete use, as the engine makes it. */
static qg_status use_directory(qg_err *err)
{
    qg_modeldir *dir;
    qg_slice bytes;
    qg_buf source;

    QG_TRY(qg_modeldir_open(&dir, root, QG_MODELDIR_TENSORS, err));
    qg_buf_init(&source, 1000);
    qg_status rc = qg_modeldir_file(dir, "tokenizer_config.json", &bytes, err);
    if (rc == QG_OK)
        rc = qg_modeldir_chat_template(dir, &source, err);
    assert_true(rc != QG_OK || qg_modeldir_n_warnings(dir) == 1);
    qg_buf_free(&source);
    qg_modeldir_close(dir);
    return rc;
}

static qg_status use_memory(qg_err *err)
{
    const qg_file files[] = {{conf.name, conf.data, conf.n},
                             {shard.name, shard.data, shard.n},
                             {"z.safetensors", "\2\0\0\0\0\0\0\0{}", 10}};
    qg_modeldir *dir;

    QG_TRY(qg_modeldir_open_files(&dir, files, 3, QG_MODELDIR_TENSORS, err));
    qg_modeldir_close(dir);
    return QG_OK;
}

static qg_status use_inspection(qg_err *err)
{
    qg_inspection in;

    QG_TRY(qg_inspection_open(&in, root, NULL, 0, err));
    qg_status rc = in.first;
    qg_inspection_close(&in);
    return rc;
}

static void fail_each(qg_status (*use)(qg_err *))
{
    int64_t live = qg_live_blocks(), nth = 0;

    for (bool fired = true; fired; nth++) {
        qg_err err = {0};
        qg_fault_arm(nth);
        qg_status rc = use(&err);
        fired = qg_fault_fired();
        qg_fault_arm(-1);
        if (rc != (fired ? QG_ERR_NOMEM : QG_OK))
            fail_msg("allocation %lld: %s: %s", (long long)nth, qg_status_name(rc), err.msg);
        if (fired)
            assert_non_null(strstr(err.msg, "memory"));
        assert_int_equal(qg_live_blocks(), live);
    }
    print_message("%lld allocations\n", (long long)nth - 1);
}

static bool hook_is_built(void)
{
    qg_fault_arm(0);
    qg_mfree(qg_malloc(1));
    bool fired = qg_fault_fired();
    qg_fault_arm(-1);
    if (!fired)
        print_message("SKIPPED: allocation faults need a build with -Dfaults=true\n");
    return fired;
}

static void directory_survives_every_failure(void **state)
{
    (void)state;
    if (!hook_is_built())
        skip();
    fail_each(use_directory);
}

static void memory_survives_every_failure(void **state)
{
    (void)state;
    if (!hook_is_built())
        skip();
    fail_each(use_memory);
}

static void inspection_survives_every_failure(void **state)
{
    (void)state;
    if (!hook_is_built())
        skip();
    fail_each(use_inspection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directory_survives_every_failure),
        cmocka_unit_test(memory_survives_every_failure),
        cmocka_unit_test(inspection_survives_every_failure),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
