/* Mean squares of what goes into each product, channel by channel, for qg_equal_search.  Rows of a
 * pass are summed in groups of QG_ROW_GROUP, each group into sums of its own, so that the order of
 * additions does not depend on who computes what. */
#include "model/model_int.h"

#include "base/mem.h"

struct qg_stats_inputs {
    int32_t n_layers, n_groups;
    int64_t k[QG_N_INPUTS];
    int64_t at[QG_N_INPUTS]; /* where the input's sums begin in a group's */
    int64_t width;           /* of one group of one layer */
    float *sums;             /* [n_layers][n_groups][width] */
    float *means;            /* [width], of the layer asked for last */
    size_t bytes;
};

qg_status qg_stats_open(qg_stats_inputs **out, const qg_config *config, int32_t max_rows,
                        qg_err *err)
{
    qg_stats_inputs *s = qg_calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    s->k[QG_IN_QKV] = s->k[QG_IN_GATE_UP] = config->hidden;
    s->k[QG_IN_O] = (int64_t)config->n_heads * config->head_dim;
    s->k[QG_IN_DOWN] = config->intermediate;
    for (int i = 0; i < QG_N_INPUTS; i++) {
        s->at[i] = s->width;
        s->width += s->k[i];
    }
    s->n_layers = config->n_layers;
    s->n_groups = (max_rows + QG_ROW_GROUP - 1) / QG_ROW_GROUP;
    size_t n = (size_t)s->n_layers * (size_t)s->n_groups;
    if (qg_mul_size(n, (size_t)s->width * sizeof *s->sums, &s->bytes))
        s->sums = qg_big_alloc(s->bytes);
    s->means = qg_calloc((size_t)s->width, sizeof *s->means);
    if (!s->sums || !s->means) {
        qg_stats_close(s);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for the statistics of calibration");
    }
    *out = s;
    return QG_OK;
}

void qg_stats_close(qg_stats_inputs *stats)
{
    if (!stats)
        return;
    if (stats->sums)
        qg_big_free(stats->sums, stats->bytes);
    qg_mfree(stats->means);
    qg_mfree(stats);
}

void qg_scratch_watch(qg_scratch *scratch, qg_stats_inputs *stats)
{
    scratch->watch = stats;
}

void qg_stats_take(qg_stats_inputs *s, int32_t layer, qg_input which, int64_t lo, int64_t hi,
                   const float *x, int64_t ld, int64_t k)
{
    const int64_t group = lo / QG_ROW_GROUP;
    if (group >= s->n_groups || k != s->k[which])
        return;
    float *sum = s->sums + (layer * s->n_groups + group) * s->width + s->at[which];
    for (int64_t i = 0; i < hi - lo; i++)
        for (int64_t c = 0; c < k; c++)
            sum[c] += x[i * ld + c] * x[i * ld + c];
}

/* Only their proportions matter, so they are not divided by the number of rows. */
void qg_stats_means(const qg_stats_inputs *s, int32_t layer, const float **means)
{
    const float *sums = s->sums + (int64_t)layer * s->n_groups * s->width;
    for (int64_t c = 0; c < s->width; c++) {
        s->means[c] = 0;
        for (int32_t g = 0; g < s->n_groups; g++)
            s->means[c] += sums[g * s->width + c];
    }
    for (int i = 0; i < QG_N_INPUTS; i++)
        means[i] = s->means + s->at[i];
}
