/* The policy file: what counts as a hit, what is done then, what happens when judging fails, and
 * word and pattern rules.  docs/POLICY.md describes every key.
 *
 * A policy never changes once read; a server that reloads replaces it as a whole and lets readers
 * of the old one finish (references). */
#ifndef QG_SVC_POLICY_H
#define QG_SVC_POLICY_H

#include "svc/rules.h"

enum { QG_POLICY_CATEGORIES = 9 };

typedef enum qg_action { QG_ACTION_ALLOW = 0, QG_ACTION_FLAG = 1, QG_ACTION_BLOCK = 2 } qg_action;

/* Which of a conversation is judged: all of it as context, or its last message alone. */
typedef enum qg_scope { QG_SCOPE_CONVERSATION = 0, QG_SCOPE_LAST_TURN = 1 } qg_scope;

enum {
    QG_ROLE_USER = 1u << 0,
    QG_ROLE_ASSISTANT = 1u << 1,
    QG_ROLE_SYSTEM = 1u << 2,
    QG_ROLE_TOOL = 1u << 3,
    QG_ROLE_ALL = 15u
};

/* Gateway: when the prompt is judged, where a reply ends on a hit, and what is done with each kind
 * of text in a reply.  Opaque: signatures, encrypted reasoning and sound, which nobody can read. */
typedef enum qg_prompt_when {
    QG_PROMPT_BEFORE = 0,
    QG_PROMPT_BESIDE = 1,
    QG_PROMPT_OFF = 2
} qg_prompt_when;
typedef enum qg_cut { QG_CUT_TOKEN = 0, QG_CUT_SENTENCE = 1, QG_CUT_REPLY = 2 } qg_cut;
typedef enum qg_field_kind {
    QG_FIELD_CONTENT = 0,
    QG_FIELD_REFUSAL,
    QG_FIELD_REASONING,
    QG_FIELD_TOOL, /* names and arguments of calls */
    QG_FIELD_OTHER,
    QG_FIELD_OPAQUE,
    QG_N_FIELDS
} qg_field_kind;
typedef enum qg_field_rule {
    QG_FIELD_JUDGED = 0,
    QG_FIELD_WITHHELD = 1,
    QG_FIELD_PASSED = 2
} qg_field_rule;

/* What holds for one caller: the file's own settings, then its model's, then its key's. */
typedef struct qg_policy_view {
    qg_thresholds thresholds;
    qg_action on_unsafe, on_controversial; /* of a hit whose category has no action of its own */
    int32_t action[QG_POLICY_CATEGORIES];  /* qg_action, -1 = none of its own */
    qg_scope scope;
    unsigned roles;              /* QG_ROLE_*: messages of other roles are left out */
    bool open[QG_N_PHASES];      /* what cannot be judged passes */
    bool shadow;                 /* judge and record, change nothing */
    bool long_input_windows;     /* beyond the context: overlapping windows instead of a refusal */
    bool prompt_block_message;   /* gateway: a normal reply instead of an error */
    int32_t hold_back_tokens;    /* gateway: 2..64 */
    qg_prompt_when judge_prompt; /* gateway */
    qg_cut cut;                  /* gateway */
    qg_field_rule fields[QG_N_FIELDS]; /* gateway */
    int32_t regenerate;                /* gateway: 0..5 more tries after a hit */
    int32_t deadline_ms[QG_N_PHASES];  /* 0 = the server's */
    int32_t per_minute, concurrent;    /* requests of one key; 0 = no limit */
    const char *message;               /* shown for what is blocked; lives as long as the policy */
    bool message_written;              /* the file has one: a cut reply ends with it (gateway) */
} qg_policy_view;

typedef struct qg_policy qg_policy;

/* Reads a file.  QG_ERR_IO, or QG_ERR_FORMAT / QG_ERR_ARG / QG_ERR_TOO_LONG with "path:line: field:
 * what is wrong".  *out has one reference. */
qg_status qg_policy_open(qg_policy **out, const char *path, qg_err *err);
/* The same from bytes; name stands for the path in sentences. */
qg_status qg_policy_parse(qg_policy **out, qg_slice text, const char *name, qg_err *err);
/* The policy without a file: strict, the most probable label decides, a hit is blocked, what cannot
 * be judged is blocked, no rules. */
qg_status qg_policy_default(qg_policy **out, qg_err *err);
void qg_policy_ref(qg_policy *policy);
void qg_policy_unref(qg_policy *policy); /* NULL is fine */

/* key: name of the caller's API key, model: as the request names it; "" = none. Any thread. */
void qg_policy_view_of(const qg_policy *policy, qg_slice key, qg_slice model, qg_policy_view *view);
const qg_rules *qg_policy_rules(const qg_policy *policy);
/* Gateway: whether passthrough lists this path. */
bool qg_policy_passes(const qg_policy *policy, qg_slice path);
/* How many callers and models have settings of their own. */
typedef struct qg_policy_size {
    size_t n_keys, n_models;
} qg_policy_size;
qg_policy_size qg_policy_size_of(const qg_policy *policy);
/* SHA-256 of the file in hex, "" for the default: for logs and audits. */
const char *qg_policy_hash(const qg_policy *policy);

/* Index of a canonical category name in threshold and action; -1 when unknown. */
int qg_policy_category(const char *name);
/* What is done about a hit. */
qg_action qg_policy_action(const qg_policy_view *view, qg_severity severity, const char *category);
const char *qg_action_name(qg_action action);
/* "content", "refusal", "reasoning", "tool", "other", "opaque": as the policy file writes them. */
const char *qg_field_name(qg_field_kind kind);

#endif
