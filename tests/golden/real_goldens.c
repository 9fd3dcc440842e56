/* Goldens of the models with the real vocabulary, by hand (a checkpoint of 90 MB or 1.5 GB first):
 *
 *     tools/make_checkpoint.py --shape 0.6b --kind gen DIR        (in the folder of goldens)
 *     real_goldens DIR GOLDEN.json [f32|bf16|int8|int4 [CPU-FEATURES]]
 *
 * Every prompt is run, then each forced step and the greedy continuation on top of it.  Prints the
 * distance of every group of numbers and ends with 1 when float32 is more than 1e-3 away, when
 * bfloat16 has a larger root mean square than the reference library's (int8: twice that, int4: 16
 * times), or when a choice differs whose margin is more than twice what is allowed. */
#include "../unit/rig.h"
#include "../unit/unit.h"

#include "base/cpu.h"
#include "tok/tok.h"

#include <jansson.h>
#include <math.h>

enum { MAX_ROWS = 256, MAX_CTX = 1024, VOCAB_MAX = 151936 };

typedef struct tally {
    double worst, sum_sq;
    size_t n;
} tally;

typedef struct run {
    rig r;
    const qg_tok *tok;
    qg_kv_seq seq;
    int32_t n; /* tokens fed */
    float *hidden, *logits;
    const json_t *taps; /* hidden_last_position, while it is being compared */
    int32_t tap_row;
    double tolerance; /* for choices */
    tally top, sums, permitted, residual, greedy;
    int wrong_choices;
} run;

static void count(tally *t, double got, double want)
{
    double d = fabs(got - want);
    t->worst = d > t->worst || isnan(d) ? d : t->worst;
    t->sum_sq += d * d;
    t->n++;
}

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static double at(const json_t *list, size_t i)
{
    return json_number_value(json_array_get(list, i));
}

/* Feeds ids, the last of which is wanted; logits of it. */
static void feed(run *u, const int32_t *ids, int32_t n)
{
    qg_row rows[MAX_ROWS];
    assert_int_equal(qg_kv_seq_grow(&u->seq, u->n + n), QG_OK);
    for (int32_t from = 0; from < n; from += MAX_ROWS) {
        int32_t m = n - from < MAX_ROWS ? n - from : MAX_ROWS;
        for (int32_t i = 0; i < m; i++)
            rows[i] = rig_row(&u->seq, u->n + from + i, ids[from + i], from + i == n - 1);
        u->tap_row = m - 1;
        u->r.scratch->tap_arg = from + m == n ? u : NULL;
        rig_pass(&u->r, rows, m, u->hidden);
    }
    u->n += n;
    qg_model_logits(u->r.model, u->r.scratch, u->r.pool, u->hidden, 1, u->logits, VOCAB_MAX);
}

static void feed_list(run *u, const json_t *ids)
{
    int32_t list[MAX_CTX], n = (int32_t)json_array_size(ids);
    assert_true(n < MAX_CTX);
    for (int32_t i = 0; i < n; i++)
        list[i] = (int32_t)at(ids, (size_t)i);
    feed(u, list, n);
}

static void feed_label(run *u, const char *label)
{
    char text[128];
    qg_ids ids = {0};
    qg_err err;
    snprintf(text, sizeof text, " %s", label);
    assert_int_equal(qg_tok_encode(u->tok, qg_str(text), false, &ids, &err), QG_OK);
    feed(u, ids.p, (int32_t)ids.n);
    qg_ids_free(&ids);
}

static void compare_vector(run *u, const float *x, size_t step)
{
    int32_t n = qg_model_config(u->r.model)->hidden;
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    count(&u->residual, sqrt(sum / n), at(json_object_get(u->taps, "rms"), step));
    const json_t *first = json_array_get(json_object_get(u->taps, "first_8"), step);
    for (size_t i = 0; i < json_array_size(first); i++)
        count(&u->residual, x[i], at(first, i));
}

static void tap(void *arg, int32_t layer, const float *x)
{
    run *u = arg;
    if (u && u->taps)
        compare_vector(u, x + u->tap_row * qg_model_config(u->r.model)->hidden, (size_t)layer);
}

static int32_t best_id(const float *v, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = v[i] > v[best] ? i : best;
    return best;
}

static double logsumexp(const float *v, int32_t n)
{
    double max = v[best_id(v, n)], sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += exp(v[i] - max);
    return max + log(sum);
}

static void compare_step(run *u, const json_t *step)
{
    const json_t *top = json_object_get(step, "top");
    for (size_t i = 0; i < json_array_size(top); i++) {
        const json_t *pair = json_array_get(top, i);
        count(&u->top, u->logits[(size_t)at(pair, 0)], at(pair, 1));
    }
    count(&u->sums, logsumexp(u->logits, VOCAB_MAX), number(step, "logsumexp"));
    const char *label, *best = NULL;
    json_t *answer;
    float best_logit = -INFINITY;
    json_object_foreach (json_object_get(step, "permitted"), label, answer) {
        float logit = u->logits[(size_t)number(answer, "id")];
        count(&u->permitted, logit, number(answer, "logit"));
        if (logit > best_logit) {
            best_logit = logit;
            best = label;
        }
    }
    const char *taken = json_string_value(json_object_get(step, "taken"));
    bool same = best && strcmp(best, taken) == 0;
    u->wrong_choices += !same && number(step, "margin") > 2 * u->tolerance;
}

static void run_steps(run *u, const json_t *c)
{
    static const char *const names[] = {"severity", "category", "refusal"};
    u->n = 0;
    feed_list(u, json_object_get(c, "ids"));
    for (size_t i = 0; i < COUNT(names); i++) {
        const json_t *step = json_object_get(json_object_get(c, "steps"), names[i]);
        u->taps = i == 0 ? json_object_get(c, "hidden_last_position") : NULL;
        feed_list(u, json_object_get(step, "forced_ids"));
        if (u->taps)
            compare_vector(u, u->hidden, json_array_size(json_object_get(u->taps, "rms")) - 1);
        u->taps = NULL;
        assert_int_equal(u->n, (int32_t)number(step, "sequence_length"));
        compare_step(u, step);
        if (i + 1 < COUNT(names))
            feed_label(u, json_string_value(json_object_get(step, "taken")));
    }
}

static void run_greedy(run *u, const json_t *c)
{
    const json_t *list = json_object_get(c, "greedy"), *ids = json_object_get(c, "ids");
    int32_t n = (int32_t)json_array_size(ids), id = (int32_t)at(ids, (size_t)n - 1);
    u->n = n - 1; /* K and V of the prompt are still there */
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *want = json_array_get(list, i);
        feed(u, &id, 1);
        id = (int32_t)number(want, "id");
        count(&u->greedy, u->logits[id], number(want, "logit"));
        u->wrong_choices +=
            best_id(u->logits, VOCAB_MAX) != id && number(want, "margin") > 2 * u->tolerance;
    }
}

static double show(const char *name, const tally *t)
{
    double rms = sqrt(t->sum_sq / (double)(t->n ? t->n : 1));
    print_message("%-34s largest %9.3g, root mean square %9.3g of %zu\n", name, t->worst, rms,
                  t->n);
    return rms;
}

static bool judge(run *u, const json_t *golden, qg_dtype dtype)
{
    const bool f32 = dtype == QG_DTYPE_F32;
    const json_t *d = json_object_get(golden, "deviation_from_these_values");
    double allowed =
        number(json_object_get(d, "bfloat16_arithmetic_on_the_permitted_answers"), "rms") *
        (dtype == QG_DTYPE_INT8   ? 2
         : dtype == QG_DTYPE_INT4 ? 16
                                  : 1);
    show("residual stream", &u->residual);
    show("20 largest logits", &u->top);
    show("logarithm of the sum", &u->sums);
    show("greedy", &u->greedy);
    double rms = show("permitted answers", &u->permitted);
    print_message("allowed: %s %.3g; choices that differ beyond their margin: %d\n",
                  f32 ? "largest" : "root mean square", f32 ? u->tolerance : allowed,
                  u->wrong_choices);
    bool near = u->top.worst <= u->tolerance && u->sums.worst <= u->tolerance &&
                u->greedy.worst <= u->tolerance && u->permitted.worst <= u->tolerance;
    return u->wrong_choices == 0 && (f32 ? near : rms <= allowed);
}

static bool run_all(const qg_modeldir *dir, const qg_tok *tok, const json_t *golden, qg_dtype dtype,
                    qg_dtype kv_dtype, uint32_t features)
{
    const json_t *d = json_object_get(golden, "deviation_from_these_values"), *c;
    run u = {.tok = tok};
    size_t i;
    rig_open(&u.r, dir,
             &(rig_options){.dtype = dtype,
                            .kv_dtype = kv_dtype,
                            .features = features,
                            .threads = 2,
                            .max_rows = MAX_ROWS,
                            .max_ctx = MAX_CTX,
                            .n_blocks = MAX_CTX / QG_KV_BLOCK});
    u.tolerance = number(json_object_get(d, "bfloat16_arithmetic_same_library"), "rms");
    u.tolerance = dtype == QG_DTYPE_F32    ? 1e-3
                  : dtype == QG_DTYPE_INT8 ? 2 * u.tolerance
                  : dtype == QG_DTYPE_INT4 ? 16 * u.tolerance
                                           : u.tolerance;
    assert_true(qg_model_config(u.r.model)->vocab_size == VOCAB_MAX);
    u.hidden = calloc((size_t)qg_model_config(u.r.model)->hidden, sizeof *u.hidden);
    u.logits = calloc(VOCAB_MAX, sizeof *u.logits);
    u.seq.kv = u.r.kv;
    u.r.scratch->tap = tap;
    print_message("%s, %s, %s\n", qg_modeldir_name(dir), qg_model_kernel(u.r.model),
                  u.r.model->attn->name);
    json_array_foreach (json_object_get(golden, "cases"), i, c) {
        run_steps(&u, c);
        run_greedy(&u, c);
    }
    bool good = judge(&u, golden, dtype);
    qg_kv_seq_free(&u.seq);
    free(u.hidden);
    free(u.logits);
    rig_close(&u.r);
    return good;
}

static qg_dtype dtype_of(const char *word)
{
    return strcmp(word, "bf16") == 0   ? QG_DTYPE_BF16
           : strcmp(word, "int8") == 0 ? QG_DTYPE_INT8
           : strcmp(word, "int4") == 0 ? QG_DTYPE_INT4
                                       : QG_DTYPE_F32;
}

int main(int argc, char **argv)
{
    qg_modeldir *dir = NULL;
    qg_tok *tok = NULL;
    qg_slice file;
    qg_err err = {"real_goldens DIR GOLDEN.json [f32|bf16|int8|int4 [CPU-FEATURES "
                  "[KV: bf16|int8]]]"};
    json_error_t json_err;
    uint32_t mask = UINT32_MAX;
    int rc = 1;
    json_t *golden = argc > 2 ? json_load_file(argv[2], 0, &json_err) : NULL;
    if (argc > 4 && qg_cpu_parse(argv[4], &mask, &err) != QG_OK)
        golden = NULL;
    if (golden && qg_modeldir_open(&dir, argv[1], QG_MODELDIR_TENSORS, &err) == QG_OK &&
        qg_modeldir_file(dir, "tokenizer.json", &file, &err) == QG_OK &&
        qg_tok_open(&tok, file, &err) == QG_OK)
        rc = !run_all(dir, tok, golden, dtype_of(argc < 4 ? "f32" : argv[3]),
                      argc > 5 ? dtype_of(argv[5]) : QG_DTYPE_AUTO, qg_cpu_detect() & mask);
    else
        print_error("%s\n", err.msg);
    json_decref(golden);
    qg_tok_close(tok);
    qg_modeldir_close(dir);
    return rc;
}
