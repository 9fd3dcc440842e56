/* Files of packed weights: what was written is read; everything else is refused before it is used.
 */
#include "tinydir.h"

#include "base/buildid.h"
#include "base/limits.h"
#include "base/sum.h"
#include "fmt/packfile_int.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <utime.h>

enum { BIG = 9 << 20 };

typedef struct fix {
    char dir[64], path[128];
    qg_pool *pool;
    qg_slice parts[QG_PACKFILE_PARTS];
    char *bytes;
} fix;

static const char name[] = "model-x.qgpack";
static const qg_slice key = {"made from this", 14};

static int set_up(void **state)
{
    fix *f = calloc(1, sizeof *f);
    qg_err err;
    assert_non_null(f);
    tiny_mkdir(f->dir);
    snprintf(f->path, sizeof f->path, "%s/%s", f->dir, name);
    assert_int_equal(qg_pool_open(&f->pool, 2, &err), QG_OK);
    f->bytes = malloc(BIG);
    assert_non_null(f->bytes);
    for (size_t i = 0; i < BIG; i++)
        f->bytes[i] = (char)(i * 2654435761u >> 13);
    f->parts[0] = qg_slice_of(f->bytes, BIG - 77);
    f->parts[1] = qg_slice_of(f->bytes + 3, 1001);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fix *f = *state;
    qg_pool_close(f->pool);
    tiny_rmdir(f->dir);
    free(f->bytes);
    free(f);
    return 0;
}

static void write_it(fix *f)
{
    qg_err err = {""};
    if (qg_packfile_write(f->dir, name, key, f->parts, f->pool, &err) != QG_OK)
        fail_msg("%s", err.msg);
}

static qg_status open_it(fix *f, qg_slice with, bool *exists, qg_err *err)
{
    qg_packfile file;
    qg_status rc = qg_packfile_open(&file, f->path, with, f->pool, exists, err);
    if (rc == QG_OK)
        for (int i = 0; i < QG_PACKFILE_PARTS; i++) {
            assert_true(qg_slice_eq(file.part[i], f->parts[i]));
            assert_int_equal((uintptr_t)file.part[i].p % 64, 0);
        }
    qg_packfile_close(&file);
    return rc;
}

static int entries(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void what_was_written_is_read(void **state)
{
    fix *f = *state;
    bool exists;
    qg_err err = {""};
    assert_int_equal(open_it(f, key, &exists, &err), QG_ERR_IO);
    assert_false(exists);
    write_it(f);
    assert_int_equal(open_it(f, key, &exists, &err), QG_OK);
    assert_true(exists);
    assert_int_equal(entries(f->dir), 1); /* no temporary file is left */
    f->parts[1] = qg_slice_of("", 0);
    write_it(f); /* over the old one */
    assert_int_equal(open_it(f, key, &exists, &err), QG_OK);
}

static void another_key_is_another_file(void **state)
{
    fix *f = *state;
    bool exists;
    qg_err err = {""};
    write_it(f);
    assert_int_equal(open_it(f, qg_str("made from that"), &exists, &err), QG_ERR_UNSUPPORTED);
    assert_true(exists);
    assert_int_equal(open_it(f, qg_slice_of(key.p, key.n - 1), &exists, &err), QG_ERR_UNSUPPORTED);
}

static void flip(const fix *f, long at)
{
    FILE *file = fopen(f->path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int c = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    fputc(c ^ 16, file);
    assert_int_equal(fclose(file), 0);
}

static void every_flipped_bit_is_seen(void **state)
{
    fix *f = *state;
    bool exists;
    qg_err err;
    write_it(f);
    long n_head = (long)(sizeof(qg_packfile_head) + key.n);
    for (long at = 0; at < n_head; at++) {
        flip(f, at);
        assert_int_equal(open_it(f, key, &exists, &err), QG_ERR_FORMAT);
        flip(f, at);
    }
    const long border = (long)QG_PACKFILE_BORDER;
    const long places[] = {border, border + 12345, border + BIG - 78, border + 10 * (1 << 20)};
    for (size_t i = 0; i < COUNT(places) - 1; i++) {
        flip(f, places[i]);
        assert_int_equal(open_it(f, key, &exists, &err), QG_ERR_FORMAT);
        assert_non_null(strstr(err.msg, "checksum"));
        flip(f, places[i]);
    }
    assert_int_equal(open_it(f, key, &exists, &err), QG_OK);
}

static void every_shorter_file_is_refused(void **state)
{
    fix *f = *state;
    bool exists;
    qg_err err;
    write_it(f);
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    const long border = (long)QG_PACKFILE_BORDER;
    const long sizes[] = {(long)st.st_size - 1, border + 1, border, border - 1, 40, 1, 0};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        assert_int_equal(truncate(f->path, sizes[i]), 0);
        assert_int_equal(open_it(f, key, &exists, &err), QG_ERR_FORMAT);
    }
    write_it(f);
    assert_int_equal(truncate(f->path, st.st_size + 1), 0);
    assert_int_equal(open_it(f, key, &exists, &err), QG_ERR_FORMAT);
}

/* A head that is whole, with places that are not. */
static void places_outside_are_refused(void **state)
{
    fix *f = *state;
    write_it(f);
    FILE *file = fopen(f->path, "rb");
    qg_packfile_head good;
    assert_non_null(file);
    assert_int_equal(fread(&good, sizeof good, 1, file), 1);
    fclose(file);
    for (int i = 0; i < 8; i++) {
        qg_packfile_head bad = good;
        qg_packfile_part *p = &bad.part[i % 2];
        const uint64_t at[] = {0, 64, UINT64_MAX, bad.file_bytes + 1};
        if (i < 4)
            p->at = at[i];
        else
            p->bytes = i < 6 ? UINT64_MAX : bad.file_bytes - p->at + 1;
        bad.sum = qg_packfile_head_sum(&bad, key.p, key.n);
        file = fopen(f->path, "r+b");
        assert_non_null(file);
        assert_int_equal(fwrite(&bad, sizeof bad, 1, file), 1);
        fclose(file);
        bool exists;
        qg_err err;
        assert_int_equal(open_it(f, key, &exists, &err), QG_ERR_FORMAT);
    }
}

static void others_may_not_have_written_it(void **state)
{
    fix *f = *state;
    bool exists;
    qg_err err;
    write_it(f);
    assert_int_equal(chmod(f->path, 0620), 0);
    assert_int_equal(open_it(f, key, &exists, &err), QG_ERR_ARG);
    assert_int_equal(chmod(f->path, 0602), 0);
    assert_int_equal(open_it(f, key, &exists, &err), QG_ERR_ARG);
    assert_true(exists);
    assert_int_equal(chmod(f->path, 0444), 0);
    assert_int_equal(open_it(f, key, &exists, &err), QG_OK);
}

static void the_newest_are_kept(void **state)
{
    fix *f = *state;
    qg_err err = {""};
    char other[64], path[256];
    for (int i = 0; i < QG_MAX_PACKFILES + 2; i++) {
        snprintf(other, sizeof other, "model-%d.qgpack", i);
        assert_int_equal(qg_packfile_write(f->dir, other, key, f->parts, f->pool, &err), QG_OK);
        snprintf(path, sizeof path, "%s/%s", f->dir, other);
        struct utimbuf then = {1000 + i, 1000 + i};
        assert_int_equal(utime(path, &then), 0);
    }
    assert_int_equal(entries(f->dir), QG_MAX_PACKFILES);
    snprintf(path, sizeof path, "%s/model-0.qgpack", f->dir);
    assert_int_not_equal(access(path, F_OK), 0);
    /* what a killed writer left goes when it is old */
    snprintf(path, sizeof path, "%s/abcdef.qgpack-part", f->dir);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fclose(file);
    write_it(f);
    assert_int_equal(access(path, F_OK), 0);
    struct utimbuf old = {1000, 1000};
    assert_int_equal(utime(path, &old), 0);
    write_it(f);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* NULL when all was written. */
static void *write_many(void *arg)
{
    fix *f = arg;
    qg_pool *pool;
    qg_err err;
    if (qg_pool_open(&pool, 1, &err) != QG_OK)
        return f;
    bool ok = true;
    for (int i = 0; i < 8 && ok; i++)
        ok = qg_packfile_write(f->dir, name, key, f->parts, pool, &err) == QG_OK;
    qg_pool_close(pool);
    return ok ? NULL : f;
}

static void two_writers_and_a_reader(void **state)
{
    fix *f = *state;
    pthread_t t[2];
    bool exists;
    qg_err err;
    write_it(f);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, write_many, f), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(open_it(f, key, &exists, &err), QG_OK);
    for (int i = 0; i < 2; i++) {
        void *wrong;
        pthread_join(t[i], &wrong);
        assert_null(wrong);
    }
    assert_int_equal(entries(f->dir), 1);
}

static void where_nothing_can_be_written(void **state)
{
    fix *f = *state;
    char dir[128];
    qg_err err = {""};
    write_it(f);
    snprintf(dir, sizeof dir, "%s/%s", f->dir, name); /* a file, no directory */
    assert_int_equal(qg_packfile_write(dir, name, key, f->parts, f->pool, &err), QG_ERR_IO);
    assert_true(err.msg[0]);
    assert_int_equal(qg_packfile_write(f->dir, "../x", key, f->parts, f->pool, &err), QG_ERR_ARG);
    /* as on a full disk: the file may not grow past 4 MiB */
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){4 << 20, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    qg_status rc = qg_packfile_write(f->dir, "model-y.qgpack", key, f->parts, f->pool, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, QG_ERR_IO);
    assert_int_equal(entries(f->dir), 1);
}

static void directories_are_made(void **state)
{
    fix *f = *state;
    qg_err err = {""};
    char dir[128];
    snprintf(dir, sizeof dir, "%s/a/b/", f->dir);
    assert_int_equal(qg_packfile_write(dir, name, key, f->parts, f->pool, &err), QG_OK);
    assert_int_equal(entries(dir), 1);
}

static void sums_and_builds_differ(void **state)
{
    (void)state;
    uint8_t bytes[200] = {0};
    uint64_t zero = qg_sum64(0, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1 << bit);
            assert_true(qg_sum64(0, bytes, sizeof bytes) != zero);
            bytes[i] = 0;
        }
    for (size_t n = 0; n < sizeof bytes; n++)
        assert_true(qg_sum64(0, bytes, n) != zero);
    char id[128], small[8];
    assert_true(qg_build_id(id, sizeof id));
    assert_true(strlen(id) >= 16);
    assert_false(qg_build_id(small, sizeof small));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_key_is_another_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_bit_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_shorter_file_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(places_outside_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_may_not_have_written_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_newest_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_writers_and_a_reader, set_up, tear_down),
        cmocka_unit_test_setup_teardown(where_nothing_can_be_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(directories_are_made, set_up, tear_down),
        cmocka_unit_test(sums_and_builds_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
