/* One reply on its way from the upstream to the client, under judgment: the gateway's core.  A
 * state machine without input, output, clock or threads.  Its owner carries bytes in, texts to the
 * judge, verdicts back, and bytes out:
 *
 *     qg_reply_open(&reply, &options, &err);
 *     for (each piece from the upstream)         qg_reply_feed(reply, piece);
 *     when the upstream's body has ended         qg_reply_end(reply);
 *     after each of these, and after a verdict:
 *         while (qg_reply_ask_next(reply, &ask))     hand ask.text to lane ask.lane's session;
 *         send qg_reply_output(reply), then      qg_reply_took(reply, n);
 *         s = qg_reply_state(reply);             pause or abort the upstream, end the answer
 *     when a session has answered                qg_reply_judged(reply, lane, result)
 *                                             or qg_reply_judge_failed(reply, lane, status, ...)
 *
 * What is promised (closed, not shadow): no byte of a text leaves before it was judged: token i
 * only when token i+d is judged and final (d = hold_back_tokens), or when the text's end is; never
 * the half of a character; never what can still become part of a rule's match.  Text that leaves is
 * a prefix of what the upstream sent, lane by lane.  Without a hit the upstream's own bytes leave,
 * in their order (comments lose their words).  After a hit the reply ends as its protocol ends.
 *
 * A lane is one text of the reply: the content of a choice, its reasoning, the calls of one tool…
 * Each is judged as a session of its own: the conversation, then the assistant's text.  Lanes are
 * numbered from 0 in the order in which they appear.
 *
 * One thread at a time per reply; replies share nothing. */
#ifndef QG_GATEWAY_REPLY_H
#define QG_GATEWAY_REPLY_H

#include "gateway/wire.h"

typedef struct qg_reply qg_reply;

typedef struct qg_reply_options {
    size_t size; /* set by qg_reply_options_init */
    qg_proto proto;
    bool stream; /* the upstream answers with text/event-stream; false: with one JSON body */
    const qg_policy_view *view; /* copied; its message must live as long as the reply */
    const qg_rules *rules;      /* must live as long as the reply; NULL = none */
    qg_slice request; /* body of the client's request (JSON), for what servers say back of it; must
                         live until the reply is tried again or closed; "" = nothing is an echo */
    bool gated;       /* nothing leaves before qg_reply_admit: the prompt is judged beside */
    bool may_retry;   /* a hit before anything has left is not answered: state.retry is set, and the
                         owner calls qg_reply_retry or qg_reply_give_up */
} qg_reply_options;

/* No rules, a chat stream, not gated. */
void qg_reply_options_init(qg_reply_options *opt);
/* QG_ERR_NOMEM, QG_ERR_ARG (no view). */
qg_status qg_reply_open(qg_reply **out, const qg_reply_options *opt, qg_err *err);
void qg_reply_close(qg_reply *reply); /* NULL is fine */

/* ---- upstream -> reply ----------------------------------------------------------------------- */

/* The next bytes of the upstream's body, cut anywhere.  Whatever is wrong with them (malformed
 * events, too long lines, out of memory) becomes the reply's outcome, never a silent pass; bytes
 * after state.abort_upstream are ignored. */
void qg_reply_feed(qg_reply *reply, qg_slice bytes);
/* The upstream's body has ended.  Without its protocol's last event that is a failure: what was
 * judged leaves, then an error event. */
void qg_reply_end(qg_reply *reply);
/* The upstream failed, or the owner gives up on it (http: status for a client that has none yet,
 * 502 or 504; code: a word for it).  Ends as qg_reply_end without a last event does. */
void qg_reply_upstream_failed(qg_reply *reply, int http, const char *code, const char *sentence);

/* ---- reply <-> judge ------------------------------------------------------------------------- */

typedef struct qg_reply_ask {
    uint32_t lane;
    qg_slice text; /* next bytes of its assistant turn, whole characters, maybe none when last;
                      borrowed until the next call on the reply */
    bool last;     /* the turn ends behind them (qg_append.end) */
    bool fresh;    /* open a new session for the lane first (closing the one it had), with the
                      conversation as its context */
} qg_reply_ask;

/* The next text to judge; false: none at the moment.  The lane is then busy until it is answered,
 * other lanes may be asked beside it. */
bool qg_reply_ask_next(qg_reply *reply, qg_reply_ask *ask);
/* What the session said to the lane's text.  result is only read. */
void qg_reply_judged(qg_reply *reply, uint32_t lane, const qg_stream_result *result);
/* It could not be judged.  QG_ERR_GONE: the text is asked again with a fresh session (three times
 * in a row, then it is a failure).  Anything else: with on_error open the text leaves unjudged and
 * is counted; closed, the reply ends with an error.  sentence may be NULL. */
void qg_reply_judge_failed(qg_reply *reply, uint32_t lane, qg_status status, const char *sentence);

/* The prompt has passed (gated replies). */
void qg_reply_admit(qg_reply *reply);

/* The reader has heard nothing for long: a comment (": keep-alive") goes into the output.  False:
 * not now, since no answer has begun or its status is still open, the policy may ask for it again,
 * it is no stream, or the mode is shadow. */
bool qg_reply_keep_alive(qg_reply *reply);

/* ---- reply -> client ------------------------------------------------------------------------- */

/* Bytes for the client; borrowed until the next call.  Take them away with qg_reply_took. */
qg_slice qg_reply_output(const qg_reply *reply);
void qg_reply_took(qg_reply *reply, size_t n);

typedef enum qg_reply_outcome {
    QG_REPLY_RUNNING = 0,
    QG_REPLY_PASSED,    /* all of it has left */
    QG_REPLY_CUT,       /* a hit ended it */
    QG_REPLY_UNJUDGED,  /* a text could not be judged, and the policy closes */
    QG_REPLY_UPSTREAM,  /* the upstream failed or closed early */
    QG_REPLY_MALFORMED, /* what it sent cannot be read */
    QG_REPLY_NO_MEMORY,
} qg_reply_outcome;
const char *qg_reply_outcome_name(qg_reply_outcome outcome);

typedef struct qg_reply_state {
    bool started;        /* something is or was in the output: http and event_stream are fixed */
    int http;            /* status of the answer: 200, or that of an error body */
    bool event_stream;   /* Content-Type: text/event-stream, else application/json */
    bool abort_upstream; /* nothing more is wanted from the upstream */
    bool pause;          /* more is held than should be: read no more from the upstream for now */
    bool done;           /* nothing more will be put into the output */
    bool judging;        /* a lane is still to be answered (shadow mode goes on when it is done) */
    bool retry;          /* may_retry: stopped before anything has left; see there */
    qg_reply_outcome outcome;
    const char *sentence; /* of a failure; "" else */
} qg_reply_state;
qg_reply_state qg_reply_state_of(const qg_reply *reply);

/* After state.retry: begin anew with another answer of the upstream's (hits and counts are kept),
 * or end with the hit. */
void qg_reply_retry(qg_reply *reply);
void qg_reply_give_up(qg_reply *reply);

/* ---- what happened --------------------------------------------------------------------------- */

typedef struct qg_reply_hit {
    uint32_t lane;
    int32_t choice;     /* index of the choice, output item or content block; -1: none */
    qg_field_kind kind; /* of the lane's text */
    qg_severity severity;
    const char *category; /* the engine's or the rule's string */
    double p_severity[3]; /* indexed by qg_severity */
    double p_category;    /* of category, given that it is not Safe */
    uint64_t begin, end;  /* code points of the lane's text */
    qg_action action;     /* what was done; in shadow mode: what would have been */
    const qg_rule *rule;  /* NULL: the model said so */
} qg_reply_hit;

/* Flagged and blocking hits in the order in which they were found (not those that the policy
 * allows), at most 16; flags that follow one another in a lane with the same category are one. */
size_t qg_reply_hits(const qg_reply *reply, const qg_reply_hit **hits);

typedef struct qg_reply_counts {
    uint64_t bytes_in, bytes_out; /* of bodies */
    uint64_t events;              /* of the upstream's stream */
    uint64_t text_in, text_out;   /* bytes of text, and those of them that left */
    uint64_t text_withheld;       /* text_in - text_out once it is done */
    uint64_t text_unjudged;       /* left without a verdict: open, or fields that pass */
    uint64_t tokens;              /* judged and final */
    uint64_t held_bytes,
        held_tokens; /* now: raw bytes waiting; judged tokens that wait, all lanes */
    uint64_t judge_failures;
    uint32_t lanes, sessions; /* sessions asked for (fresh) */
} qg_reply_counts;
qg_reply_counts qg_reply_counts_of(const qg_reply *reply);

/* A lane, for logs and the live view.  False: there is no such lane. */
typedef struct qg_reply_lane {
    int32_t choice;
    qg_field_kind kind;
    const char *name;                /* member the text stands in: "content", "arguments"… */
    uint64_t sent, judged, released; /* bytes of text: from upstream, with a verdict, out */
} qg_reply_lane;
bool qg_reply_lane_of(const qg_reply *reply, uint32_t lane, qg_reply_lane *out);

/* Text as it comes in and as it leaves, for a log or the live view; text is borrowed during the
 * call.  released false: the upstream has sent it; true: it has left.  Set before the first feed.
 */
typedef void qg_reply_watch_fn(void *ud, uint32_t lane, bool released, qg_slice text);
void qg_reply_watch(qg_reply *reply, qg_reply_watch_fn *fn, void *ud);

#endif
