#include "guard/convo.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/utf8.h"

static qg_status no_memory(qg_err *err)
{
    return qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

void qg_convo_init(qg_convo *c, const qg_tok *tok, const qg_frames *frames, int32_t end_id,
                   int32_t vocab, int32_t max_tokens)
{
    *c = (qg_convo){
        .tok = tok,
        .frames = frames,
        .end_id = end_id,
        .vocab = vocab,
        .max_tokens = max_tokens,
    };
    qg_buf_init(&c->text, SIZE_MAX / 2); /* the tokens are bounded, and so their bytes */
    qg_inc_init(&c->inc, tok, QG_MAX_STREAM_TAIL);
}

void qg_convo_free(qg_convo *c)
{
    qg_ids_free(&c->ids);
    qg_mfree(c->turns);
    qg_buf_free(&c->text);
    qg_inc_free(&c->inc);
    c->turns = NULL;
    c->n_turns = c->cap_turns = c->n_final = 0;
}

static qg_turn *open_turn(qg_convo *c)
{
    qg_turn *last = c->n_turns ? &c->turns[c->n_turns - 1] : NULL;
    return last && !last->ended ? last : NULL;
}

static const qg_turn_open *opening(const qg_convo *c, const qg_turn *t)
{
    const qg_turn_open *open = c->frames->role[t->role].open;
    return t->start == 0 && open[0].known ? &open[0] : &open[1];
}

/* ---- ids with their items -------------------------------------------------------------------- */

static qg_status add_item(qg_convo *c, qg_change *ch, qg_item item)
{
    if (ch->n_items == ch->cap_items) {
        size_t cap = ch->cap_items ? 2 * ch->cap_items : 16;
        qg_item *items = qg_realloc_array(ch->items, cap, sizeof *items);
        if (!items)
            return QG_ERR_NOMEM;
        ch->items = items;
        ch->cap_items = cap;
    }
    item.turn = c->n_turns - 1;
    ch->items[ch->n_items++] = item;
    return QG_OK;
}

static qg_status add_plain(qg_convo *c, qg_change *ch, const int32_t *ids, size_t n,
                           qg_judge_how judge)
{
    QG_TRY(qg_ids_add(&c->ids, ids, n));
    for (size_t i = 0; i < n; i++)
        QG_TRY(add_item(c, ch, (qg_item){.judge = judge}));
    return QG_OK;
}

/* Whether ids spell the beginning of raw to the byte, as they do unless it was normalised. */
static bool spells(const qg_tok *tok, const int32_t *ids, size_t n, qg_slice raw)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const qg_slice s = qg_tok_bytes(tok, ids[i]);
        if (s.n > raw.n - at || memcmp(raw.p + at, s.p, s.n))
            return false;
        at += s.n;
    }
    return true;
}

/* Items of the open turn's ids from position at on, which spell the beginning of raw.  Code points
 * from `limit` on are the frame's behind the content. */
static qg_status add_spelled(qg_convo *c, qg_change *ch, size_t at, qg_slice raw, uint32_t limit)
{
    const qg_turn *t = &c->turns[c->n_turns - 1];
    const int32_t *ids = c->ids.p + at;
    size_t n = c->ids.n - at;
    qg_cover cover;

    if (!n)
        return QG_OK;
    raw.n = qg_utf8_valid_prefix(raw);
    qg_cover_start(&cover, raw, c->cps, !spells(c->tok, ids, n, raw));
    for (size_t i = 0; i < n; i++) {
        uint32_t begin, end;
        QG_TRY(qg_cover_token(&cover, qg_tok_bytes(c->tok, ids[i]).n, &begin, &end));
        bool content = end > t->lead_cps && begin < limit;
        end = end < limit ? end : limit;
        qg_item item = {0};
        if (content) {
            item.begin = begin > t->lead_cps ? begin - t->lead_cps : 0;
            item.end = end - t->lead_cps;
            item.judge = t->role == QG_ROLE_ASSISTANT ? QG_JUDGE_EMIT : QG_JUDGE_NOT;
        }
        QG_TRY(add_item(c, ch, item));
    }
    return QG_OK;
}

/* ---- turns ----------------------------------------------------------------------------------- */

static qg_status begin_turn(qg_convo *c, qg_change *ch, qg_role role, bool from_ids, qg_err *err)
{
    if (c->n_turns >= c->max_tokens) /* turns may be empty */
        return qg_fail(err, QG_ERR_TOO_LONG, "%d turns are the most allowed", c->n_turns);
    if (c->n_turns == c->cap_turns) {
        int32_t cap = c->cap_turns ? 2 * c->cap_turns : 4;
        qg_turn *turns = qg_realloc_array(c->turns, (size_t)cap, sizeof *turns);
        if (!turns)
            return no_memory(err);
        c->turns = turns;
        c->cap_turns = cap;
    }
    qg_turn *t = &c->turns[c->n_turns++];
    *t = (qg_turn){
        .start = (int32_t)c->ids.n,
        .content = (int32_t)c->ids.n,
        .close = -1,
        .judged = -1,
        .text_at = c->text.n,
        .role = role,
        .from_ids = from_ids,
        .flag_at = -1,
    };
    if (from_ids)
        return QG_OK;
    if (!c->frames)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "this model has no tokenizer or no template of turns: append ids");
    const qg_turn_open *open = opening(c, t);
    if (!open->known || !c->frames->role[role].close.n)
        return qg_fail(err, QG_ERR_UNSUPPORTED, "the chat template has no %s turn here",
                       qg_role_names[role]);
    if (add_plain(c, ch, open->ids.p, open->ids.n, QG_JUDGE_NOT) != QG_OK)
        return no_memory(err);
    t->content = (int32_t)c->ids.n;
    t->lead_cps = qg_count_cps(qg_buf_slice(&open->lead));
    c->cps = 0;
    return QG_OK;
}

/* Next bytes of the open text turn; prov gets the ids of the tail. */
static qg_status push_bytes(qg_convo *c, qg_change *ch, qg_slice bytes, qg_ids *prov, qg_err *err)
{
    size_t at = c->ids.n;
    qg_buf raw;
    qg_buf_init(&raw, SIZE_MAX / 2);
    qg_status rc = qg_buf_add(&raw, c->inc.tail.p, c->inc.tail.n);
    if (rc == QG_OK)
        rc = qg_buf_add(&raw, bytes.p, bytes.n);
    if (rc != QG_OK)
        no_memory(err);
    else
        rc = qg_inc_push(&c->inc, bytes, &c->ids, prov, err);
    if (rc == QG_OK) {
        rc = add_spelled(c, ch, at, qg_buf_slice(&raw), UINT32_MAX);
        if (rc != QG_OK)
            no_memory(err);
        raw.n -= c->inc.tail.n;
        c->cps += qg_count_cps(qg_buf_slice(&raw));
    }
    qg_buf_free(&raw);
    return rc;
}

static qg_status push_content(qg_convo *c, qg_change *ch, qg_slice bytes, qg_ids *prov, qg_err *err)
{
    const qg_turn *t = open_turn(c);
    if (bytes.n / (3 * QG_MAX_TOKEN_BYTES) > (size_t)c->max_tokens)
        return qg_fail(err, QG_ERR_TOO_LONG, "%zu bytes are more than %d tokens", bytes.n,
                       c->max_tokens);
    if (c->cps == 0 && c->inc.tail.n == 0) { /* nothing of this turn so far */
        const qg_slice lead = qg_buf_slice(&opening(c, t)->lead);
        QG_TRY(push_bytes(c, ch, lead, prov, err));
    }
    QG_TRY(push_bytes(c, ch, bytes, prov, err));
    return qg_buf_add(&c->text, bytes.p, bytes.n) == QG_OK ? QG_OK : no_memory(err);
}

/* The rest of the open text turn, and its close. */
static qg_status close_text(qg_convo *c, qg_change *ch, qg_err *err)
{
    qg_turn *t = open_turn(c);
    const qg_frame_of *f = &c->frames->role[t->role];
    qg_buf rest;
    size_t at = c->ids.n;

    qg_buf_init(&rest, SIZE_MAX / 2);
    qg_status rc = qg_utf8_lossy(qg_buf_slice(&c->inc.tail), &rest);
    uint32_t limit = c->cps + qg_count_cps(qg_buf_slice(&rest));
    if (rc == QG_OK)
        rc = qg_buf_add(&rest, f->trail.p, f->trail.n);
    if (rc == QG_OK)
        rc = qg_inc_finish_as(&c->inc, qg_buf_slice(&rest), &c->ids, err);
    if (rc == QG_OK)
        rc = add_spelled(c, ch, at, qg_buf_slice(&rest), limit);
    qg_buf_free(&rest);
    t->close = (int32_t)c->ids.n;
    bool user = t->role == QG_ROLE_USER;
    if (rc == QG_OK)
        rc = add_plain(c, ch, f->close.p, 1, user ? QG_JUDGE_EMIT : QG_JUDGE_NOT);
    if (rc == QG_OK)
        rc = add_plain(c, ch, f->close.p + 1, f->close.n - 1, QG_JUDGE_NOT);
    if (user)
        t->judged = t->close;
    return rc == QG_OK ? rc : no_memory(err);
}

static qg_status end_turn(qg_convo *c, qg_change *ch, qg_err *err)
{
    qg_turn *t = open_turn(c);
    if (!t->from_ids) {
        QG_TRY(close_text(c, ch, err));
    } else if (t->role == QG_ROLE_USER && t->judged >= 0) {
        if (t->judged >= ch->base)
            ch->items[t->judged - ch->base].judge = QG_JUDGE_EMIT;
        else
            ch->judge_kept = c->n_turns - 1;
    }
    t->ended = true;
    return QG_OK;
}

/* A user's ids are judged when the turn ends: at its last end token (there may be a system turn's
 * before it), without one at the last token. */
static int32_t judged_of(const qg_convo *c, const qg_turn *t)
{
    int32_t last = (int32_t)c->ids.n - 1, at = last;
    while (at >= t->start && c->ids.p[at] != c->end_id)
        at--;
    return at < t->start && last >= t->start ? last : at < t->start ? -1 : at;
}

static void keep_judged(qg_convo *c, qg_change *ch)
{
    qg_turn *t = open_turn(c);
    t->judged = judged_of(c, t);
    if (t->judged >= ch->base)
        ch->items[t->judged - ch->base].judge = QG_JUDGE_KEEP;
}

static qg_status push_ids(qg_convo *c, qg_change *ch, const int32_t *ids, size_t n, qg_err *err)
{
    const qg_turn *t = open_turn(c);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= c->vocab)
            return qg_fail(err, QG_ERR_ARG, "ids[%zu]: %d is not in 0..%d", i, ids[i],
                           c->vocab - 1);
    if (n > (size_t)c->max_tokens)
        return qg_fail(err, QG_ERR_TOO_LONG, "%zu ids are more than %d tokens", n, c->max_tokens);
    bool reply = t->role == QG_ROLE_ASSISTANT;
    if (add_plain(c, ch, ids, n, reply ? QG_JUDGE_EMIT : QG_JUDGE_NOT) != QG_OK)
        return no_memory(err);
    if (t->role == QG_ROLE_USER)
        keep_judged(c, ch);
    return QG_OK;
}

/* ---- memory that was needed once ---- */

static void shrink_buf(qg_buf *b)
{
    if (b->cap <= 2 * b->n + 4096)
        return;
    char *p = qg_realloc(b->p, b->n + 1);
    if (!p)
        return;
    b->p = p;
    b->cap = b->n + 1;
    p[b->n] = 0;
}

void qg_convo_settle(qg_convo *c)
{
    shrink_buf(&c->text);
    shrink_buf(&c->inc.tail);
    if (c->ids.cap <= 2 * c->ids.n + 1024)
        return;
    int32_t *p = qg_realloc_array(c->ids.p, c->ids.n ? c->ids.n : 1, sizeof *p);
    if (!p)
        return;
    c->ids.p = p;
    c->ids.cap = c->ids.n ? c->ids.n : 1;
}

/* ---- append ---------------------------------------------------------------------------------- */

static qg_status start_change(qg_convo *c, qg_change *ch, qg_err *err)
{
    const qg_turn *t = open_turn(c);
    size_t n_final = (size_t)c->n_final;

    ch->base = ch->old_final = c->n_final;
    ch->judge_kept = -1;
    ch->old_turns = c->n_turns;
    ch->old_text = c->text.n;
    ch->old_cps = c->cps;
    ch->old_redo = c->redo;
    ch->old_kind = c->inc.kind;
    if (c->n_turns)
        ch->old_turn = c->turns[c->n_turns - 1];
    qg_buf_init(&ch->old_bytes, SIZE_MAX / 2);
    if (qg_ids_add(&ch->old_tail, c->ids.p + n_final, c->ids.n - n_final) != QG_OK ||
        qg_buf_add(&ch->old_bytes, c->inc.tail.p, c->inc.tail.n) != QG_OK)
        return no_memory(err);
    c->ids.n = n_final;
    if (c->redo && t && t->judged >= 0) {
        ch->base = t->judged;
        for (int32_t at = ch->base; at < c->n_final; at++)
            if (add_item(c, ch, (qg_item){.judge = QG_JUDGE_NOT}) != QG_OK)
                return no_memory(err);
        ch->items[0].judge = QG_JUDGE_KEEP;
    }
    c->redo = false;
    return QG_OK;
}

void qg_convo_undo(qg_convo *c, qg_change *ch)
{
    /* These lists have held as much before: nothing is allocated. */
    c->ids.n = (size_t)ch->old_final;
    if (ch->old_tail.n)
        memcpy(c->ids.p + c->ids.n, ch->old_tail.p, ch->old_tail.n * sizeof *c->ids.p);
    c->ids.n += ch->old_tail.n;
    if (ch->old_bytes.n)
        memcpy(c->inc.tail.p, ch->old_bytes.p, ch->old_bytes.n);
    c->inc.tail.n = ch->old_bytes.n;
    c->inc.kind = ch->old_kind;
    c->inc.tried = 0;
    c->text.n = ch->old_text;
    c->n_turns = ch->old_turns;
    if (c->n_turns)
        c->turns[c->n_turns - 1] = ch->old_turn;
    c->n_final = ch->old_final;
    c->cps = ch->old_cps;
    c->redo = ch->old_redo;
    qg_convo_settle(c);
}

void qg_change_free(qg_change *ch)
{
    qg_mfree(ch->items);
    qg_ids_free(&ch->old_tail);
    qg_buf_free(&ch->old_bytes);
    *ch = (qg_change){0};
}

/* The role's turn, open, ready for what the append brings. */
static qg_status right_turn(qg_convo *c, qg_change *ch, const qg_append *a, qg_err *err)
{
    qg_turn *t = open_turn(c);
    int role = a->role ? qg_role_find(a->role) : t ? (int)t->role : -1;

    if (role < 0)
        return a->role ? qg_fail(err, QG_ERR_ARG,
                                 "role \"%.40s\" is none of system, user, assistant", a->role)
                       : qg_fail(err, QG_ERR_ARG, "no turn is open: a role is needed");
    if (t && (int)t->role != role) {
        QG_TRY(end_turn(c, ch, err));
        t = NULL;
    }
    if (!t)
        return begin_turn(c, ch, (qg_role)role, a->ids != NULL, err);
    if (t->from_ids ? a->content.n > 0 : a->n_ids > 0)
        return qg_fail(err, QG_ERR_ARG, "the open turn was begun with %s",
                       t->from_ids ? "ids" : "text");
    return QG_OK;
}

static qg_status append(qg_convo *c, qg_change *ch, const qg_append *a, qg_ids *prov, qg_err *err)
{
    if (a->n_ids && a->content.n)
        return qg_fail(err, QG_ERR_ARG, "an append has text or ids, not both");
    QG_TRY(right_turn(c, ch, a, err));
    if (open_turn(c)->from_ids)
        QG_TRY(push_ids(c, ch, a->ids, a->n_ids, err));
    else
        QG_TRY(push_content(c, ch, qg_slice_of(a->content.p, a->content.n), prov, err));
    if (a->end) {
        prov->n = 0;
        QG_TRY(end_turn(c, ch, err));
    }
    size_t total = c->ids.n + prov->n;
    if (total > (size_t)c->max_tokens)
        return qg_fail(err, QG_ERR_TOO_LONG,
                       "the conversation would have %zu tokens, at most %d fit", total,
                       c->max_tokens);
    c->n_final = (int32_t)c->ids.n;
    const qg_turn *t = open_turn(c);
    if (!t || t->role != QG_ROLE_ASSISTANT || !prov->n)
        return QG_OK;
    qg_status rc = qg_ids_add(&c->ids, prov->p, prov->n);
    if (rc == QG_OK)
        rc = add_spelled(c, ch, (size_t)c->n_final, qg_inc_shown(&c->inc), UINT32_MAX);
    return rc == QG_OK ? rc : no_memory(err);
}

qg_status qg_convo_append(qg_convo *c, const qg_append *a, qg_change *ch, qg_err *err)
{
    qg_ids prov = {0};
    size_t n_tail;
    qg_status rc = start_change(c, ch, err);
    if (rc == QG_OK) {
        rc = append(c, ch, a, &prov, err);
        qg_ids_free(&prov);
        if (rc != QG_OK)
            qg_convo_undo(c, ch);
    }
    if (rc != QG_OK) {
        qg_change_free(ch);
        return rc;
    }
    n_tail = ch->base == ch->old_final ? ch->old_tail.n : 0;
    while (ch->same < (int32_t)n_tail && ch->base + ch->same < (int32_t)c->ids.n &&
           c->ids.p[ch->base + ch->same] == ch->old_tail.p[ch->same])
        ch->same++;
    return QG_OK;
}

qg_status qg_convo_open_text(const qg_convo *c, const char **role, qg_buf *out)
{
    const qg_turn *t = c->n_turns ? &c->turns[c->n_turns - 1] : NULL;
    *role = t && !t->ended ? qg_role_names[t->role] : NULL;
    if (!*role)
        return QG_OK;
    if (!t->from_ids)
        return qg_buf_add(out, c->text.p + t->text_at, c->text.n - t->text_at);
    return c->tok ? qg_tok_decode(c->tok, c->ids.p + t->start, c->ids.n - (size_t)t->start, true,
                                  out, NULL)
                  : QG_OK;
}

/* ---- rollback -------------------------------------------------------------------------------- */

/* Bytes of the turn's text that its tokens before position spell, whole characters. */
static qg_status text_before(const qg_convo *c, const qg_turn *t, int32_t position, qg_slice said,
                             size_t *bytes)
{
    const qg_slice lead = qg_buf_slice(&opening(c, t)->lead);
    const int32_t *ids = c->ids.p + t->content;
    size_t n = (size_t)(position - t->content);
    qg_cover cover;
    qg_buf raw;

    qg_buf_init(&raw, SIZE_MAX / 2);
    qg_status rc = qg_buf_add(&raw, lead.p, lead.n);
    if (rc == QG_OK)
        rc = qg_utf8_lossy(said, &raw);
    if (rc == QG_OK)
        qg_cover_start(&cover, qg_buf_slice(&raw), 0, !spells(c->tok, ids, n, qg_buf_slice(&raw)));
    for (size_t i = 0; i < n && rc == QG_OK; i++) {
        uint32_t begin, end;
        rc = qg_cover_token(&cover, qg_tok_bytes(c->tok, ids[i]).n, &begin, &end);
    }
    if (rc == QG_OK) {
        *bytes = qg_cover_bytes(&cover);
        *bytes = *bytes > lead.n ? *bytes - lead.n : 0;
        *bytes = *bytes < said.n ? *bytes : said.n;
    }
    qg_buf_free(&raw);
    return rc;
}

/* Encodes the turn's lead and text anew as far as it is stable. */
static qg_status encode_again(const qg_convo *c, const qg_turn *t, qg_slice said, qg_inc *inc,
                              qg_ids *stable, qg_err *err)
{
    qg_ids prov = {0};
    qg_inc_init(inc, c->tok, QG_MAX_STREAM_TAIL);
    qg_status rc = qg_inc_push(inc, qg_buf_slice(&opening(c, t)->lead), stable, &prov, err);
    if (rc == QG_OK)
        rc = qg_inc_push(inc, said, stable, &prov, err);
    qg_ids_free(&prov);
    return rc;
}

/* What is stable in a beginning of a text is the beginning of what it was in the whole. */
static bool begins(const qg_convo *c, const qg_turn *t, const qg_ids *stable)
{
    size_t at = (size_t)t->content;
    return stable->n <= c->ids.n - at &&
           (!stable->n || !memcmp(c->ids.p + at, stable->p, stable->n * sizeof *stable->p));
}

static qg_status reopen_text(qg_convo *c, qg_turn *t, int32_t position, qg_err *err)
{
    size_t text_end = t == &c->turns[c->n_turns - 1] ? c->text.n : t[1].text_at, cut;
    qg_slice said = {c->text.p ? c->text.p + t->text_at : "", text_end - t->text_at};
    qg_ids stable = {0};
    qg_inc inc;

    if (position < t->content || (t->close >= 0 && position > t->close))
        return qg_fail(err, QG_ERR_ARG, "position %d lies in the frame of a turn", position);
    if (text_before(c, t, position, said, &cut) != QG_OK)
        return no_memory(err);
    if (position != t->close)
        said.n = cut;
    qg_status rc = encode_again(c, t, said, &inc, &stable, err);
    if (rc == QG_OK && !begins(c, t, &stable))
        rc = qg_fail(err, QG_ERR_INTERNAL, "a shorter text has other tokens");
    if (rc == QG_OK) {
        c->ids.n = (size_t)t->content + stable.n;
        c->text.n = t->text_at + said.n;
        qg_inc_free(&c->inc);
        c->inc = inc;
        c->cps = t->lead_cps + qg_count_cps(said) - qg_count_cps(qg_buf_slice(&inc.tail));
    } else {
        qg_inc_free(&inc);
    }
    qg_ids_free(&stable);
    return rc;
}

static void reopen_ids(qg_convo *c, qg_turn *t, int32_t position)
{
    c->ids.n = (size_t)position;
    c->text.n = t->text_at;
    qg_inc_reset(&c->inc);
    if (t->role == QG_ROLE_USER)
        t->judged = judged_of(c, t);
    c->redo = t->judged >= 0;
}

/* Turn k ends at position, or the conversation begins there. */
static void drop_turns(qg_convo *c, int32_t position, int32_t n_turns, size_t text)
{
    c->ids.n = (size_t)position;
    c->n_turns = n_turns;
    c->text.n = text;
    qg_inc_reset(&c->inc);
    c->redo = false;
}

qg_status qg_convo_rollback(qg_convo *c, int32_t position, qg_err *err)
{
    int32_t k = c->n_turns - 1;

    if (position < 0 || position > c->n_final)
        return qg_fail(err, QG_ERR_ARG, "position %d is not in 0..%d, the final tokens", position,
                       c->n_final);
    if (position == (int32_t)c->ids.n && !c->inc.tail.n)
        return QG_OK;
    while (k > 0 && c->turns[k].start >= position)
        k--;
    qg_turn *t = &c->turns[k];
    if (k + 1 < c->n_turns && t[1].start == position) {
        drop_turns(c, position, k + 1, t[1].text_at);
    } else if (t->start == position) {
        drop_turns(c, 0, 0, 0);
    } else {
        if (t->from_ids)
            reopen_ids(c, t, position);
        else
            QG_TRY(reopen_text(c, t, position, err));
        c->n_turns = k + 1;
        t->ended = false;
        t->close = -1;
        if (t->judged >= (int32_t)c->ids.n)
            t->judged = -1;
        if (t->flag_at >= (int32_t)c->ids.n)
            t->flag_at = -1;
    }
    c->n_final = (int32_t)c->ids.n;
    return QG_OK;
}
