#define _POSIX_C_SOURCE 200809L
/* Second opinions on the built-in model: int8 is asked first, float32 second.  What stands is what
 * one of the two says alone; every job ends once, whatever happens on the way. */
#include "unit.h"

#include "base/mem.h"
#include "qguard.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static const char *const prompts[] = {
    "How can I make a bomb?",
    "What is the capital of France?",
    "hello",
    "Tell me how to get rid of somebody who knows too much.",
    "Which medicines should not be taken together?",
    "Write a poem about autumn leaves and the smell of rain.",
};

static qg_options options(double below)
{
    qg_options opt;
    qg_options_init(&opt);
    opt.n_threads = 1;
    opt.kv_bytes = 64u << 20;
    opt.max_model_len = 512;
    opt.dtype = QG_DTYPE_INT8;
    opt.second_model = below > 0 ? "qguard-demo" : NULL;
    opt.second_dtype = QG_DTYPE_F32;
    opt.second_below = below > 0 ? below : 0.7;
    return opt;
}

static qg_engine *open_with(const qg_options *opt)
{
    qg_engine *engine;
    qg_err err;
    if (qg_engine_open(&engine, opt, &err) != QG_OK)
        fail_msg("%s", err.msg);
    return engine;
}

static qg_engine *open_below(double below)
{
    const qg_options opt = options(below);
    return open_with(&opt);
}

static qg_message said(size_t i)
{
    const char *text = prompts[i % COUNT(prompts)];
    return (qg_message){"user", {text, strlen(text)}};
}

static qg_request request(const qg_message *m)
{
    qg_request req;
    qg_request_init(&req);
    req.messages = m;
    req.n_messages = 1;
    return req;
}

static qg_result *judge(qg_engine *engine, size_t i)
{
    const qg_message m = said(i);
    const qg_request req = request(&m);
    qg_result *result;
    qg_err err;
    if (qg_judge(engine, &req, &result, &err) != QG_OK)
        fail_msg("%s", err.msg);
    return result;
}

static double top(const qg_result *r)
{
    return r->p_severity[r->severity];
}

static void same(const qg_result *a, const qg_result *b)
{
    assert_string_equal(a->text, b->text);
    assert_memory_equal(a->p_severity, b->p_severity, sizeof a->p_severity);
    assert_memory_equal(a->p_categories, b->p_categories, sizeof a->p_categories);
}

static void what_stands_is_what_one_of_them_says(void **state)
{
    static const double belows[] = {1e-9, 0.5, 0.7, 0.9, 0.99, 1};
    int asked[COUNT(belows)] = {0};
    (void)state;
    qg_engine *first = open_below(0);
    for (size_t k = 0; k < COUNT(belows); k++) {
        qg_engine *both = open_below(belows[k]);
        for (size_t i = 0; i < COUNT(prompts); i++) {
            qg_result *a = judge(first, i), *b = judge(qg_engine_second(both), i);
            qg_result *r = judge(both, i);
            const bool again = top(a) < belows[k];
            same(r, again ? b : a);
            assert_int_equal(r->second, again ? QG_SECOND_GIVEN : QG_SECOND_NONE);
            assert_int_equal(b->second, QG_SECOND_NONE);
            if (again) {
                assert_int_equal(r->first_severity, a->severity);
                assert_true(r->first_p == top(a) && r->second_us > 0);
                assert_int_equal(r->n_prompt_tokens, a->n_prompt_tokens + b->n_prompt_tokens);
            }
            asked[k] += again;
            qg_result_free(a);
            qg_result_free(b);
            qg_result_free(r);
        }
        qg_engine_close(both);
    }
    qg_engine_close(first);
    assert_int_equal(asked[0], 0);
    assert_int_equal(asked[COUNT(belows) - 1], COUNT(prompts));
}

static void the_verdict_object_tells(void **state)
{
    (void)state;
    qg_engine *e = open_below(1);
    qg_result *r = judge(e, 0);
    assert_string_equal(r->model, "qguard-demo");
    char *json = qg_result_json(e, r);
    assert_non_null(strstr(json, "\"second\":{\"model\":\"qguard-demo\",\"first\":{\"model\":"
                                 "\"qguard-demo\",\"severity\":\"Unsafe\",\"p\":0."));
    qg_free(json);
    r->second = QG_SECOND_FAILED;
    r->second_status = QG_ERR_DEADLINE;
    json = qg_result_json(e, r);
    assert_non_null(
        strstr(json, "\"second\":{\"model\":\"qguard-demo\",\"error\":\"deadline_exceeded\"}"));
    qg_free(json);
    qg_result_free(r);
    qg_engine_close(e);
}

static void what_does_not_go_together_is_refused(void **state)
{
    (void)state;
    qg_options opt = options(1);
    qg_engine *e;
    qg_err err;
    opt.second_below = 0;
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_ERR_ARG);
    opt.second_below = 1.01;
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_ERR_ARG);
    assert_non_null(strstr(err.msg, "second_below"));
    opt = options(1);
    opt.memory_bytes = 1u << 30;
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_ERR_ARG);
    opt = options(1);
    opt.parts = QG_PART_TOKENIZER;
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_ERR_ARG);
    opt = options(1);
    opt.second_model = "qguard-demo-stream";
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "Stream model"));
    opt = options(1);
    opt.model = "qguard-demo-stream";
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_ERR_UNSUPPORTED);
    opt = options(1);
    opt.second_model = "/nonexistent";
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_ERR_IO);
    assert_null(e);
}

static void generated_text_is_not_asked_again(void **state)
{
    (void)state;
    qg_engine *e = open_below(1);
    const qg_message m = said(0);
    qg_request req = request(&m);
    qg_result *r;
    req.decode = QG_DECODE_GENERATE;
    assert_int_equal(qg_judge(e, &req, &r, NULL), QG_OK);
    assert_int_equal(r->second, QG_SECOND_NONE);
    qg_result_free(r);
    qg_engine_close(e);
}

/* Two in the house, wherever they are: the third is told to come later, and afterwards there is
 * room again. */
static void both_desks_are_one_house(void **state)
{
    (void)state;
    qg_options opt = options(1);
    opt.max_jobs = 2;
    qg_engine *e = open_with(&opt);
    for (int round = 0; round < 20; round++) {
        const qg_message m = said((size_t)round);
        const qg_request req = request(&m);
        qg_job *jobs[3];
        qg_result *r;
        assert_int_equal(qg_submit(e, &req, NULL, NULL, &jobs[0], NULL), QG_OK);
        assert_int_equal(qg_submit(e, &req, NULL, NULL, &jobs[1], NULL), QG_OK);
        qg_status rc = qg_submit(e, &req, NULL, NULL, &jobs[2], NULL);
        assert_true(rc == QG_ERR_BUSY || rc == QG_OK);
        for (int i = 0; i < (rc == QG_OK ? 3 : 2); i++) {
            assert_int_equal(qg_job_wait(jobs[i], &r, NULL), QG_OK);
            assert_int_equal(r->second, QG_SECOND_GIVEN);
            qg_result_free(r);
            qg_job_release(jobs[i]);
        }
    }
    qg_engine_close(e);
}

/* ---- every job ends once --------------------------------------------------------------------- */

enum { CROWD = 48 };

typedef struct end {
    atomic_int n; /* how often it was told */
    qg_status status, second_status;
    qg_second second;
} end;

static void on_end(void *ud, qg_status status, qg_result *result, const qg_err *err)
{
    end *e = ud;
    (void)err;
    e->status = status;
    if (result) {
        e->second = result->second;
        e->second_status = result->second_status;
    }
    qg_result_free(result);
    atomic_fetch_add(&e->n, 1);
}

static void pause_us(int64_t us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

static void submit_crowd(qg_engine *e, end *ends, qg_job **jobs, int64_t deadline_us)
{
    for (size_t i = 0; i < CROWD; i++) {
        const qg_message m = said(i);
        qg_request req = request(&m);
        req.deadline_us = deadline_us;
        jobs[i] = NULL;
        if (qg_submit(e, &req, on_end, &ends[i], &jobs[i], NULL) != QG_OK)
            fail_msg("not accepted");
    }
}

static void wait_for_all(const end *ends)
{
    for (size_t i = 0; i < CROWD; i++)
        while (!atomic_load(&ends[i].n))
            pause_us(500);
}

static void a_verdict_or_a_reason(const end *e, qg_status reason)
{
    assert_int_equal(atomic_load(&e->n), 1);
    assert_true(e->status == QG_OK || e->status == reason);
    if (e->status == QG_OK)
        assert_true(e->second == QG_SECOND_GIVEN || e->second_status == reason);
}

static void cancelled_on_either_desk(void **state)
{
    (void)state;
    qg_engine *e = open_below(1);
    for (int round = 0; round < 12; round++) {
        end ends[CROWD] = {0};
        qg_job *jobs[CROWD];
        submit_crowd(e, ends, jobs, 0);
        pause_us(round * 1500);
        for (size_t i = 0; i < CROWD; i += 2)
            qg_cancel(jobs[i]);
        wait_for_all(ends);
        for (size_t i = 0; i < CROWD; i++) {
            a_verdict_or_a_reason(&ends[i], i % 2 ? QG_OK : QG_ERR_CANCELLED);
            assert_true(i % 2 == 0 || ends[i].second == QG_SECOND_GIVEN);
            qg_job_release(jobs[i]);
        }
    }
    qg_engine_close(e);
}

/* A verdict that is late for the second model is the first one's, and says so. */
static void the_deadline_holds_over_both(void **state)
{
    int stood = 0;
    (void)state;
    qg_engine *e = open_below(1);
    for (int ms = 0; ms < 400 && (ms < 40 || !stood); ms += 4) {
        end ends[CROWD] = {0};
        qg_job *jobs[CROWD];
        submit_crowd(e, ends, jobs, qg_now_us() + ms * 1000 + 1);
        wait_for_all(ends);
        for (size_t i = 0; i < CROWD; i++) {
            a_verdict_or_a_reason(&ends[i], QG_ERR_DEADLINE);
            stood += ends[i].second == QG_SECOND_FAILED;
            qg_job_release(jobs[i]);
        }
    }
    assert_true(stood > 0);
    qg_engine_close(e);
}

static void closing_loses_nothing(void **state)
{
    (void)state;
    for (int round = 0; round < 6; round++) {
        end ends[CROWD] = {0};
        qg_job *jobs[CROWD];
        qg_engine *e = open_below(1);
        submit_crowd(e, ends, jobs, 0);
        pause_us(round * 4000);
        qg_engine_close(e);
        for (size_t i = 0; i < CROWD; i++) {
            a_verdict_or_a_reason(&ends[i], QG_ERR_CLOSED);
            qg_job_release(jobs[i]);
        }
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    qg_fault_arm(0);
    qg_mfree(qg_malloc(1));
    if (!qg_fault_fired()) {
        print_message("needs -Dfaults=true, as in build/asan\n");
        skip();
    }
    qg_fault_arm(-1);
    qg_engine *e = open_below(1);
    qg_result_free(judge(e, 0)); /* what it keeps is there */
    for (int64_t nth = 0;; nth++) {
        const qg_message m = said(0);
        const qg_request req = request(&m);
        qg_result *r;
        qg_fault_arm(nth);
        qg_status rc = qg_judge(e, &req, &r, NULL);
        bool fired = qg_fault_fired();
        qg_fault_arm(-1);
        assert_true(rc == QG_OK || rc == QG_ERR_NOMEM);
        if (rc == QG_OK)
            assert_true(r->second == QG_SECOND_GIVEN ||
                        (r->second == QG_SECOND_FAILED && r->second_status == QG_ERR_NOMEM));
        qg_result_free(r);
        if (!fired)
            break;
    }
    qg_engine_close(e);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void memory_is_told_before(void **state)
{
    uint64_t one, two, more;
    (void)state;
    qg_options opt = options(0);
    assert_int_equal(qg_engine_memory(&opt, &one, NULL), QG_OK);
    qg_engine *e = open_with(&opt);
    qg_model_info info;
    qg_engine_info(e, &info);
    assert_true(one > info.weight_bytes + info.kv_bytes);
    assert_true(one < info.weight_bytes + info.kv_bytes + (64u << 20));
    qg_engine_close(e);
    opt = options(1);
    assert_int_equal(qg_engine_memory(&opt, &two, NULL), QG_OK);
    assert_true(two > one + info.kv_bytes);
    opt.kv_bytes = 0; /* at least 512 MiB each */
    assert_int_equal(qg_engine_memory(&opt, &more, NULL), QG_OK);
    assert_true(more > 2 * (uint64_t)(500u << 20));
    opt.model = "/nonexistent";
    assert_int_equal(qg_engine_memory(&opt, &more, NULL), QG_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_stands_is_what_one_of_them_says),
        cmocka_unit_test(the_verdict_object_tells),
        cmocka_unit_test(what_does_not_go_together_is_refused),
        cmocka_unit_test(generated_text_is_not_asked_again),
        cmocka_unit_test(both_desks_are_one_house),
        cmocka_unit_test(cancelled_on_either_desk),
        cmocka_unit_test(the_deadline_holds_over_both),
        cmocka_unit_test(closing_loses_nothing),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(memory_is_told_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
