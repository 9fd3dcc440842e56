/* Strings of a JSON text as they stand there: where one ends, what it says, and where to cut it so
 * that it says only its first n bytes.  Bytes outside a cut are never touched, which is what lets
 * the gateway pass an upstream's own events on. */
#ifndef QG_GATEWAY_JSTR_H
#define QG_GATEWAY_JSTR_H

#include "base/buf.h"

#include <stdint.h>

/* p: behind an opening quote.  Gives the closing quote, or NULL: there is none before end, a
 * control character, an unknown escape, or bytes that are not UTF-8.  Lone surrogates are taken: a
 * server that splits a pair over two events writes them.  *plain: no escapes. */
const char *qg_jstr_end(const char *p, const char *end, bool *plain);

/* raw: between the quotes of a string that qg_jstr_end took.  Appends what it says; a lone
 * surrogate becomes U+FFFD.  QG_ERR_NOMEM, QG_ERR_TOO_LONG. */
qg_status qg_jstr_decode(qg_slice raw, qg_buf *out) __attribute__((warn_unused_result));

/* The beginning of an escape that a text ended in. */
typedef struct qg_jstr_half {
    char p[12];
    uint8_t n;
} qg_jstr_half;

/* text: a piece of a text that is JSON itself (the arguments of a call).  Appends it with its
 * \uXXXX read, so that a judge sees the letters that a tool will, and all other escapes as they
 * stand; what the piece before has left in *half goes first, what this one leaves stays there. */
qg_status qg_jstr_read_inner(qg_slice text, qg_jstr_half *half, qg_buf *out)
    __attribute__((warn_unused_result));

/* How many bytes of raw say the first n bytes of it; n lies between characters. */
size_t qg_jstr_cut(qg_slice raw, size_t n);

/* Appends text (UTF-8) as a string, quotes included. */
qg_status qg_jstr_put(qg_slice text, qg_buf *out) __attribute__((warn_unused_result));

#endif
