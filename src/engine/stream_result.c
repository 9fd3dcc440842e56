/* What an append's numbers mean: tokens with their verdicts, the state that stays in the session.
 */
#include "engine/engine_int.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/json.h"

/* What a result points into; pub is first, so that the public pointer is this one. */
typedef struct box {
    qg_stream_result pub;
    qg_buf text;
    qg_token tokens[];
} box;

void qg_stream_result_free(qg_stream_result *r)
{
    box *b = (box *)r;
    if (!b)
        return;
    qg_buf_free(&b->text);
    qg_mfree(b);
}

/* ---- judging ---- */

typedef struct judging {
    const qg_engine *engine;
    qg_job *job;
    qg_session *s;
    box *box;
    uint8_t *mark; /* [n_items] qg_token_mark */
} judging;

static box *new_box(const qg_change *ch)
{
    size_t n = ch->judge_kept >= 0;
    for (size_t i = 0; i < ch->n_items; i++)
        n += ch->items[i].judge == QG_JUDGE_EMIT;
    box *b = qg_calloc(1, sizeof *b + n * sizeof b->tokens[0]);
    if (!b)
        return NULL;
    qg_buf_init(&b->text, SIZE_MAX / 2);
    b->pub.tokens = b->tokens;
    b->pub.first_flagged_index = -1;
    return b;
}

static qg_status add_text(const judging *j, qg_token *token)
{
    size_t before = j->box->text.n;
    if (!j->engine->tok)
        return QG_OK;
    QG_TRY(qg_tok_decode(j->engine->tok, &token->id, 1, false, &j->box->text, NULL));
    token->text_bytes = j->box->text.n - before;
    return qg_buf_add(&j->box->text, "", 1); /* its 0 */
}

static bool hit_before(const judging *j, const qg_turn *turn, int32_t at)
{
    int32_t base = j->job->change.base;
    if (at - 1 < turn->start)
        return false;
    return (at - 1 >= base ? j->mark[at - 1 - base] : (uint8_t)j->s->hits.p[at - 1]) & QG_MARK_HIT;
}

static void note_flag(qg_turn *turn, const qg_token *token)
{
    if (turn->flag_at >= 0)
        return;
    turn->flag_at = token->index;
    turn->flag_begin = (uint32_t)token->begin;
    turn->flag_end = (uint32_t)token->end;
    turn->flag_severity = token->severity;
    turn->flag_category = token->category;
}

/* The token at this position, from its heads.  seen: the last turn as this result shows it. */
static qg_status add_token(judging *j, int32_t at, const qg_item *item, const float *heads,
                           qg_turn *seen, qg_err *err)
{
    qg_convo *c = &j->s->convo;
    qg_turn *turn = &c->turns[item->turn];
    bool reply = turn->role == QG_ROLE_ASSISTANT;
    qg_token *token = &j->box->tokens[j->box->pub.n_tokens++];

    token->role = qg_role_names[turn->role];
    token->index = at;
    token->id = c->ids.p[at];
    token->begin = item->begin;
    token->end = item->end;
    token->final = at < c->n_final;
    QG_TRY(qg_stream_read(token, &j->engine->labels, &j->s->thresholds,
                          reply ? QG_REPLY : QG_PROMPT, heads, err));
    if (add_text(j, token) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    token->flagged = token->hit && (!reply || hit_before(j, turn, at));
    if (at >= j->job->change.base && token->hit)
        j->mark[at - j->job->change.base] |= QG_MARK_HIT;
    if (token->flagged && item->turn == c->n_turns - 1)
        note_flag(seen, token);
    return QG_OK;
}

static qg_status judge_all(judging *j, qg_turn *seen, qg_err *err)
{
    const qg_change *ch = &j->job->change;
    const size_t width = (size_t)j->engine->labels.width;

    if (ch->judge_kept >= 0) {
        const qg_item last = {.turn = ch->judge_kept};
        int32_t at = j->s->convo.turns[ch->judge_kept].judged;
        QG_TRY(add_token(j, at, &last, j->s->kept + (size_t)(at - j->s->kept_from) * width, seen,
                         err));
    }
    for (size_t i = 0; i < ch->n_items; i++) {
        j->mark[i] |= ch->items[i].judge == QG_JUDGE_NOT ? 0 : QG_MARK_JUDGED;
        if (ch->items[i].judge == QG_JUDGE_EMIT)
            QG_TRY(add_token(j, ch->base + (int32_t)i, &ch->items[i], j->job->logits + i * width,
                             seen, err));
    }
    return QG_OK;
}

/* Texts lie side by side, each with its 0; now they do not move any more. */
static void set_texts(box *b)
{
    const char *at = b->text.n ? b->text.p : NULL;
    for (size_t i = 0; i < b->pub.n_tokens; i++) {
        b->tokens[i].text = at ? at : "";
        at = at ? at + b->tokens[i].text_bytes + 1 : NULL;
    }
}

/* ---- what stays: from here on nothing fails ---- */

/* The heads of a final token, if it was judged and its numbers are still there. */
static const float *heads_at(void *ud, int32_t at)
{
    const judging *j = ud;
    const size_t width = (size_t)j->engine->labels.width;
    int32_t base = j->job->change.base;
    if (!(j->s->hits.p[at] & QG_MARK_JUDGED))
        return NULL;
    if (at >= base)
        return j->job->logits + (size_t)(at - base) * width;
    return at >= j->s->kept_from && at < j->s->kept_from + j->s->n_kept
               ? j->s->kept + (size_t)(at - j->s->kept_from) * width
               : NULL;
}

/* The prefix cache learns of blocks that are full of final tokens. */
static void share(judging *j)
{
    qg_session *s = j->s;
    int32_t n = s->convo.n_final / QG_KV_BLOCK * QG_KV_BLOCK;
    if (j->engine->prefix && n > s->n_shared) {
        qg_prefix_share(j->engine->prefix, s->convo.ids.p, n, &s->seq, heads_at, j);
        s->n_shared = n;
    }
}

/* Heads that the next append may need: the tail's; of a user's ids the one that may be judged; and
 * those of the block that is not full yet, which go into the prefix cache with it. */
static void keep_heads(judging *j)
{
    qg_session *s = j->s;
    const qg_convo *c = &s->convo;
    qg_job *job = j->job;
    const size_t width = (size_t)j->engine->labels.width;
    const qg_turn *last = &c->turns[c->n_turns - 1];
    bool user = last->role == QG_ROLE_USER && last->from_ids && !last->ended;
    int32_t base = job->change.base, n_final = c->n_final, from = user ? last->judged : n_final;
    int32_t to = user ? from + 1 : (int32_t)c->ids.n;

    if (!user && j->engine->prefix && from > s->n_shared)
        from = s->n_shared < base && s->kept_from > s->n_shared ? n_final : s->n_shared;
    if (from >= to || (user && from < base))
        return;
    for (int32_t at = from; at < to; at++) {
        const float *row =
            at < n_final ? heads_at(j, at) : job->logits + (size_t)(at - base) * width;
        if (row)
            memcpy(job->kept + (size_t)(at - from) * width, row, width * sizeof *row);
    }
    float *old = s->kept;
    s->kept = job->kept;
    s->kept_from = from;
    s->n_kept = to - from;
    job->kept = old;
}

static void keep(judging *j)
{
    qg_session *s = j->s;
    qg_convo *c = &s->convo;
    const qg_change *ch = &j->job->change;

    for (size_t i = 0; i < j->box->pub.n_tokens; i++) { /* provisional ones may still change */
        const qg_token *token = &j->box->tokens[i];
        int32_t turn = c->n_turns - 1;
        while (turn > 0 && c->turns[turn].start > token->index)
            turn--;
        if (token->flagged && token->final)
            note_flag(&c->turns[turn], token);
    }
    s->hits.n = (size_t)ch->base;
    size_t n_final = (size_t)(c->n_final - ch->base);
    memcpy(s->hits.p + s->hits.n, j->mark, n_final);
    s->hits.n += n_final;
    share(j);
    keep_heads(j);
    s->n_done = (int32_t)c->ids.n;
    s->n_cached += j->job->n_cached;
    qg_convo_settle(c);
}

static void summarise(const judging *j, const qg_turn *seen)
{
    qg_stream_result *r = &j->box->pub;
    const qg_convo *c = &j->s->convo;
    const qg_job *job = j->job;
    int64_t now = qg_now_us(), started = job->started_us ? job->started_us : now;

    r->n_ids = (int32_t)c->ids.n;
    r->n_provisional = r->n_ids - c->n_final;
    r->n_cached = j->s->n_cached;
    r->flagged = seen->flag_at >= 0;
    r->first_flagged_index = seen->flag_at;
    if (r->flagged) {
        r->flagged_begin = seen->flag_begin;
        r->flagged_end = seen->flag_end;
        r->severity = seen->flag_severity;
        r->category = seen->flag_category;
    }
    r->queued_us = started - job->submitted_us;
    r->compute_us = now - started;
}

qg_status qg_session_commit(qg_engine *engine, qg_job *job, qg_err *err)
{
    judging j = {.engine = engine, .job = job, .s = job->session};
    const qg_convo *c = &j.s->convo;
    qg_turn seen = c->turns[c->n_turns - 1]; /* an append leaves a turn */

    j.box = new_box(&job->change);
    j.mark = qg_calloc(job->change.n_items + 1, 1);
    qg_status rc = j.box && j.mark ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (rc == QG_OK)
        rc = judge_all(&j, &seen, err);
    if (rc == QG_OK) {
        set_texts(j.box);
        keep(&j);
        summarise(&j, &seen);
        job->stream_result = &j.box->pub;
    } else if (j.box) {
        qg_stream_result_free(&j.box->pub);
    }
    qg_mfree(j.mark);
    return rc;
}

/* ---- the line ---- */

static json_t *probabilities(const qg_token *t)
{
    json_t *severity = json_object(), *categories = json_object(), *p = json_object();
    for (int s = 0; s < QG_N_SEVERITIES; s++)
        json_object_set_new(severity, qg_severity_labels[s], json_real(t->p_severity[s]));
    for (size_t i = 0; i < t->n_p_categories; i++)
        json_object_set_new(categories, t->p_category_names[i], json_real(t->p_categories[i]));
    json_object_set_new(p, "severity", severity);
    json_object_set_new(p, "categories", categories);
    return p;
}

char *qg_token_json(const qg_engine *engine, const qg_token *t)
{
    json_t *o = json_object(), *official = json_object();

    (void)engine; /* as qg_result_json: what is said may come to depend on it */
    json_object_set_new(o, "role", json_string(t->role));
    json_object_set_new(o, "index", json_integer(t->index));
    json_object_set_new(o, "id", json_integer(t->id));
    json_object_set_new(o, "text", json_stringn(t->text, t->text_bytes));
    json_object_set_new(o, "begin", json_integer((json_int_t)t->begin));
    json_object_set_new(o, "end", json_integer((json_int_t)t->end));
    json_object_set_new(o, "severity", json_string(qg_severity_name(t->severity)));
    json_object_set_new(o, "category", t->category ? json_string(t->category) : json_null());
    json_object_set_new(o, "p", probabilities(t));
    json_object_set_new(o, "hit", json_boolean(t->hit));
    json_object_set_new(o, "flagged", json_boolean(t->flagged));
    json_object_set_new(o, "final", json_boolean(t->final));
    json_object_set_new(official, "risk_level", json_string(t->risk_level));
    json_object_set_new(official, "risk_prob", json_real(t->risk_prob));
    json_object_set_new(official, "category", json_string(t->official_category));
    json_object_set_new(official, "category_prob", json_real(t->category_prob));
    json_object_set_new(o, "official", official);
    char *text = qg_json_dump_digits(o, 9); /* nine digits carry a float32 whole */
    json_decref(o);
    return text;
}
