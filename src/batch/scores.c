/* Counting: rates, confusions, calibration, latency, intervals. */
#define _GNU_SOURCE
#include "batch/eval.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

bool qg_eval_flagged(const qg_eval_row *row, qg_eval_mode mode)
{
    return mode == QG_STRICT ? row->said.severity != QG_SAFE : row->said.severity == QG_UNSAFE;
}

double qg_eval_p(const qg_eval_row *row, qg_eval_mode mode)
{
    const qg_said *s = &row->said;
    if (!s->has_p)
        return qg_eval_flagged(row, mode);
    return s->p_severity[QG_UNSAFE] + (mode == QG_STRICT ? s->p_severity[QG_CONTROVERSIAL] : 0);
}

static double ratio(int64_t a, int64_t b)
{
    return b ? (double)a / (double)b : NAN;
}

qg_rates qg_rates_of(int64_t tp, int64_t fp, int64_t fn, int64_t tn)
{
    return (qg_rates){
        .tp = tp,
        .fp = fp,
        .fn = fn,
        .tn = tn,
        .f1 = ratio(2 * tp, 2 * tp + fp + fn),
        .precision = ratio(tp, tp + fp),
        .recall = ratio(tp, tp + fn),
        .fpr = ratio(fp, fp + tn),
    };
}

double qg_rate(const qg_rates *r, int i)
{
    const double all[QG_N_RATES] = {r->f1, r->precision, r->recall, r->fpr};
    return all[i];
}

/* One of four places: so (bit 1), said (bit 0). */
static int cell(const qg_eval_row *row, qg_eval_mode mode)
{
    return row->unsafe[mode] << 1 | qg_eval_flagged(row, mode);
}

static qg_rates rates_of_cells(const int64_t n[4])
{
    return qg_rates_of(n[3], n[1], n[2], n[0]);
}

/* ---- intervals ------------------------------------------------------------------------------- */

static uint64_t splitmix64(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int by_number(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The 2.5th and 97.5th percentile, nearest rank, of the samples in which there is a value. */
static qg_interval middle(double *x, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(x[i]))
            x[k++] = x[i];
    if (!k)
        return (qg_interval){NAN, NAN};
    qsort(x, k, sizeof *x, by_number);
    size_t last = k - 1;
    return (qg_interval){x[(size_t)(0.025 * (double)last + 0.5)],
                         x[(size_t)(0.975 * (double)last + 0.5)]};
}

static void draw(const uint8_t *cells, size_t n, uint64_t *seed, qg_rates out[QG_N_MODES])
{
    int64_t count[QG_N_MODES][4] = {{0}};
    for (size_t i = 0; i < n; i++) {
        uint64_t at = (splitmix64(seed) >> 32) * n >> 32;
        count[QG_STRICT][cells[at] & 3]++;
        count[QG_LOOSE][cells[at] >> 2]++;
    }
    for (int m = 0; m < QG_N_MODES; m++)
        out[m] = rates_of_cells(count[m]);
}

qg_status qg_bootstrap(const qg_eval_set *set, int32_t samples,
                       qg_interval out[QG_N_MODES][QG_N_RATES], qg_err *err)
{
    enum { VALUES = QG_N_MODES * QG_N_RATES };
    uint64_t seed = 0x5eed;
    uint8_t *cells = qg_malloc(set->n);
    double *x = qg_calloc((size_t)samples * VALUES, sizeof *x);
    qg_rates rates[QG_N_MODES];
    qg_status rc = cells && x ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (size_t i = 0; rc == QG_OK && i < set->n; i++)
        cells[i] = (uint8_t)(cell(&set->rows[i], QG_STRICT) | cell(&set->rows[i], QG_LOOSE) << 2);
    for (int32_t s = 0; rc == QG_OK && s < samples; s++) {
        draw(cells, set->n, &seed, rates);
        for (int v = 0; v < VALUES; v++)
            x[v * samples + s] = qg_rate(&rates[v / QG_N_RATES], v % QG_N_RATES);
    }
    for (int v = 0; rc == QG_OK && v < VALUES; v++)
        out[v / QG_N_RATES][v % QG_N_RATES] =
            middle(x + (size_t)v * (size_t)samples, (size_t)samples);
    qg_mfree(cells);
    qg_mfree(x);
    return rc;
}

/* ---- counting -------------------------------------------------------------------------------- */

static void count_rates(qg_scores *s, const qg_eval_set *set)
{
    int64_t count[QG_N_MODES][4] = {{0}}, policy[4] = {0};
    for (size_t i = 0; i < set->n; i++) {
        const qg_eval_row *row = &set->rows[i];
        for (int m = 0; m < QG_N_MODES; m++)
            count[m][cell(row, m)]++;
        policy[row->unsafe[QG_STRICT] << 1 | row->hit]++;
    }
    for (int m = 0; m < QG_N_MODES; m++)
        s->rates[m] = rates_of_cells(count[m]);
    s->policy = rates_of_cells(policy);
}

static void count_labels(qg_scores *s, const qg_eval_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        const qg_eval_row *row = &set->rows[i];
        int said = row->said.n_categories ? row->said.categories[0] : QG_EVAL_NONE;
        if (row->severity >= 0) {
            s->has_severity = true;
            s->levels[(int)row->severity][(int)row->said.severity]++;
        }
        if (row->category >= 0) {
            s->has_category |= row->category != QG_EVAL_NONE;
            s->categories[(int)row->category][said]++;
        }
    }
    for (int k = 0; k < QG_EVAL_NONE; k++) {
        qg_category_score *c = &s->category[k];
        for (int j = 0; j <= QG_EVAL_NONE; j++) {
            c->so += s->categories[k][j];
            c->said += s->categories[j][k];
        }
        c->both = s->categories[k][k];
        qg_rates r = qg_rates_of(c->both, c->said - c->both, c->so - c->both, 0);
        c->f1 = r.f1;
        c->precision = r.precision;
        c->recall = r.recall;
    }
}

static void count_second(qg_scores *s, const qg_said *said)
{
    s->asked_again += said->second != QG_SECOND_NONE;
    s->not_answered += said->second == QG_SECOND_FAILED;
    s->changed += said->second == QG_SECOND_GIVEN && said->severity != said->first_severity;
}

static void calibrate(qg_scores *s, const qg_eval_set *set)
{
    double sum_p[QG_EVAL_BINS] = {0}, squares = 0;
    int64_t unsafe[QG_EVAL_BINS] = {0};
    for (size_t i = 0; i < set->n; i++) {
        const qg_eval_row *row = &set->rows[i];
        double p = qg_eval_p(row, QG_STRICT), so = row->unsafe[QG_STRICT];
        int b = (int)(p * QG_EVAL_BINS);
        b = b < 0 ? 0 : b >= QG_EVAL_BINS ? QG_EVAL_BINS - 1 : b;
        s->has_p |= row->said.has_p;
        count_second(s, &row->said);
        s->bins[b].n++;
        sum_p[b] += p;
        unsafe[b] += row->unsafe[QG_STRICT];
        squares += (p - so) * (p - so);
    }
    s->brier = squares / (double)set->n;
    for (int b = 0; b < QG_EVAL_BINS; b++) {
        qg_bin *bin = &s->bins[b];
        bin->p = bin->n ? sum_p[b] / (double)bin->n : NAN;
        bin->share = ratio(unsafe[b], bin->n);
        if (bin->n)
            s->ece += (double)bin->n / (double)set->n * fabs(bin->p - bin->share);
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static qg_status draw_curves(qg_scores *s, const qg_eval_set *set, qg_err *err)
{
    double *x = qg_calloc(set->n, sizeof *x);
    bool *y = qg_calloc(set->n, sizeof *y);
    qg_status rc = x && y ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (int m = 0; rc == QG_OK && m < QG_N_MODES; m++) {
        for (size_t i = 0; i < set->n; i++) {
            x[i] = qg_eval_p(&set->rows[i], m);
            y[i] = set->rows[i].unsafe[m];
        }
        rc = qg_curve_of(&s->curve[m], x, y, set->n, err);
    }
    qg_mfree(x);
    qg_mfree(y);
    return rc;
}

static qg_status time_rows(qg_scores *s, const qg_eval_set *set, qg_err *err)
{
    size_t n = 0;
    double *us = qg_calloc(set->n, sizeof *us);
    if (!us)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < set->n; i++)
        if (set->rows[i].us > 0)
            us[n++] = (double)set->rows[i].us;
    qsort(us, n, sizeof *us, by_number);
    if (n) {
        s->p50_us = (int64_t)us[(n - 1) / 2];
        s->p99_us = (int64_t)us[(size_t)(0.99 * (double)(n - 1) + 0.5)];
    }
    qg_mfree(us);
    return QG_OK;
}

qg_status qg_scores_of(qg_scores *s, const qg_eval_set *set, int32_t bootstrap, bool policy,
                       qg_err *err)
{
    *s = (qg_scores){.bootstrap = bootstrap, .has_policy = policy};
    count_rates(s, set);
    count_labels(s, set);
    calibrate(s, set);
    QG_TRY(draw_curves(s, set, err));
    QG_TRY(time_rows(s, set, err));
    return bootstrap ? qg_bootstrap(set, bootstrap, s->around, err) : QG_OK;
}

void qg_scores_free(qg_scores *s)
{
    for (int m = 0; m < QG_N_MODES; m++) {
        qg_mfree(s->curve[m].points);
        s->curve[m].points = NULL;
    }
}
