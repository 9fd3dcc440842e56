#define _GNU_SOURCE
#include "batch/where.h"

#include "serve/outcome.h"

#include <stdlib.h>
#include <strings.h>

static const char *const severities[] = {"Safe", "Controversial", "Unsafe", NULL};
static const char *const answers[] = {"No", "Yes", "None", NULL};
static const char *const roles[] = {"user", "assistant", NULL};
static const char *const truths[] = {"false", "true", NULL};
static const char *const actions[] = {"allow", "flag", "block", NULL};

static const struct {
    const char *name;
    qg_where_field field;
    const char *const *words;
} fields[] = {
    {"severity", QG_WHERE_SEVERITY, severities},
    {"refusal", QG_WHERE_REFUSAL, answers},
    {"role", QG_WHERE_ROLE, roles},
    {"hit", QG_WHERE_HIT, truths},
    {"action", QG_WHERE_ACTION, actions},
};

static bool same(qg_slice s, const char *word)
{
    return strlen(word) == s.n && strncasecmp(s.p, word, s.n) == 0;
}

static int place_in(const char *const *words, qg_slice s)
{
    for (int i = 0; words[i]; i++)
        if (same(s, words[i]))
            return i;
    return -1;
}

static int category_of(qg_slice s)
{
    for (int i = 0; i < QG_POLICY_CATEGORIES; i++)
        if (same(s, qg_category_name((size_t)i)))
            return i;
    return same(s, "None") ? QG_POLICY_CATEGORIES : -1;
}

static qg_slice trim(qg_slice s)
{
    while (s.n && memchr(" \t", s.p[0], 2))
        s = qg_slice_of(s.p + 1, s.n - 1);
    while (s.n && memchr(" \t", s.p[s.n - 1], 2))
        s.n--;
    if (s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0])
        s = qg_slice_of(s.p + 1, s.n - 2);
    return s;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool number(qg_slice s, double *out)
{
    char text[32], *end;
    if (!s.n || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    *out = strtod(text, &end);
    return *end == 0 && *out >= -1e9 && *out <= 1e9;
}

static bool probability(qg_where_term *t, qg_slice name, qg_slice value)
{
    t->field = QG_WHERE_P_REFUSAL;
    if (!same(name, "refusal")) {
        t->field = QG_WHERE_P_SEVERITY;
        t->index = place_in(severities, name);
    }
    if (t->index < 0) {
        t->field = QG_WHERE_P_CATEGORY;
        t->index = category_of(name);
    }
    return t->index >= 0 && number(value, &t->value);
}

static bool word(qg_where_term *t, qg_slice name, qg_slice value)
{
    bool equal = t->op == QG_EQ || t->op == QG_NE;
    if (same(name, "category")) {
        t->field = QG_WHERE_CATEGORY;
        t->value = category_of(value);
        return equal && t->value >= 0;
    }
    for (size_t i = 0; i < QG_COUNT(fields); i++)
        if (same(name, fields[i].name)) {
            t->field = fields[i].field;
            t->value = place_in(fields[i].words, value);
            return t->value >= 0 && (equal || t->field == QG_WHERE_SEVERITY);
        }
    return false;
}

static bool operator_at(const char *p, size_t n, qg_where_op *op, size_t *width)
{
    static const struct {
        const char *text;
        qg_where_op op;
    } all[] = {{"==", QG_EQ}, {"!=", QG_NE}, {"<=", QG_LE}, {">=", QG_GE},
               {"=", QG_EQ},  {"<", QG_LT},  {">", QG_GT}};
    for (size_t i = 0; i < QG_COUNT(all); i++) {
        *width = strlen(all[i].text);
        if (n >= *width && !memcmp(p, all[i].text, *width)) {
            *op = all[i].op;
            return true;
        }
    }
    return false;
}

static bool read_term(qg_where_term *t, qg_slice s)
{
    size_t at = 0, width = 0;
    while (at < s.n && !operator_at(s.p + at, s.n - at, &t->op, &width))
        at++;
    if (at == s.n)
        return false;
    qg_slice name = trim(qg_slice_of(s.p, at));
    qg_slice value = trim(qg_slice_of(s.p + at + width, s.n - at - width));
    if (name.n > 2 && !strncasecmp(name.p, "p.", 2))
        return probability(t, trim(qg_slice_of(name.p + 2, name.n - 2)), value);
    return word(t, name, value);
}

static qg_status add_term(qg_where *w, qg_slice s, bool or_next, qg_err *err)
{
    qg_where_term t = {.or_next = or_next};
    if (w->n == QG_MAX_WHERE)
        return qg_fail(err, QG_ERR_ARG, "--where: more than %d comparisons", QG_MAX_WHERE);
    if (!read_term(&t, s))
        return qg_fail(err, QG_ERR_ARG,
                       "--where: '%.*s' is not a comparison (severity, category, refusal, role, "
                       "hit, action, p.NAME; = != < <= > >=)",
                       (int)(s.n < 200 ? s.n : 200), s.p);
    w->terms[w->n++] = t;
    return QG_OK;
}

qg_status qg_where_parse(qg_where *w, const char *text, qg_err *err)
{
    *w = (qg_where){.n = 0};
    const char *from = text;
    for (const char *p = text; *p; p++) {
        if ((p[0] != '&' && p[0] != '|') || p[1] != p[0])
            continue;
        QG_TRY(add_term(w, qg_slice_of(from, (size_t)(p - from)), p[0] == '|', err));
        from = p + 2;
        p++;
    }
    return add_term(w, qg_str(from), false, err);
}

qg_status qg_where_keep(qg_where *w, const char *words, qg_err *err)
{
    *w = (qg_where){.n = 0};
    for (;;) {
        size_t n = strcspn(words, ",");
        qg_slice s = trim(qg_slice_of(words, n));
        qg_where_term t = {.field = QG_WHERE_SEVERITY, .or_next = words[n] != 0};
        t.value = place_in(severities, s);
        if (same(s, "hit") || same(s, "pass"))
            t = (qg_where_term){
                .field = QG_WHERE_HIT, .value = same(s, "hit"), .or_next = t.or_next};
        if (t.value < 0 || w->n == QG_MAX_WHERE)
            return qg_fail(err, QG_ERR_ARG,
                           "--keep: '%.*s' is not one of safe, controversial, unsafe, hit, pass",
                           (int)(s.n < 100 ? s.n : 100), s.p);
        w->terms[w->n++] = t;
        if (!words[n])
            return QG_OK;
        words += n + 1;
    }
}

/* ---- holding it against a verdict ------------------------------------------------------------ */

static double outcome_of(const qg_said *said, const qg_policy_view *view, qg_where_field field)
{
    qg_result r;
    qg_outcome o;
    qg_said_result(said, &r);
    qg_outcome_of(&o, view, &r);
    return field == QG_WHERE_HIT ? o.hit : o.block ? 2 : o.hit;
}

static double category_index(const qg_said *said)
{
    return said->n_categories ? said->categories[0] : QG_POLICY_CATEGORIES;
}

static double value_of(const qg_where_term *t, const qg_said *said, const qg_policy_view *view)
{
    switch (t->field) {
    case QG_WHERE_SEVERITY:
        return said->severity;
    case QG_WHERE_CATEGORY:
        return category_index(said);
    case QG_WHERE_REFUSAL:
        return said->refusal < 0 ? 2 : said->refusal;
    case QG_WHERE_ROLE:
        return said->reply;
    case QG_WHERE_HIT:
    case QG_WHERE_ACTION:
        return outcome_of(said, view, t->field);
    case QG_WHERE_P_SEVERITY:
        return said->has_p ? said->p_severity[t->index] : said->severity == t->index;
    case QG_WHERE_P_CATEGORY:
        return said->has_p ? said->p_category[t->index] : category_index(said) == t->index;
    case QG_WHERE_P_REFUSAL:
        return said->has_p ? said->p_refusal : said->refusal;
    }
    return 0;
}

static bool holds(const qg_where_term *t, const qg_said *said, const qg_policy_view *view)
{
    double x = value_of(t, said, view);
    switch (t->op) {
    case QG_EQ:
        return x == t->value;
    case QG_NE:
        return x != t->value;
    case QG_LT:
        return x < t->value;
    case QG_LE:
        return x <= t->value;
    case QG_GT:
        return x > t->value;
    case QG_GE:
        return x >= t->value;
    }
    return false;
}

bool qg_where_holds(const qg_where *w, const qg_said *said, const qg_policy_view *view)
{
    bool all = true;
    for (size_t i = 0; i < w->n; i++) {
        all = all && holds(&w->terms[i], said, view);
        if (w->terms[i].or_next && all)
            return true;
        if (w->terms[i].or_next)
            all = true;
    }
    return all;
}
