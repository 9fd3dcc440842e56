/* Log probabilities in a reply: its text again, token by token, with what else could have stood
 * there.  Of chat ({"content":[…],"refusal":[…]}), Responses ([…]) and completions
 * ({"tokens":[…]}). */
#ifndef QG_GATEWAY_TOKEN_PROBS_H
#define QG_GATEWAY_TOKEN_PROBS_H

#include "base/buf.h"

/* Appends to out what the tokens say one after the other, and to others what else is said: what
 * could have stood there, tokens whose bytes say something else, and of JSON that is none of the
 * three forms (or has more in it than they have) the JSON itself.  QG_ERR_NOMEM, QG_ERR_TOO_LONG.
 */
qg_status qg_token_probs_text(qg_slice json, qg_buf *out, qg_buf *others);

/* Appends the same log probabilities, of the tokens only that lie wholly in the first n bytes of
 * what they say; null when it is none of the three forms.  QG_ERR_NOMEM, QG_ERR_TOO_LONG. */
qg_status qg_token_probs_trim(qg_slice json, size_t n, qg_buf *out);

#endif
