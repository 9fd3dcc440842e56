/* Writing text without asking after each piece whether it worked. */
#ifndef QG_BATCH_EVAL_REPORT_H
#define QG_BATCH_EVAL_REPORT_H

#include "base/buf.h"
#include "batch/eval.h"

typedef struct qg_pen {
    qg_buf *out;
    qg_status rc; /* of the first piece that failed; later ones are not written */
} qg_pen;

void qg_put(qg_pen *pen, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* For HTML and attributes. */
void qg_put_escaped(qg_pen *pen, const char *text);
/* A share in percent with one decimal, a dash for NAN; the same with its interval behind it. */
void qg_put_percent(qg_pen *pen, double x);

/* Short names, for columns. */
const char *qg_category_short(int k); /* QG_EVAL_NONE: "none" */

/* A square plot of a curve as SVG: roc, or precision over recall; and of calibration. */
void qg_svg_curves(qg_pen *pen, const qg_scores *a, const qg_scores *b, bool roc);
void qg_svg_bins(qg_pen *pen, const qg_scores *s);

#endif
