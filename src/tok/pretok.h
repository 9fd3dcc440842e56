/* The pre-tokenizer: cuts text into the pieces that byte pairs never cross. */
#ifndef QG_TOK_PRETOK_H
#define QG_TOK_PRETOK_H

#include "base/slice.h"

/* The expression of Qwen2 and Qwen3, the one that is supported. */
extern const char *const qg_pretok_pattern;

/* End of the piece that begins at `at` < text.n, where a piece must begin: greater than at, at most
 * text.n.  text is valid UTF-8 in NFC.
 *
 * It depends on the bytes from at on alone, never on what stands before.  Going through a text
 * costs linear time: no byte is looked at more than four times, whatever the text.
 *
 * For an incremental encoder: when text grows, an end < text.n stays where it is, but for one case:
 * a piece of white space with a line break, when only white space follows it. */
size_t qg_pretok_next(qg_slice text, size_t at);

#endif
