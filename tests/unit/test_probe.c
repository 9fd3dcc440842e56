/* The probe of /health with real engines: they take what it asks, when it is due and only then. */
#define _POSIX_C_SOURCE 200809L
#include "unit.h"

#include "svc/probe.h"

#include <time.h>

enum { EVERY = 10000000 };

static qg_engine *open_engine(const char *model)
{
    qg_options opt;
    qg_engine *engine;
    qg_err err;
    qg_options_init(&opt);
    opt.model = model;
    opt.n_threads = 1;
    if (qg_engine_open(&engine, &opt, &err) != QG_OK)
        fail_msg("%s", err.msg);
    return engine;
}

static int64_t done(qg_engine *engine)
{
    qg_stats stats;
    qg_engine_stats(engine, &stats);
    return stats.jobs_done;
}

/* Until so many probes are back; a look without time that passes begins nothing. */
static void wait_for(qg_probe *p, int64_t n, int64_t now)
{
    const struct timespec ms = {.tv_nsec = 1000000};
    for (int i = 0; i < 20000 && p->n_probes < n; i++) {
        qg_probe_tick(p, now, EVERY);
        nanosleep(&ms, NULL);
    }
    assert_int_equal(p->n_probes, n);
}

static void probe(const char *model, bool stream)
{
    qg_engine *engine = open_engine(model);
    qg_probe p;
    qg_probe_init(&p, engine, stream);
    int64_t now = p.since_us;
    qg_probe_tick(&p, now + EVERY - 1, EVERY);
    assert_false(qg_probe_late(&p, INT64_MAX)); /* not begun */
    for (int64_t n = 1; n <= 3; n++) {
        now += EVERY;
        qg_probe_tick(&p, now, EVERY);
        wait_for(&p, n, now);
        assert_int_equal(done(engine), n);
        assert_false(qg_probe_late(&p, INT64_MAX) || p.sick); /* back */
        qg_probe_tick(&p, now + EVERY - 1, EVERY);
        assert_int_equal(done(engine), n);
    }
    now += EVERY;
    qg_probe_tick(&p, now, EVERY);
    qg_engine_close(engine); /* while one may be under way */
    qg_probe_end(&p);
}

static void gen_engine(void **state)
{
    (void)state;
    probe(NULL, false);
}

static void stream_engine(void **state)
{
    (void)state;
    probe("qguard-demo-stream", true);
}

static void others_show_life_too(void **state)
{
    qg_engine *engine = open_engine(NULL);
    const qg_message said = {"user", {"hello", 5}};
    qg_request req;
    qg_result *result;
    qg_probe p;
    (void)state;
    qg_probe_init(&p, engine, false);
    int64_t now = p.since_us + EVERY - 1;
    qg_request_init(&req);
    req.messages = &said;
    req.n_messages = 1;
    assert_int_equal(qg_judge(engine, &req, &result, NULL), QG_OK);
    qg_result_free(result);
    qg_probe_tick(&p, now, EVERY); /* sees it */
    qg_probe_tick(&p, now + EVERY - 1, EVERY);
    assert_int_equal(done(engine), 1);
    wait_for(&p, 1, now + EVERY);
    assert_int_equal(done(engine), 2);
    qg_engine_close(engine);
    qg_probe_end(&p);
}

static void no_engine(void **state)
{
    qg_probe p;
    (void)state;
    qg_probe_init(&p, NULL, false);
    qg_probe_tick(&p, INT64_MAX, 1);
    assert_false(qg_probe_late(&p, INT64_MAX));
    qg_probe_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gen_engine),
        cmocka_unit_test(stream_engine),
        cmocka_unit_test(others_show_life_too),
        cmocka_unit_test(no_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
