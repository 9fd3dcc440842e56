/* What the files of the reply share: in (reply_in.c), judgment (reply_judge.c), out (reply_out.c).
 */
#ifndef QG_GATEWAY_REPLY_INT_H
#define QG_GATEWAY_REPLY_INT_H

#include "base/limits.h"
#include "gateway/echo.h"
#include "gateway/ending.h"
#include "gateway/event.h"
#include "gateway/lane.h"
#include "gateway/reply.h"
#include "gateway/sse.h"
#include "gateway/wire_nodes.h"

enum { QG_NO_LANE = UINT32_MAX };

/* Why a reply ends before its time. */
typedef struct qg_reply_fault {
    bool set, now; /* now: without waiting for what is still to be judged */
    int http;
    char code[32], sentence[256];
} qg_reply_fault;

struct qg_reply {
    qg_reply_options opt;
    qg_policy_view view;
    qg_lane_env env;

    /* in */
    qg_sse sse;
    qg_buf body;    /* not streamed: all of it */
    qg_marks marks; /* of the event at hand */
    qg_buf room;    /* a string decoded */
    qg_buf inner;   /* … and read once more, as the JSON that it is */
    qg_echo echo;   /* what the client has said */
    bool ended;     /* the upstream has said all */
    bool saw_last;
    size_t n_finished; /* finish reasons seen */

    /* lanes, by number */
    qg_lane **lanes; /* [n_lanes] */
    uint32_t n_lanes, lanes_cap, last_lane, ask_from;
    size_t kept; /* bytes of lanes that keep their text */

    /* events that wait */
    qg_event *head, *tail;
    uint64_t held;

    /* out */
    qg_buf out;
    size_t taken;
    bool admitted, text_left; /* some text has left */
    bool ends_cr;             /* the last byte of what left is CR */
    bool cut;                 /* a hit ends it */
    bool frozen;              /* what stands behind the hit is gone */
    bool spoiled;             /* memory is out: nothing more is done */
    qg_reply_fault fault;
    qg_ending ending;

    qg_reply_hit hits[QG_MAX_REPLY_HITS];
    size_t n_hits, hits_before; /* of tries before this one */
    qg_reply_hit blocked;       /* the hit that ended it */

    qg_reply_counts counts;
    qg_reply_state state;
    qg_reply_watch_fn *watch;
    void *watch_ud;
};

/* ---- reply_in.c ---- */
void qg_reply_take_event(qg_reply *r, const qg_sse_event *event);
void qg_reply_take_body(qg_reply *r);
/* Every lane's text ends here. */
void qg_reply_end_lanes(qg_reply *r);

/* ---- reply_judge.c ---- */
bool qg_reply_on_hit(void *ud, qg_lane *lane, const qg_lane_hit *hit);

/* ---- reply_edit.c ---- */
/* Bytes [begin, end) of the event's data say text. */
qg_status qg_reply_say(qg_edits *d, uint32_t begin, uint32_t end, const char *text);
/* The mark's text up to byte `safe` of its lane; what is no string goes as a whole.  note: said
 * behind it, NULL. */
qg_status qg_reply_cut_text(const qg_event *e, const qg_mark *m, uint64_t safe, const char *note,
                            qg_edits *d);
/* Log probabilities of the first n bytes of their texts; any other mark, and those that say
 * something else, become null. */
qg_status qg_reply_trim(const qg_event *e, const qg_mark *m, uint64_t n, qg_edits *d);
/* The notes of the mark's choice, when it is a finish reason. */
qg_status qg_reply_annotate(const qg_reply *r, const qg_event *e, const qg_mark *m, qg_edits *d);
/* Withheld texts and annotations of an event that leaves whole. */
qg_status qg_reply_plain_edits(const qg_reply *r, const qg_event *e, qg_edits *d);

/* ---- reply_out.c ---- */
/* Lets leave what may, and ends the reply when it is time. */
void qg_reply_settle(qg_reply *r);
void qg_reply_drop_events(qg_reply *r);
/* The reply cannot go on; the first fault stands. */
void qg_reply_fail(qg_reply *r, qg_reply_outcome outcome, bool now, int http, const char *code,
                   const char *sentence);
void qg_reply_no_memory(qg_reply *r);

#endif
