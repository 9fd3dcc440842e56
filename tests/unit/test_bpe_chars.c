/* Encoding that begins with characters gives the tokens of encoding that begins with bytes: random
 * merges, many of them across characters, over random texts. */
#include "unit.h"

#include "base/mem.h"
#include "tok/bpe.h"

enum { MERGES = 60, ROUNDS = 400, CHARS = 90 };

static const char *const letters[] = {
    "\xE6\x88\x91",
    "\xE4\xBD\xA0",
    "\xE5\x90\x97",
    "\xE4\xBD\x91",
    "\xE6\x88\xA0",
    "\xC3\xA9",
    "\xD0\xB9",
    "\xC3\xB9",
    "a",
    " ",
    "\xF0\x9F\x98\x80",
};

typedef struct world {
    qg_vocab vocab;
    qg_bpe plain, quick;
    qg_bpe_pair pairs[MERGES];
    int32_t base; /* id of byte 0 */
    uint32_t seed;
} world;

static uint32_t random_below(world *w, uint32_t n)
{
    w->seed = w->seed * 1664525u + 1013904223u;
    return (w->seed >> 8) % n;
}

static size_t random_text(world *w, char *out, size_t chars)
{
    size_t n = 0;
    uint32_t kinds = 2 + random_below(w, COUNT(letters) - 1);
    for (size_t i = 0; i < chars; i++) {
        const char *c = letters[random_below(w, kinds)];
        memcpy(out + n, c, strlen(c));
        n += strlen(c);
    }
    return n;
}

/* A new token: two tokens that lie side by side in some text, split anywhere. */
static bool add_merge(world *w, size_t n, bool remake)
{
    char text[4 * 8];
    size_t size = random_text(w, text, 1 + random_below(w, 4));
    size_t from = random_below(w, (uint32_t)size), to = from + 2;
    to += random_below(w, (uint32_t)size);
    if (to > size)
        return false;
    size_t cut = from + 1 + random_below(w, (uint32_t)(to - from - 1));
    int32_t left = -1, right = -1, joined = -1;
    int32_t n_ids = w->base + 256 + (int32_t)n;
    for (int32_t id = w->base; id < n_ids; id++) {
        qg_slice s = qg_vocab_bytes(&w->vocab, id);
        left = qg_slice_eq(s, qg_slice_of(text + from, cut - from)) ? id : left;
        right = qg_slice_eq(s, qg_slice_of(text + cut, to - cut)) ? id : right;
        joined = qg_slice_eq(s, qg_slice_of(text + from, to - from)) ? id : joined;
    }
    if (left < 0 || right < 0 || (joined >= 0 && !remake))
        return false;
    if (joined < 0) {
        joined = n_ids;
        assert_int_equal(
            qg_vocab_set(&w->vocab, joined, qg_slice_of(text + from, to - from), QG_TOKEN_PAIRED),
            QG_OK);
    } else { /* keep ids in step with merges: an id of its own that nothing makes */
        char spare[16];
        int k = snprintf(spare, sizeof spare, "#%zu", n);
        assert_int_equal(
            qg_vocab_set(&w->vocab, n_ids, qg_slice_of(spare, (size_t)k), QG_TOKEN_PAIRED), QG_OK);
    }
    w->pairs[n] = (qg_bpe_pair){left, right, joined};
    return true;
}

static void make_world(world *w, uint32_t seed)
{
    *w = (world){.seed = seed, .base = seed % 2 ? 300 : 0};
    assert_int_equal(qg_vocab_init(&w->vocab, w->base + 256 + MERGES, 16), QG_OK);
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        assert_int_equal(
            qg_vocab_set(&w->vocab, w->base + b, qg_slice_of(&byte, 1), QG_TOKEN_PAIRED), QG_OK);
    }
    for (size_t n = 0; n < MERGES;)
        n += add_merge(w, n, seed % 4 == 0);
    assert_int_equal(qg_vocab_index(&w->vocab, NULL), QG_OK);
    assert_int_equal(qg_bpe_init(&w->plain, w->pairs, MERGES), QG_OK);
    assert_int_equal(qg_bpe_init(&w->quick, w->pairs, MERGES), QG_OK);
    assert_int_equal(qg_bpe_find_chars(&w->quick, &w->vocab, w->pairs, MERGES), QG_OK);
}

static void free_world(world *w)
{
    qg_vocab_free(&w->vocab);
    qg_bpe_free(&w->plain);
    qg_bpe_free(&w->quick);
}

static void the_same_tokens(void **state)
{
    (void)state;
    int known = 0;
    for (uint32_t seed = 1; seed <= 60; seed++) {
        world w;
        make_world(&w, seed);
        for (int i = 0; w.quick.chars && i < QG_BPE_CHARS; i++)
            known += w.quick.chars[i] >= 0;
        for (int i = 0; i < ROUNDS; i++) {
            char text[4 * CHARS];
            qg_ids want = {0}, got = {0};
            size_t n = random_text(&w, text, 1 + random_below(&w, i % 10 ? 12 : CHARS));
            const qg_slice piece = {text, n};
            assert_int_equal(qg_bpe_encode(&w.plain, &w.vocab, piece, &want), QG_OK);
            assert_int_equal(qg_bpe_encode(&w.quick, &w.vocab, piece, &got), QG_OK);
            assert_int_equal(want.n, got.n);
            assert_memory_equal(want.p, got.p, want.n * sizeof *want.p);
            qg_ids_free(&want);
            qg_ids_free(&got);
        }
        free_world(&w);
    }
    assert_true(known > 20); /* else nothing was tested */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
