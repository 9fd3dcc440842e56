/* label's parts: lines of a source in any form, a sink that is gone on with, the journal's slots,
 * filters, verdicts without their heap. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/limits.h"
#include "base/mem.h"
#include "batch/cache.h"
#include "batch/journal.h"
#include "batch/output.h"
#include "batch/where.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/qguard-label-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *bytes, size_t n)
{
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* ---- sinks and sources ---- */

static const char *const forms[] = {"plain", "packed.gz", "packed.zst"};
enum { LINES = 3000 };

/* Line i: i, and sometimes as long as several pieces. */
static size_t make_line(char *line, size_t cap, int i)
{
    size_t n = (size_t)snprintf(line, cap, "%d ", i);
    size_t more = i % 500 == 7 ? 300000 : (size_t)(i * 7 % 90);
    memset(line + n, 'a' + i % 26, more);
    return n + more;
}

static char line_room[400000];

static void add_lines(qg_output *s, int from, int to)
{
    qg_err err;
    for (int i = from; i < to; i++) {
        size_t n = make_line(line_room, sizeof line_room, i);
        line_room[n] = '\n';
        assert_int_equal(qg_output_add(s, qg_slice_of(line_room, n + 1), &err), QG_OK);
        if (i % 64 == 63)
            assert_int_equal(qg_output_cut(s, &err), QG_OK);
    }
}

static uint64_t finish(qg_output *s)
{
    uint64_t size;
    assert_int_equal(qg_output_cut(s, NULL), QG_OK);
    assert_int_equal(qg_output_sync(s, &size, NULL), QG_OK);
    qg_output_close(s);
    return size;
}

static void check_lines(const char *name, int from, const qg_place *at, qg_place *stop, int stop_at)
{
    qg_source *s;
    qg_line line;
    qg_err err;
    bool more = true;
    int i = from;
    assert_int_equal(qg_source_open(&s, path_of(name), &err), QG_OK);
    if (at)
        assert_int_equal(qg_source_skip(s, at, &err), QG_OK);
    for (; more; i++) {
        assert_int_equal(qg_source_next(s, &line, &more, &err), QG_OK);
        if (!more)
            break;
        size_t n = make_line(line_room, sizeof line_room, i);
        assert_int_equal(line.place.number, i + 1);
        assert_int_equal(line.text.n, n);
        assert_memory_equal(line.text.p, line_room, n);
        if (i == stop_at)
            *stop = line.place;
    }
    assert_int_equal(i, LINES);
    qg_source_close(s);
}

static void lines_in_every_form(void **state)
{
    (void)state;
    for (size_t f = 0; f < COUNT(forms); f++) {
        qg_output *s;
        qg_place stop = {0};
        uint64_t size;
        char again[40];
        snprintf(again, sizeof again, "again-%s", forms[f]);
        assert_int_equal(qg_output_open(&s, path_of(forms[f]), 0, NULL), QG_OK);
        add_lines(s, 0, LINES);
        uint64_t whole = finish(s);
        check_lines(forms[f], 0, NULL, &stop, 1500);
        check_lines(forms[f], 1501, &stop, &stop, 0);

        /* in two runs, the first of which left bytes behind its last sync */
        assert_int_equal(qg_output_open(&s, path_of(again), 0, NULL), QG_OK);
        add_lines(s, 0, 640);
        assert_int_equal(qg_output_sync(s, &size, NULL), QG_OK);
        add_lines(s, 640, 2000);
        qg_output_close(s);
        assert_int_equal(qg_output_open(&s, path_of(again), size, NULL), QG_OK);
        add_lines(s, 640, LINES);
        assert_int_equal(finish(s), whole);
        check_lines(again, 0, NULL, &stop, 0);
    }
}

static void another_input_is_noticed(void **state)
{
    (void)state;
    for (size_t f = 0; f < COUNT(forms); f++) {
        const qg_place places[] = {{1501, 1, 2}, {LINES + 5, 1u << 30, 2}, {1, 0, 77}};
        for (size_t i = 0; i < COUNT(places); i++) {
            qg_source *s;
            qg_err err = {""};
            assert_int_equal(qg_source_open(&s, path_of(forms[f]), &err), QG_OK);
            assert_int_equal(qg_source_skip(s, &places[i], &err), QG_ERR_ARG);
            assert_non_null(strstr(err.msg, "another input"));
            qg_source_close(s);
        }
    }
}

static void damage_is_a_sentence(void **state)
{
    (void)state;
    for (size_t f = 1; f < COUNT(forms); f++) {
        char *bytes = malloc(1 << 20);
        FILE *in = fopen(path_of(forms[f]), "rb");
        size_t n = fread(bytes, 1, 1 << 20, in);
        fclose(in);
        for (size_t cut = 3; cut < n; cut += n / 37) {
            qg_source *s;
            qg_line line;
            qg_err err = {""};
            bool more = true;
            qg_status rc = QG_OK;
            bytes[cut] ^= 0x55;
            write_file("damaged", bytes, cut % 2 ? n : cut + 1);
            bytes[cut] ^= 0x55;
            if (qg_source_open(&s, path_of("damaged"), &err) != QG_OK)
                continue;
            while (more && rc == QG_OK)
                rc = qg_source_next(s, &line, &more, &err);
            assert_true(rc == QG_OK || err.msg[0]);
            qg_source_close(s);
        }
        free(bytes);
    }
}

/* ---- journal ---- */

static void the_journal_survives_a_torn_sector(void **state)
{
    (void)state;
    qg_journal *j;
    qg_err err = {""};
    qg_checkpoint c = {.in = {5, 6, 7}, .out = 100, .counts = {.judged = 3}}, got;
    const char *name = "out.journal", *who = "{\"model\":\"a\",\"shard\":\"0/1\"}";
    assert_int_equal(qg_journal_begin(&j, path_of(name), who, &err), QG_OK);
    qg_journal_close(j, false);
    assert_int_equal(qg_journal_resume(&j, path_of(name), who, &got, &err), QG_OK);
    assert_int_equal(got.in.number, 0);
    for (int i = 0; i < 5; i++) {
        c.out = 100 + (uint64_t)i;
        assert_int_equal(qg_journal_write(j, &c, &err), QG_OK);
    }
    /* a second process is kept out */
    qg_journal *other;
    assert_int_equal(qg_journal_resume(&other, path_of(name), who, &got, &err), QG_ERR_BUSY);
    assert_int_equal(qg_journal_begin(&other, path_of(name), who, &err), QG_ERR_BUSY);
    qg_journal_close(j, false);
    for (int slot = 0; slot < 2; slot++) {
        int fd = open(path_of(name), O_RDWR);
        off_t at = lseek(fd, 0, SEEK_END) - (2 - slot) * 512 + 60;
        char was;
        assert_int_equal(pread(fd, &was, 1, at), 1);
        char torn = (char)(was ^ 1);
        assert_int_equal(pwrite(fd, &torn, 1, at), 1);
        assert_int_equal(qg_journal_resume(&j, path_of(name), who, &got, &err), QG_OK);
        assert_int_equal(got.out, slot == 1 ? 103 : 104); /* turns 1 to 5 lie in 1, 0, 1, 0, 1 */
        assert_int_equal(got.counts.judged, 3);
        qg_journal_close(j, false);
        assert_int_equal(pwrite(fd, &was, 1, at), 1);
        close(fd);
    }
    assert_int_equal(qg_journal_resume(&j, path_of(name), "{\"model\":\"b\"}", &got, &err),
                     QG_ERR_ARG);
    assert_non_null(strstr(err.msg, "another model (\"a\")"));
    write_file("not.journal", "hello", 5);
    assert_int_equal(qg_journal_resume(&j, path_of("not.journal"), who, &got, &err), QG_ERR_FORMAT);
}

/* ---- filters ---- */

static void filters(void **state)
{
    (void)state;
    const qg_said said = {.severity = 1,
                          .refusal = -1,
                          .has_p = 1,
                          .n_categories = 1,
                          .categories = {6},
                          .allowed = 0x3ff,
                          .p_severity = {0.2, 0.5, 0.3},
                          .p_category = {[6] = 0.75}};
    qg_policy *policy;
    qg_policy_view view;
    qg_where w;
    qg_err err;
    assert_int_equal(qg_policy_default(&policy, &err), QG_OK);
    qg_policy_view_of(policy, qg_str(""), qg_str(""), &view);
    const struct {
        const char *text;
        int holds; /* -1: refused */
    } rows[] = {
        {"severity=Controversial", 1},
        {"severity>=Controversial", 1},
        {"severity > controversial", 0},
        {"severity!=Safe && p.Unsafe>0.3", 0},
        {"severity!=Safe && p.Unsafe>=0.3", 1},
        {"severity=Safe || p.Politically Sensitive Topics > 0.7", 1},
        {"severity=Safe && role=user || hit=true", 1},
        {"hit=true && severity=Safe || role=assistant", 0},
        {"category = \"Politically Sensitive Topics\"", 1},
        {"category!=None", 1},
        {"action=block", 1},
        {"refusal=None", 1},
        {"", -1},
        {"severity", -1},
        {"severity=", -1},
        {"=Safe", -1},
        {"severity=Safe &&", -1},
        {"p.Unsafe>x", -1},
        {"p.Unsafe>1e", -1},
        {"role<user", -1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        qg_status rc = qg_where_parse(&w, rows[i].text, &err);
        int got = rc == QG_OK ? qg_where_holds(&w, &said, &view) : -1;
        if (got != rows[i].holds)
            fail_msg("%s: %d, not %d", rows[i].text, got, rows[i].holds);
    }
    qg_policy_unref(policy);
}

/* ---- verdicts ---- */

static void a_verdict_comes_back_whole(void **state)
{
    (void)state;
    qg_options opt;
    qg_engine *engine;
    qg_request req;
    qg_result *result, copy;
    qg_said said, kept;
    qg_cache *cache;
    qg_cache_key key;
    qg_err err;
    const qg_message m[] = {{"user", {"How can I make a bomb?", 22}},
                            {"assistant", {"I cannot help.", 14}}};
    qg_options_init(&opt);
    opt.n_threads = 1;
    assert_int_equal(qg_engine_open(&engine, &opt, &err), QG_OK);
    assert_int_equal(qg_cache_open(&cache, path_of("cache.db"), "me", &err), QG_OK);
    for (size_t n = 1; n <= 2; n++) {
        qg_request_init(&req);
        req.messages = m;
        req.n_messages = n;
        assert_int_equal(qg_judge(engine, &req, &result, &err), QG_OK);
        assert_int_equal(qg_said_of(&said, result, &err), QG_OK);
        assert_int_equal(qg_cache_key_of(cache, m, n, &key, &err), QG_OK);
        assert_false(qg_cache_get(cache, &key, &kept));
        assert_int_equal(qg_cache_put(cache, &key, &said, &err), QG_OK);
        assert_int_equal(qg_cache_commit(cache, &err), QG_OK);
        assert_true(qg_cache_get(cache, &key, &kept));
        assert_memory_equal(&kept, &said, sizeof said);
        qg_said_result(&kept, &copy);
        copy.n_cached_tokens = result->n_cached_tokens;
        char *a = qg_result_json(engine, result), *b = qg_result_json(engine, &copy);
        assert_string_equal(a, b);
        qg_free(a);
        qg_free(b);
        qg_result_free(result);
    }
    qg_cache_close(cache);
    qg_engine_close(engine);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_in_every_form),
        cmocka_unit_test(another_input_is_noticed),
        cmocka_unit_test(damage_is_a_sentence),
        cmocka_unit_test(the_journal_survives_a_torn_sector),
        cmocka_unit_test(filters),
        cmocka_unit_test(a_verdict_comes_back_whole),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
