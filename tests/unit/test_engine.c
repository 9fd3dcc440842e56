#define _POSIX_C_SOURCE 200809L
/* The engine through its public header, on the built-in model: answers belong to their questions,
 * limits and deadlines are kept, closing loses nothing, every allocation may fail. */
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
    "Write a poem about autumn leaves and the smell of rain, in eight lines that rhyme.",
    "\xe4\xbb\x8a\xe5\xa4\xa9\xe5\xa4\xa9\xe6\xb0\x94\xe6\x80\x8e\xe4\xb9\x88\xe6\xa0\xb7\xef\xbc"
    "\x9f",
    "",
};

static qg_engine *open_engine(void (*change)(qg_options *))
{
    qg_options opt;
    qg_engine *engine;
    qg_err err;
    qg_options_init(&opt);
    opt.n_threads = 2;
    if (change)
        change(&opt);
    if (qg_engine_open(&engine, &opt, &err) != QG_OK)
        fail_msg("%s", err.msg);
    return engine;
}

static qg_text text_of(const char *s)
{
    return (qg_text){s, strlen(s)};
}

static char *verdict(qg_engine *engine, const char *prompt, const char *reply, qg_decode decode)
{
    qg_message m[2] = {{"user", text_of(prompt)}, {"assistant", text_of(reply ? reply : "")}};
    qg_request req;
    qg_result *result;
    qg_err err;
    qg_request_init(&req);
    req.messages = m;
    req.n_messages = reply ? 2 : 1;
    req.decode = decode;
    if (qg_judge(engine, &req, &result, &err) != QG_OK)
        fail_msg("%s", err.msg);
    assert_true(decode == QG_DECODE_GENERATE || result->has_p);
    char *text = qg_memdup0(result->text, result->text_bytes);
    qg_result_free(result);
    return text;
}

static void the_official_examples(void **state)
{
    (void)state;
    qg_engine *e = open_engine(NULL);
    char *prompt = verdict(e, prompts[0], NULL, QG_DECODE_VERDICT);
    char *reply = verdict(e, prompts[0], "As an AI language model, I cannot help you with that.",
                          QG_DECODE_VERDICT);
    assert_string_equal(prompt, "Safety: Unsafe\nCategories: Violent");
    assert_string_equal(reply, "Safety: Safe\nCategories: None\nRefusal: Yes");
    qg_free(prompt);
    qg_free(reply);
    qg_engine_close(e);
}

static void both_ways_of_decoding_agree(void **state)
{
    (void)state;
    qg_engine *e = open_engine(NULL);
    for (size_t i = 0; i < COUNT(prompts); i++) {
        for (int reply = 0; reply < 2; reply++) {
            const char *r = reply ? "Sure, here is what you asked for." : NULL;
            char *forced = verdict(e, prompts[i], r, QG_DECODE_VERDICT);
            char *greedy = verdict(e, prompts[i], r, QG_DECODE_GENERATE);
            assert_string_equal(forced, greedy);
            qg_free(forced);
            qg_free(greedy);
        }
    }
    qg_engine_close(e);
}

/* ---- many at once ---- */

typedef struct ticket {
    char expected[96];
    int prompt;
    qg_status rc;
    bool wrong;
    atomic_int *left;
} ticket;

static void collect(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    ticket *t = ud;
    (void)err;
    t->rc = rc;
    t->wrong = rc == QG_OK && strcmp(result->text, t->expected) != 0;
    qg_result_free(result);
    atomic_fetch_sub(t->left, 1);
}

static qg_status post(qg_engine *e, const char *prompt, ticket *t, int64_t deadline, qg_job **job)
{
    qg_message m = {"user", text_of(prompt)};
    qg_request req;
    qg_request_init(&req);
    req.messages = &m;
    req.n_messages = 1;
    req.deadline_us = deadline;
    req.priority = t->prompt & 1;
    return qg_submit(e, &req, collect, t, job, NULL);
}

static void wait_for(atomic_int *left)
{
    for (int i = 0; atomic_load(left) > 0; i++) {
        assert_true(i < 60000);
        struct timespec ms = {0, 1000000};
        nanosleep(&ms, NULL);
    }
}

static void answers_belong_to_their_questions(void **state)
{
    (void)state;
    enum { N = 120 };
    qg_engine *e = open_engine(NULL);
    static ticket tickets[N];
    atomic_int left = N;
    for (int i = 0; i < N; i++) {
        tickets[i] = (ticket){.prompt = i % (int)COUNT(prompts), .left = &left};
        char *v = i < (int)COUNT(prompts) ? verdict(e, prompts[i], NULL, QG_DECODE_VERDICT) : NULL;
        snprintf(tickets[i].expected, sizeof tickets[i].expected, "%s",
                 v ? v : tickets[tickets[i].prompt].expected);
        qg_free(v);
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(post(e, prompts[tickets[i].prompt], &tickets[i], 0, NULL), QG_OK);
    wait_for(&left);
    for (int i = 0; i < N; i++) {
        assert_int_equal(tickets[i].rc, QG_OK);
        assert_false(tickets[i].wrong);
    }
    qg_stats stats;
    qg_engine_stats(e, &stats);
    assert_int_equal(stats.jobs_waiting + stats.jobs_running, 0);
    assert_true(stats.tokens_cached > 0);
    qg_engine_close(e);
}

static void small_queue(qg_options *opt)
{
    opt->max_jobs = 4;
    opt->n_threads = 1;
}

static void the_queue_is_bounded_and_jobs_end_early(void **state)
{
    (void)state;
    enum { N = 64 };
    static char text[60000];
    static ticket tickets[N];
    qg_engine *e = open_engine(small_queue);
    atomic_int left = 0;
    int busy = 0;
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = "word "[i % 5];
    text[7000] = 0; /* about 1,400 tokens */
    qg_job *jobs[N] = {0};
    for (int i = 0; i < N; i++) {
        tickets[i] = (ticket){.left = &left, .prompt = i};
        atomic_fetch_add(&left, 1);
        qg_status rc = post(e, text, &tickets[i], 0, &jobs[i]);
        if (rc != QG_OK) {
            assert_int_equal(rc, QG_ERR_BUSY);
            atomic_fetch_sub(&left, 1);
            busy++;
        }
    }
    assert_true(busy > 0);
    for (int i = 0; i < N; i++) {
        qg_cancel(jobs[i]);
        qg_job_release(jobs[i]);
    }
    wait_for(&left);
    ticket late = {.left = &left};
    atomic_fetch_add(&left, 1);
    assert_int_equal(post(e, text, &late, qg_now_us() + 1, NULL), QG_OK);
    wait_for(&left);
    assert_int_equal(late.rc, QG_ERR_DEADLINE);
    qg_engine_close(e);
}

static void closing_answers_everybody(void **state)
{
    (void)state;
    enum { N = 40 };
    static ticket tickets[N];
    qg_engine *e = open_engine(NULL);
    atomic_int left = N;
    for (int i = 0; i < N; i++) {
        tickets[i] = (ticket){.left = &left, .rc = QG_ERR_INTERNAL, .prompt = i};
        assert_int_equal(post(e, prompts[3], &tickets[i], 0, NULL), QG_OK);
    }
    qg_engine_close(e);
    assert_int_equal(atomic_load(&left), 0);
    for (int i = 0; i < N; i++)
        assert_true(tickets[i].rc == QG_OK || tickets[i].rc == QG_ERR_CLOSED);
}

/* Jobs without a callback keep their verdicts, whatever the order in which they are asked for, and
 * also when the engine has gone. */
static void jobs_can_be_waited_for(void **state)
{
    (void)state;
    qg_engine *e = open_engine(NULL);
    qg_job *jobs[COUNT(prompts)];
    qg_result *result;
    qg_err err;
    qg_message m = {.role = "user"};
    qg_request req;
    qg_request_init(&req);
    req.messages = &m;
    req.n_messages = 1;
    for (size_t i = 0; i < COUNT(prompts); i++) {
        m.content = text_of(prompts[i]);
        assert_int_equal(qg_submit(e, &req, NULL, NULL, &jobs[i], &err), QG_OK);
    }
    for (size_t i = COUNT(prompts); i-- > 1;) { /* the first one's is never taken */
        assert_int_equal(qg_job_wait(jobs[i], &result, &err), QG_OK);
        char *alone = verdict(e, prompts[i], NULL, QG_DECODE_VERDICT);
        assert_string_equal(result->text, alone);
        qg_free(alone);
        qg_result_free(result);
        assert_int_equal(qg_job_wait(jobs[i], &result, &err), QG_ERR_ARG);
        assert_null(result);
    }
    assert_int_equal(qg_submit(e, &req, NULL, NULL, NULL, &err), QG_ERR_ARG);
    qg_job *late;
    m.content = text_of(prompts[3]);
    assert_int_equal(qg_submit(e, &req, NULL, NULL, &late, &err), QG_OK);
    qg_engine_close(e);
    qg_status rc = qg_job_wait(late, &result, &err);
    assert_true(rc == QG_OK || rc == QG_ERR_CLOSED);
    assert_true((rc == QG_OK) == (result != NULL));
    qg_result_free(result);
    qg_job_release(late);
    for (size_t i = 0; i < COUNT(prompts); i++)
        qg_job_release(jobs[i]);
}

static void nonsense_is_refused_with_a_sentence(void **state)
{
    (void)state;
    qg_engine *e = open_engine(NULL);
    qg_message m = {"user", {"caf\xe9", 4}};
    qg_request req;
    qg_result *result;
    qg_err err;
    qg_request_init(&req);
    assert_int_equal(qg_judge(e, &req, &result, &err), QG_ERR_ARG);
    req.messages = &m;
    req.n_messages = 1;
    assert_int_equal(qg_judge(e, &req, &result, &err), QG_ERR_ARG);
    assert_non_null(strstr(err.msg, "UTF-8"));
    assert_null(result);
    char *big = malloc(4 << 20);
    memset(big, 'x', 4 << 20);
    for (size_t i = 0; i < 4 << 20; i += 2)
        big[i] = ' ';
    m.content = (qg_text){big, 4 << 20};
    assert_int_equal(qg_judge(e, &req, &result, &err), QG_ERR_TOO_LONG);
    assert_non_null(strstr(err.msg, "maximum context length is"));
    free(big);

    int32_t id = -1, position = 0;
    qg_logits_request lr = {.ids = &id, .n_ids = 1, .positions = &position, .n_positions = 1};
    assert_int_equal(qg_logits(e, &lr, NULL, &err), QG_ERR_ARG);
    qg_engine_close(e);

    qg_options opt;
    qg_options_init(&opt);
    opt.step_rows = 0;
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_ERR_ARG);
    assert_null(e);
    qg_options_init(&opt);
    opt.model = "/nowhere/at/all";
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_ERR_IO);
    assert_non_null(strstr(err.msg, "/nowhere/at/all"));
    qg_engine_close(NULL);
}

static void only_what_was_opened_can_be_used(void **state)
{
    (void)state;
    qg_options opt;
    qg_engine *e;
    qg_request req;
    qg_result *result;
    qg_err err;
    int32_t *ids;
    char *text;
    size_t n;
    qg_options_init(&opt);
    opt.parts = QG_PART_TOKENIZER;
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_OK);
    qg_request_init(&req);
    assert_int_equal(qg_judge(e, &req, &result, &err), QG_ERR_ARG);
    assert_int_equal(qg_tokenize(e, text_of("Safety: Safe"), QG_SPECIAL_TEXT, &ids, &n, &err),
                     QG_OK);
    assert_int_equal(qg_detokenize(e, ids, n, false, &text, &n, &err), QG_OK);
    assert_string_equal(text, "Safety: Safe");
    qg_free(ids);
    qg_free(text);
    assert_int_equal(qg_render(e, text_of("{}"), &text, &n, NULL, NULL, &err), QG_ERR_ARG);
    qg_engine_close(e);
}

/* In builds with the hook: fails each allocation of an open-judge-close once. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    qg_fault_arm(0);
    qg_free(qg_memdup0("", 0));
    if (!qg_fault_fired()) {
        print_message("needs -Dfaults=true, as in build/asan\n");
        skip();
    }
    qg_fault_arm(-1);
    int64_t live = qg_live_blocks();
    for (int64_t nth = 0;; nth += 1 + nth / 40) {
        qg_message m = {"user", text_of(prompts[0])};
        qg_options opt;
        qg_engine *e;
        qg_request req;
        qg_result *result = NULL;
        qg_options_init(&opt);
        opt.n_threads = 1;
        qg_request_init(&req);
        req.messages = &m;
        req.n_messages = 1;
        qg_fault_arm(nth);
        qg_status rc = qg_engine_open(&e, &opt, NULL);
        if (rc == QG_OK)
            rc = qg_judge(e, &req, &result, NULL);
        bool fired = qg_fault_fired();
        qg_fault_arm(-1);
        qg_result_free(result);
        qg_engine_close(e);
        /* the cache may forget without an error; everything else must say so */
        assert_true(rc == QG_ERR_NOMEM || rc == QG_OK);
        assert_int_equal(qg_live_blocks(), live);
        if (!fired)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_official_examples),
        cmocka_unit_test(both_ways_of_decoding_agree),
        cmocka_unit_test(answers_belong_to_their_questions),
        cmocka_unit_test(the_queue_is_bounded_and_jobs_end_early),
        cmocka_unit_test(closing_answers_everybody),
        cmocka_unit_test(jobs_can_be_waited_for),
        cmocka_unit_test(nonsense_is_refused_with_a_sentence),
        cmocka_unit_test(only_what_was_opened_can_be_used),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
