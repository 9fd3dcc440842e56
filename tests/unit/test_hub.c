/* Pulling without a socket: names, lists, what is wanted, files that are fetched in parts, and what
 * the environment says. */
#define _GNU_SOURCE
#include "tinydir.h"

#include "hub/ask.h"
#include "hub/digest.h"
#include "hub/find.h"
#include "hub/hubfile.h"
#include "hub/partial.h"
#include "hub/store.h"
#include "hub/wanted.h"

#include <fcntl.h>

/* ---- names ---- */

static void test_names(void **state)
{
    static const char *const good[] = {"Qwen/Qwen3Guard-Gen-0.6B", "a/b", "_x/y_z", "A1/b.c-d_e"};
    static const char *const bad[] = {"",       "a",      "a/",     "/a",    "a/b/c", "../a",
                                      "a/..",   "a/b c",  "a/.b",   "-a/b",  "a/b.",  "a--b/c",
                                      "a/b--c", "a/b..c", "a\\b/c", "a/b\n", "./a",   "\xc3\xa9/a"};
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(qg_repo_is_name(good[i]));
    for (size_t i = 0; i < COUNT(bad); i++)
        if (qg_repo_is_name(bad[i]))
            fail_msg("'%s' was taken", bad[i]);
    char long_name[200] = "a/";
    memset(long_name + 2, 'b', 95);
    assert_false(qg_repo_is_name(long_name));
}

static void test_revisions(void **state)
{
    static const char *const good[] = {"main", "v1.0", "feature/x", "refs/pr/3",
                                       "0123456789abcdef0123456789abcdef01234567"};
    static const char *const bad[] = {"",    "..", "a/..", "/a",  "a/",  "a//b",
                                      "a b", "-x", ".x",   "a?b", "a%2f"};
    qg_err err;
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++)
        assert_int_equal(qg_repo_check_revision(good[i], &err), QG_OK);
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(qg_repo_check_revision(bad[i], &err), QG_ERR_ARG);
    assert_true(qg_repo_is_commit(good[4]));
    assert_false(qg_repo_is_commit("0123456789abcdef0123456789abcdef0123456g"));
}

static void test_urls(void **state)
{
    qg_buf b;
    (void)state;
    qg_buf_init(&b, 1000);
    assert_int_equal(qg_url_escape(&b, "a/b c?&#%\xc3\xa9", true), QG_OK);
    assert_string_equal(b.p, "a/b%20c%3F%26%23%25%C3%A9");
    b.n = 0;
    assert_int_equal(qg_url_escape(&b, "refs/pr/3", false), QG_OK);
    assert_string_equal(b.p, "refs%2Fpr%2F3");
    qg_buf_free(&b);
}

static void test_wanted(void **state)
{
    static const char *const globs[] = {"*.txt", "x/[ab].bin"};
    const qg_patterns none = {0}, some = {globs, 2};
    (void)state;
    assert_true(qg_wanted("config.json", none) && qg_wanted("model-1.safetensors", none) &&
                qg_wanted("chat_template.jinja", none));
    assert_false(qg_wanted("pytorch_model.bin", none) || qg_wanted("README.md", none) ||
                 qg_wanted("sub/model.safetensors", none) || qg_wanted(".safetensors", none));
    assert_true(qg_wanted("a.txt", some) && qg_wanted("deep/a.txt", some) &&
                qg_wanted("x/a.bin", some));
    assert_false(qg_wanted("config.json", some) || qg_wanted("x/c.bin", some));
}

/* ---- lists ---- */

static void test_tree(void **state)
{
    static const char json[] =
        "[{\"type\":\"directory\",\"path\":\"sub\",\"oid\":\"x\"},"
        "{\"type\":\"file\",\"path\":\"sub/"
        "a\",\"size\":3,\"oid\":\"00000000000000000000000000000000000000AB\"},"
        "{\"type\":\"file\",\"path\":\"b\",\"size\":1,\"oid\":"
        "\"1111111111111111111111111111111111111111\","
        "\"lfs\":{\"oid\":\"2222222222222222222222222222222222222222222222222222222222222222\","
        "\"size\":77}}]";
    qg_hub_list list = {0}, back = {0};
    qg_buf b;
    qg_err err;
    (void)state;
    assert_int_equal(qg_hf_read_tree(qg_str(json), &list, &err), QG_OK);
    assert_int_equal(qg_hub_list_sort(&list, &err), QG_OK);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.at[0].path, "b");
    assert_int_equal(list.at[0].size, 77);
    assert_false(list.at[0].git);
    assert_true(list.at[1].git);
    assert_string_equal(list.at[1].id, "00000000000000000000000000000000000000ab");

    qg_buf_init(&b, 10000);
    assert_int_equal(qg_hf_write_tree_cache(&list, &b, &err), QG_OK);
    assert_int_equal(qg_hf_read_tree_cache(qg_buf_slice(&b), &back, &err), QG_OK);
    assert_int_equal(back.n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(back.at[i].path, list.at[i].path);
        assert_string_equal(back.at[i].id, list.at[i].id);
        assert_int_equal(back.at[i].size, list.at[i].size);
        assert_int_equal(back.at[i].git, list.at[i].git);
    }
    /* a list that fails in its middle adds nothing */
    assert_int_equal(
        qg_hf_read_tree(qg_str("[{\"type\":\"file\",\"path\":\"c\",\"size\":1},7]"), &back, &err),
        QG_ERR_FORMAT);
    assert_int_equal(back.n, 2);
    assert_int_equal(qg_hf_read_tree(qg_str(json), &back, &err), QG_OK);
    assert_int_equal(qg_hub_list_sort(&back, &err), QG_ERR_FORMAT); /* twice */
    qg_buf_free(&b);
    qg_hub_list_free(&list);
    qg_hub_list_free(&back);
}

static void test_links(void **state)
{
    static const struct {
        const char *link, *next;
    } cases[] = {
        {"<https://h/x?cursor=1>; rel=\"next\"", "https://h/x?cursor=1"},
        {"<a>; rel=\"prev\", <b>; rel=\"next\"", "b"},
        {"<a>; rel=\"prev\"", ""},
        {"<a", ""},
        {"", ""},
        {"<>; rel=\"next\"", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_true(qg_slice_is(qg_hf_next_page(qg_str(cases[i].link)), cases[i].next));
}

static void test_modelscope_says_no(void **state)
{
    qg_hub_list list = {0};
    qg_err err;
    (void)state;
    assert_int_equal(
        qg_ms_read_files(qg_str("{\"Code\":404,\"Success\":false,\"Message\":\"gone\\nfar\"}"),
                         &list, &err),
        QG_ERR_IO);
    assert_non_null(strstr(err.msg, "gone far (code 404)"));
    assert_int_equal(qg_ms_read_files(qg_str("{\"Code\":200,\"Success\":false}"), &list, &err),
                     QG_ERR_IO);
    assert_int_equal(qg_ms_read_files(qg_str("{\"Code\":200,\"Success\":true}"), &list, &err),
                     QG_ERR_FORMAT);
    assert_int_equal(list.n, 0);
    qg_hub_list_free(&list);
}

static void test_retry_after(void **state)
{
    (void)state;
    assert_int_equal(qg_retry_after_s("7", 0), 7);
    assert_int_equal(qg_retry_after_s(NULL, 0), -1);
    assert_int_equal(qg_retry_after_s("", 0), -1);
    assert_int_equal(qg_retry_after_s("soon", 0), -1);
    assert_int_equal(qg_retry_after_s("7 s", 0), -1);
    assert_int_equal(qg_retry_after_s("Thu, 01 Jan 1970 00:01:40 GMT", 60), 40);
    assert_int_equal(qg_retry_after_s("Thu, 01 Jan 1970 00:01:40 GMT", 600), 0);
}

/* ---- files ---- */

static void test_digests(void **state)
{
    char dir[64], path[128], hex[QG_HUB_ID + 1];
    qg_err err;
    (void)state;
    tiny_mkdir(dir);
    snprintf(path, sizeof path, "%s/x", dir);
    assert_int_equal(qg_write_whole(path, qg_str("hello\n"), &err), QG_OK);
    int fd = open(path, O_RDONLY);
    assert_int_equal(qg_digest_file(fd, path, 6, true, hex, &err), QG_OK);
    assert_string_equal(hex, "ce013625030ba8dba906f756967f9e9ca394464a"); /* git hash-object */
    assert_int_equal(qg_digest_file(fd, path, 6, false, hex, &err), QG_OK);
    assert_string_equal(hex, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    assert_int_equal(qg_digest_file(fd, path, 7, false, hex, &err), QG_ERR_IO);
    close(fd);
    assert_true(qg_digest_matches(path, 6, "ce013625030ba8dba906f756967f9e9ca394464a", true));
    assert_false(qg_digest_matches(path, 5, "ce013625030ba8dba906f756967f9e9ca394464a", true));
    assert_false(qg_digest_matches(dir, 6, "ce013625030ba8dba906f756967f9e9ca394464a", true));
    tiny_rmdir(dir);
}

static void fill(qg_partial *p, const char *bytes, uint32_t i, uint64_t n)
{
    uint64_t at;
    qg_err err = {""};
    qg_partial_part(p, i, &at);
    if (qg_partial_write(p, i, bytes + at + p->done[i], n, &err) != QG_OK)
        fail_msg("%s", err.msg);
}

static void sha_of(const char *dir, const char *bytes, size_t n, char hex[QG_HUB_ID + 1])
{
    char path[128];
    qg_err err;
    snprintf(path, sizeof path, "%s/reference", dir);
    assert_int_equal(qg_write_whole(path, qg_slice_of(bytes, n), &err), QG_OK);
    int fd = open(path, O_RDONLY);
    assert_int_equal(qg_digest_file(fd, path, n, false, hex, &err), QG_OK);
    close(fd);
}

static void test_partial(void **state)
{
    enum { N = (9 << 20) + 5 };
    char dir[64], path[128], name[128], hex[QG_HUB_ID + 1];
    char *bytes = malloc(N);
    qg_partial p;
    qg_err err = {""};
    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < N; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    tiny_mkdir(dir);
    snprintf(path, sizeof path, "%s/f.incomplete", dir);
    snprintf(name, sizeof name, "%s/f", dir);
    sha_of(dir, bytes, N, hex);

    assert_int_equal(qg_partial_open(&p, path, N, &err), QG_OK);
    assert_int_equal(p.n_parts, 3);
    fill(&p, bytes, 0, 1000);
    fill(&p, bytes, 2, (1 << 20) + 5);
    assert_int_equal(qg_partial_write(&p, 2, bytes, 1, &err), QG_ERR_TOO_LONG);
    qg_partial_close(&p);

    assert_int_equal(qg_partial_open(&p, path, N, &err), QG_OK); /* goes on */
    assert_int_equal(qg_partial_have(&p), 1000 + (1 << 20) + 5);
    fill(&p, bytes, 0, (4 << 20) - 1000);
    fill(&p, bytes, 1, 4 << 20);
    assert_int_equal(qg_partial_finish(&p, name, hex, false, &err), QG_OK);
    qg_partial_close(&p);
    assert_true(qg_digest_matches(name, N, hex, false));
    assert_false(qg_is_file(path, NULL));

    assert_int_equal(qg_partial_open(&p, path, N, &err), QG_OK); /* a wrong byte */
    bytes[77] ^= 1;
    for (uint32_t i = 0; i < 3; i++)
        fill(&p, bytes, i, qg_partial_part(&p, i, NULL));
    assert_int_equal(qg_partial_finish(&p, name, hex, false, &err), QG_ERR_FORMAT);
    assert_int_equal(qg_partial_have(&p), 0);
    assert_int_equal(qg_partial_restart(&p, true, &err), QG_OK); /* in one part */
    assert_int_equal(p.n_parts, 1);
    fill(&p, bytes, 0, 99);
    qg_partial_close(&p);
    assert_int_equal(qg_partial_open(&p, path, N, &err), QG_OK);
    assert_int_equal(p.n_parts, 1);
    assert_int_equal(qg_partial_have(&p), 99);
    qg_partial_close(&p);
    assert_int_equal(qg_partial_open(&p, path, N - 1, &err), QG_OK); /* of another size: anew */
    assert_int_equal(qg_partial_have(&p), 0);
    qg_partial_close(&p);
    tiny_rmdir(dir);
    free(bytes);
}

/* Whatever lies there under the name: it is taken up when it is whole, else begun anew. */
static void test_partial_damaged(void **state)
{
    enum { N = 100000 };
    char dir[64], path[128];
    qg_partial p;
    qg_err err;
    (void)state;
    tiny_mkdir(dir);
    snprintf(path, sizeof path, "%s/f", dir);
    for (int cut = 0; cut < 40; cut++) {
        assert_int_equal(qg_partial_open(&p, path, N, &err), QG_OK);
        char byte = 1;
        assert_int_equal(qg_partial_write(&p, 0, &byte, 1, &err), QG_OK);
        assert_int_equal(truncate(path, N + 32 - cut), 0);
        qg_partial_close(&p);
        assert_int_equal(qg_partial_open(&p, path, N, &err), QG_OK);
        assert_int_equal(qg_partial_have(&p), cut ? 0 : 1);
        assert_int_equal(qg_partial_restart(&p, false, &err), QG_OK);
        qg_partial_close(&p);
    }
    for (int at = 0; at < 32; at++) { /* each byte of the table */
        assert_int_equal(qg_partial_open(&p, path, N, &err), QG_OK);
        char byte = (char)0xFF;
        assert_int_equal(pwrite(p.fd, &byte, 1, N + at), 1);
        qg_partial_close(&p);
        assert_int_equal(qg_partial_open(&p, path, N, &err), QG_OK);
        assert_true(qg_partial_have(&p) <= N);
        assert_int_equal(qg_partial_restart(&p, false, &err), QG_OK);
        qg_partial_close(&p);
    }
    tiny_rmdir(dir);
}

static void test_empty_file(void **state)
{
    char dir[64], path[128], name[128];
    qg_partial p;
    qg_err err;
    (void)state;
    tiny_mkdir(dir);
    snprintf(path, sizeof path, "%s/f.incomplete", dir);
    snprintf(name, sizeof name, "%s/f", dir);
    assert_int_equal(qg_partial_open(&p, path, 0, &err), QG_OK);
    assert_int_equal(p.n_parts, 0);
    assert_int_equal(
        qg_partial_finish(&p, name, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", true, &err), QG_OK);
    qg_partial_close(&p);
    assert_true(qg_is_file(name, NULL));
    tiny_rmdir(dir);
}

static void test_disk_full(void **state)
{
    char dir[64];
    qg_err err = {""};
    (void)state;
    tiny_mkdir(dir);
    assert_int_equal(qg_check_room(dir, 1, &err), QG_OK);
    assert_int_equal(qg_check_room(dir, 1ull << 60, &err), QG_ERR_IO);
    assert_non_null(strstr(err.msg, "disk full"));
    tiny_rmdir(dir);
}

static void test_locks(void **state)
{
    char dir[64], path[128];
    int a, b;
    qg_err err;
    (void)state;
    tiny_mkdir(dir);
    snprintf(path, sizeof path, "%s/l", dir);
    assert_int_equal(qg_lock_try(path, &a, &err), QG_OK);
    assert_int_equal(qg_lock_try(path, &b, &err), QG_ERR_BUSY);
    assert_int_equal(b, -1);
    qg_lock_free(a);
    assert_int_equal(qg_lock_try(path, &b, &err), QG_OK);
    qg_lock_free(b);
    tiny_rmdir(dir);
}

/* ---- the environment ---- */

static void clear_env(void)
{
    static const char *const names[] = {"HF_ENDPOINT",
                                        "HF_HOME",
                                        "HF_HUB_CACHE",
                                        "HUGGINGFACE_HUB_CACHE",
                                        "XDG_CACHE_HOME",
                                        "HF_TOKEN",
                                        "HUGGING_FACE_HUB_TOKEN",
                                        "HF_TOKEN_PATH",
                                        "HF_HUB_OFFLINE",
                                        "TRANSFORMERS_OFFLINE",
                                        "HF_HUB_DISABLE_IMPLICIT_TOKEN",
                                        "HF_HUB_DISABLE_SYMLINKS",
                                        "MODELSCOPE_ENDPOINT",
                                        "MODELSCOPE_DOMAIN",
                                        "MODELSCOPE_CACHE",
                                        "MODELSCOPE_API_TOKEN",
                                        "MODELSCOPE_HOME",
                                        "MODELSCOPE_CREDENTIALS_PATH",
                                        "MODELSCOPE_PREFER_AI_SITE",
                                        "VLLM_USE_MODELSCOPE"};
    for (size_t i = 0; i < COUNT(names); i++)
        unsetenv(names[i]);
    setenv("HOME", "/nobody", 1);
}

static void check_env(qg_hub_kind kind, const char *endpoint, const char *cache, const char *token)
{
    qg_hub_env e;
    qg_err err = {""};
    if (qg_hub_env_read(&e, kind, &err) != QG_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(e.endpoint, endpoint);
    assert_string_equal(e.cache, cache);
    if (token)
        assert_string_equal(e.token, token);
    else
        assert_null(e.token);
    qg_hub_env_free(&e);
}

static void test_env_hf(void **state)
{
    (void)state;
    clear_env();
    assert_int_equal(qg_hub_default(), QG_HUB_HF);
    check_env(QG_HUB_HF, "https://huggingface.co", "/nobody/.cache/huggingface/hub", NULL);
    setenv("XDG_CACHE_HOME", "/x", 1);
    check_env(QG_HUB_HF, "https://huggingface.co", "/x/huggingface/hub", NULL);
    setenv("HF_HOME", "~/h", 1);
    check_env(QG_HUB_HF, "https://huggingface.co", "/nobody/h/hub", NULL);
    setenv("HUGGINGFACE_HUB_CACHE", "/old", 1);
    check_env(QG_HUB_HF, "https://huggingface.co", "/old", NULL);
    setenv("HF_HUB_CACHE", "/new", 1);
    setenv("HF_ENDPOINT", "https://mirror.example/", 1);
    setenv("HUGGING_FACE_HUB_TOKEN", "old", 1);
    check_env(QG_HUB_HF, "https://mirror.example", "/new", "old");
    setenv("HF_TOKEN", " new \n", 1);
    check_env(QG_HUB_HF, "https://mirror.example", "/new", "new");
    setenv("HF_TOKEN", "two words", 1);
    check_env(QG_HUB_HF, "https://mirror.example", "/new", NULL);
    setenv("HF_TOKEN", "new", 1);
    setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes", 1);
    check_env(QG_HUB_HF, "https://mirror.example", "/new", NULL);
}

/* cookies of one cookie, as pickle protocol 4 writes their fields */
static const char pickle[] =
    "\x80\x04\x95junk\x8c\x04name\x94\x8c\x0cm_session_id\x94h!\x8c\x05value\x94\x8c\x08"
    "ms-12345\x94\x8c\x04port\x94N";

static void test_env_modelscope(void **state)
{
    char dir[64], path[128];
    qg_err err;
    (void)state;
    clear_env();
    setenv("VLLM_USE_MODELSCOPE", "True", 1);
    assert_int_equal(qg_hub_default(), QG_HUB_MODELSCOPE);
    check_env(QG_HUB_MODELSCOPE, "https://www.modelscope.cn", "/nobody/.cache/modelscope", NULL);
    setenv("MODELSCOPE_PREFER_AI_SITE", "1", 1);
    check_env(QG_HUB_MODELSCOPE, "https://www.modelscope.ai", "/nobody/.cache/modelscope", NULL);
    setenv("MODELSCOPE_DOMAIN", "ms.example", 1);
    setenv("MODELSCOPE_CACHE", "/c", 1);
    check_env(QG_HUB_MODELSCOPE, "https://ms.example", "/c", NULL);
    tiny_mkdir(dir);
    setenv("MODELSCOPE_CREDENTIALS_PATH", dir, 1);
    snprintf(path, sizeof path, "%s/cookies", dir);
    assert_int_equal(qg_write_whole(path, qg_slice_of(pickle, sizeof pickle - 1), &err), QG_OK);
    check_env(QG_HUB_MODELSCOPE, "https://ms.example", "/c", "ms-12345");
    for (size_t n = 0; n < sizeof pickle - 1; n++) { /* cut anywhere: at worst no token */
        assert_int_equal(qg_write_whole(path, qg_slice_of(pickle, n), &err), QG_OK);
        qg_hub_env e;
        assert_int_equal(qg_hub_env_read(&e, QG_HUB_MODELSCOPE, &err), QG_OK);
        assert_true(!e.token || !strcmp(e.token, "ms-12345"));
        qg_hub_env_free(&e);
    }
    setenv("MODELSCOPE_API_TOKEN", "t", 1);
    check_env(QG_HUB_MODELSCOPE, "https://ms.example", "/c", "t");
    tiny_rmdir(dir);
    clear_env();
}

static void test_model_names(void **state)
{
    static const struct {
        const char *path, *name;
    } cases[] = {
        {"/c/hub/models--Qwen--Qwen3Guard-Gen-0.6B/snapshots/0123", "Qwen3Guard-Gen-0.6B"},
        {"/c/models/Qwen--X-1.5/snapshots/master/", "X-1.5"},
        {"models--a--b--c/snapshots/x", "c"},
        {"/c/snapshots/x", "x"},
        {"snapshots/x", "x"},
        {"/m/Qwen3Guard", "Qwen3Guard"},
        {"/a--/snapshots/x", "x"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *name = qg_path_model_name(cases[i].path);
        assert_string_equal(name, cases[i].name);
        qg_mfree(name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_revisions),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_modelscope_says_no),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_partial),
        cmocka_unit_test(test_partial_damaged),
        cmocka_unit_test(test_empty_file),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_locks),
        cmocka_unit_test(test_env_hf),
        cmocka_unit_test(test_env_modelscope),
        cmocka_unit_test(test_model_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
