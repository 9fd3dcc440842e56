/* What the heads of a Stream model say about a token. */
#ifndef QG_GUARD_STREAM_H
#define QG_GUARD_STREAM_H

#include "base/limits.h"
#include "guard/taxonomy.h"
#include "guard/thresholds.h"
#include "model/model.h"

/* Meaning of the heads' outputs, side by side as the model gives them: risk and category of
 * replies, then of prompts.  Borrows the configuration's strings. */
typedef struct qg_stream_labels {
    int32_t n[QG_N_LABEL_GROUPS],
        at[QG_N_LABEL_GROUPS]; /* number of outputs; offset of the first */
    int32_t width;             /* of all */
    const char *official[QG_N_LABEL_GROUPS][QG_MAX_LABELS]; /* as config.json spells them */
    int8_t severity[2][QG_MAX_LABELS];      /* [qg_judged is reply] qg_severity of a risk output */
    int8_t canonical[2][QG_MAX_LABELS];     /* index in qg_category_labels, -1 unknown */
    const char *category[2][QG_MAX_LABELS]; /* canonical name, or the official one */
} qg_stream_labels;

/* n: outputs of each group.  Where the configuration is silent the order is the published models'.
 * QG_ERR_UNSUPPORTED: a risk label that is no severity, one twice, no "Safe" or no "Unsafe", more
 * categories than QG_MAX_CATEGORIES, or no names for a number of outputs that is not theirs. */
qg_status qg_stream_labels_init(qg_stream_labels *l, const qg_config *config,
                                const int32_t n[QG_N_LABEL_GROUPS], qg_err *err);

/* Fills in what follows from the numbers: severity, category, probabilities, hit, official view.
 * heads [width].  QG_ERR_INTERNAL: one of the numbers is not finite. */
qg_status qg_stream_read(qg_token *token, const qg_stream_labels *l, const qg_thresholds *t,
                         qg_judged judged, const float *heads, qg_err *err);

#endif
