#include "gateway/marks.h"

#include "base/limits.h"
#include "base/mem.h"
#include "gateway/jstr.h"

typedef struct walk {
    const char *text, *at, *end;
    qg_marks *marks;
    qg_err *err;
    int depth;
    uint32_t note;
    bool words; /* strings that look like words are none */
} walk;

/* What holds around a value. */
typedef struct place {
    int32_t choice, sub;
    const qg_node *node;
} place;

static qg_status bad(walk *w, const char *why)
{
    return qg_fail(w->err, QG_ERR_FORMAT, "not the JSON of a reply: %s at byte %zu", why,
                   (size_t)(w->at - w->text));
}

static char peek(walk *w)
{
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\n' || *w->at == '\r' || *w->at == '\t'))
        w->at++;
    return w->at < w->end ? *w->at : 0;
}

static bool take(walk *w, char c)
{
    if (peek(w) != c || w->at == w->end)
        return false;
    w->at++;
    return true;
}

/* A string at the quote; *out: between its quotes. */
static qg_status string(walk *w, qg_slice *out, bool *plain)
{
    if (!take(w, '"'))
        return bad(w, "no string");
    const char *stop = qg_jstr_end(w->at, w->end, plain);
    if (!stop)
        return bad(w, "a broken string");
    *out = qg_slice_of(w->at, (size_t)(stop - w->at));
    w->at = stop + 1;
    return QG_OK;
}

static bool in_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '+' || c == '.';
}

/* A number or a word (Python also writes NaN and Infinity). */
static qg_status scalar(walk *w, qg_slice *out)
{
    const char *start = w->at;
    while (w->at < w->end && in_word(*w->at))
        w->at++;
    *out = qg_slice_of(start, (size_t)(w->at - start));
    return out->n > 0 && out->n <= 64 ? QG_OK : bad(w, "no value");
}

static bool is_null(qg_slice value)
{
    return qg_slice_is(value, "null");
}

/* Which choice a text belongs to must be beyond doubt: two that a client keeps apart, judged as
 * one, would hide what either says. */
static qg_status index_of(walk *w, qg_slice value, int32_t *out, bool *has)
{
    int32_t n = 0;
    if (is_null(value))
        return QG_OK;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9' || i > 8)
            return bad(w, "an index that is none");
        n = 10 * n + (value.p[i] - '0');
    }
    *out = n;
    *has = true;
    return QG_OK;
}

/* ---- marks ----------------------------------------------------------------------------------- */

static qg_status add(walk *w, qg_mark mark)
{
    qg_marks *m = w->marks;
    if (m->n == QG_MAX_REPLY_MARKS)
        return qg_fail(w->err, QG_ERR_TOO_LONG, "more than %u texts in one piece of a reply",
                       QG_MAX_REPLY_MARKS);
    if (m->n == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 8;
        qg_mark *p = qg_realloc_array(m->p, cap, sizeof *p);
        if (!p)
            return qg_fail(w->err, QG_ERR_NOMEM, "out of memory");
        m->p = p;
        m->cap = cap;
    }
    mark.note = w->note;
    m->p[m->n++] = mark;
    return QG_OK;
}

typedef struct member {
    qg_slice name;
    const qg_member *known; /* NULL */
} member;

static qg_status mark(walk *w, const place *at, const member *m, qg_mark_what what,
                      qg_field_kind kind, qg_slice range, bool plain)
{
    if (range.n == 0)
        return QG_OK;
    return add(w, (qg_mark){
                      .what = (uint8_t)what,
                      .kind = (uint8_t)kind,
                      .plain = plain,
                      .choice = at->choice,
                      .sub = at->sub,
                      .begin = (uint32_t)(range.p - w->text),
                      .end = (uint32_t)(range.p + range.n - w->text),
                      .lane = m->known ? m->known->lane : NULL,
                      .name = (uint32_t)(m->name.p - w->text),
                      .n_name = (uint32_t)m->name.n,
                  });
}

static bool looks_opaque(qg_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!in_word(s.p[i]) && !strchr("/=_:", s.p[i]))
            return false;
    return true;
}

bool qg_marks_is_word(qg_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!in_word(s.p[i]) && !strchr("/=_:@|", s.p[i]))
            return false;
    return true;
}

/* An id, a model, a word of the protocol. */
static bool looks_meta(qg_slice s)
{
    return s.n <= 96 && qg_marks_is_word(s);
}

/* A string of an unknown member, or one that is not what its member should be. */
static qg_status other(walk *w, const place *at, const member *m, qg_slice s, bool plain)
{
    const member unknown = {m->name, NULL};
    return mark(w, at, &unknown, at->node->goes_on && !m->known ? QG_MARK_TEXT : QG_MARK_WHOLE,
                QG_FIELD_OTHER, s, plain);
}

/* What the client should have said itself: the owner, who knows, looks. */
static qg_status echo(walk *w, const place *at, const member *m, qg_mark_what what, qg_slice range,
                      bool plain)
{
    QG_TRY(mark(w, at, m, what, QG_FIELD_OTHER, range, plain));
    if (range.n > 0)
        w->marks->p[w->marks->n - 1].echo = true;
    return QG_OK;
}

static bool says_reasoning(qg_slice type)
{
    return (type.n >= 9 && !memcmp(type.p, "reasoning", 9)) ||
           (type.n >= 8 && !memcmp(type.p, "thinking", 8));
}

static qg_status string_value(walk *w, const place *at, const member *m, bool *reasoning)
{
    qg_slice s;
    bool plain;
    QG_TRY(string(w, &s, &plain));
    if (!m->known)
        return other(w, at, m, s, plain);
    qg_field_kind kind = (qg_field_kind)m->known->kind;
    switch ((qg_act)m->known->act) {
    case QG_ACT_TEXT:
        return mark(w, at, m, QG_MARK_TEXT, kind, s, plain);
    case QG_ACT_WHOLE:
        return mark(w, at, m, QG_MARK_WHOLE, kind, s, plain);
    case QG_ACT_RAW:
        return mark(w, at, m, QG_MARK_WHOLE, kind, s, plain);
    case QG_ACT_ECHO:
        return looks_meta(s) ? QG_OK : echo(w, at, m, QG_MARK_WHOLE, s, plain);
    case QG_ACT_OPAQUE:
        return looks_opaque(s) ? mark(w, at, m, QG_MARK_WHOLE, QG_FIELD_OPAQUE, s, plain)
                               : other(w, at, m, s, plain);
    case QG_ACT_FINISH:
        if (looks_meta(s))
            return mark(w, at, m, QG_MARK_FINISH, kind, qg_slice_of(s.p - 1, s.n + 2), plain);
        return other(w, at, m, s, plain);
    case QG_ACT_TYPE:
        *reasoning |= says_reasoning(s);
        return looks_meta(s) ? QG_OK : other(w, at, m, s, plain);
    case QG_ACT_META:
        return looks_meta(s) ? QG_OK : other(w, at, m, s, plain);
    case QG_ACT_INDEX:
    case QG_ACT_SUBINDEX:
        return bad(w, "an index that is none");
    default: /* what should have been an object */
        return other(w, at, m, s, plain);
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

static qg_status object(walk *w, place at);

/* Passes over a value of any kind; *strings: there is one in it (names do not count). */
static qg_status pass(walk *w, bool *strings)
{
    qg_slice s;
    bool plain;
    char c = peek(w);
    if (c == '"') {
        QG_TRY(string(w, &s, &plain));
        *strings |= w->words ? s.n > 64 || !looks_meta(s) : s.n > 0;
        return QG_OK;
    }
    if (c != '{' && c != '[')
        return scalar(w, &s);
    if (++w->depth > QG_MAX_REPLY_DEPTH)
        return bad(w, "too many levels");
    char close = c == '{' ? '}' : ']';
    w->at++;
    if (!take(w, close)) {
        do {
            if (c == '{') {
                QG_TRY(string(w, &s, &plain));
                *strings |= s.n > 64 || !looks_meta(s);
                if (!take(w, ':'))
                    return bad(w, "no colon");
            }
            QG_TRY(pass(w, strings));
        } while (take(w, ','));
        if (!take(w, close))
            return bad(w, "no end of a list or object");
    }
    w->depth--;
    return QG_OK;
}

/* A value as it stands: marked when there is text in it, or always (not empty ones). */
static qg_status raw_value(walk *w, const place *at, const member *m, bool always,
                           qg_mark_what what)
{
    bool strings = false;
    peek(w);
    const char *start = w->at;
    QG_TRY(pass(w, &strings));
    qg_slice value = qg_slice_of(start, (size_t)(w->at - start));
    bool holds = value.n > 2 && !is_null(value);
    if (!(always ? holds : strings))
        return QG_OK;
    if (m->known && m->known->act == QG_ACT_ECHO)
        return echo(w, at, m, what, value, false);
    return mark(w, at, m, what,
                m->known && m->known->act != QG_ACT_META ? (qg_field_kind)m->known->kind
                                                         : QG_FIELD_OTHER,
                value, false);
}

/* An object or an array of them; strings in an array are texts of the member's lane. */
static qg_status walk_in(walk *w, place at, const member *m, const qg_node *node)
{
    qg_act act = (qg_act)m->known->act;
    if (peek(w) == '{') {
        at.node = node;
        return object(w, at);
    }
    if (++w->depth > QG_MAX_REPLY_DEPTH)
        return bad(w, "too many levels");
    w->at++;
    if (!take(w, ']')) {
        int32_t i = 0;
        do {
            place inner = {act == QG_ACT_CHOICES ? i : at.choice, act == QG_ACT_CALLS ? i : at.sub,
                           node};
            bool reasoning = false;
            char c = peek(w);
            if (c == '{')
                QG_TRY(object(w, inner));
            else if (c == '"')
                QG_TRY(string_value(w, &inner, m, &reasoning));
            else
                QG_TRY(raw_value(w, &inner, m, false, QG_MARK_RAW));
            i++;
        } while (take(w, ','));
        if (!take(w, ']'))
            return bad(w, "no end of a list");
    }
    w->depth--;
    return QG_OK;
}

static qg_status nested_value(walk *w, place at, const member *m)
{
    if (!m->known)
        return raw_value(w, &at, m, false, QG_MARK_RAW);
    qg_status rc;
    switch ((qg_act)m->known->act) {
    case QG_ACT_INDEX:
    case QG_ACT_SUBINDEX:
        return bad(w, "an index that is none");
    case QG_ACT_ECHO:
    case QG_ACT_WORDS:
        w->words = true;
        rc = raw_value(w, &at, m, false, QG_MARK_RAW);
        w->words = false;
        return rc;
    case QG_ACT_LOGPROBS:
        return raw_value(w, &at, m, true, QG_MARK_LOGPROBS);
    case QG_ACT_FINISH: /* an object that says why */
        return raw_value(w, &at, m, true, QG_MARK_FINISH);
    case QG_ACT_RAW:
        return raw_value(w, &at, m, true, QG_MARK_RAW);
    default:
        if (m->known->sub)
            return walk_in(w, at, m, m->known->sub);
        return raw_value(w, &at, m, false, QG_MARK_RAW);
    }
}

static const qg_member *look_up(const qg_node *node, qg_slice name)
{
    for (uint8_t i = 0; i < node->n; i++)
        if (node->members[i].n_name == name.n && !memcmp(node->members[i].name, name.p, name.n))
            return &node->members[i];
    return NULL;
}

/* The members of an object so far. */
typedef struct names {
    qg_slice p[64];
    size_t n;
} names;

/* A client reads the last of two members of a name, or the first: what it would put together of
 * them, event by event, nobody could judge. */
static qg_status remember(walk *w, names *seen, qg_slice name)
{
    for (size_t i = 0; i < seen->n; i++)
        if (qg_slice_eq(seen->p[i], name))
            return bad(w, "a member twice");
    if (seen->n == QG_COUNT(seen->p))
        return bad(w, "too many members");
    seen->p[seen->n++] = name;
    return QG_OK;
}

/* A member's name.  No server escapes in them, and one that did could hide which they are. */
static qg_status read_name(walk *w, const qg_node *node, names *seen, member *m)
{
    bool plain;
    QG_TRY(string(w, &m->name, &plain));
    if (m->name.n > 64 || !plain || !looks_meta(m->name))
        return bad(w, "a member's name that is a text");
    m->known = look_up(node, m->name);
    QG_TRY(remember(w, seen, m->name));
    return take(w, ':') ? QG_OK : bad(w, "no colon");
}

/* What a member says of its whole object. */
typedef struct said {
    int32_t choice, sub;
    bool has_choice, has_sub, reasoning;
} said;

static qg_status value(walk *w, const place *at, const member *m, said *s)
{
    qg_slice word;
    char c = peek(w);
    if (c == '"')
        return string_value(w, at, m, &s->reasoning);
    if (c == '{' || c == '[')
        return nested_value(w, *at, m);
    QG_TRY(scalar(w, &word));
    if (m->known && m->known->act == QG_ACT_INDEX)
        return index_of(w, word, &s->choice, &s->has_choice);
    if (m->known && m->known->act == QG_ACT_SUBINDEX)
        return index_of(w, word, &s->sub, &s->has_sub);
    if (m->known && m->known->act == QG_ACT_FINISH && !is_null(word))
        return mark(w, at, m, QG_MARK_FINISH, QG_FIELD_OTHER, word, true);
    return QG_OK;
}

static void settle(qg_marks *marks, size_t first, const said *s)
{
    for (size_t i = first; i < marks->n; i++) {
        qg_mark *m = &marks->p[i];
        if (s->has_choice)
            m->choice = s->choice;
        if (s->has_sub)
            m->sub = s->sub;
        if (s->reasoning && m->kind == QG_FIELD_CONTENT)
            m->kind = QG_FIELD_REASONING;
    }
}

static qg_status object(walk *w, place at)
{
    said s = {-1, -1, false, false, false};
    names seen;
    size_t first = w->marks->n;
    uint32_t note = w->note;
    seen.n = 0;
    if (!take(w, '{'))
        return bad(w, "no object");
    if (++w->depth > QG_MAX_REPLY_DEPTH)
        return bad(w, "too many levels");
    if (at.node->note)
        w->note = (uint32_t)(w->at - w->text);
    if (!take(w, '}')) {
        do {
            member m = {{"", 0}, NULL};
            QG_TRY(read_name(w, at.node, &seen, &m));
            QG_TRY(value(w, &at, &m, &s));
        } while (take(w, ','));
        if (!take(w, '}'))
            return bad(w, "no end of an object");
    }
    settle(w->marks, first, &s);
    if (s.has_choice && w->depth == 1)
        w->marks->choice = s.choice;
    w->note = note;
    w->depth--;
    return QG_OK;
}

qg_status qg_marks_read(qg_marks *marks, const qg_node *root, qg_slice json, qg_err *err)
{
    walk w = {json.p, json.p, json.p + json.n, marks, err, 0, 0, false};
    marks->n = 0;
    marks->choice = -1;
    if (json.n > UINT32_MAX)
        return bad(&w, "too many bytes");
    QG_TRY(object(&w, (place){-1, -1, root}));
    return peek(&w) == 0 && w.at == w.end ? QG_OK : bad(&w, "bytes behind the object");
}

void qg_marks_free(qg_marks *marks)
{
    qg_mfree(marks->p);
    *marks = (qg_marks){NULL, 0, 0, -1};
}

qg_slice qg_marks_root_string(qg_slice json, const char *name)
{
    walk w = {json.p, json.p, json.p + json.n, NULL, NULL, 0, 0, false};
    qg_slice key, found = {"", 0};
    bool plain, strings = false;
    if (!take(&w, '{') || take(&w, '}'))
        return found;
    do {
        if (string(&w, &key, &plain) != QG_OK || !take(&w, ':'))
            return found;
        bool here = qg_slice_is(key, name) && peek(&w) == '"';
        if (here ? string(&w, &found, &plain) != QG_OK : pass(&w, &strings) != QG_OK)
            return found;
    } while (take(&w, ','));
    return found;
}
