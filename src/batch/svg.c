/* Plots as SVG: no scripts, colours by the page's own style. */
#define _GNU_SOURCE
#include "batch/eval_report.h"

#include <math.h>

enum { SIZE = 260, LEFT = 44, TOP = 12, STEPS = 400 };

static double at_x(double v)
{
    return LEFT + v * SIZE;
}

static double at_y(double v)
{
    return TOP + (1 - v) * SIZE;
}

static void frame(qg_pen *pen, const char *title, const char *x, const char *y)
{
    qg_put(pen, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", SIZE + LEFT + 14,
           SIZE + TOP + 42, title);
    for (int i = 0; i <= 4; i++) {
        double v = i / 4.0;
        qg_put(pen, "<path class=\"grid\" d=\"M%.1f %.1fH%.1fM%.1f %.1fV%.1f\"/>", at_x(0), at_y(v),
               at_x(1), at_x(v), at_y(0), at_y(1));
        qg_put(pen, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.0f</text>", at_x(0) - 5,
               at_y(v) + 4, 100 * v);
        qg_put(pen, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.0f</text>\n", at_x(v),
               at_y(0) + 15, 100 * v);
    }
    qg_put(pen, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>", at_x(0.5),
           at_y(0) + 33, x);
    qg_put(pen,
           "<text x=\"11\" y=\"%.1f\" text-anchor=\"middle\" transform=\"rotate(-90 11 "
           "%.1f)\">%s</text>\n",
           at_y(0.5), at_y(0.5), y);
}

static void line(qg_pen *pen, const qg_curve *c, bool roc, const char *class)
{
    size_t step = c->n > STEPS ? c->n / STEPS : 1;
    qg_put(pen, "<path class=\"%s\" d=\"", class);
    for (size_t i = 0; i < c->n; i += step) {
        const qg_curve_point *p = &c->points[i + step < c->n ? i : c->n - 1];
        qg_put(pen, "%c%.1f %.1f", i ? 'L' : 'M', at_x(roc ? p->fpr : p->recall),
               at_y(roc ? p->recall : p->precision));
    }
    qg_put(pen, "\"/>\n");
}

/* Where the most probable label stands on it. */
static void label_point(qg_pen *pen, const qg_rates *r, bool roc, const char *class)
{
    double x = roc ? r->fpr : r->recall, y = roc ? r->recall : r->precision;
    if (!isnan(x) && !isnan(y))
        qg_put(pen, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", class, at_x(x),
               at_y(y));
}

void qg_svg_curves(qg_pen *pen, const qg_scores *a, const qg_scores *b, bool roc)
{
    static const char *const classes[2][QG_N_MODES] = {{"a", "a loose"}, {"b", "b loose"}};
    const qg_scores *both[] = {a, b};
    frame(pen, roc ? "ROC" : "precision and recall", roc ? "false alarms %" : "recall %",
          roc ? "recall %" : "precision %");
    if (roc)
        qg_put(pen, "<path class=\"chance\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", at_x(0), at_y(0),
               at_x(1), at_y(1));
    for (int j = 0; j < 2 && both[j]; j++)
        for (int m = 0; m < QG_N_MODES; m++) {
            line(pen, &both[j]->curve[m], roc, classes[j][m]);
            label_point(pen, &both[j]->rates[m], roc, classes[j][m]);
        }
    qg_put(pen, "</svg>\n");
}

void qg_svg_bins(qg_pen *pen, const qg_scores *s)
{
    int64_t most = 1;
    frame(pen, "calibration", "mean probability %", "unsafe %");
    for (int i = 0; i < QG_EVAL_BINS; i++)
        most = s->bins[i].n > most ? s->bins[i].n : most;
    for (int i = 0; i < QG_EVAL_BINS; i++) {
        double h = 0.3 * (double)s->bins[i].n / (double)most;
        qg_put(pen, "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>",
               at_x((double)i / QG_EVAL_BINS) + 1, at_y(h), SIZE / (double)QG_EVAL_BINS - 2,
               h * SIZE);
    }
    qg_put(pen, "\n<path class=\"chance\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", at_x(0), at_y(0),
           at_x(1), at_y(1));
    bool first = true;
    qg_put(pen, "<path class=\"a\" d=\"");
    for (int i = 0; i < QG_EVAL_BINS; i++) {
        const qg_bin *bin = &s->bins[i];
        if (bin->n)
            qg_put(pen, "%c%.1f %.1f", first ? 'M' : 'L', at_x(bin->p), at_y(bin->share));
        first = first && !bin->n;
    }
    qg_put(pen, "\"/>\n");
    for (int i = 0; i < QG_EVAL_BINS; i++)
        if (s->bins[i].n)
            qg_put(pen, "<circle class=\"a\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>",
                   at_x(s->bins[i].p), at_y(s->bins[i].share));
    qg_put(pen, "</svg>\n");
}
