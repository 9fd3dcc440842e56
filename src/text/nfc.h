/* Unicode normalisation form C, as the reference tokenizer has it (Unicode 9.0). */
#ifndef QG_TEXT_NFC_H
#define QG_TEXT_NFC_H

#include "base/buf.h"

/* Length of a prefix of text (valid UTF-8) that NFC certainly leaves alone, whatever follows it in
 * text: text.n for nearly all real text.  It ends where a code point begins. */
size_t qg_nfc_stable_prefix(qg_slice text);

/* Appends the NFC of text (valid UTF-8) to out; at most three times as many bytes.  Time is linear
 * for any text, a million marks on one letter included; besides out it needs up to 8 bytes for
 * each code point of the longest run of marks.  QG_ERR_NOMEM, QG_ERR_TOO_LONG (out's ceiling). */
qg_status qg_nfc(qg_slice text, qg_buf *out) __attribute__((warn_unused_result));

#endif
