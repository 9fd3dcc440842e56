#define _GNU_SOURCE
#include "unit.h"

#include "base/limits.h"
#include "base/line_log.h"
#include "base/mem.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

typedef struct rig {
    int fds[2];
    qg_line_log *log;
    char *text; /* what was read, with a 0 */
    size_t n;
} rig;

static void open_rig(rig *r)
{
    *r = (rig){0};
    assert_int_equal(pipe2(r->fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(r->fds[1], F_SETPIPE_SZ, 4096), 4096);
    assert_int_equal(qg_line_log_open(&r->log, r->fds[1], "me: ", NULL), QG_OK);
}

/* Everything until the writing end is closed. */
static void *read_all(void *arg)
{
    rig *r = arg;
    ssize_t got;
    r->text = qg_calloc(1, 1 << 24);
    while ((got = read(r->fds[0], r->text + r->n, (1 << 24) - 1 - r->n)) > 0)
        r->n += (size_t)got;
    close(r->fds[0]);
    return NULL;
}

static void close_rig(rig *r)
{
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_all, r), 0);
    qg_line_log_close(r->log, 10000);
    close(r->fds[1]);
    pthread_join(reader, NULL);
}

static void lines_arrive_in_order(void **state)
{
    (void)state;
    rig r;
    char line[64];
    open_rig(&r);
    for (int i = 0; i < 500; i++) {
        snprintf(line, sizeof line, "line %d", i);
        qg_line_log_add(r.log, line);
    }
    close_rig(&r);
    const char *at = r.text;
    for (int i = 0; i < 500; i++) {
        int n = snprintf(line, sizeof line, "me: line %d\n", i);
        assert_memory_equal(at, line, n);
        at += n;
    }
    assert_int_equal(*at, 0);
    qg_mfree(r.text);
}

/* Nobody reads: adding never waits, what finds no room is counted where it is missing. */
static void lost_lines_are_counted(void **state)
{
    (void)state;
    enum { LINES = 40000 };
    rig r;
    char line[64];
    unsigned lost = 0, told = 0, n_notes = 0, next = 0;
    open_rig(&r);
    for (int i = 0; i < LINES; i++) {
        snprintf(line, sizeof line, "a line that is fairly long %d", i);
        qg_line_log_add(r.log, line);
    }
    close_rig(&r);
    for (char *rest = r.text, *one; (one = strsep(&rest, "\n")) && *one;) {
        if (sscanf(one, "me: %u lines of this log are missing here", &lost) == 1) {
            told += lost;
            next += lost;
            n_notes++;
            continue;
        }
        snprintf(line, sizeof line, "me: a line that is fairly long %u", next++);
        assert_string_equal(one, line);
    }
    assert_true(n_notes > 0 && told > LINES / 4);
    assert_int_equal(next, LINES);
    qg_mfree(r.text);
}

static void closing_does_not_wait_for_a_dead_reader(void **state)
{
    (void)state;
    rig r;
    open_rig(&r);
    for (int i = 0; i < 1000; i++)
        qg_line_log_add(r.log, "nobody will ever read this");
    qg_line_log_close(r.log, 50);
    close(r.fds[1]);
    close(r.fds[0]);
    open_rig(&r); /* nor for one that has gone; and there is no signal */
    close(r.fds[0]);
    for (int i = 0; i < 1000; i++)
        qg_line_log_add(r.log, "nobody can read this");
    qg_line_log_close(r.log, 10000);
    close(r.fds[1]);
}

static void *add_many(void *arg)
{
    for (int i = 0; i < 2000; i++)
        qg_line_log_add(arg, "x");
    return NULL;
}

static void any_thread_may_add(void **state)
{
    (void)state;
    pthread_t threads[4];
    rig r;
    open_rig(&r);
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, r.log), 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    close_rig(&r);
    assert_int_equal(r.n, 4 * 2000 * strlen("me: x\n"));
    qg_mfree(r.text);
}

static void out_of_memory(void **state)
{
    (void)state;
    qg_line_log *log;
    qg_err err;
    for (int nth = 0; nth < 3; nth++) {
        int64_t live = qg_live_blocks();
        qg_fault_arm(nth);
        qg_status rc = qg_line_log_open(&log, 2, "", &err);
        bool fired = qg_fault_fired();
        qg_fault_arm(-1);
        assert_int_equal(rc, fired ? QG_ERR_NOMEM : QG_OK);
        qg_line_log_close(log, 1000);
        assert_int_equal(qg_live_blocks(), live);
    }
    qg_line_log_close(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_arrive_in_order),
        cmocka_unit_test(lost_lines_are_counted),
        cmocka_unit_test(closing_does_not_wait_for_a_dead_reader),
        cmocka_unit_test(any_thread_may_add),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
