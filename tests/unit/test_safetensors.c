/* One shard: what is read, and every way a header can lie. */
#include "tinydir.h"

#include "base/limits.h"
#include "base/mem.h"

static tiny_file f;

static qg_status open_shard(qg_shard *s, size_t n, qg_err *err)
{
    return qg_shard_open(s, "m.safetensors", qg_map_borrow(n ? f.data : NULL, n), err);
}

#define T(name, dtype, shape, lo, hi)                                                              \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #lo "," #hi "]" \
    "}"

static void plain_shards_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t n_data, n_tensors;
    } cases[] = {
        {"{}", 0, 0},
        {"{}   ", 0, 0}, /* padded with blanks */
        {"{\"__metadata__\":{\"format\":\"pt\"}}", 0, 0},
        {"{" T("a", "F32", "[2,3]", 0, 24) "}", 24, 1},
        {"{" T("a", "BF16", "[]", 0, 2) "}", 2, 1},
        {"{" T("a", "U8", "[2,3]", 0, 6) "}", 6, 1},
        {"{" T("a", "F16", "[1,2,3,4]", 0, 48) "}", 48, 1},
        {"{" T("a", "F16", "[0,7]", 0, 0) "}", 0, 1},
        {"{" T("b", "F16", "[1]", 2, 4) "," T("e", "F32", "[0]", 2, 2) "," T("a", "BF16", "[1]", 0,
                                                                             2) "}",
         4, 3},
        {"{\"__metadata__\":{}," T("a", "F16", "[1]", 0, 2) "}", 2, 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_shard s;
        qg_err err = {0};
        tiny_put_shard(&f, "m.safetensors", cases[i].header, cases[i].n_data);
        if (open_shard(&s, f.n, &err) != QG_OK)
            fail_msg("case %zu: %s", i, err.msg);
        assert_int_equal(s.n_tensors, cases[i].n_tensors);
        qg_shard_close(&s);
    }
}

typedef struct damage {
    const char *header;
    size_t n_data;
    const char *word;
} damage;

/* All QG_ERR_FORMAT unless the sentence says what can be read. */
static const damage damages[] = {
    {"", 0, "no JSON object"},
    {" {}", 0, "no JSON object"},
    {"[]", 0, "no JSON object"},
    {"{", 0, "header: line"},
    {"{}}", 0, "header: line"},
    {"{} x", 0, "header: line"},
    {"{\"a\":\xff}", 0, "header: line"},
    {"{\"\xc3\x28\":{}}", 0, "header: line"},
    {"{}", 1, "1 bytes behind the header"},
    {"{\"__metadata__\":3}", 0, "__metadata__"},
    {"{\"__metadata__\":{\"n\":3}}", 0, "__metadata__: \"n\""},
    {"{\"a\":3}", 0, "a: an integer"},
    {"{\"a\":[]}", 0, "a: an array"},
    {"{\"a\":{}}", 0, "a: must have exactly"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 0, "a: must have exactly"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"offsets\":[0,4]}}", 4, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shapes\":[],\"data_offsets\":[0,4]}}", 4, "shape"},
    {"{\"a\":{\"type\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"x\":0}}", 4, "exactly"},
    {"{" T("a", "F64", "[1]", 0, 8) "}", 8, "a: dtype \"F64\"; BF16, F16 and F32 can be read"},
    {"{" T("a", "I8", "[1]", 0, 1) "}", 1, "can be read"},
    {"{" T("a", "I8", "[1]", 0, 1) "}", 1, "can be read"},
    {"{" T("a", "BOOL", "[1]", 0, 1) "}", 1, "can be read"},
    {"{" T("a", "F8_E4M3", "[1]", 0, 1) "}", 1, "can be read"},
    {"{" T("a", "bf16", "[1]", 0, 2) "}", 2, "can be read"},
    {"{" T("a", "", "[1]", 0, 2) "}", 2, "can be read"},
    {"{\"a\":{\"dtype\":16,\"shape\":[],\"data_offsets\":[0,4]}}", 4, "\"dtype\" must be a string"},
    {"{" T("a", "F32", "4", 0, 16) "}", 16, "\"shape\" must be an array"},
    {"{" T("a", "F32", "[4.0]", 0, 16) "}", 16, "shape"},
    {"{" T("a", "F32", "[\"4\"]", 0, 16) "}", 16, "shape"},
    {"{" T("a", "F32", "[null]", 0, 16) "}", 16, "shape"},
    {"{" T("a", "F32", "[-4]", 0, 16) "}", 16, "shape"},
    {"{" T("a", "F32", "[-2,-2]", 0, 16) "}", 16, "shape"},
    {"{" T("a", "F32", "[1,1,1,1,4]", 0, 16) "}", 16, "5 dimensions, at most 4 can be read"},
    {"{" T("a", "F32", "[4611686018427387904]", 0, 0) "}", 0, "more elements"},
    {"{" T("a", "F32", "[4294967296,4294967296]", 0, 0) "}", 0, "more elements"},
    {"{" T("a", "BF16", "[9223372036854775807]", 0, 16) "}", 16, "shape and dtype need"},
    {"{" T("a", "F32", "[9223372036854775808]", 0, 16) "}", 16, "too big integer"},
    {"{" T("a", "F32", "[4]", 0, 15) "}", 15, "15 bytes, but its shape and dtype need 16"},
    {"{" T("a", "F32", "[4]", 0, 17) "}", 17, "17 bytes"},
    {"{" T("a", "F32", "[5]", 0, 16) "}", 16, "need 20"},
    {"{" T("a", "BF16", "[4]", 0, 16) "}", 16, "need 8"},
    {"{" T("a", "F32", "[4]", 0, 16) "}", 15,
     "a: ends at byte 16 of the data, but the file holds 15"},
    {"{" T("a", "F32", "[4]", 0, 16) "}", 17, "1 bytes behind a"},
    {"{" T("a", "F32", "[4]", 16, 0) "}", 16, "rising"},
    {"{" T("a", "F32", "[4]", -16, 0) "}", 16, "rising"},
    {"{" T("a", "F32", "[4]", 0, 9223372036854775807) "}", 16, "ends at byte"},
    {"{" T("a", "F32", "[4]", 9223372036854775791, 9223372036854775807) "}", 16, "ends at byte"},
    {"{" T("a", "F32", "[4]", 0, 1e1) "}", 16, "data_offsets"},
    {"{" T("a", "F32", "[4]", 0, "16") "}", 16, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16,32]}}", 32, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0]}}", 16, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":16}}", 16, "data_offsets"},
    {"{" T("a", "F32", "[4]", 2, 18) "}", 18, "a: 2 bytes before it belong to no tensor"},
    {"{" T("a", "F32", "[1]", 0, 4) "," T("b", "F32", "[1]", 6, 10) "}", 10,
     "b: 2 bytes before it"},
    {"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 4, 12) "}", 12, "overlap those of a"},
    {"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 0, 8) "}", 8, "overlap"},
    {"{" T("a", "F32", "[3]", 0, 12) "," T("b", "F32", "[1]", 4, 8) "}", 12,
     "b: its bytes overlap"},
    {"{" T("a", "F32", "[2]", 0, 8) "," T("e", "F32", "[0]", 4, 4) "}", 8, "e: its bytes overlap"},
    {"{" T("a", "F32", "[1]", 0, 4) "," T("a", "F32", "[1]", 4, 8) "}", 8, "duplicate"},
    {"{" T("", "F32", "[1]", 0, 4) "}", 4, "name has 0 bytes"},
};

static void lies_are_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(damages); i++) {
        qg_shard s;
        qg_err err = {0};
        tiny_put_shard(&f, "m.safetensors", damages[i].header, damages[i].n_data);
        qg_status rc = open_shard(&s, f.n, &err);
        qg_status want =
            strstr(damages[i].word, "can be read") ? QG_ERR_UNSUPPORTED : QG_ERR_FORMAT;
        if (rc != want || strncmp(err.msg, "m.safetensors: ", 15) != 0 ||
            !strstr(err.msg, damages[i].word))
            fail_msg("case %zu %s: %s: %s", i, damages[i].header, qg_status_name(rc), err.msg);
        assert_null(s.tensors);
    }
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    tiny_put_shard(&f, "m.safetensors",
                   "{" T("a", "F32", "[2]", 0, 8) "," T("b", "BF16", "[3]", 8, 14) "}", 14);
    for (size_t n = 0; n < f.n; n++) {
        qg_shard s;
        qg_err err = {0};
        if (open_shard(&s, n, &err) != QG_ERR_FORMAT)
            fail_msg("%zu bytes: %s", n, err.msg);
    }
}

static void header_length_is_not_believed(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {
        0,          1,          93,        95,         1000,           1u << 23,  (1u << 23) + 1,
        UINT32_MAX, 1ull << 32, INT64_MAX, 1ull << 63, UINT64_MAX - 7, UINT64_MAX};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        qg_shard s;
        qg_err err = {0};
        tiny_put_shard(&f, "m.safetensors", "{" T("a", "F32", "[2]", 0, 8) "}", 8);
        for (int k = 0; k < 8; k++)
            f.data[k] = (unsigned char)(lengths[i] >> (8 * k));
        if (open_shard(&s, f.n, &err) != QG_ERR_FORMAT)
            fail_msg("%llu: %s", (unsigned long long)lengths[i], err.msg);
    }
}

/* Each bit of the header flipped once: refused, or read as what it now says, within the file. */
static void flipped_bits_stay_inside(void **state)
{
    (void)state;
    static const char header[] =
        "{" T("a", "F32", "[2]", 0, 8) "," T("b", "BF16", "[3]", 8, 14) "}";
    tiny_put_shard(&f, "m.safetensors", header, 14);
    for (size_t bit = 0; bit < 8 * (8 + sizeof header - 1); bit++) {
        qg_shard s;
        qg_err err;
        f.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        qg_status rc = open_shard(&s, f.n, &err);
        assert_true(rc == QG_OK || rc == QG_ERR_FORMAT || rc == QG_ERR_UNSUPPORTED);
        for (size_t i = 0; rc == QG_OK && i < s.n_tensors; i++) {
            const unsigned char *p = s.tensors[i].data;
            assert_true(p >= f.data && p + s.tensors[i].bytes <= f.data + f.n);
        }
        if (rc == QG_OK)
            qg_shard_close(&s);
        f.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

static void names_have_a_ceiling(void **state)
{
    (void)state;
    char header[1024];
    for (int len = QG_MAX_TENSOR_NAME; len <= QG_MAX_TENSOR_NAME + 1; len++) {
        qg_shard s;
        qg_err err;
        snprintf(header, sizeof header,
                 "{\"%0*d\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,2]}}", len, 7);
        tiny_put_shard(&f, "m.safetensors", header, 2);
        qg_status rc = open_shard(&s, f.n, &err);
        assert_int_equal(rc, len > QG_MAX_TENSOR_NAME ? QG_ERR_FORMAT : QG_OK);
        if (rc == QG_OK)
            qg_shard_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_shards_are_read),    cmocka_unit_test(lies_are_refused_by_name),
        cmocka_unit_test(every_cut_is_refused),     cmocka_unit_test(header_length_is_not_believed),
        cmocka_unit_test(flipped_bits_stay_inside), cmocka_unit_test(names_have_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
