#include "guard/frames.h"

#include "base/limits.h"
#include "base/mem.h"

const char *const qg_role_names[QG_N_ROLES] = {"system", "user", "assistant"};

/* Contents that no template has in itself. */
static const char *const marks[] = {"QguardFirst", "QguardSecond", "QguardThird"};

int qg_role_find(const char *name)
{
    for (int r = 0; r < QG_N_ROLES; r++)
        if (!strcmp(name, qg_role_names[r]))
            return r;
    return -1;
}

static const char *find(qg_slice text, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= text.n; i++)
        if (!memcmp(text.p + i, word, n))
            return text.p + i;
    return NULL;
}

/* A rendering, and what it has around the last content. */
typedef struct shown {
    qg_buf text;
    qg_slice before; /* from the content before it, or the beginning */
    qg_slice after;
} shown;

static qg_status show(shown *s, const qg_guard *guard, const qg_role *roles, size_t n, qg_err *err)
{
    qg_message turns[QG_COUNT(marks)];
    qg_buf_init(&s->text, QG_MAX_TEXT_BYTES);
    for (size_t i = 0; i < n; i++)
        turns[i] = (qg_message){qg_role_names[roles[i]], {marks[i], strlen(marks[i])}};
    QG_TRY(qg_guard_turns(guard, turns, n, &s->text, err));
    qg_slice rest = qg_buf_slice(&s->text);
    for (size_t i = 0; i < n; i++) {
        const char *at = find(rest, marks[i]);
        if (!at)
            return qg_fail(err, QG_ERR_UNSUPPORTED, "the chat template does not show %s turns",
                           qg_role_names[roles[i]]);
        s->before = qg_slice_of(rest.p, (size_t)(at - rest.p));
        at += strlen(marks[i]);
        rest = qg_slice_of(at, rest.n - (size_t)(at - rest.p));
    }
    s->after = rest;
    return QG_OK;
}

static bool is_added(const qg_tok *tok, int32_t id)
{
    return qg_tok_added_id(tok, qg_tok_bytes(tok, id)) == id;
}

static qg_status add_bytes(qg_buf *to, const qg_tok *tok, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const qg_slice s = qg_tok_bytes(tok, ids[i]);
        QG_TRY(qg_buf_add(to, s.p, s.n));
    }
    return QG_OK;
}

/* Parts the text before a content: up to its last control token, and behind it. */
static qg_status part_open(qg_turn_open *open, const qg_tok *tok, qg_slice text, qg_err *err)
{
    QG_TRY(qg_tok_encode(tok, text, true, &open->ids, err));
    size_t n = open->ids.n;
    while (n && !is_added(tok, open->ids.p[n - 1]))
        n--;
    if (!n || !is_added(tok, open->ids.p[0]))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "the chat template does not begin turns with control tokens");
    qg_status rc = add_bytes(&open->lead, tok, open->ids.p + n, open->ids.n - n);
    open->ids.n = n;
    open->known = true;
    return rc == QG_OK ? rc : qg_fail(err, rc, "out of memory");
}

/* The same behind a content: up to its first control token, and from there. */
static qg_status part_close(qg_frame_of *f, const qg_tok *tok, qg_slice text, qg_err *err)
{
    QG_TRY(qg_tok_encode(tok, text, true, &f->close, err));
    size_t n = 0;
    while (n < f->close.n && !is_added(tok, f->close.p[n]))
        n++;
    if (n == f->close.n)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "the chat template does not end turns with control tokens");
    if (add_bytes(&f->trail, tok, f->close.p, n) != QG_OK)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    f->close.n -= n;
    memmove(f->close.p, f->close.p + n, f->close.n * sizeof *f->close.p);
    return QG_OK;
}

/* Turn n - 1 behind the turns before it, whose last ends with the text `closed`. */
static qg_status learn(qg_frames *fr, const qg_guard *guard, const qg_tok *tok,
                       const qg_role *roles, size_t n, qg_slice closed, bool close, shown *s,
                       qg_err *err)
{
    qg_frame_of *f = &fr->role[roles[n - 1]];
    QG_TRY(show(s, guard, roles, n, err));
    if (s->before.n < closed.n || memcmp(s->before.p, closed.p, closed.n))
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "the chat template ends a turn otherwise when another follows");
    QG_TRY(part_open(&f->open[n > 1], tok,
                     qg_slice_of(s->before.p + closed.n, s->before.n - closed.n), err));
    return close ? part_close(f, tok, s->after, err) : QG_OK;
}

static qg_status learn_all(qg_frames *fr, const qg_guard *guard, const qg_tok *tok, shown *s,
                           qg_err *err)
{
    static const qg_role talk[] = {QG_ROLE_USER, QG_ROLE_ASSISTANT, QG_ROLE_USER};
    static const qg_role late[] = {QG_ROLE_USER, QG_ROLE_ASSISTANT, QG_ROLE_SYSTEM};
    static const qg_role system[] = {QG_ROLE_SYSTEM};

    QG_TRY(learn(fr, guard, tok, talk, 1, qg_str(""), true, &s[0], err));
    QG_TRY(learn(fr, guard, tok, talk, 2, s[0].after, true, &s[1], err));
    QG_TRY(learn(fr, guard, tok, talk, 3, s[1].after, false, &s[2], err));
    /* A template may have no system turns. */
    qg_status rc = learn(fr, guard, tok, system, 1, qg_str(""), true, &s[3], NULL);
    if (rc == QG_OK)
        rc = learn(fr, guard, tok, late, 3, s[1].after, false, &s[4], NULL);
    return rc == QG_ERR_NOMEM ? qg_fail(err, rc, "out of memory") : QG_OK;
}

qg_status qg_frames_init(qg_frames *fr, const qg_guard *guard, const qg_tok *tok, qg_err *err)
{
    shown s[5] = {0};
    for (int r = 0; r < QG_N_ROLES; r++) {
        qg_buf_init(&fr->role[r].trail, QG_MAX_TEMPLATE_BYTES);
        for (int later = 0; later < 2; later++)
            qg_buf_init(&fr->role[r].open[later].lead, QG_MAX_TEMPLATE_BYTES);
    }
    qg_status rc = learn_all(fr, guard, tok, s, err);
    for (size_t i = 0; i < QG_COUNT(s); i++)
        qg_buf_free(&s[i].text);
    return rc;
}

static void open_free(qg_turn_open *open)
{
    qg_ids_free(&open->ids);
    qg_buf_free(&open->lead);
    open->known = false;
}

void qg_frames_free(qg_frames *fr)
{
    for (int r = 0; r < QG_N_ROLES; r++) {
        open_free(&fr->role[r].open[0]);
        open_free(&fr->role[r].open[1]);
        qg_buf_free(&fr->role[r].trail);
        qg_ids_free(&fr->role[r].close);
    }
}
