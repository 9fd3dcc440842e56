#include "svc/policy.h"

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "svc/policy_int.h"

#include <openssl/evp.h>
#include <strings.h>

const char *const qg_policy_category_names[QG_POLICY_CATEGORIES] = {
    "Violent",
    "Non-violent Illegal Acts",
    "Sexual Content or Sexual Acts",
    "PII",
    "Suicide & Self-Harm",
    "Unethical Acts",
    "Politically Sensitive Topics",
    "Copyright Violation",
    "Jailbreak",
};

static const char default_message[] = "This content was blocked by the safety policy.";

int qg_policy_category(const char *name)
{
    for (int i = 0; i < QG_POLICY_CATEGORIES && name; i++)
        if (!strcasecmp(name, qg_policy_category_names[i]))
            return i;
    return -1;
}

const char *qg_action_name(qg_action action)
{
    static const char *const names[] = {"allow", "flag", "block"};
    return names[action];
}

const char *qg_field_name(qg_field_kind kind)
{
    static const char *const names[QG_N_FIELDS] = {"content", "refusal", "reasoning",
                                                   "tool",    "other",   "opaque"};
    return names[kind];
}

qg_action qg_policy_action(const qg_policy_view *view, qg_severity severity, const char *category)
{
    int i = qg_policy_category(category);
    if (i >= 0 && view->action[i] >= 0)
        return (qg_action)view->action[i];
    return severity == QG_CONTROVERSIAL ? view->on_controversial : view->on_unsafe;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void free_settings(qg_settings *s)
{
    qg_mfree(s->name);
    qg_mfree(s->message);
}

static void free_overrides(qg_overrides *o)
{
    for (size_t i = 0; i < o->n; i++)
        free_settings(&o->at[i]);
    qg_mfree(o->at);
}

void qg_policy_ref(qg_policy *policy)
{
    atomic_fetch_add(&policy->refs, 1);
}

void qg_policy_unref(qg_policy *policy)
{
    if (!policy || atomic_fetch_sub(&policy->refs, 1) != 1)
        return;
    free_settings(&policy->own);
    free_overrides(&policy->keys);
    free_overrides(&policy->models);
    qg_rules_close(policy->rules);
    qg_mfree(policy->passes);
    qg_mfree(policy);
}

static qg_policy *born(void)
{
    qg_policy *policy = qg_calloc(1, sizeof *policy);
    if (policy)
        atomic_init(&policy->refs, 1);
    return policy;
}

qg_status qg_policy_default(qg_policy **out, qg_err *err)
{
    qg_policy *policy = born();
    qg_status rc = policy ? qg_rules_open(&policy->rules, NULL, 0, err)
                          : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    *out = rc == QG_OK ? policy : NULL;
    if (rc != QG_OK)
        qg_policy_unref(policy);
    return rc;
}

static qg_status hash_text(qg_policy *policy, qg_slice text, qg_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!EVP_Digest(text.p, text.n, digest, &n, EVP_sha256(), NULL) || n != 32)
        return qg_fail(err, QG_ERR_INTERNAL, "SHA-256 is not available");
    for (unsigned i = 0; i < n; i++) {
        policy->hash[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        policy->hash[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    return QG_OK;
}

qg_status qg_policy_parse(qg_policy **out, qg_slice text, const char *name, qg_err *err)
{
    qg_policy *policy = born();
    *out = NULL;
    if (!policy)
        return qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", name);
    qg_status rc = text.n <= QG_MAX_POLICY_BYTES
                       ? qg_policy_read(policy, text, err)
                       : qg_fail(err, QG_ERR_TOO_LONG, "%zu bytes, at most %u are allowed", text.n,
                                 QG_MAX_POLICY_BYTES);
    if (rc == QG_OK)
        rc = hash_text(policy, text, err);
    if (rc != QG_OK) {
        qg_policy_unref(policy);
        return qg_fail_prefix(err, rc, "%s", name);
    }
    *out = policy;
    return QG_OK;
}

qg_status qg_policy_open(qg_policy **out, const char *path, qg_err *err)
{
    qg_map map;
    *out = NULL;
    QG_TRY(qg_map_open(&map, path, err));
    qg_status rc = qg_policy_parse(
        out, qg_slice_of(map.size ? (const char *)map.data : "", map.size), path, err);
    qg_map_close(&map);
    return rc;
}

/* ---- views ----------------------------------------------------------------------------------- */

static const qg_settings *find(const qg_overrides *o, qg_slice name)
{
    for (size_t i = 0; i < o->n; i++)
        if (qg_slice_is(name, o->at[i].name))
            return &o->at[i];
    return NULL;
}

static void lay_over(qg_settings *onto, const qg_settings *s)
{
    for (int i = 0; s && i < QG_N_SLOTS; i++)
        if (s->set[i]) {
            onto->set[i] = true;
            onto->value[i] = s->value[i];
            if (i == QG_SLOT_MESSAGE)
                onto->message = s->message;
        }
}

static double slot(const qg_settings *s, int i, double absent)
{
    return s->set[i] ? s->value[i] : absent;
}

static void view_of(const qg_settings *s, qg_policy_view *v)
{
    *v = (qg_policy_view){
        .thresholds = {.size = sizeof v->thresholds,
                       .loose = slot(s, QG_SLOT_LOOSE, 0) > 0,
                       .unsafe = slot(s, QG_SLOT_UNSAFE, 0)},
        .on_unsafe = (qg_action)slot(s, QG_SLOT_ON_UNSAFE, QG_ACTION_BLOCK),
        .on_controversial = (qg_action)slot(s, QG_SLOT_ON_CONTROVERSIAL, QG_ACTION_BLOCK),
        .scope = (qg_scope)slot(s, QG_SLOT_SCOPE, QG_SCOPE_CONVERSATION),
        .roles = (unsigned)slot(s, QG_SLOT_ROLES, QG_ROLE_ALL),
        .shadow = slot(s, QG_SLOT_SHADOW, 0) > 0,
        .long_input_windows = slot(s, QG_SLOT_LONG_INPUT, 0) > 0,
        .prompt_block_message = slot(s, QG_SLOT_PROMPT_BLOCK, 0) > 0,
        .hold_back_tokens = (int32_t)slot(s, QG_SLOT_HOLD_BACK, 4),
        .judge_prompt = (qg_prompt_when)slot(s, QG_SLOT_JUDGE_PROMPT, QG_PROMPT_BEFORE),
        .cut = (qg_cut)slot(s, QG_SLOT_CUT, QG_CUT_TOKEN),
        .regenerate = (int32_t)slot(s, QG_SLOT_REGENERATE, 0),
        .per_minute = (int32_t)slot(s, QG_SLOT_RATE, 0),
        .concurrent = (int32_t)slot(s, QG_SLOT_CONCURRENT, 0),
        .message = s->set[QG_SLOT_MESSAGE] ? s->message : default_message,
        .message_written = s->set[QG_SLOT_MESSAGE],
    };
    for (int i = 0; i < QG_N_FIELDS; i++)
        v->fields[i] = (qg_field_rule)slot(
            s, QG_SLOT_FIELD + i, i == QG_FIELD_OPAQUE ? QG_FIELD_PASSED : QG_FIELD_JUDGED);
    for (int i = 0; i < QG_N_PHASES; i++) {
        v->open[i] = slot(s, QG_SLOT_OPEN + i, 0) > 0;
        v->deadline_ms[i] = (int32_t)slot(s, QG_SLOT_DEADLINE + i, 0);
    }
    for (int i = 0; i < QG_POLICY_CATEGORIES; i++) {
        v->thresholds.category[i] = slot(s, QG_SLOT_THRESHOLD + i, 0);
        v->action[i] = (int32_t)slot(s, QG_SLOT_ACTION + i, -1);
    }
}

void qg_policy_view_of(const qg_policy *policy, qg_slice key, qg_slice model, qg_policy_view *view)
{
    qg_settings all = policy->own;
    lay_over(&all, find(&policy->models, model));
    lay_over(&all, find(&policy->keys, key));
    view_of(&all, view);
}

const qg_rules *qg_policy_rules(const qg_policy *policy)
{
    return policy->rules;
}

qg_policy_size qg_policy_size_of(const qg_policy *policy)
{
    return (qg_policy_size){policy->keys.n, policy->models.n};
}

const char *qg_policy_hash(const qg_policy *policy)
{
    return policy->hash;
}

/* One entry is a path, or its beginning and '*'. */
static bool entry_passes(qg_slice entry, qg_slice path)
{
    if (entry.n && entry.p[entry.n - 1] == '*')
        return path.n >= entry.n && memcmp(path.p, entry.p, entry.n - 1) == 0;
    return qg_slice_eq(entry, path);
}

bool qg_policy_passes(const qg_policy *policy, qg_slice path)
{
    for (const char *p = policy->passes, *end; p && *p; p = end + 1) {
        end = strchr(p, '\n');
        if (entry_passes(qg_slice_of(p, (size_t)(end - p)), path))
            return true;
    }
    return false;
}
