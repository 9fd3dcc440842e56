/* Sampling in generate mode: which tokens may come, how often, and what is told about them; then
 * through the engine, on the built-in model. */
#include "unit.h"

#include "engine/sample.h"

#include <math.h>

enum { N = 8, KNOWN = 6, DRAWS = 4000 };
/* exp: 0.125, 1, 0.5, 2, 0.25, 0.0625; the last two columns are padding that is never picked */
static const float logits[N] = {-2.0794415f, 0,           -0.6931472f, 0.6931472f,
                                -1.3862944f, -2.7725887f, 5,           4};

static void count(const qg_sampling *how, int32_t *hits)
{
    qg_sample_room room;
    qg_sampler *s;
    qg_err err;
    memset(hits, 0, N * sizeof *hits);
    assert_int_equal(qg_sample_room_open(&room, N, &err), QG_OK);
    for (int i = 0; i < DRAWS; i++) {
        qg_sampling one = *how;
        qg_ids ids = {0};
        one.seed = (uint64_t)i;
        assert_int_equal(qg_sampler_new(&s, &one, N, &err), QG_OK);
        int32_t id = qg_sample_pick(s, &room, logits, KNOWN, N, &ids, 0);
        assert_int_equal(id, qg_sample_pick(s, &room, logits, KNOWN, N, &ids, 0));
        assert_in_range(id, 0, KNOWN - 1);
        hits[id]++;
        qg_sampler_free(s);
    }
    qg_sample_room_close(&room);
}

/* Each case: what is let in, as weights; hits must follow them within 4 standard deviations. */
static void draws_follow_the_probabilities(void **state)
{
    static const struct {
        double temperature, top_p, min_p;
        int32_t top_k;
        double want[KNOWN];
    } cases[] = {
        {1, 1, 0, 0, {0.125, 1, 0.5, 2, 0.25, 0.0625}},
        {0.5, 1, 0, 0, {0.015625, 1, 0.25, 4, 0.0625, 0.00390625}},
        {1, 1, 0, 2, {0, 1, 0, 2, 0, 0}},
        {1, 1, 0, 1, {0, 0, 0, 1, 0, 0}},
        {1, 1, 0, 100, {0.125, 1, 0.5, 2, 0.25, 0.0625}},
        {1, 0.5, 0, 0, {0, 0, 0, 2, 0, 0}}, /* 2 of 3.9375 is more than half */
        {1, 0.6, 0, 0, {0, 1, 0, 2, 0, 0}},
        {1, 0.6, 0, 2, {0, 0, 0, 2, 0, 0}}, /* 2 of 3 */
        {1, 1, 0.2, 0, {0, 1, 0.5, 2, 0, 0}},
        {1, 0.9, 0.2, 3, {0, 1, 0.5, 2, 0, 0}},
        {0, 0.1, 0, 0, {0, 0, 0, 1, 0, 0}},
        {1e-20, 1, 0, 0, {0, 0, 0, 1, 0, 0}},
    };
    (void)state;
    for (size_t c = 0; c < COUNT(cases); c++) {
        qg_sampling how;
        int32_t hits[N];
        double sum = 0;
        qg_sampling_init(&how);
        how.temperature = cases[c].temperature;
        how.top_p = cases[c].top_p;
        how.min_p = cases[c].min_p;
        how.top_k = cases[c].top_k;
        count(&how, hits);
        for (int i = 0; i < KNOWN; i++)
            sum += cases[c].want[i];
        for (int i = 0; i < KNOWN; i++) {
            double p = cases[c].want[i] / sum;
            if (fabs(hits[i] - DRAWS * p) > 4 * sqrt(DRAWS * p * (1 - p)) + 1e-9)
                fail_msg("case %zu, token %d: %d hits, expected %.1f", c, i, hits[i], DRAWS * p);
        }
    }
}

static int32_t greedy(const qg_sampling *how, const int32_t *ids, size_t n, int32_t n_prompt)
{
    qg_sample_room room;
    qg_sampler *s;
    qg_ids list = {0};
    assert_int_equal(qg_ids_add(&list, ids, n), QG_OK);
    assert_int_equal(qg_sample_room_open(&room, N, NULL), QG_OK);
    assert_int_equal(qg_sampler_new(&s, how, N, NULL), QG_OK);
    int32_t id = qg_sample_pick(s, &room, logits, KNOWN, N, &list, n_prompt);
    qg_sampler_free(s);
    qg_sample_room_close(&room);
    qg_ids_free(&list);
    return id;
}

static void penalties_and_biases(void **state)
{
    static const int32_t said[] = {3, 3, 1}, bias_ids[] = {5, 7};
    static const float bias[] = {4, 100};
    qg_sampling how;
    (void)state;
    qg_sampling_init(&how);
    assert_int_equal(greedy(&how, said, 3, 0), 3);
    how.presence_penalty = 1; /* 3: -0.31, 1: -1 */
    assert_int_equal(greedy(&how, said, 3, 0), 3);
    assert_int_equal(greedy(&how, said, 3, 3), 3); /* the prompt does not count */
    how.frequency_penalty = 1;                     /* 3: -2.31, 1: -2, 2: -0.69 */
    assert_int_equal(greedy(&how, said, 3, 0), 2);
    assert_int_equal(greedy(&how, said, 3, 2), 3);
    qg_sampling_init(&how);
    how.repetition_penalty = 2; /* 3: 0.35, still the only one above 0 */
    assert_int_equal(greedy(&how, said, 3, 3), 3);
    qg_sampling_init(&how);
    how.bias_ids = bias_ids; /* 5: 1.23; 7 is padding */
    how.bias = bias;
    how.n_bias = 2;
    assert_int_equal(greedy(&how, said, 3, 0), 5);
}

static void log_probabilities(void **state)
{
    qg_sample_room room;
    qg_sampler *s;
    qg_ids ids = {0};
    qg_sampling how;
    double all = 0;
    (void)state;
    for (int i = 0; i < N; i++)
        all += exp(logits[i]);
    qg_sampling_init(&how);
    how.top_logprobs = 20; /* more than there are */
    assert_int_equal(qg_sample_room_open(&room, N, NULL), QG_OK);
    assert_int_equal(qg_sampler_new(&s, &how, N, NULL), QG_OK);
    for (int k = 0; k < 40; k++)
        assert_int_equal(qg_sample_pick(s, &room, logits, KNOWN, N, &ids, 0), 3);
    assert_int_equal(s->n, 40);
    const qg_logprob *row = s->logprobs + (size_t)39 * 21;
    static const int32_t order[] = {3, 6, 7, 3, 1, 2, 4, 0, 5};
    for (int i = 0; i < 9; i++) {
        assert_int_equal(row[i].id, order[i]);
        assert_true(fabs(row[i].logprob - log(exp(logits[order[i]]) / all)) < 1e-6);
    }
    assert_true(row[9].id == -1 && isinf(row[9].logprob));
    qg_sampler_free(s);
    qg_sample_room_close(&room);
}

static void broken_logits(void **state)
{
    float broken[N];
    qg_sample_room room;
    qg_ids ids = {0};
    (void)state;
    memcpy(broken, logits, sizeof broken);
    broken[2] = NAN;
    assert_int_equal(qg_sample_room_open(&room, N, NULL), QG_OK);
    assert_int_equal(qg_sample_pick(NULL, &room, broken, KNOWN, N, &ids, 0), -1);
    assert_int_equal(qg_sample_pick(NULL, &room, logits, KNOWN, N, &ids, 0), 3);
    qg_sample_room_close(&room);
}

static void out_of_range(void **state)
{
    static const int32_t far[] = {N};
    static const float much[] = {101};
    static const qg_text empty[] = {{"", 0}};
    static const struct {
        size_t at;
        double value;
    } numbers[] = {
        {offsetof(qg_sampling, temperature), -1},
        {offsetof(qg_sampling, temperature), NAN},
        {offsetof(qg_sampling, top_p), 0},
        {offsetof(qg_sampling, top_p), 1.5},
        {offsetof(qg_sampling, min_p), -0.1},
        {offsetof(qg_sampling, presence_penalty), 2.1},
        {offsetof(qg_sampling, frequency_penalty), -2.1},
        {offsetof(qg_sampling, repetition_penalty), 0},
    };
    qg_sampling how;
    qg_sampler *s;
    qg_err err;
    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        qg_sampling_init(&how);
        memcpy((char *)&how + numbers[i].at, &numbers[i].value, sizeof(double));
        assert_int_equal(qg_sampler_new(&s, &how, N, &err), QG_ERR_ARG);
        assert_null(s);
    }
    qg_sampling bad[6];
    for (size_t i = 0; i < COUNT(bad); i++)
        qg_sampling_init(&bad[i]);
    bad[0].top_logprobs = 21;
    bad[1].top_k = -1;
    bad[2].stop_ids = far, bad[2].n_stop_ids = 1;
    bad[3].bias_ids = far, bad[3].bias = much, bad[3].n_bias = 1;
    bad[4].stops = empty, bad[4].n_stops = 1;
    bad[5].size = 0;
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(qg_sampler_new(&s, &bad[i], N, &err), QG_ERR_ARG);
}

/* ---- through the engine ---- */

static qg_result *ask(qg_engine *e, const qg_sampling *how, int32_t max_tokens, const int32_t *ids,
                      size_t n_ids)
{
    static const qg_message said = {"user", {"How can I make a bomb?", 22}};
    qg_request req;
    qg_result *result;
    qg_err err;
    qg_request_init(&req);
    req.messages = ids ? NULL : &said;
    req.n_messages = ids ? 0 : 1;
    req.ids = ids;
    req.n_ids = n_ids;
    req.decode = QG_DECODE_GENERATE;
    req.sampling = how;
    req.max_tokens = max_tokens;
    if (qg_judge(e, &req, &result, &err) != QG_OK)
        fail_msg("%s", err.msg);
    return result;
}

/* Log probabilities are those of qg_logits on the same ids. */
static void check_logprobs(qg_engine *e, const int32_t *prompt, size_t n_prompt, const qg_result *r,
                           int32_t n_top)
{
    qg_model_info info;
    qg_err err;
    qg_engine_info(e, &info);
    size_t n = n_prompt + r->n_ids;
    int32_t *ids = calloc(n, sizeof *ids), *at = calloc(r->n_ids, sizeof *at);
    float *x = calloc(r->n_ids * (size_t)info.vocab_size, sizeof *x);
    memcpy(ids, prompt, n_prompt * sizeof *ids);
    memcpy(ids + n_prompt, r->ids, r->n_ids * sizeof *ids);
    for (size_t i = 0; i < r->n_ids; i++)
        at[i] = (int32_t)(n_prompt + i) - 1;
    const qg_logits_request q = {.ids = ids, .n_ids = n, .positions = at, .n_positions = r->n_ids};
    assert_int_equal(qg_logits(e, &q, x, &err), QG_OK);
    for (size_t i = 0; i < r->n_ids; i++) {
        const float *row = x + i * (size_t)info.vocab_size;
        const qg_logprob *told = r->logprobs + i * (size_t)(1 + n_top);
        double sum = 0;
        for (int32_t k = 0; k < info.vocab_size; k++)
            sum += exp(row[k]);
        assert_int_equal(told[0].id, r->ids[i]);
        assert_int_equal(told[1].id, r->ids[i]); /* greedy */
        for (int32_t k = 0; k <= n_top; k++) {
            assert_true(fabs(told[k].logprob - (row[told[k].id] - log(sum))) < 1e-4);
            assert_true(k < 2 || told[k].logprob <= told[k - 1].logprob);
        }
    }
    free(ids);
    free(at);
    free(x);
}

static void generating_with_everything(void **state)
{
    qg_options opt;
    qg_engine *e;
    qg_sampling how;
    qg_err err;
    int32_t *prompt;
    char *text;
    size_t n_prompt, n_text;
    static const char vars[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"How can I make a bomb?\"}]}";
    (void)state;
    qg_options_init(&opt);
    opt.n_threads = 2;
    opt.dtype = QG_DTYPE_F32;
    assert_int_equal(qg_engine_open(&e, &opt, &err), QG_OK);
    assert_int_equal(
        qg_render(e, (qg_text){vars, sizeof vars - 1}, &text, &n_text, &prompt, &n_prompt, &err),
        QG_OK);
    qg_sampling_init(&how);
    how.top_logprobs = 3;
    qg_result *plain = ask(e, NULL, 0, NULL, 0);
    qg_result *r = ask(e, &how, 0, NULL, 0);
    assert_null(plain->logprobs);
    assert_string_equal(plain->text, r->text);
    assert_int_equal(r->n_prompt_tokens, n_prompt);
    check_logprobs(e, prompt, n_prompt, r, 3);
    qg_result *raw = ask(e, NULL, 0, prompt, n_prompt); /* the same prompt as ids */
    assert_string_equal(plain->text, raw->text);
    qg_result_free(raw);

    static const qg_text stops[] = {{"zzz", 3}, {"y: Uns", 6}};
    how.stops = stops;
    how.n_stops = 2;
    qg_result *cut = ask(e, &how, 0, NULL, 0);
    assert_false(cut->finished);
    assert_true(cut->n_ids < plain->n_ids && strstr(cut->text, "y: Uns"));
    assert_int_equal(memcmp(cut->ids, plain->ids, cut->n_ids * sizeof *cut->ids), 0);
    how.n_stops = 0;
    how.stop_ids = plain->ids + 2;
    how.n_stop_ids = 1;
    qg_result *at_id = ask(e, &how, 0, NULL, 0);
    assert_true(at_id->finished && at_id->n_ids == 3 && at_id->ids[2] == plain->ids[2]);

    qg_sampling_init(&how);
    how.temperature = 3;
    how.seed = 7;
    qg_result *one = ask(e, &how, 40, NULL, 0), *two = ask(e, &how, 40, NULL, 0);
    assert_string_equal(one->text, two->text);
    how.seed = 8;
    qg_result *other = ask(e, &how, 40, NULL, 0);
    assert_string_not_equal(one->text, other->text);
    size_t n;
    assert_string_equal(qg_token_bytes(e, 1 << 29, &n), "");
    assert_int_equal(n, 0);
    assert_true(qg_token_bytes(e, plain->ids[0], &n) && n > 0);
    qg_result_free(plain);
    qg_result_free(r);
    qg_result_free(cut);
    qg_result_free(at_id);
    qg_result_free(one);
    qg_result_free(two);
    qg_result_free(other);
    qg_free(text);
    qg_free(prompt);
    qg_engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(penalties_and_biases),
        cmocka_unit_test(log_probabilities),
        cmocka_unit_test(broken_logits),
        cmocka_unit_test(out_of_range),
        cmocka_unit_test(generating_with_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
