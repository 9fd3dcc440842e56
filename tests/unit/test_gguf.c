/* GGUF headers: what is read, and every way one can lie.  Numbers are beside the reference in
 * tests/golden/test_gguf.py. */
#include "unit.h"

#include "base/mem.h"
#include "fmt/gguf.h"
#include "fmt/modeldir.h"

enum { ROOM = 1 << 16 };

typedef struct file {
    uint8_t p[ROOM];
    size_t n;
} file;

static file f;

static void put(uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        f.p[f.n++] = (uint8_t)(v >> (8 * i));
}

static void str(const char *s)
{
    put(strlen(s), 8);
    memcpy(f.p + f.n, s, strlen(s));
    f.n += strlen(s);
}

static void head(uint32_t version, uint64_t n_tensors, uint64_t n_values)
{
    f.n = 0;
    memcpy(f.p, "GGUF", 4);
    f.n = 4;
    put(version, 4);
    put(n_tensors, 8);
    put(n_values, 8);
}

static void value_u32(const char *key, uint32_t v)
{
    str(key);
    put(QG_GGUF_U32, 4);
    put(v, 4);
}

static void value_f32(const char *key, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    str(key);
    put(QG_GGUF_F32, 4);
    put(bits, 4);
}

static void value_str(const char *key, const char *v)
{
    str(key);
    put(QG_GGUF_STRING, 4);
    str(v);
}

static void tensor(const char *name, uint64_t n, uint32_t type, uint64_t offset)
{
    str(name);
    put(1, 4);
    put(n, 8);
    put(type, 4);
    put(offset, 8);
}

static void data(size_t n)
{
    while (f.n % 32)
        f.p[f.n++] = 0;
    memset(f.p + f.n, 0, n);
    f.n += n;
}

enum { CONFIG_VALUES = 11 };

/* What a whole configuration takes. */
static void config(const char *arch)
{
    value_str("general.architecture", arch);
    value_u32("qwen3.embedding_length", 32);
    value_u32("qwen3.feed_forward_length", 32);
    value_u32("qwen3.block_count", 1);
    value_u32("qwen3.attention.head_count", 2);
    value_u32("qwen3.attention.head_count_kv", 1);
    value_u32("qwen3.context_length", 16);
    value_u32("qwen3.attention.key_length", 16);
    value_f32("qwen3.attention.layer_norm_rms_epsilon", 1e-6f);
    value_f32("qwen3.rope.freq_base", 1e4f);
    value_u32("qwen3.vocab_size", 8);
}

static qg_status open_file(qg_modeldir **dir, unsigned flags, qg_err *err)
{
    /* at the end of a block of its own, so that a sanitizer sees a byte read too far */
    uint8_t *copy = qg_malloc(f.n);
    assert_non_null(copy);
    memcpy(copy, f.p, f.n);
    const qg_file one = {"m.gguf", copy, f.n};
    err->msg[0] = 0;
    qg_status rc = qg_modeldir_open_files(dir, &one, 1, flags, err);
    if (rc != QG_OK)
        qg_mfree(copy);
    else
        qg_modeldir_close(*dir), qg_mfree(copy);
    return rc;
}

static void refused(int line, qg_status rc, const char *word)
{
    qg_modeldir *dir;
    qg_err err;
    qg_status got = open_file(&dir, QG_MODELDIR_TENSORS, &err);
    if (got != rc || !strstr(err.msg, word))
        fail_msg("line %d: status %d, \"%s\"; wanted %d with \"%s\"", line, got, err.msg, rc, word);
}
#define REFUSED(rc, word) refused(__LINE__, rc, word)

static void a_file_is_read(void **state)
{
    (void)state;
    qg_modeldir *dir;
    qg_err err;
    for (uint32_t version = 2; version <= 3; version++) {
        head(version, 2, CONFIG_VALUES);
        config("qwen3");
        tensor("blk.0.attn_q.weight", 64, 8, 96);
        tensor("other", 20, 0, 0);
        data(96 + 68);
        if (open_file(&dir, QG_MODELDIR_TENSORS, &err) != QG_OK)
            fail_msg("%s", err.msg);
    }
}

static void a_lying_head_is_refused(void **state)
{
    (void)state;
    head(3, 0, 0);
    f.p[0] = 'g';
    REFUSED(QG_ERR_FORMAT, "does not begin");
    head(1, 0, 0);
    REFUSED(QG_ERR_UNSUPPORTED, "version 1");
    head(4, 0, 0);
    REFUSED(QG_ERR_UNSUPPORTED, "version 4");
    head(0x03000000, 0, 0);
    REFUSED(QG_ERR_UNSUPPORTED, "big-endian");
    head(3, 1u << 20, 0);
    REFUSED(QG_ERR_FORMAT, "limits");
    head(3, 0, UINT64_MAX);
    REFUSED(QG_ERR_FORMAT, "limits");
    head(3, 1000, 1000);
    REFUSED(QG_ERR_FORMAT, "cut short");
    for (size_t n = 4; n < 24; n++) {
        head(3, 0, 0);
        f.n = n;
        REFUSED(QG_ERR_FORMAT, "cut short");
    }
}

static void lying_values_are_refused(void **state)
{
    (void)state;
    head(3, 0, 2);
    value_u32("a", 1);
    value_u32("a", 2);
    REFUSED(QG_ERR_FORMAT, "twice");
    head(3, 0, 1);
    value_u32("a b", 1);
    REFUSED(QG_ERR_FORMAT, "byte 20");
    head(3, 0, 1);
    value_u32("", 1);
    REFUSED(QG_ERR_FORMAT, "0 bytes");
    head(3, 0, 1);
    str("a");
    put(13, 4);
    put(0, 8);
    REFUSED(QG_ERR_FORMAT, "type 13");
    head(3, 0, 1);
    str("a");
    put(QG_GGUF_ARRAY, 4);
    put(QG_GGUF_ARRAY, 4);
    put(0, 8);
    REFUSED(QG_ERR_UNSUPPORTED, "list of lists");
    static const uint64_t counts[] = {9, 1u << 30, UINT64_MAX / 4 + 2, UINT64_MAX};
    for (uint32_t type = 0; type < QG_GGUF_N_TYPES; type++)
        for (size_t i = 0; i < COUNT(counts) && type != QG_GGUF_ARRAY; i++) {
            head(3, 0, 1);
            str("a");
            put(QG_GGUF_ARRAY, 4);
            put(type, 4);
            put(counts[i], 8);
            put(0, 8);
            REFUSED(QG_ERR_FORMAT, "cut short");
        }
    head(3, 0, 1);
    str("a");
    put(QG_GGUF_STRING, 4);
    put(UINT64_MAX - 3, 8);
    REFUSED(QG_ERR_FORMAT, "cut short");
}

static void lying_tensors_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t n, offset;
        uint32_t type;
        qg_status rc;
        const char *word;
    } cases[] = {
        {32, 16, 0, QG_ERR_FORMAT, "alignment"},
        {32, 1u << 30, 0, QG_ERR_FORMAT, "cut short"},
        {32, UINT64_MAX - 31, 0, QG_ERR_FORMAT, "cut short"},
        {33, 0, 8, QG_ERR_FORMAT, "no multiple"},
        {0, 0, 0, QG_ERR_FORMAT, "dimension 0"},
        {UINT64_MAX, 0, 0, QG_ERR_FORMAT, "dimension"},
        {1000, 0, 0, QG_ERR_FORMAT, "cut short"},
        {32, 0, 16, QG_ERR_UNSUPPORTED, "IQ2_XXS"},
        {32, 0, 99, QG_ERR_UNSUPPORTED, "type 99 (?)"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        head(3, 1, CONFIG_VALUES);
        config("qwen3");
        tensor("t", cases[i].n, cases[i].type, cases[i].offset);
        data(256);
        REFUSED(cases[i].rc, cases[i].word);
    }
    head(3, 2, CONFIG_VALUES);
    config("qwen3");
    tensor("a", 32, 0, 0);
    tensor("b", 32, 0, 96);
    data(256);
    REFUSED(QG_ERR_FORMAT, "overlap");
    head(3, 2, CONFIG_VALUES);
    config("qwen3");
    tensor("output.weight", 8, 0, 0);
    tensor("lm_head.weight", 8, 0, 32);
    data(64);
    REFUSED(QG_ERR_FORMAT, "is also in");
    head(3, 1, CONFIG_VALUES);
    config("qwen3");
    str("t");
    put(5, 4);
    put(0, 8);
    put(0, 8);
    REFUSED(QG_ERR_UNSUPPORTED, "5 dimensions");
    head(3, 0, CONFIG_VALUES + 1);
    config("qwen3");
    value_u32("general.alignment", 24);
    REFUSED(QG_ERR_FORMAT, "power of two");
}

static void configurations_are_checked(void **state)
{
    (void)state;
    head(3, 0, CONFIG_VALUES);
    config("llama");
    REFUSED(QG_ERR_UNSUPPORTED, "\"llama\"");
    head(3, 0, 0);
    REFUSED(QG_ERR_FORMAT, "general.architecture is missing");
    head(3, 0, 1);
    value_str("general.architecture", "qwen3");
    REFUSED(QG_ERR_FORMAT, "qwen3.embedding_length is missing");
    head(3, 0, CONFIG_VALUES + 1);
    config("qwen3");
    value_u32("split.count", 4);
    REFUSED(QG_ERR_UNSUPPORTED, "4 parts");
    static const char *const switches[] = {"qwen3.attention.sliding_window", "qwen3.expert_count",
                                           "qwen3.rope.scaling.factor", "qwen3.logit_scale"};
    for (size_t i = 0; i < COUNT(switches); i++) {
        head(3, 0, CONFIG_VALUES + 1);
        config("qwen3");
        value_u32(switches[i], 2);
        REFUSED(QG_ERR_UNSUPPORTED, switches[i]);
    }
    head(3, 0, CONFIG_VALUES + 1);
    config("qwen3");
    value_u32("qwen3.rope.dimension_count", 8);
    REFUSED(QG_ERR_UNSUPPORTED, "rope.dimension_count");
    head(3, 1, CONFIG_VALUES);
    config("qwen3");
    tensor("query_risk_level_head.weight", 8, 0, 0);
    data(32);
    REFUSED(QG_ERR_UNSUPPORTED, "Stream");
}

/* Every byte of the header, wrong in its highest and lowest bit, and the file cut at every place.
 */
static void damage_is_survived(void **state)
{
    (void)state;
    qg_modeldir *dir;
    qg_err err;
    head(3, 2, CONFIG_VALUES);
    config("qwen3");
    tensor("blk.0.attn_q.weight", 64, 8, 96);
    tensor("other", 20, 0, 0);
    const size_t header = f.n;
    data(96 + 68);
    const size_t whole = f.n;
    for (size_t i = 0; i < header; i++)
        for (int bit = 0; bit < 8; bit += 7) {
            f.p[i] ^= (uint8_t)(1u << bit);
            (void)open_file(&dir, QG_MODELDIR_TENSORS, &err);
            f.p[i] ^= (uint8_t)(1u << bit);
        }
    for (f.n = 1; f.n < whole; f.n++)
        assert_int_not_equal(open_file(&dir, QG_MODELDIR_TENSORS, &err), QG_OK);
}

static void failed_allocations_are_survived(void **state)
{
    (void)state;
    head(3, 1, CONFIG_VALUES);
    config("qwen3");
    tensor("other", 20, 0, 0);
    data(96);
    uint8_t *copy = f.p;
    const qg_file one = {"m.gguf", copy, f.n};
    for (int64_t nth = 0;; nth++) {
        qg_modeldir *dir;
        qg_err err;
        const int64_t live = qg_live_blocks();
        qg_fault_arm(nth);
        qg_status rc = qg_modeldir_open_files(&dir, &one, 1, QG_MODELDIR_TENSORS, &err);
        const bool fired = qg_fault_fired();
        qg_fault_arm(-1);
        assert_int_equal(rc, fired ? QG_ERR_NOMEM : QG_OK);
        qg_modeldir_close(dir);
        assert_int_equal(qg_live_blocks(), live);
        if (!fired)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(a_lying_head_is_refused),
        cmocka_unit_test(lying_values_are_refused),
        cmocka_unit_test(lying_tensors_are_refused),
        cmocka_unit_test(configurations_are_checked),
        cmocka_unit_test(damage_is_survived),
        cmocka_unit_test(failed_allocations_are_survived),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
