#include "svc/window_cut.h"

#include "base/mem.h"
#include "base/status.h"
#include "text/json.h"

#include <stdio.h>
#include <string.h>

enum {
    SLACK = 8,       /* tokens: a cut, and the template's text beside it, can split a token */
    ANSWER = 32,     /* tokens: a verdict has at most 26 */
    LEAST_ROOM = 24, /* tokens of a window: with fewer, nothing can be judged */
    TRIES = 8,
};

static qg_status no_memory(qg_err *err)
{
    return qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

typedef struct cutter {
    const qg_engine *engine;
    const qg_request *request;
    qg_text text; /* its last message */
    int32_t max_len;
    size_t room; /* tokens of the text that fit one window */
} cutter;

/* Clients look for the first sentence. */
static qg_status too_long(const cutter *c, const char *why, qg_err *err)
{
    return qg_fail(err, QG_ERR_TOO_LONG,
                   "This model's maximum context length is %d tokens. However, %s.", c->max_len,
                   why);
}

/* ---- what the context takes ------------------------------------------------------------------ */

/* As the engine renders them, with one letter for the last. */
static json_t *variables(const qg_request *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_messages; i++) {
        const qg_message *m = &r->messages[i];
        bool last = i + 1 == r->n_messages;
        json_t *content = last ? json_string("x") : json_stringn(m->content.p, m->content.n);
        if (json_array_append_new(list,
                                  json_pack("{s:s,s:o}", "role", m->role, "content", content))) {
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:o,s:b}", "messages", list, "add_generation_prompt", 1);
}

static qg_status count_context(const cutter *c, size_t *n, qg_err *err)
{
    json_t *tree = variables(c->request);
    char *vars = tree ? qg_json_dump(tree) : NULL, *text = NULL;
    int32_t *ids = NULL;
    size_t n_bytes;
    json_decref(tree);
    if (!vars)
        return no_memory(err);
    qg_status rc =
        qg_render(c->engine, (qg_text){vars, strlen(vars)}, &text, &n_bytes, &ids, n, err);
    qg_free(text);
    qg_free(ids);
    qg_mfree(vars);
    return rc;
}

static qg_status measure_room(cutter *c, qg_err *err)
{
    size_t n = 0, wanted = (size_t)c->request->max_tokens;
    QG_TRY(count_context(c, &n, err));
    n += wanted ? wanted : ANSWER;
    n += 2 * SLACK; /* half of it for the cuts, half for the template */
    if (n + LEAST_ROOM > (size_t)c->max_len)
        return too_long(c, "what stands around the judged text leaves no room for a part of it",
                        err);
    c->room = (size_t)c->max_len - n;
    return QG_OK;
}

/* ---- where tokens begin ---------------------------------------------------------------------- */

/* Of each token, and the end: bytes of the text.  The tokenizer may have normalized it, so that its
 * tokens spell another number of bytes: places are then stretched to fit, and are guesses. */
typedef struct places {
    uint32_t *at; /* [n + 1] */
    size_t n;
} places;

static qg_status find_places(places *p, const qg_engine *engine, qg_text text, qg_err *err)
{
    int32_t *ids = NULL;
    uint64_t sum = 0;
    QG_TRY(qg_tokenize(engine, text, QG_SPECIAL_TEXT, &ids, &p->n, err));
    p->at = qg_calloc(p->n + 1, sizeof *p->at);
    for (size_t i = 0; p->at && i < p->n; i++) {
        size_t n_bytes;
        (void)qg_token_bytes(engine, ids[i], &n_bytes);
        sum += n_bytes;
        p->at[i + 1] = (uint32_t)(sum < UINT32_MAX ? sum : UINT32_MAX);
    }
    for (size_t i = 0; p->at && sum && sum != text.n && i <= p->n; i++)
        p->at[i] = (uint32_t)((uint64_t)p->at[i] * text.n / sum);
    qg_free(ids);
    return p->at ? QG_OK : no_memory(err);
}

/* The character's own beginning. */
static size_t place(const places *p, size_t token, qg_text text)
{
    size_t at = p->at[token] < text.n ? p->at[token] : text.n;
    while (at > 0 && at < text.n && ((unsigned char)text.p[at] & 0xC0) == 0x80)
        at--;
    return at;
}

/* ---- cutting --------------------------------------------------------------------------------- */

static qg_status cut_by(qg_window_cut *cut, const cutter *c, const places *p, size_t room,
                        qg_err *err)
{
    size_t overlap = room / 4 < QG_WINDOW_OVERLAP ? room / 4 : QG_WINDOW_OVERLAP;
    size_t stride = room - overlap, from = 0;
    char why[120];
    for (cut->n = 0; cut->n < QG_MAX_WINDOWS; from += stride) {
        bool last = p->n - from <= room;
        cut->at[cut->n++] = (qg_window){
            .begin = place(p, from, c->text),
            .end = last ? c->text.n : place(p, from + room, c->text),
        };
        if (last)
            return QG_OK;
    }
    snprintf(why, sizeof why, "the judged text has %zu, which is more than %d windows of %zu", p->n,
             QG_MAX_WINDOWS, room);
    return too_long(c, why, err);
}

/* A piece may take more tokens than it did in the whole. */
static qg_status all_fit(bool *fit, const qg_window_cut *cut, const cutter *c, qg_err *err)
{
    *fit = true;
    for (size_t i = 0; i < cut->n && *fit; i++) {
        const qg_window *w = &cut->at[i];
        const qg_text piece = {c->text.p + w->begin, w->end - w->begin};
        int32_t *ids = NULL;
        size_t n;
        QG_TRY(qg_tokenize(c->engine, piece, QG_SPECIAL_TEXT, &ids, &n, err));
        qg_free(ids);
        *fit = n <= c->room + SLACK;
    }
    return QG_OK;
}

/* Windows shrink until all of them fit. */
static qg_status cut_at(qg_window_cut *cut, const cutter *c, const places *p, qg_err *err)
{
    bool fit = false;
    /* The engine found it too long as a whole, whatever the count says here. */
    size_t room = p->n > c->room ? c->room : p->n - p->n / 8;
    for (int i = 0; i < TRIES && room >= LEAST_ROOM && !fit; i++, room -= room / 8) {
        QG_TRY(cut_by(cut, c, p, room, err));
        QG_TRY(all_fit(&fit, cut, c, err));
    }
    return fit ? QG_OK : too_long(c, "the judged text cannot be cut into windows", err);
}

qg_status qg_window_cut_request(qg_window_cut *cut, const qg_engine *engine, int32_t max_len,
                                const qg_request *r, qg_err *err)
{
    cutter c = {.engine = engine, .request = r, .max_len = max_len};
    places p = {0};
    cut->n = 0;
    if (r->ids || !r->n_messages)
        return qg_fail(err, QG_ERR_ARG, "only messages can be cut into windows");
    c.text = r->messages[r->n_messages - 1].content;
    QG_TRY(measure_room(&c, err));
    qg_status rc = find_places(&p, engine, c.text, err);
    if (rc == QG_OK)
        rc = cut_at(cut, &c, &p, err);
    qg_mfree(p.at);
    return rc;
}
