/* What memory an engine takes, before anything is loaded; and what fits into so much. */
#ifndef QG_ENGINE_FIT_H
#define QG_ENGINE_FIT_H

#include "engine/engine_int.h"

typedef struct qg_fit {
    uint64_t weights;  /* packed, or mapped where they were packed before */
    uint64_t rest;     /* everything else but KV */
    uint64_t kv_token; /* KV of a token */
} qg_fit;

/* What numbers are kept in. */
typedef struct qg_formats {
    qg_dtype weights, kv; /* settled */
} qg_formats;

/* Of the model in dir in these formats.  builtin: its files are memory of the process, too.
 */
qg_status qg_fit_measure(qg_fit *out, qg_modeldir *dir, bool builtin, qg_formats formats,
                         uint32_t features, int32_t rows, int32_t ctx, int32_t threads,
                         qg_err *err);

/* Blocks of the KV pool where kv_bytes is not given: one whole context, the pinned prefixes beside
 * it, and never less than 512 MiB. */
uint64_t qg_fit_pool(uint64_t block_bytes, int32_t max_len);

/* Sets what the options leave open of dtype, KV's dtype, KV memory and context, so that all of it
 * stays below memory_bytes.  asked: the dtype before it was settled.  The most precise formats that
 * leave KV for 8,192 tokens (or all that the model or max_model_len asks for) are taken: K and V go
 * to 8 bits before the weights go on to the next format, and both before the context is cut.  Where
 * none do, the smallest ones with the context that fits.  QG_ERR_NOMEM with what would be needed
 * when not even 1,024 tokens fit. */
qg_status qg_fit_choose(qg_engine *e, qg_dtype asked, qg_err *err);

#endif
