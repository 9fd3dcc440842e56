/* What a verdict depends on beside the text, as hashes that can be compared later. */
#ifndef QG_BATCH_IDENT_H
#define QG_BATCH_IDENT_H

#include "base/status.h"
#include "text/json.h"

enum { QG_HASH_HEX = 64 };

typedef struct qg_ident {
    /* SHA-256 of the model's files (names and bytes); of the built-in ones, of the build's id */
    char model[QG_HASH_HEX + 1];
    /* … of what the template writes for a fixed conversation */
    char shown[QG_HASH_HEX + 1];
    /* the same of the model that is asked again, and when it is; "" = none */
    char second_model[QG_HASH_HEX + 1], second_shown[QG_HASH_HEX + 1];
    double second_below;
} qg_ident;

/* What an engine was opened with; a model that is NULL or a built-in name is the built-in one. */
typedef struct qg_ident_options {
    const char *model, *second_model;
    double second_below;
} qg_ident_options;

/* Reads every byte of the models' files.  QG_ERR_IO, QG_ERR_TEMPLATE, QG_ERR_NOMEM. */
qg_status qg_ident_of(qg_ident *ident, const qg_engine *engine, const qg_ident_options *opened,
                      qg_err *err);

/* {"name","sha256","dtype","kv_cache_dtype","kernel","decode","special_tokens","max_model_len"},
 * and "second" with the same of that model, its template's hash and "below"; NULL when out of
 * memory. */
json_t *qg_ident_json(const qg_ident *ident, const qg_engine *engine, qg_decode decode,
                      qg_special special);

/* What a verdict depends on beside the messages, as text for a key; free with qg_mfree. */
char *qg_ident_of_verdicts(const qg_ident *ident, const qg_engine *engine, qg_decode decode,
                           qg_special special);

#endif
