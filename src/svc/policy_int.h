/* What the files of the policy share: settings as they are read, each slot set or not, so that an
 * override changes what it names and nothing else. */
#ifndef QG_SVC_POLICY_INT_H
#define QG_SVC_POLICY_INT_H

#include "svc/policy.h"

#include <stdatomic.h>

enum {
    QG_SLOT_LOOSE,
    QG_SLOT_UNSAFE,
    QG_SLOT_ON_UNSAFE,
    QG_SLOT_ON_CONTROVERSIAL,
    QG_SLOT_SCOPE,
    QG_SLOT_ROLES,
    QG_SLOT_OPEN, /* two: prompt, response */
    QG_SLOT_SHADOW = QG_SLOT_OPEN + QG_N_PHASES,
    QG_SLOT_LONG_INPUT,
    QG_SLOT_PROMPT_BLOCK,
    QG_SLOT_HOLD_BACK,
    QG_SLOT_JUDGE_PROMPT,
    QG_SLOT_CUT,
    QG_SLOT_REGENERATE,
    QG_SLOT_FIELD,                                  /* one a kind of text */
    QG_SLOT_DEADLINE = QG_SLOT_FIELD + QG_N_FIELDS, /* two */
    QG_SLOT_RATE = QG_SLOT_DEADLINE + QG_N_PHASES,
    QG_SLOT_CONCURRENT,
    QG_SLOT_MESSAGE,
    QG_SLOT_THRESHOLD, /* one a category */
    QG_SLOT_ACTION = QG_SLOT_THRESHOLD + QG_POLICY_CATEGORIES,
    QG_N_SLOTS = QG_SLOT_ACTION + QG_POLICY_CATEGORIES,
};

typedef struct qg_settings {
    char *name; /* of the key or model; NULL for the file's own */
    bool set[QG_N_SLOTS];
    double value[QG_N_SLOTS];
    char *message;
} qg_settings;

typedef struct qg_overrides {
    qg_settings *at; /* [n] */
    size_t n;
} qg_overrides;

struct qg_policy {
    atomic_int refs;
    char hash[65];
    qg_settings own;
    qg_overrides keys, models;
    qg_rules *rules;
    char *passes; /* paths of passthrough, each with a line break behind it; NULL = none */
};

/* Canonical names, in the order of the slots. */
extern const char *const qg_policy_category_names[QG_POLICY_CATEGORIES];

/* Fills in an empty policy from YAML (policy_yaml.c).  Sentences begin with "line N: ". */
qg_status qg_policy_read(qg_policy *policy, qg_slice text, qg_err *err);

#endif
