#include "tok/vocab.h"

#include "base/limits.h"
#include "base/mem.h"

static inline uint64_t load8(const char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline uint64_t load4(const char *p)
{
    uint32_t word;
    memcpy(&word, p, 4);
    return word;
}

static inline uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 32;
}

/* A good spread, nothing secret: keys come from the model file, a text can only look them up. */
static inline uint64_t hash(qg_slice s)
{
    const char *p = s.p;
    size_t n = s.n;
    uint64_t h = n;
    for (; n > 16; n -= 8, p += 8)
        h = mix(h, load8(p));
    if (n >= 8)
        return mix(mix(h, load8(p)), load8(p + n - 8));
    if (n >= 4)
        return mix(mix(h, load4(p) << 32 | load4(p + n - 4)), n);
    if (n == 0)
        return h;
    uint8_t first = (uint8_t)p[0];
    uint8_t middle = (uint8_t)p[n / 2];
    uint8_t last = (uint8_t)p[n - 1];
    return mix(mix(h, (uint64_t)first << 16 | (uint64_t)middle << 8 | last), n);
}

qg_status qg_vocab_init(qg_vocab *vocab, int32_t n_ids, size_t n_bytes)
{
    *vocab = (qg_vocab){.n_ids = n_ids, .cap_bytes = n_bytes};
    memset(vocab->byte_id, 0xFF, sizeof vocab->byte_id);
    vocab->token = qg_calloc((size_t)n_ids, sizeof *vocab->token);
    vocab->bytes = qg_malloc(n_bytes);
    if (vocab->token && vocab->bytes)
        return QG_OK;
    qg_vocab_free(vocab);
    return QG_ERR_NOMEM;
}

void qg_vocab_free(qg_vocab *vocab)
{
    qg_mfree(vocab->token);
    qg_mfree(vocab->bytes);
    qg_mfree(vocab->slots);
    *vocab = (qg_vocab){0};
}

qg_status qg_vocab_set(qg_vocab *vocab, int32_t id, qg_slice bytes, unsigned flags)
{
    size_t want =
        vocab->n_bytes + bytes.n; /* both far below SIZE_MAX: the file's size bounds them */
    if (want > vocab->cap_bytes) {
        char *p = qg_realloc(vocab->bytes, want + want / 2);
        if (!p)
            return QG_ERR_NOMEM;
        vocab->bytes = p;
        vocab->cap_bytes = want + want / 2;
    }
    if (bytes.n)
        memcpy(vocab->bytes + vocab->n_bytes, bytes.p, bytes.n);
    vocab->token[id] = (qg_vocab_token){.at = (uint32_t)vocab->n_bytes,
                                        .n = (uint16_t)bytes.n,
                                        .flags = (uint16_t)(flags | QG_TOKEN_PRESENT)};
    vocab->n_bytes = want;
    return QG_OK;
}

/* The slot of the token with these bytes that is PAIRED or not, or the free one where it belongs.
 */
static inline qg_vocab_slot *probe(const qg_vocab *vocab, qg_slice bytes, uint64_t h,
                                   unsigned paired)
{
    size_t mask = vocab->n_slots - 1;
    for (size_t i = h & mask;; i = (i + 1) & mask) {
        qg_vocab_slot *slot = &vocab->slots[i];
        if (slot->id < 0)
            return slot;
        const qg_vocab_token *t = &vocab->token[slot->id];
        if (slot->tag == h >> 32 && t->n == bytes.n && (t->flags & QG_TOKEN_PAIRED) == paired &&
            memcmp(vocab->bytes + t->at, bytes.p, bytes.n) == 0)
            return slot;
    }
}

qg_status qg_vocab_index(qg_vocab *vocab, qg_err *err)
{
    size_t n_slots = 1024;
    while (n_slots < 2 * (size_t)vocab->n_ids)
        n_slots *= 2;
    vocab->slots = qg_realloc_array(NULL, n_slots, sizeof *vocab->slots);
    if (!vocab->slots)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the vocabulary");
    memset(vocab->slots, 0xFF, n_slots * sizeof *vocab->slots);
    vocab->n_slots = n_slots;
    for (int32_t id = 0; id < vocab->n_ids; id++) {
        unsigned flags = vocab->token[id].flags;
        if (!flags)
            continue;
        qg_slice bytes = qg_vocab_bytes(vocab, id);
        uint64_t h = hash(bytes);
        qg_vocab_slot *slot = probe(vocab, bytes, h, flags & QG_TOKEN_PAIRED);
        if (slot->id >= 0)
            return qg_fail(err, QG_ERR_FORMAT, "tokens %d and %d have the same bytes", slot->id,
                           id);
        *slot = (qg_vocab_slot){.tag = (uint32_t)(h >> 32), .id = id};
        if (!(flags & QG_TOKEN_PAIRED))
            continue;
        if (bytes.n > vocab->longest)
            vocab->longest = bytes.n;
        if (bytes.n == 1)
            vocab->byte_id[(uint8_t)bytes.p[0]] = id;
    }
    return QG_OK;
}

int32_t qg_vocab_find(const qg_vocab *vocab, qg_slice bytes)
{
    return bytes.n > vocab->longest ? -1 : probe(vocab, bytes, hash(bytes), QG_TOKEN_PAIRED)->id;
}

int32_t qg_vocab_find_as(const qg_vocab *vocab, qg_slice bytes, bool paired)
{
    return probe(vocab, bytes, hash(bytes), paired ? QG_TOKEN_PAIRED : 0)->id;
}

qg_slice qg_vocab_bytes(const qg_vocab *vocab, int32_t id)
{
    if (id < 0 || id >= vocab->n_ids || !vocab->token[id].flags)
        return (qg_slice){"", 0};
    return (qg_slice){vocab->bytes + vocab->token[id].at, vocab->token[id].n};
}

unsigned qg_vocab_flags(const qg_vocab *vocab, int32_t id)
{
    return id < 0 || id >= vocab->n_ids ? 0 : vocab->token[id].flags;
}
