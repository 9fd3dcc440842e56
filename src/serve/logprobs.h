/* Log probabilities on the wire, in the two shapes that the OpenAI protocol has for them. */
#ifndef QG_SERVE_LOGPROBS_H
#define QG_SERVE_LOGPROBS_H

#include "serve/serve_priv.h"

/* {"content":[{"token","logprob","bytes","top_logprobs":[…]}…]} of the first n tokens: of chat
 * completions.  null when the result has none; NULL when out of memory. */
json_t *qg_logprobs_chat(const qg_engine *engine, const qg_result *result, size_t n, int32_t n_top);

/* {"text_offset","tokens","token_logprobs","top_logprobs"}: of completions; offsets count code
 * points from offset on. */
json_t *qg_logprobs_text(const qg_engine *engine, const qg_result *result, size_t n, int32_t n_top,
                         int64_t offset);

#endif
