/* One row's way into the engine: policy, rules, cache, submit; and its verdict afterwards. */
#define _GNU_SOURCE
#include "batch/pipeline_int.h"

#include "base/mem.h"
#include "serve/shown.h"
#include "serve/windows.h"

/* ---- ends ------------------------------------------------------------------------------------ */

static void fail_part(qg_part *part, qg_status rc, const qg_err *err)
{
    part->status = rc;
    part->err = qg_malloc(sizeof *part->err);
    if (part->err)
        *part->err = *err;
}

static void end_part(qg_part *part)
{
    qg_item *item = part->item;
    qg_pipeline *p = item->pipeline;
    pthread_mutex_lock(&p->lock);
    p->in_flight--;
    if (--item->left == 0)
        pthread_cond_signal(&p->ready);
    pthread_cond_signal(&p->room);
    pthread_mutex_unlock(&p->lock);
}

/* On the engine's thread. */
static void on_done(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    qg_part *part = ud;
    qg_err own;
    if (rc == QG_OK) {
        part->us = result->queued_us + result->compute_us;
        part->fresh = true;
        rc = qg_said_of(&part->said, result, &own);
        err = &own;
    }
    if (rc != QG_OK)
        fail_part(part, rc, err);
    qg_result_free(result);
    end_part(part);
}

/* ---- one part -------------------------------------------------------------------------------- */

static void take_place(qg_pipeline *p, qg_item *item)
{
    pthread_mutex_lock(&p->lock);
    while (p->in_flight >= p->opt->concurrency)
        pthread_cond_wait(&p->room, &p->lock);
    p->in_flight++;
    item->left++;
    pthread_mutex_unlock(&p->lock);
}

/* Waits until one of the others has ended; false when there is none. */
static bool wait_for_one(qg_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    int32_t before = p->in_flight;
    while (p->in_flight > 1 && p->in_flight >= before)
        pthread_cond_wait(&p->room, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return before > 1;
}

static bool in_cache(qg_pipeline *p, qg_part *part, const qg_request *r)
{
    qg_cache *cache = p->opt->cache;
    qg_err err;
    if (!cache || qg_cache_key_of(cache, r->messages, r->n_messages, &part->key, &err) != QG_OK)
        return false;
    part->keyed = true;
    return qg_cache_get(cache, &part->key, &part->said);
}

/* QG_ERR_TOO_LONG is told, not kept: the text may be cut into windows. */
static qg_status submit_part(qg_pipeline *p, qg_part *part, const qg_request *r, qg_err *err)
{
    qg_status rc;
    part->status = QG_OK;
    if (in_cache(p, part, r))
        return QG_OK;
    take_place(p, part->item);
    while ((rc = qg_submit(p->opt->engine, r, on_done, part, NULL, err)) == QG_ERR_BUSY &&
           wait_for_one(p))
        continue;
    if (rc == QG_OK)
        return QG_OK;
    if (rc != QG_ERR_TOO_LONG)
        fail_part(part, rc, err);
    end_part(part);
    return rc;
}

/* ---- a conversation -------------------------------------------------------------------------- */

static qg_status new_parts(qg_item *item, qg_asked *asked, size_t n)
{
    asked->parts = qg_arena_calloc(&item->row.arena, n, sizeof *asked->parts);
    asked->n = asked->parts ? n : 0;
    for (size_t i = 0; i < asked->n; i++)
        asked->parts[i].item = item;
    return asked->parts ? QG_OK : QG_ERR_NOMEM;
}

static uint64_t code_points(const char *p, size_t n)
{
    uint64_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)p[i] & 0xC0) != 0x80;
    return chars;
}

static qg_status submit_windows(qg_pipeline *p, qg_item *item, qg_asked *asked, qg_request *r,
                                qg_err *err)
{
    qg_window_cut cut;
    QG_TRY(qg_window_cut_request(&cut, p->opt->engine, p->max_len, r, err));
    qg_message *m = qg_arena_calloc(&item->row.arena, r->n_messages, sizeof *m);
    if (!m || new_parts(item, asked, cut.n) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    memcpy(m, r->messages, r->n_messages * sizeof *m);
    const qg_text text = m[r->n_messages - 1].content;
    r->messages = m;
    for (size_t i = 0; i < cut.n; i++) {
        const qg_window *w = &cut.at[i];
        asked->parts[i].begin = code_points(text.p, w->begin);
        asked->parts[i].end = code_points(text.p, w->end);
        m[r->n_messages - 1].content = (qg_text){text.p + w->begin, w->end - w->begin};
        qg_status rc = submit_part(p, &asked->parts[i], r, err);
        if (rc == QG_ERR_TOO_LONG)
            fail_part(&asked->parts[i], rc, err);
    }
    return QG_OK;
}

/* Rules look at the whole text once; a final one decides alone. */
static qg_status ask_rules(qg_pipeline *p, qg_asked *asked, const qg_messages *m, qg_phase phase,
                           qg_err *err)
{
    bool found = false;
    qg_rule_hit match;
    qg_result *result;
    if (p->opt->rules)
        QG_TRY(qg_shown_rules(p->opt->rules, phase, m->p[m->n - 1].content, &found, &match, err));
    if (!found)
        return QG_OK;
    asked->rule = match.rule;
    QG_TRY(qg_shown_rule_result(p->opt->engine, phase, match.rule, &result, err));
    qg_status rc = qg_said_of(&asked->by_rule, result, err);
    qg_result_free(result);
    return rc;
}

static qg_status submit_ask(qg_pipeline *p, qg_item *item, size_t i, qg_err *err)
{
    qg_asked *asked = &item->asked[i];
    qg_messages m = item->row.asks[i];
    qg_phase phase = qg_shown_phase(m.p, m.n);
    qg_request r;
    if (qg_shown_scope(p->opt->view, &item->row.arena, &m) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    QG_TRY(ask_rules(p, asked, &m, phase, err));
    if (asked->rule && asked->rule->final)
        return QG_OK;
    qg_request_init(&r);
    r.messages = m.p;
    r.n_messages = m.n;
    r.decode = p->opt->decode;
    r.priority = 1;
    if (new_parts(item, asked, 1) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_status rc = submit_part(p, &asked->parts[0], &r, err);
    if (rc != QG_ERR_TOO_LONG)
        return QG_OK; /* what failed is the part's */
    return p->opt->view->long_input_windows ? submit_windows(p, item, asked, &r, err) : rc;
}

void qg_pipeline_submit(qg_pipeline *p, qg_item *item)
{
    qg_err err;
    item->asked = qg_arena_calloc(&item->row.arena, item->row.n, sizeof *item->asked);
    qg_status rc = item->asked ? QG_OK : qg_fail(&err, QG_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < item->row.n && rc == QG_OK; i++)
        rc = submit_ask(p, item, i, &err);
    json_decref(item->row.root); /* the engine has read the texts */
    item->row.root = NULL;
    pthread_mutex_lock(&p->lock);
    if (rc != QG_OK) {
        item->status = rc;
        item->err = err;
    }
    if (--item->left == 0)
        pthread_cond_signal(&p->ready);
    pthread_mutex_unlock(&p->lock);
}

/* ---- afterwards ------------------------------------------------------------------------------ */

static void worst_window(const qg_asked *asked, const qg_policy_view *view, qg_verdict_of *out)
{
    qg_result a, b;
    size_t worst = 0;
    int32_t tokens = 0;
    for (size_t i = 0; i < asked->n; i++) {
        qg_said_result(&asked->parts[i].said, &a);
        qg_said_result(&asked->parts[worst].said, &b);
        if (i && qg_window_worse(view, &a, &b))
            worst = i;
        tokens += asked->parts[i].said.tokens;
        out->us += asked->parts[i].us;
    }
    out->said = asked->parts[worst].said;
    out->said.tokens = tokens;
    out->n_windows = asked->n > 1 ? asked->n : 0;
    out->decided_by = (int64_t)worst;
    out->begin = asked->parts[worst].begin;
    out->end = asked->parts[worst].end;
}

void qg_item_verdict(const qg_item *item, size_t i, const qg_policy_view *view, qg_verdict_of *out)
{
    const qg_asked *asked = &item->asked[i];
    qg_result said;
    *out = (qg_verdict_of){.decided_by = -1};
    if (asked->n)
        worst_window(asked, view, out);
    if (!asked->rule)
        return;
    qg_said_result(&out->said, &said);
    if (asked->n && !qg_shown_rule_stands(asked->rule, &said))
        return;
    int32_t tokens = out->said.tokens;
    out->said = asked->by_rule;
    out->said.tokens = tokens;
    out->decided_by = -1;
}
