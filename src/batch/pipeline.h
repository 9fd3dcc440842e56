/* Rows through the engine: read in order, submitted longest first within a window, many at the same
 * time and with low priority, handed out in order again.  Memory holds two windows, whatever the
 * size of the input. */
#ifndef QG_BATCH_PIPELINE_H
#define QG_BATCH_PIPELINE_H

#include "batch/cache.h"
#include "batch/plain_verdict.h"
#include "batch/row.h"
#include "batch/source.h"

/* One conversation, or one window of a long one, on its way through the engine. */
typedef struct qg_part {
    struct qg_item *item;
    uint64_t begin, end; /* code points of the judged text */
    qg_cache_key key;    /* where the verdict is kept */
    bool keyed;
    /* the engine's thread, until the item is done */
    qg_status status;
    qg_err *err; /* NULL unless it failed */
    qg_said said;
    bool fresh; /* the engine gave it, it is not from the cache */
    int64_t us; /* from submitting to verdict */
} qg_part;

/* One conversation of a row. */
typedef struct qg_asked {
    qg_part *parts; /* [n]; none when a final rule decided */
    size_t n;
    const qg_rule *rule; /* that matched; NULL = none */
    qg_said by_rule;
} qg_asked;

/* A row on its way.  Whoever takes it sees it with all of its parts done. */
typedef struct qg_item {
    struct qg_pipeline *pipeline;
    qg_place place;
    uint64_t raw; /* bytes of the file read so far */
    char *line;   /* [n] its bytes */
    size_t n;
    qg_row row;
    qg_asked *asked;  /* [row.n] */
    qg_status status; /* of reading, then of the first part that failed */
    qg_err err;
    size_t left; /* under the pipeline's lock: parts under way, and the submitter; 0 = done */
} qg_item;

typedef struct qg_pipeline_options {
    qg_engine *engine;
    qg_decode decode;
    int32_t concurrency;        /* conversations at the same time, at least 1 */
    const qg_rules *rules;      /* NULL = none */
    const qg_policy_view *view; /* scope, windows, and which of two windows is worse */
    qg_row_fields fields;
    uint32_t shard, n_shards; /* lines with (number - 1) % n_shards == shard; 0, 1 = all */
    qg_cache *cache;          /* NULL = none; verdicts are put there before the row is taken */
} qg_pipeline_options;

/* Takes a row whose status is QG_OK or says why it has no verdict; what item points to is gone
 * afterwards.  Failing ends the run. */
typedef qg_status qg_item_fn(void *ud, const qg_item *item, qg_err *err);

/* Reads source to its end; each row of the shard that is not blank goes to take, in order, on a
 * thread of its own.  Returns when all are taken.  Fails when take does, or (after the rows read so
 * far were taken) when reading does. */
qg_status qg_pipeline_run(const qg_pipeline_options *opt, qg_source *source, qg_item_fn *take,
                          void *ud, qg_err *err);

/* The verdict on conversation i of a row whose status is QG_OK. */
typedef struct qg_verdict_of {
    qg_said said;        /* of windows the worst, with the tokens of all; or the rule's */
    size_t n_windows;    /* 0 = judged in one piece */
    int64_t decided_by;  /* index of the window, -1 = a rule */
    uint64_t begin, end; /* its code points */
    int64_t us;
} qg_verdict_of;
void qg_item_verdict(const qg_item *item, size_t i, const qg_policy_view *view, qg_verdict_of *out);

/* A row of this shard, and not blank. */
bool qg_pipeline_wants(const qg_line *line, uint32_t shard, uint32_t n_shards);

#endif
