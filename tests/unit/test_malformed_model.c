/* A sound small model damaged in hundreds of places, opened whole: files, binding, packing.
 * Whatever happens stays inside the memory it was given (the sanitizers watch) and is said in a
 * sentence. */
#include "tiny_model.h"
#include "unit.h"

#include "base/cpu.h"
#include "base/mem.h"
#include "engine/engine_int.h"
#include "fmt/inspect.h"

/* The status; a problem's sentence must be one and not be empty. */
static qg_status open_whole(const qg_file files[2], qg_pool *pool)
{
    const qg_model_options opt = {.features = qg_cpu_detect()};
    qg_modeldir *dir = NULL;
    qg_model *model = NULL;
    qg_err err = {""};

    qg_status rc = qg_modeldir_open_files(&dir, files, 2, QG_MODELDIR_TENSORS, &err);
    if (rc == QG_OK)
        rc = qg_model_open(&model, dir, &opt, pool, &err);
    assert_true(rc == QG_OK || rc == QG_ERR_FORMAT || rc == QG_ERR_UNSUPPORTED);
    assert_true((rc == QG_OK) == (model != NULL));
    assert_true(rc == QG_OK || (strlen(err.msg) > 20 && !strchr(err.msg, '\n')));
    qg_model_close(model);
    qg_modeldir_close(dir);
    return rc;
}

typedef struct bench {
    tiny_model t;
    qg_pool *pool;
    uint8_t *copy[2]; /* of config.json and the shard, to be damaged */
    qg_file files[2];
} bench;

static int set_up(void **state)
{
    bench *b = calloc(1, sizeof *b);
    tiny_spec spec = tiny_spec_default();
    qg_err err;

    assert_non_null(b);
    tiny_model_make(&b->t, &spec);
    assert_int_equal(qg_pool_open(&b->pool, 1, &err), QG_OK);
    for (int i = 0; i < 2; i++) {
        b->files[i] = b->t.files[i];
        b->copy[i] = malloc(b->files[i].size);
        assert_non_null(b->copy[i]);
        memcpy(b->copy[i], b->files[i].data, b->files[i].size);
        b->files[i].data = b->copy[i];
    }
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    bench *b = *state;

    for (int i = 0; i < 2; i++)
        free(b->copy[i]);
    qg_pool_close(b->pool);
    tiny_model_free(&b->t);
    free(b);
    return 0;
}

static void flip(bench *b, int file, size_t bit)
{
    b->copy[file][bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static size_t header_bits(const bench *b)
{
    return 8 * (8 + ((size_t)b->copy[1][0] | (size_t)b->copy[1][1] << 8));
}

static void sound_model_opens(void **state)
{
    bench *b = *state;
    assert_int_equal(open_whole(b->files, b->pool), QG_OK);
}

static void flipped_bits(void **state)
{
    bench *b = *state;
    for (int file = 0; file < 2; file++) {
        size_t n = file ? header_bits(b) : 8 * b->files[0].size;
        for (size_t bit = 0; bit < n; bit += file ? 41 : 5) {
            flip(b, file, bit);
            open_whole(b->files, b->pool);
            flip(b, file, bit);
        }
    }
}

static void cut_files(void **state)
{
    bench *b = *state;
    for (int file = 0; file < 2; file++) {
        qg_file files[2] = {b->files[0], b->files[1]};
        size_t n = b->files[file].size;
        while (file == 0 && b->copy[0][n - 1] != '}')
            n--;
        for (size_t cut = 0; cut < n; cut += 1 + n / 300) {
            /* ends where its block ends, so that one byte too far is seen */
            uint8_t *exact = malloc(cut + (cut == 0));
            assert_non_null(exact);
            memcpy(exact, b->copy[file], cut);
            files[file] = (qg_file){b->files[file].name, exact, cut};
            assert_int_not_equal(open_whole(files, b->pool), QG_OK);
            free(exact);
        }
    }
}

/* Every digit of both texts replaced by another: sizes, shapes and offsets that almost fit. */
static void other_digits(void **state)
{
    bench *b = *state;
    size_t n_opened = 0;
    for (int file = 0; file < 2; file++) {
        size_t n = file ? header_bits(b) / 8 : b->files[0].size;
        for (size_t i = file ? 8 : 0; i < n; i++) {
            uint8_t old = b->copy[file][i];
            if (old < '0' || old > '9' || (file && i % 3))
                continue;
            b->copy[file][i] = (uint8_t)('0' + (old - '0' + 1 + i % 9) % 10);
            n_opened += open_whole(b->files, b->pool) == QG_OK;
            b->copy[file][i] = old;
        }
    }
    assert_in_range(n_opened, 0, 60); /* only numbers that bind nothing: positions, theta, names */
}

/* What inspect predicts is what the model takes, but for rounding up to whole panels. */
static void predicted_memory_is_what_is_taken(void **state)
{
    bench *b = *state;
    const qg_model_options opt = {.features = qg_cpu_detect()};
    qg_demo demo;
    assert_true(qg_demo_find(&demo, NULL));
    qg_inspection in;
    qg_model *model;
    qg_err err;

    assert_int_equal(qg_inspection_open(&in, NULL, demo.files, demo.n, &err), QG_OK);
    assert_int_equal(in.first, QG_OK);
    assert_int_equal(qg_model_open(&model, in.dir, &opt, b->pool, &err), QG_OK);
    const json_t *memory = json_object_get(in.report, "memory");
    int64_t predicted = json_integer_value(json_object_get(memory, "weight_bytes"));
    int64_t taken = (int64_t)qg_model_weight_bytes(model);
    assert_in_range(taken, predicted, predicted + predicted / 100);
    qg_kv_shape shape = qg_model_kv_shape(model);
    assert_int_equal(json_integer_value(json_object_get(memory, "kv_bytes_per_token")),
                     qg_kv_block_bytes(&shape) / QG_KV_BLOCK);
    qg_model_close(model);
    qg_inspection_close(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_model_opens),
        cmocka_unit_test(flipped_bits),
        cmocka_unit_test(cut_files),
        cmocka_unit_test(other_digits),
        cmocka_unit_test(predicted_memory_is_what_is_taken),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
