/* A conversation as token ids: turns, frames, text that arrives in pieces.  No model, no queue.
 *
 *   ids   | final: never change            | provisional: of the tail of the open turn |
 *   text  | contents of all text turns, as they came                                   |
 *
 * Only an assistant's turn has provisional ids: nothing else is judged before its end.  One thread
 * at a time. */
#ifndef QG_GUARD_CONVO_H
#define QG_GUARD_CONVO_H

#include "guard/cover.h"
#include "guard/frames.h"
#include "tok/incremental.h"

typedef struct qg_turn {
    int32_t start;     /* position of its first token */
    int32_t content;   /* position behind the control tokens that open it */
    int32_t close;     /* position of the control token that ends it; -1 before */
    int32_t judged;    /* user: position whose numbers are (or would now be) the turn's; -1 none */
    uint32_t lead_cps; /* code points of the frame in front of the content in the same run */
    size_t text_at;    /* where its content begins in text */
    qg_role role;
    bool from_ids, ended;
    /* the first flagged token; flag_at -1: none */
    int32_t flag_at;
    uint32_t flag_begin, flag_end;
    qg_severity flag_severity;
    const char *flag_category;
} qg_turn;

typedef struct qg_convo {
    const qg_tok *tok;       /* NULL: ids only */
    const qg_frames *frames; /* NULL: ids only */
    int32_t end_id;          /* the token that ends a user's turn; -1 unknown */
    int32_t vocab, max_tokens;
    qg_ids ids;
    int32_t n_final;
    qg_turn *turns;
    int32_t n_turns, cap_turns;
    qg_buf text;
    qg_inc inc;   /* of the open text turn */
    uint32_t cps; /* its code points behind which ids are stable, lead included */
    bool redo;    /* a user's ids are open, and the numbers at `judged` are not kept */
} qg_convo;

typedef enum qg_judge_how {
    QG_JUDGE_NOT,
    QG_JUDGE_KEEP, /* of a user's ids the one that would be judged if the turn ended now */
    QG_JUDGE_EMIT,
} qg_judge_how;

typedef struct qg_item {
    uint32_t begin, end; /* code points of the turn's content */
    int32_t turn;
    qg_judge_how judge;
} qg_item;

/* What an append did, and what undoes it. */
typedef struct qg_change {
    int32_t base;       /* position of items[0]: the first id that was not final before */
    int32_t same;       /* ids from base on that are as they were */
    int32_t judge_kept; /* turn that ended on ids which were there: the kept numbers are its
                           verdict; -1 */
    qg_item *items;     /* [ids.n - base] */
    size_t n_items, cap_items;
    qg_ids old_tail; /* ids from n_final on before */
    qg_buf old_bytes, tail_text;
    int32_t old_final, old_turns;
    size_t old_text;
    uint32_t old_cps;
    bool old_redo;
    qg_piece_kind old_kind;
    qg_turn old_turn;
} qg_change;

/* tok and frames may be NULL. */
void qg_convo_init(qg_convo *c, const qg_tok *tok, const qg_frames *frames, int32_t end_id,
                   int32_t vocab, int32_t max_tokens);
void qg_convo_free(qg_convo *c);

/* Appends as qg_append says; errors as qg_session_submit.  On failure c is as before; on success
 * change (zeroed before) is to be given to qg_change_free, after qg_convo_undo if it shall not
 * have been. */
qg_status qg_convo_append(qg_convo *c, const qg_append *a, qg_change *change, qg_err *err);
void qg_convo_undo(qg_convo *c, qg_change *change);
/* Once a change can no longer be undone: gives back memory far beyond what is held. */
void qg_convo_settle(qg_convo *c);
void qg_change_free(qg_change *change);

/* The open turn's text as it came, of ids what they spell, added to out; its role, NULL when no
 * turn is open.  QG_ERR_NOMEM. */
qg_status qg_convo_open_text(const qg_convo *c, const char **role, qg_buf *out);

/* Forgets from position on: afterwards ids has at most that many, none of them changed, all final.
 * On failure nothing is forgotten. */
qg_status qg_convo_rollback(qg_convo *c, int32_t position, qg_err *err);

#endif
