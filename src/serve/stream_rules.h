/* The policy's rules over the turns of a conversation whose text comes in pieces: the same rules
 * and the same scan as for whole texts.  A prompt's rules hold for turns of users and of the
 * system, a reply's for the assistant's. */
#ifndef QG_SERVE_STREAM_RULES_H
#define QG_SERVE_STREAM_RULES_H

#include "base/buf.h"
#include "svc/policy.h"
#include "text/json.h"

/* What the rules say about a turn. */
typedef struct qg_stream_rule {
    const char *role;
    const qg_rule *rule; /* NULL: nothing */
    uint64_t begin, end; /* code points of the turn's text */
} qg_stream_rule;

/* What they say with an append: about the turn that it ended by beginning another, and about the
 * one it touched last; news: not said before. */
typedef struct qg_stream_said {
    qg_stream_rule ended, now;
    bool ended_news, now_news;
    uint64_t held;    /* code point of the turn from which on a match may still begin */
    qg_status failed; /* not QG_OK: the turn passes without rules, by the policy */
} qg_stream_said;

/* Belongs to whoever makes the append. */
typedef struct qg_stream_rules {
    const qg_rules *rules; /* NULL or without rules: nothing is ever said */
    const qg_policy_view *view;
    qg_scan *scan;       /* of the open turn; NULL: there are none for it */
    qg_buf part;         /* of ids: a character that is not whole */
    const char *role;    /* of the open turn; NULL: none is open */
    qg_stream_rule told; /* of the open turn, last */
    bool stale;          /* what was scanned is not what the session has */
    qg_stream_said said;
} qg_stream_rules;

/* rules and view live as long as it; rules may be NULL. */
void qg_stream_rules_begin(qg_stream_rules *r, const qg_rules *rules, const qg_policy_view *view);
void qg_stream_rules_free(qg_stream_rules *r);

/* append is about to be submitted to session: r->said.  Otherwise it must not be submitted: the
 * text cannot be held against the rules and the policy closes, or QG_ERR_GONE, QG_ERR_NOMEM, … When
 * it fails after all, or what was appended is rolled back, stale is to be set. */
qg_status qg_stream_rules_append(qg_stream_rules *r, qg_session *session, const qg_engine *engine,
                                 const qg_append *append, qg_err *err);

/* Whether it is a hit by the view's thresholds; a hit that the policy allows is none. */
bool qg_stream_rule_hits(const qg_stream_rule *s, const qg_policy_view *view);
/* Whether it, and not the model's verdict of this severity, is the turn's. */
bool qg_stream_rule_decides(const qg_stream_rule *s, qg_severity model);
/* {"line":…,"role":…,"begin":…,…}: NULL when out of memory. */
json_t *qg_stream_rule_json(const qg_stream_rule *s, const qg_policy_view *view);
/* The news, in order: 0 to 2. */
size_t qg_stream_said_news(const qg_stream_said *said, const qg_stream_rule *out[2]);

#endif
