/* Merging beside the definition, written down as plainly as it can be. */
#include "unit.h"

#include "base/mem.h"
#include "tok/bpe.h"

enum { MERGES = 60, LONGEST = 700 };

typedef struct world {
    qg_vocab vocab;
    qg_bpe bpe;
    qg_bpe_pair pairs[MERGES];
    size_t n_pairs;
    uint32_t seed;
} world;

static uint32_t next_random(world *w)
{
    w->seed = w->seed * 1664525u + 1013904223u;
    return w->seed >> 8;
}

/* Joins random tokens, so that some are made in several ways and some ways lead nowhere. */
static void make_world(world *w, uint32_t seed)
{
    *w = (world){.seed = seed};
    assert_int_equal(qg_vocab_init(&w->vocab, 3 + MERGES, 16), QG_OK);
    for (int32_t id = 0; id < 3; id++)
        assert_int_equal(qg_vocab_set(&w->vocab, id, qg_slice_of("abc" + id, 1), QG_TOKEN_PAIRED),
                         QG_OK);
    int32_t n_ids = 3;
    while (w->n_pairs < MERGES) {
        int32_t left = (int32_t)(next_random(w) % (uint32_t)n_ids);
        int32_t right = (int32_t)(next_random(w) % (uint32_t)n_ids);
        qg_slice l = qg_vocab_bytes(&w->vocab, left);
        qg_slice r = qg_vocab_bytes(&w->vocab, right);
        char bytes[64];
        if (l.n + r.n > 12)
            continue;
        memcpy(bytes, l.p, l.n);
        memcpy(bytes + l.n, r.p, r.n);
        int32_t joined = 0;
        while (joined < n_ids &&
               !qg_slice_eq(qg_vocab_bytes(&w->vocab, joined), qg_slice_of(bytes, l.n + r.n)))
            joined++;
        if (joined == n_ids)
            assert_int_equal(
                qg_vocab_set(&w->vocab, n_ids++, qg_slice_of(bytes, l.n + r.n), QG_TOKEN_PAIRED),
                QG_OK);
        w->pairs[w->n_pairs++] = (qg_bpe_pair){left, right, joined};
    }
    assert_int_equal(qg_vocab_index(&w->vocab, NULL), QG_OK);
    assert_int_equal(qg_bpe_init(&w->bpe, w->pairs, w->n_pairs), QG_OK);
}

static void free_world(world *w)
{
    qg_vocab_free(&w->vocab);
    qg_bpe_free(&w->bpe);
}

/* Of a pair listed twice the last place counts. */
static size_t plain_rank(const world *w, int32_t left, int32_t right)
{
    for (size_t i = w->n_pairs; i-- > 0;)
        if (w->pairs[i].left == left && w->pairs[i].right == right)
            return i;
    return MERGES;
}

static size_t plain_encode(const world *w, const char *piece, size_t n, int32_t *id)
{
    for (size_t i = 0; i < n; i++)
        id[i] = piece[i] - 'a';
    for (;;) {
        size_t best = 0;
        size_t rank = MERGES;
        for (size_t i = 0; i + 1 < n; i++) {
            size_t r = plain_rank(w, id[i], id[i + 1]);
            if (r < rank) {
                rank = r;
                best = i;
            }
        }
        if (rank == MERGES)
            return n;
        id[best] = w->pairs[rank].joined;
        n--;
        for (size_t i = best + 1; i < n; i++)
            id[i] = id[i + 1];
    }
}

static void check_piece(world *w, size_t n)
{
    char piece[LONGEST];
    int32_t want[LONGEST];
    uint32_t letters = 1 + next_random(w) % 3;
    for (size_t i = 0; i < n; i++)
        piece[i] = (char)('a' + next_random(w) % letters);
    size_t n_want = plain_encode(w, piece, n, want);
    qg_ids got = {0};
    assert_int_equal(qg_bpe_encode(&w->bpe, &w->vocab, qg_slice_of(piece, n), &got), QG_OK);
    assert_int_equal(got.n, n_want);
    assert_memory_equal(got.p, want, n_want * sizeof *want);
    qg_ids_free(&got);
}

static void equals_the_definition(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 40; seed++) {
        world w;
        make_world(&w, seed);
        for (size_t n = 1; n < 80; n++)
            check_piece(&w, n);
        check_piece(&w, 256);
        check_piece(&w, 257);
        check_piece(&w, LONGEST);
        free_world(&w);
    }
}

static void without_merges_bytes_stay_bytes(void **state)
{
    (void)state;
    world w;
    make_world(&w, 1);
    qg_bpe none;
    assert_int_equal(qg_bpe_init(&none, NULL, 0), QG_OK);
    qg_ids got = {0};
    assert_int_equal(qg_bpe_encode(&none, &w.vocab, qg_str("abcabc"), &got), QG_OK);
    assert_int_equal(got.n, 6);
    qg_ids_free(&got);
    qg_bpe_free(&none);
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_definition),
        cmocka_unit_test(without_merges_bytes_stay_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
