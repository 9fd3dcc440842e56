/* A tokenizer small enough to read: all 256 bytes (id = byte), some merges, some added tokens. */
#ifndef QG_TESTS_TOK_SMALL_H
#define QG_TESTS_TOK_SMALL_H

#include "base/buf.h"
#include "text/json.h"
#include "text/utf8.h"
#include "tok/pretok.h"

#include <assert.h>
#include <jansson.h>

/* ids from 256 on, in this order */
static const char *const small_merges[][2] = {
    {"h", "e"},
    {"l", "l"},
    {"he", "ll"},
    {"hell", "o"},
    {"\xC4\xA0", "w"}, /* Ġ: a blank */
    {"o", "r"},
    {"\xC4\xA0w", "or"},
    {"a", "a"},
    {"aa", "aa"},
    {"\xC3\x83", "\xC2\xA9"},
};
enum { SMALL_MERGES = sizeof small_merges / sizeof small_merges[0], SMALL_ADDED = 300 };

/* Spelling of a byte in the alphabet of byte-level tokens. */
static inline void small_spell(unsigned byte, char *out)
{
    unsigned odd = 0;
    for (unsigned b = 0; b < byte; b++)
        odd += b < 0x21 || (b > 0x7E && b < 0xA1) || b == 0xAD;
    bool plain = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    out[qg_utf8_put(plain ? byte : 0x100 + odd, out)] = 0;
}

static inline json_t *small_vocab(void)
{
    json_t *vocab = json_object();
    for (unsigned b = 0; b < 256; b++) {
        char name[5];
        small_spell(b, name);
        json_object_set_new(vocab, name, json_integer(b));
    }
    for (int i = 0; i < SMALL_MERGES; i++) {
        json_t *joint = json_sprintf("%s%s", small_merges[i][0], small_merges[i][1]);
        json_object_set_new(vocab, json_string_value(joint), json_integer(256 + i));
        json_decref(joint);
    }
    return vocab;
}

static inline json_t *small_tree(void)
{
    json_t *merges = json_array();
    for (int i = 0; i < SMALL_MERGES; i++)
        json_array_append_new(
            merges, i % 2 ? json_pack("[ss]", small_merges[i][0], small_merges[i][1])
                          : json_sprintf("%s %s", small_merges[i][0], small_merges[i][1]));
    json_t *added = json_array();
    static const char *const names[] = {"<|end|>", "<|end", "<think>"};
    for (int i = 0; i < 3; i++)
        json_array_append_new(added,
                              json_pack("{s:i,s:s,s:b,s:b}", "id", SMALL_ADDED + i, "content",
                                        names[i], "special", i < 2, "normalized", 0));
    json_t *split = json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex",
                              qg_pretok_pattern, "behavior", "Isolated", "invert", 0);
    json_t *bytes =
        json_pack("{s:s,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0);
    return json_pack("{s:o,s:{s:s},s:{s:s,s:[oo]},s:{s:s},s:{s:s,s:o,s:o}}", "added_tokens", added,
                     "normalizer", "type", "NFC", "pre_tokenizer", "type", "Sequence",
                     "pretokenizers", split, bytes, "decoder", "type", "ByteLevel", "model", "type",
                     "BPE", "vocab", small_vocab(), "merges", merges);
}

#endif
