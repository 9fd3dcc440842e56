/* One text of a reply under judgment: what came, what was given to the judge, how far it may leave.
 * Bytes and code points are counted from the lane's first; bounds lie between characters.
 *
 * A lane is judged in segments.  A segment ends where its text does (the choice has finished, the
 * block is closed), or where another text of the same choice begins: then its last tokens need not
 * wait for more.  Should the lane go on after all, a fresh session reads the last
 * QG_REPLY_CONTEXT bytes again before the new ones.  The same happens when a session is lost. */
#ifndef QG_GATEWAY_LANE_H
#define QG_GATEWAY_LANE_H

#include "base/buf.h"
#include "gateway/jstr.h"
#include "svc/policy.h"

#include <stdint.h>

enum { QG_LANE_RING = 65 }; /* the largest hold_back_tokens, and one */

typedef struct qg_lane_hit {
    qg_severity severity;
    const char *category;
    double p_severity[3], p_category;
    uint64_t begin, end; /* code points */
    uint64_t stop;       /* bytes: where the text before it ends */
    const qg_rule *rule; /* NULL: the model */
    bool final_safe;     /* a final Safe rule stands: the model's hits do not count */
} qg_lane_hit;

typedef struct qg_lane qg_lane;
/* Told of every flagged token and every rule that matches; true: the lane stops there. */
typedef bool qg_lane_hit_fn(void *ud, qg_lane *lane, const qg_lane_hit *hit);

/* What the lanes of a reply share. */
typedef struct qg_lane_env {
    const qg_policy_view *view;
    const qg_rules *rules; /* NULL: none */
    qg_lane_hit_fn *hit;
    void *ud;
} qg_lane_env;

typedef struct qg_place {
    uint64_t byte, cp;
} qg_place;

typedef struct qg_lane_end_at {
    uint64_t byte;
    bool carry; /* should there be more, it continues this text */
} qg_lane_end_at;

struct qg_lane {
    const qg_lane_env *env;
    uint32_t number;
    int32_t choice, sub;
    qg_field_kind kind;
    char name[32];
    uint64_t name_hash;
    bool passed; /* nobody judges it */
    bool keep;   /* its text is kept from the first byte on */
    bool by_sentence;
    qg_jstr_half half; /* of an inner escape: comes in when it is whole, or the segment ends */

    qg_buf text;
    qg_place base;        /* of text.p[0] */
    uint64_t released;    /* bytes that have left (the owner's) */
    qg_lane_end_at *ends; /* [n_ends] segments that end, not yet judged */
    size_t n_ends, ends_cap;
    uint64_t last_end;             /* the last one ever */
    uint64_t whole_from, whole_to; /* the owner's: its last text that stood for itself */
    bool scan_carry;               /* how the last one ended, for the rules */
    bool carry;                    /* a fresh session reads context first: how the last one that was
                                      judged ended, there may be others behind it */
    uint64_t patience, waited;     /* texts of others that an open segment waits for, and has */

    /* judge */
    bool busy, fresh, asked_last, stopped, unjudged;
    uint64_t asked;   /* bytes given */
    uint64_t stop;    /* bytes: no more is given or leaves */
    uint64_t segment; /* code points before its session's first */
    uint64_t old;     /* code points judged before this session */
    uint64_t model;   /* bytes: how far the model lets it leave */
    qg_place at_model, at_rule;
    uint64_t begins[QG_LANE_RING], n_tokens; /* of the session */
    uint64_t tokens;                         /* of all */
    bool previous_hit;
    uint64_t run; /* code point where the run of hits begins */
    int gone, failures;
    uint64_t n_unjudged; /* bytes that leave without a verdict */

    /* rules */
    qg_scan *scan;
    uint64_t scan_from; /* code points before its first */
    uint64_t rule;      /* bytes: how far the rules let it leave */
    const qg_rule *last_rule;
    uint64_t last_rule_at;
    bool no_rules;   /* they failed, and the policy opens */
    bool final_safe; /* of the rules that match, a final Safe one decides */

    /* sentences */
    uint64_t sentence, sentence_at; /* bytes: end of the last one; looked at so far */
};

/* name [n]: of the member; cut to fit. */
void qg_lane_init(qg_lane *lane, const qg_lane_env *env, uint32_t number, qg_field_kind kind,
                  qg_slice name);
void qg_lane_free(qg_lane *lane);

/* More text (whole characters).  QG_ERR_NOMEM; QG_ERR_TOO_LONG: more is held than may be;
 * QG_ERR_UNSUPPORTED: a rule needs too much work, and the policy closes (if it opens, the lane has
 * no rules from here on). */
qg_status qg_lane_add(qg_lane *lane, qg_slice text, qg_err *err);
/* The segment ends here; carry: should there be more, it continues this text. */
qg_status qg_lane_end(qg_lane *lane, bool carry, qg_err *err);
static inline uint64_t qg_lane_total(const qg_lane *lane)
{
    return lane->base.byte + lane->text.n;
}
/* Text [from, to) of what is kept. */
qg_slice qg_lane_text(const qg_lane *lane, uint64_t from, uint64_t to);
/* No text from this byte on is judged or leaves. */
void qg_lane_stop(qg_lane *lane, uint64_t at);
/* Stopped, and all that may leave is known. */
bool qg_lane_settled(const qg_lane *lane);
/* Everything that came is judged and its segment has ended: nothing is waited for. */
bool qg_lane_quiet(const qg_lane *lane);

/* The next text for the judge; see qg_reply_ask. */
bool qg_lane_ask(qg_lane *lane, qg_slice *text, bool *last, bool *fresh);
void qg_lane_judged(qg_lane *lane, const qg_stream_result *result);
/* The session is lost: its text is asked again.  False: that happened too often in a row. */
bool qg_lane_gone(qg_lane *lane);
/* What was asked leaves unjudged. */
void qg_lane_pass(qg_lane *lane);
/* It is judged no further: what is behind the last verdict never leaves. */
void qg_lane_give_up(qg_lane *lane);

/* How far the text may leave. */
uint64_t qg_lane_safe(qg_lane *lane);
/* The owner has let the text leave up to here; lets go of memory. */
void qg_lane_release(qg_lane *lane, uint64_t to);

#endif
