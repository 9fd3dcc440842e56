#include "svc/rules.h"

#include "base/limits.h"
#include "base/mem.h"
#include "svc/contains.h"
#include "svc/pattern.h"
#include "text/utf8.h"

/* A phase's rules, sorted by kind; each refers to its rule by number. */
typedef struct ruleset {
    qg_contains *contains;
    uint32_t *literal_rules; /* [n_literals] */
    size_t n_literals;
    uint32_t *pattern_rules; /* [n_patterns] */
    size_t n_patterns;
} ruleset;

struct qg_rules {
    qg_rule *rules; /* [n], text is ours */
    size_t n;
    qg_pattern **patterns; /* [n], NULL for literals */
    ruleset of[QG_N_PHASES];
};

struct qg_scan {
    const qg_rules *rules;
    const ruleset *set;
    qg_contains_at at;
    qg_pattern_at *patterns; /* [set->n_patterns] */
    qg_match *match;         /* NULL without patterns */
    qg_rule_hit best;        /* rule NULL: none */
    char part[4];            /* beginning of a character that is not whole yet */
    size_t n_part;
    uint64_t n_read; /* code points */
};

/* ---- building -------------------------------------------------------------------------------- */

static qg_status build_literals(qg_rules *r, ruleset *set, qg_slice *texts, qg_err *err)
{
    size_t bad;
    for (size_t i = 0; i < set->n_literals; i++)
        texts[i] = r->rules[set->literal_rules[i]].text;
    qg_status rc = qg_contains_open(&set->contains, texts, set->n_literals, &bad, err);
    if (rc != QG_OK && bad < set->n_literals)
        return qg_fail_prefix(err, rc, "line %d: contains", r->rules[set->literal_rules[bad]].line);
    return rc;
}

static qg_status build_phase(qg_rules *r, qg_phase phase, qg_err *err)
{
    ruleset *set = &r->of[phase];
    set->literal_rules = qg_calloc(r->n, sizeof *set->literal_rules);
    set->pattern_rules = qg_calloc(r->n, sizeof *set->pattern_rules);
    qg_slice *texts = qg_calloc(r->n, sizeof *texts);
    qg_status rc = QG_ERR_NOMEM;
    if (set->literal_rules && set->pattern_rules && texts) {
        for (size_t i = 0; i < r->n; i++) {
            if (!r->rules[i].phases[phase])
                continue;
            if (r->rules[i].regex)
                set->pattern_rules[set->n_patterns++] = (uint32_t)i;
            else
                set->literal_rules[set->n_literals++] = (uint32_t)i;
        }
        rc = build_literals(r, set, texts, err);
    } else {
        qg_fail(err, rc, "out of memory");
    }
    qg_mfree(texts);
    return rc;
}

static qg_status copy_rule(qg_rules *r, const qg_rule *rule, size_t *n_patterns, qg_err *err)
{
    qg_rule *mine = &r->rules[r->n];
    char *text = qg_memdup0(rule->text.p, rule->text.n);
    if (!text)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    *mine = *rule;
    mine->text = (qg_slice){text, rule->text.n};
    r->n++;
    if (!rule->regex)
        return QG_OK;
    if (++*n_patterns > QG_MAX_PATTERNS)
        return qg_fail(err, QG_ERR_TOO_LONG, "line %d: more than %d patterns", rule->line,
                       QG_MAX_PATTERNS);
    qg_status rc = qg_pattern_open(&r->patterns[r->n - 1], mine->text, err);
    return rc == QG_OK ? rc : qg_fail_prefix(err, rc, "line %d: regex", rule->line);
}

qg_status qg_rules_open(qg_rules **out, const qg_rule *rules, size_t n, qg_err *err)
{
    size_t n_patterns = 0;
    qg_status rc = QG_ERR_NOMEM;
    *out = NULL;
    if (n > QG_MAX_RULES)
        return qg_fail(err, QG_ERR_TOO_LONG, "%zu rules, at most %d are allowed", n, QG_MAX_RULES);
    qg_rules *r = qg_calloc(1, sizeof *r);
    if (!r || !(r->rules = qg_calloc(n, sizeof *r->rules)) ||
        !(r->patterns = qg_calloc(n, sizeof(qg_pattern *)))) {
        qg_fail(err, rc, "out of memory");
        goto failed;
    }
    for (size_t i = 0; i < n; i++)
        if ((rc = copy_rule(r, &rules[i], &n_patterns, err)) != QG_OK)
            goto failed;
    for (int phase = 0; phase < QG_N_PHASES; phase++)
        if ((rc = build_phase(r, phase, err)) != QG_OK)
            goto failed;
    *out = r;
    return QG_OK;
failed:
    qg_rules_close(r);
    return rc;
}

void qg_rules_close(qg_rules *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++) {
        qg_mfree((char *)r->rules[i].text.p);
        qg_pattern_close(r->patterns[i]);
    }
    for (int phase = 0; phase < QG_N_PHASES; phase++) {
        qg_contains_close(r->of[phase].contains);
        qg_mfree(r->of[phase].literal_rules);
        qg_mfree(r->of[phase].pattern_rules);
    }
    qg_mfree(r->patterns);
    qg_mfree(r->rules);
    qg_mfree(r);
}

size_t qg_rules_n(const qg_rules *r, qg_phase phase)
{
    return r->of[phase].n_literals + r->of[phase].n_patterns;
}

/* ---- reading --------------------------------------------------------------------------------- */

qg_status qg_scan_open(qg_scan **out, const qg_rules *rules, qg_phase phase, qg_err *err)
{
    const ruleset *set = &rules->of[phase];
    qg_status rc = QG_OK;
    qg_scan *scan = qg_calloc(1, sizeof *scan);
    *out = NULL;
    if (!scan)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    scan->rules = rules;
    scan->set = set;
    scan->at.origin = qg_calloc(qg_contains_longest(set->contains), sizeof(uint64_t));
    scan->patterns = qg_calloc(set->n_patterns, sizeof *scan->patterns);
    if (!scan->at.origin || !scan->patterns)
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (rc == QG_OK && set->n_patterns)
        rc = qg_match_open(&scan->match, err);
    for (size_t i = 0; i < set->n_patterns && rc == QG_OK; i++)
        qg_match_reserve(scan->match, rules->patterns[set->pattern_rules[i]]);
    if (rc == QG_OK)
        *out = scan;
    else
        qg_scan_close(scan);
    return rc;
}

void qg_scan_close(qg_scan *scan)
{
    if (!scan)
        return;
    qg_match_close(scan->match);
    qg_mfree(scan->at.origin);
    qg_mfree(scan->patterns);
    qg_mfree(scan);
}

/* Whether a says more than b: final ones by their place in the file, others by severity. */
static bool outranks(const qg_rule_hit *a, const qg_rule_hit *b)
{
    if (a->rule->final != b->rule->final)
        return a->rule->final;
    if (a->rule->final)
        return a->rule < b->rule;
    if (a->rule->severity != b->rule->severity)
        return a->rule->severity > b->rule->severity;
    return a->begin != b->begin ? a->begin < b->begin : a->rule < b->rule;
}

/* A rule's later matches begin no earlier (a pattern is done with its first): none outranks its
 * first. */
static void matched(qg_scan *scan, uint32_t number, uint64_t begin, uint64_t end)
{
    qg_rule_hit hit = {&scan->rules->rules[number], begin, end};
    if (!scan->best.rule || outranks(&hit, &scan->best))
        scan->best = hit;
}

static void on_literal(void *ud, size_t literal, uint64_t begin)
{
    qg_scan *scan = ud;
    matched(scan, scan->set->literal_rules[literal], begin, scan->n_read + 1);
}

/* Reads whole characters. */
static qg_status read_text(qg_scan *scan, qg_slice text, bool last, qg_err *err)
{
    for (size_t i = 0, len; i < text.n; i += len) {
        uint32_t cp = qg_utf8_at(text.p + i, &len);
        qg_contains_step(scan->set->contains, &scan->at, cp, scan->n_read, on_literal, scan);
        scan->n_read++;
    }
    if (!scan->match)
        return QG_OK;
    QG_TRY(qg_match_add(scan->match, text, err));
    for (size_t i = 0; i < scan->set->n_patterns; i++) {
        uint32_t number = scan->set->pattern_rules[i];
        uint64_t begin, end;
        bool found;
        if (scan->patterns[i].done)
            continue;
        qg_status rc = qg_match_run(scan->match, scan->rules->patterns[number], &scan->patterns[i],
                                    last, &found, &begin, &end, err);
        if (rc != QG_OK)
            return qg_fail_prefix(err, rc, "policy line %d", scan->rules->rules[number].line);
        if (found)
            matched(scan, number, begin, end);
    }
    qg_match_trim(scan->match, scan->patterns, scan->set->n_patterns);
    return QG_OK;
}

/* Bytes that the character beginning with lead has; 0 when none can begin so. */
static size_t char_bytes(uint8_t lead)
{
    return lead < 0x80   ? 1
           : lead < 0xC2 ? 0
           : lead < 0xE0 ? 2
           : lead < 0xF0 ? 3
           : lead < 0xF5 ? 4
                         : 0;
}

/* Moves bytes into the character that is not whole until it is, or they end. */
static void fill_part(qg_scan *scan, qg_slice *bytes)
{
    size_t want = char_bytes((uint8_t)scan->part[0]);
    while (scan->n_part < want && bytes->n) {
        scan->part[scan->n_part++] = *bytes->p++;
        bytes->n--;
    }
}

/* The ending that a whole character may still grow from, or 0 bytes. */
static size_t unfinished(qg_slice bytes, size_t valid)
{
    size_t rest = bytes.n - valid;
    return rest && rest < char_bytes((uint8_t)bytes.p[valid]) ? rest : 0;
}

qg_status qg_scan_push(qg_scan *scan, qg_slice bytes, bool last, qg_err *err)
{
    if (scan->n_part) {
        fill_part(scan, &bytes);
        if (scan->n_part == char_bytes((uint8_t)scan->part[0])) {
            qg_slice whole = {scan->part, scan->n_part};
            if (!qg_utf8_valid(whole))
                return qg_fail(err, QG_ERR_ARG, "not UTF-8 at character %llu",
                               (unsigned long long)scan->n_read);
            QG_TRY(read_text(scan, whole, last && !bytes.n, err));
            scan->n_part = 0;
        }
    }
    size_t valid = qg_utf8_valid_prefix(bytes);
    if (valid < bytes.n) {
        size_t n = last ? 0 : unfinished(bytes, valid);
        if (n != bytes.n - valid)
            return qg_fail(err, QG_ERR_ARG, "not UTF-8 behind character %llu",
                           (unsigned long long)scan->n_read);
        memcpy(scan->part, bytes.p + valid, n);
        scan->n_part = n;
    } else if (last && scan->n_part) {
        return qg_fail(err, QG_ERR_ARG, "the text ends inside a character");
    }
    return read_text(scan, qg_slice_of(bytes.p, valid), last, err);
}

bool qg_scan_verdict(const qg_scan *scan, qg_rule_hit *hit)
{
    *hit = scan->best;
    return scan->best.rule;
}

uint64_t qg_scan_held(const qg_scan *scan)
{
    uint64_t held = qg_contains_held(scan->set->contains, &scan->at, scan->n_read);
    for (size_t i = 0; i < scan->set->n_patterns; i++)
        if (!scan->patterns[i].done && scan->patterns[i].held < held)
            held = scan->patterns[i].held;
    return held;
}
