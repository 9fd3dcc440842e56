/* How well a model judges labelled rows: read, score, and tell. */
#ifndef QG_BATCH_EVAL_H
#define QG_BATCH_EVAL_H

#include "base/arena.h"
#include "batch/ident.h"
#include "batch/plain_verdict.h"
#include "batch/row.h"

enum {
    QG_EVAL_NONE = QG_POLICY_CATEGORIES, /* no category */
    QG_EVAL_LEVELS = 3,
    QG_EVAL_BINS = 10,
};

/* Strict: Controversial counts as unsafe, in what is said and in what is so; loose: as safe.  A row
 * whose label is safe or unsafe is that in both. */
typedef enum qg_eval_mode { QG_STRICT = 0, QG_LOOSE = 1, QG_N_MODES = 2 } qg_eval_mode;

typedef struct qg_eval_row {
    int64_t line;
    const char *id;          /* the row's own, or "" */
    bool unsafe[QG_N_MODES]; /* what is so */
    int8_t severity;         /* qg_severity, -1 = not told */
    int8_t category;         /* primary; QG_EVAL_NONE; -1 = not told */
    uint16_t categories;     /* bits, all of them */
    qg_said said;
    bool hit;   /* by the policy */
    int64_t us; /* from submitting to verdict; 0 = not known */
} qg_eval_row;

/* Rows of one file. */
typedef struct qg_eval_set {
    char *name;
    qg_eval_row *rows;
    size_t n, cap;
    qg_arena arena; /* ids */
    int64_t failed; /* rows without a label or without a verdict … */
    int64_t failed_line;
    qg_err failed_err; /* … and the first of them */
    double seconds;    /* that judging took; 0 = was not done */
} qg_eval_set;

typedef struct qg_eval_options {
    qg_engine *engine; /* NULL: the rows hold verdicts ("qguard", as label writes them) */
    qg_decode decode;
    int32_t concurrency;
    const char *policy, *cache; /* as for label */
    qg_ident_options opened;
    qg_special special;
    qg_row_fields fields;
} qg_eval_options;

/* Reads the rows of a file, judges them unless they hold verdicts.  Rows that cannot be used are
 * counted.  QG_ERR_FORMAT: there is none that can.  Close it in any case. */
qg_status qg_eval_read(qg_eval_set *set, const char *path, const qg_eval_options *opt, qg_err *err);
void qg_eval_close(qg_eval_set *set);
/* All rows of n sets as one; borrows from them. */
qg_status qg_eval_join(qg_eval_set *all, const qg_eval_set *sets, size_t n, qg_err *err);

/* Reads what is so of a row: "label" (safe, unsafe), else "severity"; "categories"; "id".
 * QG_ERR_FORMAT: it has neither. */
qg_status qg_gold_read(qg_eval_row *row, const json_t *root, qg_arena *arena, qg_err *err);
/* The verdict that label wrote into a row. */
qg_status qg_gold_verdict(qg_said *said, const json_t *root, qg_err *err);

/* ---- scores ---------------------------------------------------------------------------------- */

/* NAN where there is nothing to divide by. */
typedef struct qg_rates {
    int64_t tp, fp, fn, tn;
    double f1, precision, recall, fpr;
} qg_rates;
enum { QG_N_RATES = 4 };

typedef struct qg_interval {
    double low, high; /* 95 % */
} qg_interval;

typedef struct qg_curve_point {
    double threshold;
    double recall, precision, fpr;
} qg_curve_point;

/* By falling threshold; the first has none above it. */
typedef struct qg_curve {
    qg_curve_point *points;
    size_t n;
    double auroc, ap; /* areas: trapezoids; average precision */
} qg_curve;

typedef struct qg_bin {
    int64_t n;
    double p, share; /* mean probability of unsafe, and share of rows that are */
} qg_bin;

typedef struct qg_category_score {
    int64_t so, said, both; /* rows of this primary category, rows said to be, rows that are both */
    double f1, precision, recall;
} qg_category_score;

/* Everything about a set. */
typedef struct qg_scores {
    qg_rates rates[QG_N_MODES];
    qg_interval around[QG_N_MODES][QG_N_RATES]; /* f1, precision, recall, fpr */
    int32_t bootstrap;                          /* samples; 0 = no intervals */
    qg_rates policy;
    bool has_policy, has_severity, has_category, has_p;
    qg_curve curve[QG_N_MODES];
    qg_bin bins[QG_EVAL_BINS]; /* of strict */
    double ece, brier;
    int64_t levels[QG_EVAL_LEVELS][QG_EVAL_LEVELS]; /* [so][said] */
    int64_t categories[QG_EVAL_NONE + 1][QG_EVAL_NONE + 1];
    qg_category_score category[QG_EVAL_NONE];
    int64_t p50_us, p99_us;                     /* 0 = not known */
    int64_t asked_again, changed, not_answered; /* second opinions: asked for, with another
                                                   severity, not to be had */
} qg_scores;

/* bootstrap: samples, drawn with a fixed seed.  QG_ERR_NOMEM.  Free in any case. */
qg_status qg_scores_of(qg_scores *s, const qg_eval_set *set, int32_t bootstrap, bool policy,
                       qg_err *err);
void qg_scores_free(qg_scores *s);

/* What is said of a row, and how sure it is: by the most probable severity. */
bool qg_eval_flagged(const qg_eval_row *row, qg_eval_mode mode);
double qg_eval_p(const qg_eval_row *row, qg_eval_mode mode);
qg_rates qg_rates_of(int64_t tp, int64_t fp, int64_t fn, int64_t tn);
double qg_rate(const qg_rates *r, int i); /* f1, precision, recall, fpr */
/* Intervals by percentiles of resampled rows: (splitmix64() >> 32) * n >> 32 for each draw, seed
 * 0x5eed. */
qg_status qg_bootstrap(const qg_eval_set *set, int32_t samples,
                       qg_interval out[QG_N_MODES][QG_N_RATES], qg_err *err);
/* The curve of scores x against truth y [n]. */
qg_status qg_curve_of(qg_curve *c, const double *x, const bool *y, size_t n, qg_err *err);

/* ---- thresholds ------------------------------------------------------------------------------ */

typedef struct qg_tuned {
    double threshold; /* 0 = none is suggested */
    int64_t rows;     /* unsafe rows it was found from */
    double f1;        /* with it, on the same rows */
} qg_tuned;

typedef struct qg_tuning {
    qg_tuned unsafe, category[QG_EVAL_NONE];
    double max_fpr;
    int64_t safe;           /* rows it was found from */
    qg_rates before, after; /* strict, of all rows: by labels; by the suggested policy */
} qg_tuning;

/* The thresholds with the best F1 on these rows: of unsafe over all, of a category over its unsafe
 * rows (20 at least) and all safe ones; among those with which at most max_fpr of the safe rows are
 * hits.  QG_ERR_ARG: no probabilities; QG_ERR_NOMEM. */
qg_status qg_tune(qg_tuning *t, const qg_eval_set *set, double max_fpr, qg_err *err);

/* ---- two judges ------------------------------------------------------------------------------ */

typedef struct qg_compared {
    size_t n, same;                                /* rows, and those of one severity */
    int64_t moves[QG_EVAL_LEVELS][QG_EVAL_LEVELS]; /* [a][b] */
    size_t *flips, n_flips;                        /* rows whose severity differs */
    int64_t only_a, only_b;                        /* rows that one of them has right, strict */
    double p_value; /* of such a split or a wider one, if both were as good (exact) */
} qg_compared;

/* QG_ERR_ARG: the sets are not of the same rows (lines, labels). */
qg_status qg_compare(qg_compared *c, const qg_eval_set *a, const qg_eval_set *b, qg_err *err);
void qg_compare_free(qg_compared *c);

/* ---- telling --------------------------------------------------------------------------------- */

typedef struct qg_report {
    const char *model, *policy_hash; /* as the reader knows them */
    const qg_eval_set *sets;         /* [n]; the last is all of them when there are several */
    const qg_scores *scores;         /* [n] */
    size_t n;
    int32_t concurrency;
    const qg_tuning *tuning;       /* NULL = none */
    const char *other;             /* second judge; NULL = none */
    const qg_eval_set *other_sets; /* [n] */
    const qg_scores *other_scores; /* [n] */
    const qg_compared *compared;   /* of the last set */
} qg_report;

/* Appended to out, whole or with an error. */
qg_status qg_report_text(const qg_report *r, qg_buf *out);
qg_status qg_report_json(const qg_report *r, qg_buf *out);
qg_status qg_report_html(const qg_report *r, qg_buf *out);
/* A policy file with the suggested thresholds. */
qg_status qg_report_policy(const qg_report *r, qg_buf *out);

#endif
