#include "gateway_rig.h"

#include <stdlib.h>
#include <string.h>

void rig_judge_init(rig_judge *j)
{
    *j = (rig_judge){.severity = QG_UNSAFE, .category = "Violent"};
}

void rig_judge_free(rig_judge *j)
{
    for (int i = 0; i < RIG_LANES; i++)
        free(j->at[i].text);
}

void rig_result_free(rig_result *room)
{
    free(room->tokens);
    room->tokens = NULL;
}

static size_t skip(const char *p, size_t n, size_t at)
{
    at++;
    while (at < n && ((unsigned char)p[at] & 0xC0) == 0x80)
        at++;
    return at;
}

void rig_judge_say(rig_judge *j, const qg_reply_ask *ask, rig_result *room)
{
    rig_session *s = &j->at[ask->lane];
    j->n_asks++;
    if (ask->fresh) {
        free(s->text);
        *s = (rig_session){.open = true};
    }
    if (!s->open || s->ended)
        abort(); /* a text without its session */
    s->text = realloc(s->text, s->n + ask->text.n + 1);
    if (ask->text.n)
        memcpy(s->text + s->n, ask->text.p, ask->text.n);
    s->n += ask->text.n;
    s->ended = ask->last;
    *room = (rig_result){.tokens = calloc(s->n + 1, sizeof(qg_token))};
    size_t n_tokens = 0, given = 0;
    uint64_t cp = 0;
    bool previous = false;
    size_t whole = 0; /* tokens that are complete */
    for (size_t at = 0; at < s->n;) {
        size_t from = at;
        uint64_t begin = cp;
        int size = n_tokens == 0 && j->first_token ? j->first_token : RIG_TOKEN, k = 0;
        for (; k < size && at < s->n; k++, cp++)
            at = skip(s->text, s->n, at);
        bool hit = memchr(s->text + from, '#', at - from) != NULL;
        whole += k == size;
        if (n_tokens >= s->n_final) {
            qg_token *t = &room->tokens[given++];
            *t = (qg_token){.role = "assistant",
                            .begin = begin,
                            .end = cp,
                            .hit = hit,
                            .flagged = hit && previous,
                            .severity = hit ? j->severity : QG_SAFE,
                            .category = hit ? j->category : NULL};
            t->p_severity[t->severity] = 1;
            t->text_bytes = at; /* the rig's: bytes of the turn up to its end */
        }
        previous = hit;
        n_tokens++;
    }
    size_t final = s->ended ? n_tokens : whole > 1 ? whole - 1 : 0;
    for (size_t i = 0; i < given; i++)
        room->tokens[i].final = s->n_final + i < final;
    for (size_t i = 0; i < given && room->tokens[i].final; i++)
        s->judged = room->tokens[i].text_bytes;
    if (final > s->n_final)
        s->n_final = final;
    room->r.tokens = room->tokens;
    room->r.n_tokens = given;
}

void rig_judge_all(rig_judge *j, qg_reply *reply)
{
    qg_reply_ask ask;
    while (qg_reply_ask_next(reply, &ask)) {
        rig_result room;
        rig_judge_say(j, &ask, &room);
        qg_reply_judged(reply, ask.lane, &room.r);
        rig_result_free(&room);
    }
}
