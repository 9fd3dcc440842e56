#define PCRE2_CODE_UNIT_WIDTH 8
#include "svc/pattern.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "text/utf8.h"

#include <pcre2.h>

struct qg_pattern {
    pcre2_code *code;
    uint32_t lookbehind; /* characters; 1 more for \b */
};

struct qg_match {
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_match_data *data;
    qg_buf window;
    uint64_t first;      /* code point of the window's first */
    uint32_t lookbehind; /* the largest of the patterns */
};

static void *take(PCRE2_SIZE n, void *ud)
{
    (void)ud;
    return qg_malloc(n);
}

static void give(void *p, void *ud)
{
    (void)ud;
    qg_mfree(p);
}

static qg_status compile(qg_pattern *p, qg_slice text, pcre2_compile_context *how, qg_err *err)
{
    int code;
    PCRE2_SIZE at;
    p->code = pcre2_compile((PCRE2_SPTR)text.p, text.n,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, how);
    if (!p->code) {
        char why[160];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return qg_fail(err, QG_ERR_ARG, "%s (at byte %zu)", why, (size_t)at);
    }
    uint32_t empty = 0;
    pcre2_pattern_info(p->code, PCRE2_INFO_MATCHEMPTY, &empty);
    pcre2_pattern_info(p->code, PCRE2_INFO_MAXLOOKBEHIND, &p->lookbehind);
    return empty ? qg_fail(err, QG_ERR_ARG, "it matches the empty text, so everywhere") : QG_OK;
}

qg_status qg_pattern_open(qg_pattern **out, qg_slice text, qg_err *err)
{
    *out = NULL;
    if (text.n > QG_MAX_PATTERN_BYTES)
        return qg_fail(err, QG_ERR_TOO_LONG, "%zu bytes, at most %d are allowed", text.n,
                       QG_MAX_PATTERN_BYTES);
    pcre2_general_context *memory = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *how = memory ? pcre2_compile_context_create(memory) : NULL;
    qg_pattern *p = qg_calloc(1, sizeof *p);
    qg_status rc = QG_ERR_NOMEM;
    if (how && p) {
        pcre2_set_parens_nest_limit(how, 50);
        rc = compile(p, text, how, err);
    } else {
        qg_fail(err, rc, "out of memory");
    }
    pcre2_compile_context_free(how);
    pcre2_general_context_free(memory);
    if (rc == QG_OK)
        *out = p;
    else
        qg_pattern_close(p);
    return rc;
}

void qg_pattern_close(qg_pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    qg_mfree(p);
}

qg_status qg_match_open(qg_match **out, qg_err *err)
{
    qg_match *m = qg_calloc(1, sizeof *m);
    *out = NULL;
    if (m) {
        qg_buf_init(&m->window, QG_MAX_TEXT_BYTES);
        m->memory = pcre2_general_context_create(take, give, NULL);
        m->limits = m->memory ? pcre2_match_context_create(m->memory) : NULL;
        m->data = m->limits ? pcre2_match_data_create(1, m->memory) : NULL;
    }
    if (!m || !m->data) {
        qg_match_close(m);
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    }
    pcre2_set_match_limit(m->limits, QG_MAX_PATTERN_STEPS);
    pcre2_set_depth_limit(m->limits, QG_MAX_PATTERN_DEPTH);
    pcre2_set_heap_limit(m->limits, QG_MAX_PATTERN_KIB);
    *out = m;
    return QG_OK;
}

void qg_match_close(qg_match *m)
{
    if (!m)
        return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->limits);
    pcre2_general_context_free(m->memory);
    qg_buf_free(&m->window);
    qg_mfree(m);
}

void qg_match_reserve(qg_match *m, const qg_pattern *p)
{
    if (p->lookbehind > m->lookbehind)
        m->lookbehind = p->lookbehind;
}

static uint64_t count(const char *p, size_t n)
{
    uint64_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((uint8_t)p[i] & 0xC0) != 0x80;
    return chars;
}

qg_status qg_match_add(qg_match *m, qg_slice text, qg_err *err)
{
    qg_status rc = qg_buf_add(&m->window, text.p, text.n);
    if (rc != QG_OK)
        return qg_fail(err, rc, "no room for the text that patterns are held against");
    return QG_OK;
}

/* Byte offset that lies chars characters before the offset at. */
static size_t back(const qg_match *m, size_t at, uint64_t chars)
{
    while (chars && at)
        chars -= ((uint8_t)m->window.p[--at] & 0xC0) != 0x80;
    return at;
}

static int try_at(qg_match *m, const qg_pattern *p, size_t from, bool partial)
{
    uint32_t flags = PCRE2_NO_UTF_CHECK | (partial ? PCRE2_PARTIAL_HARD : 0);
    /* Behind a cut window the first byte is not the text's beginning. */
    if (m->first)
        flags |= PCRE2_NOTBOL;
    return pcre2_match(p->code, (PCRE2_SPTR)m->window.p, m->window.n, from, flags, m->data,
                       m->limits);
}

qg_status qg_match_run(qg_match *m, const qg_pattern *p, qg_pattern_at *at, bool last, bool *found,
                       uint64_t *begin, uint64_t *end, qg_err *err)
{
    const PCRE2_SIZE *where = pcre2_get_ovector_pointer(m->data);
    size_t n = m->window.n;
    *found = false;
    if (!n)
        return QG_OK;
    int rc = try_at(m, p, at->from, !last);
    if (rc == PCRE2_ERROR_PARTIAL && n - where[0] > QG_MAX_RULE_SPAN) {
        size_t bound = back(m, n, QG_MAX_RULE_SPAN);
        if (where[0] < bound) {
            /* It will not be held back any longer: it matches as it stands, or not from here. */
            rc = try_at(m, p, at->from, false);
            if (rc == PCRE2_ERROR_NOMATCH)
                rc = try_at(m, p, at->from = bound, true);
        }
    }
    if (rc >= 0) {
        *found = at->done = true;
        *begin = m->first + count(m->window.p, where[0]);
        *end = *begin + count(m->window.p + where[0], where[1] - where[0]);
        return QG_OK;
    }
    if (rc == PCRE2_ERROR_PARTIAL)
        at->from = where[0];
    else if (rc == PCRE2_ERROR_NOMATCH)
        at->from = n;
    else if (rc == PCRE2_ERROR_NOMEMORY)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    else
        return qg_fail(err, QG_ERR_TOO_LONG,
                       "the pattern needs more work on this text than it may have");
    at->held = m->first + count(m->window.p, at->from);
    return QG_OK;
}

void qg_match_trim(qg_match *m, qg_pattern_at *at, size_t n)
{
    size_t from = m->window.n;
    for (size_t i = 0; i < n; i++)
        if (!at[i].done && at[i].from < from)
            from = at[i].from;
    from = back(m, from, (uint64_t)m->lookbehind + 1); /* + 1: \b looks at the character before */
    if (!from)
        return;
    m->first += count(m->window.p, from);
    memmove(m->window.p, m->window.p + from, m->window.n - from);
    m->window.n -= from;
    m->window.p[m->window.n] = 0;
    for (size_t i = 0; i < n; i++)
        if (!at[i].done)
            at[i].from -= from;
}
