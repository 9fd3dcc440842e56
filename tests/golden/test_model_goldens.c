/* The forward pass beside reference logits (goldens/README.md says how they were computed).
 *
 *     test_model_goldens            tiny-gen and tiny-gen-untied of QGUARD_SHARED
 *
 * float32 must come within MAX_F32 of every stored number: frequencies and angles are rounded as
 * the reference rounds them, so the wide tolerances for long positions are not needed.  bfloat16
 * must have at most the root mean square distance that bfloat16 arithmetic in the reference's own
 * library has; int8 at most 0.15 (the logits' standard deviation is 2.1).
 *
 *     test_model_goldens DIR        one directory in int8 only, beside the numbers of tiny-gen */
#include "../unit/rig.h"
#include "../unit/unit.h"

#include "base/cpu.h"

#include <jansson.h>
#include <math.h>
#include <unistd.h>

#define MAX_F32  1e-4
#define RMS_INT8 0.15
#define RMS_INT4 1.1
#define RMS_KV8  0.06 /* bfloat16 with K and V in 8 bits */

enum { MAX_ROWS = 256, MAX_CTX = 2304, N_BLOCKS = MAX_CTX / QG_KV_BLOCK };

typedef struct tally {
    double worst, sum_sq; /* of all numbers; of those that were not chosen for being large */
    size_t n;
    const char *worst_case;
} tally;

static void count(tally *t, const char *name, double got, double want, bool chosen)
{
    double d = fabs(got - want);
    if (!(d <= t->worst)) {
        t->worst = d;
        t->worst_case = name;
    }
    if (!chosen) {
        t->sum_sq += d * d;
        t->n++;
    }
}

static double at(const json_t *list, size_t i)
{
    return json_number_value(json_array_get(list, i));
}

static double logsumexp(const float *v, int32_t n)
{
    double max = v[0], sum = 0;
    for (int32_t i = 1; i < n; i++)
        max = v[i] > max ? v[i] : max;
    for (int32_t i = 0; i < n; i++)
        sum += exp(v[i] - max);
    return max + log(sum);
}

/* Logits of position i of the case's list beside what is stored for it. */
static void compare(tally *t, const json_t *c, const json_t *columns, size_t i, const float *logits,
                    int32_t vocab)
{
    const char *name = json_string_value(json_object_get(c, "name"));
    const json_t *full = json_array_get(json_object_get(c, "logits"), i);
    if (full) {
        for (int32_t j = 0; j < vocab; j++)
            count(t, name, logits[j], at(full, (size_t)j), false);
        return;
    }
    const json_t *cols = json_array_get(json_object_get(c, "columns"), i);
    const json_t *top = json_array_get(json_object_get(c, "top"), i);
    assert_true(json_array_size(cols) == json_array_size(columns) && json_array_size(top) > 0);
    for (size_t j = 0; j < json_array_size(cols); j++)
        count(t, name, logits[(size_t)at(columns, j)], at(cols, j), false);
    for (size_t j = 0; j < json_array_size(top); j++) {
        const json_t *pair = json_array_get(top, j);
        count(t, name, logits[(size_t)at(pair, 0)], at(pair, 1), true);
    }
    count(t, name, logsumexp(logits, vocab), at(json_object_get(c, "logsumexp"), i), true);
}

/* Feeds the case in passes of MAX_ROWS, wanting only the stored positions. */
static void run_case(rig *r, tally *t, const json_t *c, const json_t *columns)
{
    const json_t *ids = json_object_get(c, "ids"), *positions = json_object_get(c, "positions");
    const qg_config *cfg = qg_model_config(r->model);
    int32_t n = (int32_t)json_array_size(ids), hidden_n = cfg->hidden;
    size_t n_stored = positions ? json_array_size(positions) : (size_t)n, stored = 0;
    float *hidden = calloc((size_t)MAX_ROWS * (size_t)hidden_n, sizeof *hidden);
    float *logits = calloc((size_t)cfg->vocab_size, sizeof *logits);
    qg_row *rows = calloc(MAX_ROWS, sizeof *rows);
    qg_kv_seq seq = {.kv = r->kv};
    assert_true(hidden && logits && rows && n > 0);
    assert_int_equal(qg_kv_seq_grow(&seq, n), QG_OK);
    size_t next = 0;
    for (int32_t from = 0; from < n; from += MAX_ROWS) {
        int32_t m = n - from < MAX_ROWS ? n - from : MAX_ROWS;
        for (int32_t i = 0; i < m; i++) {
            int32_t pos = from + i;
            bool want = next < n_stored && pos == (positions ? (int32_t)at(positions, next) : pos);
            next += want;
            rows[i] = rig_row(&seq, pos, (int32_t)at(ids, (size_t)pos), want);
        }
        rig_pass(r, rows, m, hidden);
        for (int32_t i = 0; stored < next; i++) {
            qg_model_logits(r->model, r->scratch, r->pool, hidden + i * hidden_n, 1, logits,
                            cfg->vocab_size);
            compare(t, c, columns, stored++, logits, cfg->vocab_size);
        }
    }
    assert_int_equal(stored, n_stored);
    qg_kv_seq_free(&seq);
    free(hidden);
    free(logits);
    free(rows);
}

/* ---- where it goes wrong --------------------------------------------------------------------- */

typedef struct taps {
    const json_t *want;
    int32_t row, hidden;
} taps;

static double distance(const float *got, const json_t *want)
{
    double worst = 0;
    for (size_t i = 0; i < json_array_size(want); i++)
        worst = fmax(worst, fabs(got[i] - at(want, i)));
    return worst;
}

static void show_tap(void *arg, int32_t layer, const float *x)
{
    const taps *t = arg;
    const json_t *want = json_array_get(
        json_object_get(t->want, "residual_after_embedding_and_each_layer"), (size_t)layer);
    print_message("  residual before layer %d: off by %.3g\n", layer,
                  distance(x + t->row * t->hidden, want));
}

/* Shows the first layer that goes wrong. */
static void show_taps(rig *r, const json_t *golden)
{
    taps t = {.want = json_object_get(golden, "taps"), .hidden = qg_model_config(r->model)->hidden};
    const json_t *cases = json_object_get(golden, "cases"), *c;
    size_t i;
    t.row = (int32_t)json_integer_value(json_object_get(t.want, "position"));
    r->scratch->tap = show_tap;
    r->scratch->tap_arg = &t;
    json_array_foreach (cases, i, c) {
        if (!json_equal(json_object_get(c, "name"), json_object_get(t.want, "case")))
            continue;
        const json_t *ids = json_object_get(c, "ids");
        int32_t list[MAX_ROWS], n = (int32_t)json_array_size(ids);
        float *hidden = calloc((size_t)n * (size_t)t.hidden, sizeof *hidden);
        qg_kv_seq seq = {.kv = r->kv};
        for (int32_t j = 0; j < n; j++)
            list[j] = (int32_t)at(ids, (size_t)j);
        rig_feed(r, &seq, 0, list, n, hidden);
        print_message(
            "  after the last norm: off by %.3g\n",
            distance(hidden + t.row * t.hidden, json_object_get(t.want, "after_final_norm")));
        qg_kv_seq_free(&seq);
        free(hidden);
    }
    r->scratch->tap = NULL;
}

/* ---- one directory --------------------------------------------------------------------------- */

static double stored_rms(const json_t *golden)
{
    const json_t *d = json_object_get(golden, "deviation_from_these_values");
    return json_number_value(
        json_object_get(json_object_get(d, "bfloat16_arithmetic_same_library"), "rms"));
}

/* max_ids: longer cases are left out (plain C is slow, slower still under a sanitizer). */
static void check(const qg_modeldir *dir, const json_t *golden, const char *features,
                  qg_dtype dtype, qg_dtype kv_dtype, size_t max_ids)
{
    const json_t *columns = json_object_get(golden, "columns"), *c;
    rig r;
    tally t = {0};
    qg_err err;
    size_t i;
    rig_options opt = {.dtype = dtype,
                       .kv_dtype = kv_dtype,
                       .features = qg_cpu_detect(),
                       .threads = 2,
                       .max_rows = MAX_ROWS,
                       .max_ctx = MAX_CTX,
                       .n_blocks = N_BLOCKS};
    uint32_t mask;
    if (qg_cpu_parse(features, &mask, &err) != QG_OK)
        return;
    opt.features &= mask;
    rig_open(&r, dir, &opt);
    json_array_foreach (json_object_get(golden, "cases"), i, c)
        if (json_array_size(json_object_get(c, "ids")) <= max_ids)
            run_case(&r, &t, c, columns);
    double rms = sqrt(t.sum_sq / (double)t.n);
    double allowed = dtype == QG_DTYPE_INT8      ? RMS_INT8
                     : dtype == QG_DTYPE_INT4    ? RMS_INT4
                     : kv_dtype == QG_DTYPE_INT8 ? RMS_KV8
                                                 : stored_rms(golden);
    print_message("%s, %s, attention %s: largest %.3g (%s), root mean square %.3g (allowed %.3g)\n",
                  qg_modeldir_name(dir), qg_model_kernel(r.model), r.model->attn->name, t.worst,
                  t.worst_case, rms, dtype == QG_DTYPE_F32 ? MAX_F32 : allowed);
    bool good = dtype == QG_DTYPE_F32 ? t.worst <= MAX_F32 : rms <= allowed;
    if (!good)
        show_taps(&r, golden);
    rig_close(&r);
    assert_true(good);
}

static json_t *load_golden(const char *dir)
{
    char path[4096];
    json_error_t error;
    snprintf(path, sizeof path, "%s/goldens.json", dir);
    json_t *golden = json_load_file(path, 0, &error);
    if (!golden)
        fail_msg("%s: %s", path, error.text);
    return golden;
}

static void check_dir(const char *path, const char *golden_path, bool all)
{
    static const struct {
        const char *features;
        qg_dtype dtype, kv_dtype;
        size_t max_ids;
    } runs[] = {{"all", QG_DTYPE_F32, QG_DTYPE_AUTO, SIZE_MAX},
                {"all", QG_DTYPE_BF16, QG_DTYPE_AUTO, SIZE_MAX},
                {"all", QG_DTYPE_INT8, QG_DTYPE_AUTO, SIZE_MAX},
                {"all", QG_DTYPE_INT4, QG_DTYPE_AUTO, SIZE_MAX},
                {"all", QG_DTYPE_BF16, QG_DTYPE_INT8, SIZE_MAX},
                {"all", QG_DTYPE_INT8, QG_DTYPE_INT8, SIZE_MAX},
                {"ref", QG_DTYPE_BF16, QG_DTYPE_INT8, 66},
                {"ref", QG_DTYPE_F32, QG_DTYPE_AUTO, 511},
                {"ref", QG_DTYPE_BF16, QG_DTYPE_AUTO, 511},
                {"ref", QG_DTYPE_INT8, QG_DTYPE_AUTO, 66},
                {"ref", QG_DTYPE_INT4, QG_DTYPE_AUTO, 66}};
    qg_modeldir *dir;
    qg_err err;
    json_t *golden = load_golden(golden_path);
    if (qg_modeldir_open(&dir, path, QG_MODELDIR_TENSORS, &err) != QG_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < (all ? COUNT(runs) : 1); i++)
        check(dir, golden, runs[i].features, runs[i].dtype, runs[i].kv_dtype, runs[i].max_ids);
    qg_modeldir_close(dir);
    json_decref(golden);
}

static void golden_path(char *out, size_t n, const char *name)
{
    if (!unit_shared()) {
        print_message("SKIPPED: QGUARD_SHARED is not set, %s was not compared\n", name);
        skip();
    }
    snprintf(out, n, "%s/goldens/%s", unit_shared(), name);
}

static void tiny_gen(void **state)
{
    char dir[2048];
    (void)state;
    golden_path(dir, sizeof dir, "tiny-gen");
    check_dir(dir, dir, true);
}

static void tiny_gen_untied(void **state)
{
    char dir[2048];
    (void)state;
    golden_path(dir, sizeof dir, "tiny-gen-untied");
    check_dir(dir, dir, true);
}

/* The same weights under the configuration as another version of transformers writes it. */
static void other_layout(const char *name, const char *config, const char *const *files)
{
    char from[2048], to[] = "qguard-golden-XXXXXX", target[4096], link[64];
    golden_path(from, sizeof from, name);
    assert_non_null(mkdtemp(to));
    for (const char *const *f = files; *f; f++) {
        snprintf(target, sizeof target, "%s/%s", from, strcmp(*f, "config.json") ? *f : config);
        snprintf(link, sizeof link, "%s/%s", to, *f);
        assert_int_equal(symlink(target, link), 0);
    }
    check_dir(to, from, false);
    for (const char *const *f = files; *f; f++) {
        snprintf(link, sizeof link, "%s/%s", to, *f);
        assert_int_equal(unlink(link), 0);
    }
    assert_int_equal(rmdir(to), 0);
}

static void tiny_gen_as_transformers_5_writes_it(void **state)
{
    static const char *const files[] = {"config.json", "generation_config.json",
                                        "model.safetensors", NULL};
    (void)state;
    other_layout("tiny-gen", "config.transformers5.json", files);
}

static void tiny_gen_untied_as_transformers_4_writes_it(void **state)
{
    static const char *const files[] = {"config.json",
                                        "generation_config.json",
                                        "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json",
                                        NULL};
    (void)state;
    other_layout("tiny-gen-untied", "config.transformers4.json", files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_gen),
        cmocka_unit_test(tiny_gen_untied),
        cmocka_unit_test(tiny_gen_as_transformers_5_writes_it),
        cmocka_unit_test(tiny_gen_untied_as_transformers_4_writes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
