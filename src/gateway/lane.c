#include "gateway/lane.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/utf8.h"

static uint64_t hash_of(qg_slice name)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 1099511628211u;
    return h;
}

void qg_lane_init(qg_lane *lane, const qg_lane_env *env, uint32_t number, qg_field_kind kind,
                  qg_slice name)
{
    *lane = (qg_lane){.env = env, .number = number, .kind = kind, .fresh = true};
    size_t n = name.n < sizeof lane->name ? name.n : sizeof lane->name - 1;
    memcpy(lane->name, name.p, n);
    lane->name_hash = hash_of(name);
    lane->stop = UINT64_MAX;
    lane->passed = env->view->fields[kind] == QG_FIELD_PASSED;
    lane->by_sentence = env->view->cut == QG_CUT_SENTENCE && kind != QG_FIELD_TOOL;
    qg_buf_init(&lane->text, QG_MAX_REPLY_BODY);
}

void qg_lane_free(qg_lane *lane)
{
    qg_buf_free(&lane->text);
    qg_mfree(lane->ends);
    qg_scan_close(lane->scan);
}

qg_slice qg_lane_text(const qg_lane *lane, uint64_t from, uint64_t to)
{
    if (from < lane->base.byte || to > qg_lane_total(lane) || from >= to)
        return qg_slice_of("", 0);
    return qg_slice_of(lane->text.p + (from - lane->base.byte), (size_t)(to - from));
}

/* ---- bytes and code points ------------------------------------------------------------------- */

/* Moves a place forward to code point cp (or the text's end). */
static uint64_t walk_to(const qg_lane *lane, qg_place *at, uint64_t cp)
{
    if (at->byte < lane->base.byte || cp < at->cp)
        *at = lane->base;
    const char *p = lane->text.p;
    size_t i = (size_t)(at->byte - lane->base.byte);
    while (at->cp < cp && i < lane->text.n) {
        i++;
        while (i < lane->text.n && ((unsigned char)p[i] & 0xC0) == 0x80)
            i++;
        at->cp++;
    }
    at->byte = lane->base.byte + i;
    return at->byte;
}

static uint64_t byte_of(const qg_lane *lane, uint64_t cp)
{
    qg_place at = lane->base;
    return walk_to(lane, &at, cp);
}

static uint64_t cp_of(const qg_lane *lane, uint64_t byte)
{
    return lane->base.cp + qg_utf8_count(qg_lane_text(lane, lane->base.byte, byte));
}

/* First byte of the context in front of `at`. */
static uint64_t context_of(const qg_lane *lane, uint64_t at)
{
    uint64_t from = at > QG_REPLY_CONTEXT ? at - QG_REPLY_CONTEXT : 0;
    if (from < lane->base.byte)
        from = lane->base.byte;
    while (from < at && ((unsigned char)lane->text.p[from - lane->base.byte] & 0xC0) == 0x80)
        from++;
    return from;
}

/* ---- text in --------------------------------------------------------------------------------- */

static void tell_rule(qg_lane *lane)
{
    qg_rule_hit found;
    bool any = qg_scan_verdict(lane->scan, &found);
    lane->final_safe = any && found.rule->severity == QG_SAFE;
    if (!any || lane->final_safe)
        return;
    uint64_t begin = lane->scan_from + found.begin;
    if (found.rule == lane->last_rule && begin <= lane->last_rule_at)
        return;
    lane->last_rule = found.rule;
    lane->last_rule_at = begin;
    qg_lane_hit hit = {.severity = found.rule->severity,
                       .category = found.rule->category,
                       .p_category = 1,
                       .begin = begin,
                       .end = lane->scan_from + found.end,
                       .stop = byte_of(lane, begin),
                       .rule = found.rule};
    hit.p_severity[hit.severity] = 1;
    if (lane->env->hit(lane->env->ud, lane, &hit))
        qg_lane_stop(lane, hit.stop);
}

static bool has_rules(const qg_lane *lane)
{
    return lane->env->rules && !lane->no_rules &&
           qg_rules_n(lane->env->rules, QG_PHASE_RESPONSE) > 0;
}

static qg_status scan_text(qg_lane *lane, qg_slice text, bool last, qg_err *err)
{
    if (!lane->scan) {
        uint64_t at = qg_lane_total(lane) - text.n;
        uint64_t from = lane->scan_carry ? context_of(lane, at) : at;
        QG_TRY(qg_scan_open(&lane->scan, lane->env->rules, QG_PHASE_RESPONSE, err));
        lane->scan_from = cp_of(lane, from);
        text = qg_lane_text(lane, from, qg_lane_total(lane));
    }
    QG_TRY(qg_scan_push(lane->scan, text, last, err));
    tell_rule(lane);
    uint64_t rule = last
                        ? qg_lane_total(lane)
                        : walk_to(lane, &lane->at_rule, lane->scan_from + qg_scan_held(lane->scan));
    if (rule > lane->rule)
        lane->rule = rule;
    return QG_OK;
}

/* What a rule that cannot be run to its end means. */
static qg_status scanned(qg_lane *lane, qg_status rc, qg_err *err)
{
    if (rc == QG_OK || rc == QG_ERR_NOMEM)
        return rc;
    if (!lane->env->view->open[QG_PHASE_RESPONSE])
        return qg_fail_prefix(err, QG_ERR_UNSUPPORTED, "the reply could not be checked");
    lane->no_rules = true;
    lane->n_unjudged += qg_lane_total(lane) - lane->rule;
    return QG_OK;
}

qg_status qg_lane_add(qg_lane *lane, qg_slice text, qg_err *err)
{
    if (qg_buf_add(&lane->text, text.p, text.n) != QG_OK)
        return qg_fail(err, lane->text.n + text.n > lane->text.max ? QG_ERR_TOO_LONG : QG_ERR_NOMEM,
                       "a text of the reply is too large");
    if (lane->passed) {
        lane->n_unjudged += text.n;
        return QG_OK;
    }
    return has_rules(lane) ? scanned(lane, scan_text(lane, text, false, err), err) : QG_OK;
}

qg_status qg_lane_end(qg_lane *lane, bool carry, qg_err *err)
{
    qg_jstr_half half = lane->half;
    lane->half.n = 0;
    if (half.n)
        QG_TRY(qg_lane_add(lane, qg_slice_of(half.p, half.n), err));
    uint64_t total = qg_lane_total(lane);
    if (lane->passed || total == lane->last_end)
        return QG_OK;
    if (lane->n_ends == lane->ends_cap) {
        size_t cap = lane->ends_cap ? 2 * lane->ends_cap : 4;
        qg_lane_end_at *ends = qg_realloc_array(lane->ends, cap, sizeof *ends);
        if (!ends)
            return qg_fail(err, QG_ERR_NOMEM, "out of memory");
        lane->ends = ends;
        lane->ends_cap = cap;
    }
    lane->ends[lane->n_ends++] = (qg_lane_end_at){total, carry};
    lane->last_end = total;
    lane->scan_carry = carry;
    if (lane->scan) {
        if (has_rules(lane))
            QG_TRY(scanned(lane, scan_text(lane, qg_slice_of("", 0), true, err), err));
        qg_scan_close(lane->scan);
        lane->scan = NULL;
    }
    return QG_OK;
}

void qg_lane_stop(qg_lane *lane, uint64_t at)
{
    lane->stopped = true;
    if (at < lane->stop)
        lane->stop = at;
}

bool qg_lane_settled(const qg_lane *lane)
{
    return lane->stopped &&
           (lane->passed || lane->unjudged ||
            (!lane->busy && (lane->model >= lane->stop || lane->asked > lane->stop)));
}

bool qg_lane_quiet(const qg_lane *lane)
{
    return lane->passed || lane->unjudged ||
           (!lane->busy && lane->n_ends == 0 && lane->last_end == qg_lane_total(lane));
}

/* ---- to the judge and back ------------------------------------------------------------------- */

bool qg_lane_ask(qg_lane *lane, qg_slice *text, bool *last, bool *fresh)
{
    /* ends of what has left unjudged, or came behind it */
    while (lane->fresh && !lane->busy && lane->n_ends && lane->ends[0].byte <= lane->model)
        memmove(lane->ends, lane->ends + 1, --lane->n_ends * sizeof *lane->ends);
    uint64_t to = lane->n_ends ? lane->ends[0].byte : qg_lane_total(lane);
    bool stops = lane->stopped && lane->stop <= to;
    if (stops)
        to = lane->stop;
    *last = stops || lane->n_ends > 0;
    if (lane->busy || lane->passed || lane->unjudged || lane->asked > to ||
        (lane->asked == to && (!*last || lane->model >= to)))
        return false;
    uint64_t from = lane->asked;
    *fresh = lane->fresh;
    if (lane->fresh) {
        from = lane->carry ? context_of(lane, lane->asked) : lane->asked;
        lane->segment = cp_of(lane, from);
        lane->old = cp_of(lane, lane->asked);
        lane->n_tokens = 0;
        lane->previous_hit = lane->fresh = false;
    }
    *text = qg_lane_text(lane, from, to);
    lane->asked = to;
    lane->asked_last = *last;
    lane->busy = true;
    return true;
}

/* The first token that may not leave yet: everything before it may. */
static void let_go(qg_lane *lane, uint64_t d)
{
    if (lane->n_tokens <= d)
        return;
    uint64_t cp = lane->begins[(lane->n_tokens - d) % QG_LANE_RING];
    if (cp <= lane->old)
        return;
    uint64_t to = walk_to(lane, &lane->at_model, cp);
    if (to > lane->model)
        lane->model = to;
}

/* True: it stops the lane. */
static bool read_token(qg_lane *lane, const qg_token *t)
{
    uint64_t begin = lane->segment + t->begin, end = lane->segment + t->end;
    lane->begins[lane->n_tokens++ % QG_LANE_RING] = begin;
    lane->tokens++;
    if (t->hit && !lane->previous_hit)
        lane->run = begin;
    lane->previous_hit = t->hit;
    if (!t->flagged || end <= lane->old)
        return false;
    qg_lane_hit hit = {.final_safe = lane->final_safe,
                       .severity = t->severity,
                       .category = t->category,
                       .begin = lane->run < begin ? lane->run : begin,
                       .end = end};
    hit.stop = byte_of(lane, hit.begin);
    memcpy(hit.p_severity, t->p_severity, sizeof hit.p_severity);
    for (size_t i = 0; i < t->n_p_categories; i++)
        if (t->category && t->p_category_names[i] && !strcmp(t->p_category_names[i], t->category))
            hit.p_category = t->p_categories[i];
    if (!lane->env->hit(lane->env->ud, lane, &hit))
        return false;
    qg_lane_stop(lane, hit.stop);
    return true;
}

static void end_segment(qg_lane *lane)
{
    uint64_t at = lane->asked;
    lane->fresh = true;
    if (lane->n_ends && lane->ends[0].byte == at) {
        lane->carry = lane->ends[0].carry;
        memmove(lane->ends, lane->ends + 1, --lane->n_ends * sizeof *lane->ends);
    }
    if (at > lane->model)
        lane->model = at;
    /* what was judged to an end leaves, sentence or not */
    if (at > lane->sentence)
        lane->sentence = lane->sentence_at = at;
}

/* The token behind the last final one is judged, too: the text may still change which token it is,
 * never what stands before it.  It counts as one of those that are held back, so that
 * a stream need not wait for one token more; a hit is flagged at its second token, which must be
 * final before the first could leave (hold_back_tokens is at least two). */
static bool one_ahead(const qg_stream_result *result)
{
    for (size_t i = 0; i < result->n_tokens; i++) {
        const qg_token *t = &result->tokens[i];
        if (!t->final && t->role && strcmp(t->role, "assistant") == 0 && t->end > 0)
            return true;
    }
    return false;
}

void qg_lane_judged(qg_lane *lane, const qg_stream_result *result)
{
    uint64_t d = (uint64_t)lane->env->view->hold_back_tokens;
    lane->busy = false;
    lane->gone = lane->failures = 0;
    for (size_t i = 0; i < result->n_tokens; i++) {
        const qg_token *t = &result->tokens[i];
        if (!t->final || !t->role || strcmp(t->role, "assistant") != 0 || t->end == 0)
            continue;
        if (read_token(lane, t)) {
            let_go(lane, d);
            lane->asked = lane->asked > lane->stop ? lane->asked : lane->stop + 1;
            return; /* settled: nothing more is asked */
        }
    }
    if (lane->asked_last)
        end_segment(lane);
    else
        let_go(lane, d - one_ahead(result));
}

/* Everything from the bound on is asked anew. */
static void forget_session(qg_lane *lane)
{
    lane->busy = false;
    lane->fresh = true;
    lane->carry = true;
    lane->asked = lane->model;
}

bool qg_lane_gone(qg_lane *lane)
{
    if (++lane->gone > 3)
        return false;
    forget_session(lane);
    return true;
}

void qg_lane_pass(qg_lane *lane)
{
    uint64_t asked = lane->asked;
    if (asked > lane->model)
        lane->n_unjudged += asked - lane->model;
    if (lane->asked_last)
        end_segment(lane);
    else if (asked > lane->model)
        lane->model = asked;
    forget_session(lane);
    lane->unjudged |= ++lane->failures >= 8;
}

void qg_lane_give_up(qg_lane *lane)
{
    lane->busy = false;
    qg_lane_stop(lane, lane->model);
    lane->asked = lane->stop + 1;
}

/* ---- text out -------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* A full stop of CJK ("。", "！", "？") that ends before p. */
static bool cjk_stop(const char *text, const char *p)
{
    return p - text >= 3 &&
           (!memcmp(p - 3, "\xE3\x80\x82", 3) || !memcmp(p - 3, "\xEF\xBC\x81", 3) ||
            !memcmp(p - 3, "\xEF\xBC\x9F", 3));
}

/* Last end of a sentence up to bound: a stop and the blank behind it, or a line's end. */
static uint64_t sentence_to(qg_lane *lane, uint64_t bound)
{
    uint64_t at = lane->sentence_at > lane->base.byte ? lane->sentence_at : lane->base.byte;
    const char *text = lane->text.p;
    for (; at < bound; at++) {
        const char *p = text + (at - lane->base.byte);
        bool stop = p > text && strchr(".!?", p[-1]) && is_blank(*p);
        if (*p == '\n' || stop)
            lane->sentence = at + 1;
        else if (cjk_stop(text, p + 1))
            lane->sentence = at + 1;
    }
    lane->sentence_at = at;
    if (bound > lane->sentence + QG_REPLY_SENTENCE)
        lane->sentence = bound;
    return lane->sentence < bound ? lane->sentence : bound;
}

uint64_t qg_lane_safe(qg_lane *lane)
{
    uint64_t total = qg_lane_total(lane), safe = lane->unjudged ? total : lane->model;
    if (lane->passed)
        return total;
    if (has_rules(lane) && lane->rule < safe)
        safe = lane->rule;
    if (lane->stop < safe)
        safe = lane->stop;
    return lane->by_sentence && !lane->unjudged ? sentence_to(lane, safe) : safe;
}

void qg_lane_release(qg_lane *lane, uint64_t to)
{
    if (to > lane->released)
        lane->released = to;
    uint64_t from = context_of(lane, lane->released);
    if (lane->keep || from < lane->base.byte + QG_REPLY_CONTEXT)
        return;
    lane->base.cp = cp_of(lane, from);
    size_t n = (size_t)(from - lane->base.byte);
    memmove(lane->text.p, lane->text.p + n, lane->text.n - n);
    lane->text.n -= n;
    lane->base.byte = from;
}
