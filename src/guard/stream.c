#include "guard/stream.h"

#include <math.h>

/* The published models' order; it is not the Gen policy's. */
static const char *const default_risk[] = {"Safe", "Unsafe", "Controversial"};
static const char *const default_category[] = {
    "Violent",   "Sexual Content", "Self-Harm", "Political", "PII",
    "Copyright", "Illegal Acts",   "Unethical", "Jailbreak",
};

/* ---- labels ---- */

static qg_label_group risk_of(int reply)
{
    return reply ? QG_LABELS_RISK : QG_LABELS_QUERY_RISK;
}

static qg_label_group category_of(int reply)
{
    return reply ? QG_LABELS_CATEGORY : QG_LABELS_QUERY_CATEGORY;
}

static qg_status take_names(qg_stream_labels *l, const qg_config *config, int g, qg_err *err)
{
    bool risk = g == QG_LABELS_RISK || g == QG_LABELS_QUERY_RISK;
    const char *const *names = risk ? default_risk : default_category;
    int32_t n = risk ? 3 : g == QG_LABELS_CATEGORY ? 8 : 9;

    if (!config->labels[g] && l->n[g] != n)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "config.json does not name the %d labels of a head that usually has %d",
                       l->n[g], n);
    for (int32_t i = 0; i < l->n[g]; i++)
        l->official[g][i] = config->labels[g] ? config->labels[g][i] : names[i];
    return QG_OK;
}

static qg_status map_severities(qg_stream_labels *l, int reply, qg_err *err)
{
    qg_label_group g = risk_of(reply);
    unsigned seen = 0;
    for (int32_t i = 0; i < l->n[g]; i++) {
        int s = qg_severity_find(qg_str(l->official[g][i]));
        if (s < 0 || seen & 1u << s)
            return qg_fail(err, QG_ERR_UNSUPPORTED, "config.json: risk level \"%.40s\" is %s",
                           l->official[g][i], s < 0 ? "not known" : "there twice");
        seen |= 1u << s;
        l->severity[reply][i] = (int8_t)s;
    }
    if (!(seen & 1u << QG_SAFE) || !(seen & 1u << QG_UNSAFE))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "config.json: a risk head without \"Safe\" or without \"Unsafe\"");
    return QG_OK;
}

static qg_status map_categories(qg_stream_labels *l, int reply, qg_err *err)
{
    qg_label_group g = category_of(reply);
    if (l->n[g] > QG_MAX_CATEGORIES)
        return qg_fail(err, QG_ERR_UNSUPPORTED, "%d categories, at most %d", l->n[g],
                       QG_MAX_CATEGORIES);
    for (int32_t i = 0; i < l->n[g]; i++) {
        int c = qg_category_find(qg_str(l->official[g][i]));
        l->canonical[reply][i] = (int8_t)c;
        l->category[reply][i] = c < 0 ? l->official[g][i] : qg_category_labels[c];
    }
    return QG_OK;
}

qg_status qg_stream_labels_init(qg_stream_labels *l, const qg_config *config,
                                const int32_t n[QG_N_LABEL_GROUPS], qg_err *err)
{
    *l = (qg_stream_labels){0};
    for (int g = 0; g < QG_N_LABEL_GROUPS; g++) {
        if (n[g] < 1 || n[g] > QG_MAX_LABELS)
            return qg_fail(err, QG_ERR_UNSUPPORTED, "a head of %d labels", n[g]);
        l->n[g] = n[g];
        l->at[g] = l->width;
        l->width += n[g];
        QG_TRY(take_names(l, config, g, err));
    }
    for (int reply = 0; reply < 2; reply++) {
        QG_TRY(map_severities(l, reply, err));
        QG_TRY(map_categories(l, reply, err));
    }
    return QG_OK;
}

/* ---- one token ---- */

/* Softmax of x [n]; gives the index of the largest (the first of equals), -1 when one of them is
 * not a finite number. */
static int32_t softmax(const float *x, int32_t n, double *p)
{
    int32_t top = 0;
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return -1;
        if (x[i] > x[top])
            top = i;
    }
    for (int32_t i = 0; i < n; i++)
        sum += p[i] = exp((double)x[i] - (double)x[top]);
    for (int32_t i = 0; i < n; i++)
        p[i] /= sum;
    return top;
}

static double two_decimals(double p)
{
    return nearbyint(p * 100) / 100; /* half to even, as Python rounds */
}

/* top: the most probable category of the head; *by gets the one that decided. */
static bool is_hit(const qg_token *token, const qg_stream_labels *l, const qg_thresholds *t,
                   int reply, int32_t top, int32_t *by)
{
    const int8_t *canonical = l->canonical[reply];
    double p[QG_CATEGORY_NONE] = {0};
    int which;
    for (int32_t i = 0; i < (int32_t)token->n_p_categories; i++)
        if (canonical[i] >= 0)
            p[canonical[i]] += token->p_categories[i];
    bool hit = qg_thresholds_hit(t, token->severity, token->p_severity, p, canonical[top], &which);
    *by = top;
    for (int32_t i = 0; which != canonical[top] && i < (int32_t)token->n_p_categories; i++)
        if (canonical[i] == which)
            *by = i;
    return hit;
}

qg_status qg_stream_read(qg_token *token, const qg_stream_labels *l, const qg_thresholds *t,
                         qg_judged judged, const float *heads, qg_err *err)
{
    int reply = judged == QG_REPLY;
    const qg_label_group risk = risk_of(reply), category = category_of(reply);
    double p[QG_MAX_LABELS];
    int32_t by, level = softmax(heads + l->at[risk], l->n[risk], p);
    int32_t top = softmax(heads + l->at[category], l->n[category], token->p_categories);

    if (level < 0 || top < 0)
        return qg_fail(err, QG_ERR_INTERNAL, "a head gave a number that is not finite");
    for (int32_t i = 0; i < l->n[risk]; i++)
        token->p_severity[l->severity[reply][i]] = p[i];
    token->severity = (qg_severity)l->severity[reply][level];
    token->risk_level = l->official[risk][level];
    token->risk_prob = two_decimals(p[level]);
    token->official_category = l->official[category][top];
    token->category_prob = two_decimals(token->p_categories[top]);
    token->n_p_categories = (size_t)l->n[category];
    for (int32_t i = 0; i < l->n[category]; i++)
        token->p_category_names[i] = l->category[reply][i];
    token->hit = is_hit(token, l, t, reply, top, &by);
    if (token->hit && (token->severity == QG_SAFE || (t->loose && token->severity != QG_UNSAFE)))
        token->severity =
            t->loose || token->p_severity[QG_UNSAFE] >= token->p_severity[QG_CONTROVERSIAL]
                ? QG_UNSAFE
                : QG_CONTROVERSIAL;
    token->category = token->severity == QG_SAFE ? NULL : l->category[reply][by];
    return QG_OK;
}
