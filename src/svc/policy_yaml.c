/* The policy file's schema, as tables.  Why libyaml and not libcyaml: that one's mappings have
 * fixed keys, and those of `keys:` and `models:` are the user's (docs/decisions/0015). */
#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "svc/policy_int.h"
#include "svc/yaml_walk.h"

#include <stdio.h>
#include <strings.h>

/* What is being read; texts of the rules are the document's. */
typedef struct file {
    qg_policy *policy;
    qg_rule *rules;
    size_t n_rules;
} file;

static file *file_of(const qg_yaml *r)
{
    return r->ud;
}

/* ---- values ---------------------------------------------------------------------------------- */

static const qg_yaml_words modes[] = {{"strict", 0}, {"loose", 1}, {NULL, 0}};
static const qg_yaml_words closings[] = {{"closed", 0}, {"open", 1}, {NULL, 0}};
static const qg_yaml_words actions[] = {
    {"allow", QG_ACTION_ALLOW}, {"flag", QG_ACTION_FLAG}, {"block", QG_ACTION_BLOCK}, {NULL, 0}};
static const qg_yaml_words scopes[] = {
    {"conversation", QG_SCOPE_CONVERSATION}, {"last_turn", QG_SCOPE_LAST_TURN}, {NULL, 0}};
static const qg_yaml_words blocks[] = {{"error", 0}, {"message", 1}, {NULL, 0}};
static const qg_yaml_words lengths[] = {{"refuse", 0}, {"windows", 1}, {NULL, 0}};
static const qg_yaml_words whens[] = {
    {"before", QG_PROMPT_BEFORE}, {"beside", QG_PROMPT_BESIDE}, {"off", QG_PROMPT_OFF}, {NULL, 0}};
static const qg_yaml_words cuts[] = {
    {"token", QG_CUT_TOKEN}, {"sentence", QG_CUT_SENTENCE}, {"reply", QG_CUT_REPLY}, {NULL, 0}};
static const qg_yaml_words field_rules[] = {{"judged", QG_FIELD_JUDGED},
                                            {"withheld", QG_FIELD_WITHHELD},
                                            {"passed", QG_FIELD_PASSED},
                                            {NULL, 0}};
static const qg_yaml_words opaque_rules[] = {
    {"withheld", QG_FIELD_WITHHELD}, {"passed", QG_FIELD_PASSED}, {NULL, 0}};
static const qg_yaml_words truths[] = {{"false", 0}, {"true", 1}, {NULL, 0}};
static const qg_yaml_words phases[] = {
    {"prompt", QG_PHASE_PROMPT}, {"response", QG_PHASE_RESPONSE}, {NULL, 0}};
static const qg_yaml_words severities[] = {
    {"Safe", QG_SAFE}, {"Controversial", QG_CONTROVERSIAL}, {"Unsafe", QG_UNSAFE}, {NULL, 0}};
static const qg_yaml_words roles[] = {{"user", QG_ROLE_USER},
                                      {"assistant", QG_ROLE_ASSISTANT},
                                      {"system", QG_ROLE_SYSTEM},
                                      {"tool", QG_ROLE_TOOL},
                                      {NULL, 0}};

static void put(qg_settings *s, int slot, double value)
{
    s->set[slot] = true;
    s->value[slot] = value;
}

/* arg of the next three: the slot */
static qg_status choose(qg_yaml *r, const yaml_node_t *node, qg_settings *s, int slot,
                        const qg_yaml_words *words)
{
    int value;
    QG_TRY(qg_yaml_word(r, node, words, &value));
    put(s, slot, value);
    return QG_OK;
}

static qg_status read_mode(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, modes);
}

static qg_status read_closing(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, closings);
}

static qg_status read_action(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, actions);
}

static qg_status read_scope(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, scopes);
}

static qg_status read_block(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, blocks);
}

static qg_status read_length(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, lengths);
}

static qg_status read_truth(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, truths);
}

static qg_status read_when(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, whens);
}

static qg_status read_cut(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, cuts);
}

static qg_status read_tries(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    double x;
    QG_TRY(qg_yaml_number(r, node, 0, 5, true, &x));
    put(into, slot, x);
    return QG_OK;
}

static qg_status read_field(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    /* what nobody can read cannot be judged either */
    return choose(r, node, into, slot,
                  slot == QG_SLOT_FIELD + QG_FIELD_OPAQUE ? opaque_rules : field_rules);
}

static qg_status read_fields(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    qg_yaml_field fields[QG_N_FIELDS];
    for (int i = 0; i < QG_N_FIELDS; i++)
        fields[i] = (qg_yaml_field){qg_field_name((qg_field_kind)i), read_field, slot + i};
    return qg_yaml_table(r, node, fields, QG_N_FIELDS, into);
}

static qg_status read_hold_back(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    double x; /* at least the debounce of two */
    QG_TRY(qg_yaml_number(r, node, 2, 64, true, &x));
    put(into, slot, x);
    return QG_OK;
}

static qg_status read_ms(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    double x;
    QG_TRY(qg_yaml_number(r, node, 1, 3600000, true, &x));
    put(into, slot, x);
    return QG_OK;
}

static qg_status read_threshold(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    double x;
    QG_TRY(qg_yaml_number(r, node, 0.000001, 1, false, &x));
    put(into, slot, x);
    return QG_OK;
}

static qg_status read_message(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    qg_settings *s = into;
    qg_slice text = qg_yaml_scalar(node);
    if (node->type != YAML_SCALAR_NODE || text.n > 4096)
        return qg_yaml_refuse(r, node, "expected a text of at most 4096 bytes");
    qg_mfree(s->message);
    s->message = qg_memdup0(text.p, text.n);
    if (!s->message)
        return qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
    put(s, slot, 0);
    return QG_OK;
}

static qg_status read_roles(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    unsigned mask = 0;
    if (node->type != YAML_SEQUENCE_NODE)
        return qg_yaml_refuse(r, node, "expected a list of roles");
    for (const yaml_node_item_t *i = node->data.sequence.items.start;
         i < node->data.sequence.items.top; i++) {
        int role;
        QG_TRY(qg_yaml_word(r, yaml_document_get_node(&r->doc, *i), roles, &role));
        mask |= (unsigned)role;
    }
    if (!mask)
        return qg_yaml_refuse(r, node, "at least one role must be judged");
    put(into, slot, mask);
    return QG_OK;
}

/* ---- settings -------------------------------------------------------------------------------- */

/* One value for both phases, or one for each by name. */
static qg_status read_phases(qg_yaml *r, const yaml_node_t *node, void *into, int slot,
                             qg_yaml_fn *read)
{
    const qg_yaml_field each[] = {{"prompt", read, slot + QG_PHASE_PROMPT},
                                  {"response", read, slot + QG_PHASE_RESPONSE}};
    if (node->type == YAML_MAPPING_NODE)
        return qg_yaml_table(r, node, each, QG_COUNT(each), into);
    QG_TRY(read(r, node, into, slot + QG_PHASE_PROMPT));
    return read(r, node, into, slot + QG_PHASE_RESPONSE);
}

static qg_status read_on_error(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return read_phases(r, node, into, slot, read_closing);
}

static qg_status read_deadline(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    return read_phases(r, node, into, slot, read_ms);
}

static qg_status read_count(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    double x;
    QG_TRY(qg_yaml_number(r, node, 1, 1000000, true, &x));
    put(into, slot, x);
    return QG_OK;
}

static qg_status read_limits(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    (void)slot;
    static const qg_yaml_field fields[] = {{"requests_per_minute", read_count, QG_SLOT_RATE},
                                           {"concurrent", read_count, QG_SLOT_CONCURRENT}};
    return qg_yaml_table(r, node, fields, QG_COUNT(fields), into);
}

static qg_status read_thresholds(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    const qg_yaml_field fields[] = {{"unsafe", read_threshold, slot}};
    return qg_yaml_table(r, node, fields, QG_COUNT(fields), into);
}

static qg_status read_severity_action(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    const qg_yaml_field fields[] = {{"action", read_action, slot}};
    return qg_yaml_table(r, node, fields, QG_COUNT(fields), into);
}

static qg_status read_severities(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    (void)slot;
    static const qg_yaml_field fields[] = {
        {"Unsafe", read_severity_action, QG_SLOT_ON_UNSAFE},
        {"Controversial", read_severity_action, QG_SLOT_ON_CONTROVERSIAL},
    };
    return qg_yaml_table(r, node, fields, QG_COUNT(fields), into);
}

static qg_status read_category(qg_yaml *r, const yaml_node_t *key, const yaml_node_t *value,
                               void *into)
{
    qg_slice name = qg_yaml_scalar(key);
    for (int i = 0; i < QG_POLICY_CATEGORIES; i++) {
        const qg_yaml_field fields[] = {{"threshold", read_threshold, QG_SLOT_THRESHOLD + i},
                                        {"action", read_action, QG_SLOT_ACTION + i}};
        if (name.n == strlen(qg_policy_category_names[i]) &&
            !strncasecmp(name.p, qg_policy_category_names[i], name.n))
            return qg_yaml_table(r, value, fields, QG_COUNT(fields), into);
    }
    return qg_yaml_refuse(r, key, "unknown category; the nine are listed in docs/POLICY.md");
}

static qg_status read_categories(qg_yaml *r, const yaml_node_t *node, void *into, int slot)
{
    (void)slot;
    return qg_yaml_each(r, node, read_category, into);
}

#define SETTINGS                                                                                   \
    {"mode", read_mode, QG_SLOT_LOOSE}, {"on_error", read_on_error, QG_SLOT_OPEN},                 \
        {"thresholds", read_thresholds, QG_SLOT_UNSAFE}, {"severities", read_severities, 0},       \
        {"categories", read_categories, 0}, {"message", read_message, QG_SLOT_MESSAGE},            \
        {"hold_back_tokens", read_hold_back, QG_SLOT_HOLD_BACK},                                   \
        {"scope", read_scope, QG_SLOT_SCOPE}, {"roles", read_roles, QG_SLOT_ROLES},                \
        {"shadow", read_truth, QG_SLOT_SHADOW}, {"long_input", read_length, QG_SLOT_LONG_INPUT},   \
        {"prompt_block", read_block, QG_SLOT_PROMPT_BLOCK}, {"limits", read_limits, 0},            \
        {"judge_prompt", read_when, QG_SLOT_JUDGE_PROMPT}, {"cut", read_cut, QG_SLOT_CUT},         \
        {"fields", read_fields, QG_SLOT_FIELD}, {"regenerate", read_tries, QG_SLOT_REGENERATE},    \
    {                                                                                              \
        "deadline_ms", read_deadline, QG_SLOT_DEADLINE                                             \
    }

/* ---- rules ----------------------------------------------------------------------------------- */

static qg_status rule_text(qg_yaml *r, const yaml_node_t *node, void *into, int regex)
{
    qg_rule *rule = into;
    if (node->type != YAML_SCALAR_NODE)
        return qg_yaml_refuse(r, node, "expected a text");
    if (rule->text.p)
        return qg_yaml_refuse(r, node, "a rule is either contains or regex");
    rule->text = qg_yaml_scalar(node);
    rule->regex = regex;
    return QG_OK;
}

static qg_status rule_severity(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    int value;
    QG_TRY(qg_yaml_word(r, node, severities, &value));
    ((qg_rule *)into)->severity = (qg_severity)value;
    return QG_OK;
}

static qg_status rule_category(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    int i = node->type == YAML_SCALAR_NODE ? qg_policy_category(qg_yaml_scalar(node).p) : -1;
    if (i < 0)
        return qg_yaml_refuse(r, node, "unknown category; the nine are listed in docs/POLICY.md");
    ((qg_rule *)into)->category = qg_policy_category_names[i];
    return QG_OK;
}

static qg_status rule_phases(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    qg_rule *rule = into;
    int phase;
    if (node->type != YAML_SEQUENCE_NODE ||
        node->data.sequence.items.start == node->data.sequence.items.top)
        return qg_yaml_refuse(r, node, "expected a list of prompt and response");
    rule->phases[QG_PHASE_PROMPT] = rule->phases[QG_PHASE_RESPONSE] = false;
    for (const yaml_node_item_t *i = node->data.sequence.items.start;
         i < node->data.sequence.items.top; i++) {
        QG_TRY(qg_yaml_word(r, yaml_document_get_node(&r->doc, *i), phases, &phase));
        rule->phases[phase] = true;
    }
    return QG_OK;
}

static qg_status rule_final(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    int value;
    QG_TRY(qg_yaml_word(r, node, truths, &value));
    ((qg_rule *)into)->final = value;
    return QG_OK;
}

static qg_status read_rule(qg_yaml *r, const yaml_node_t *node, qg_rule *rule)
{
    static const qg_yaml_field fields[] = {
        {"contains", rule_text, 0},     {"regex", rule_text, 1}, {"severity", rule_severity, 0},
        {"category", rule_category, 0}, {"in", rule_phases, 0},  {"final", rule_final, 0},
    };
    *rule = (qg_rule){.severity = QG_SEVERITY_UNKNOWN, .phases = {true, true}};
    rule->line = qg_yaml_line(node);
    QG_TRY(qg_yaml_table(r, node, fields, QG_COUNT(fields), rule));
    if (!rule->text.p)
        return qg_yaml_refuse(r, node, "a rule needs contains or regex");
    if (rule->severity == QG_SEVERITY_UNKNOWN)
        return qg_yaml_refuse(r, node, "a rule needs a severity");
    if (rule->severity == QG_SAFE && rule->category)
        return qg_yaml_refuse(r, node, "a Safe rule has no category");
    if (rule->severity == QG_SAFE && !rule->final)
        return qg_yaml_refuse(r, node, "a Safe rule changes nothing unless it is final");
    if (rule->severity != QG_SAFE && !rule->category)
        return qg_yaml_refuse(r, node, "a rule that is not Safe needs a category");
    return QG_OK;
}

static qg_status read_rules(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)into, (void)arg;
    if (node->type != YAML_SEQUENCE_NODE)
        return qg_yaml_refuse(r, node, "expected a list of rules");
    const yaml_node_item_t *first = node->data.sequence.items.start;
    size_t n = (size_t)(node->data.sequence.items.top - first);
    if (n > QG_MAX_RULES)
        return qg_yaml_refuse(r, node, "%zu rules, at most %d are allowed", n, QG_MAX_RULES);
    file_of(r)->rules = qg_calloc(n, sizeof *file_of(r)->rules);
    if (!file_of(r)->rules)
        return qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
    size_t before = strlen(r->path);
    for (; file_of(r)->n_rules < n; file_of(r)->n_rules++) {
        const yaml_node_t *item = yaml_document_get_node(&r->doc, first[file_of(r)->n_rules]);
        snprintf(r->path + before, sizeof r->path - before, "[%zu]", file_of(r)->n_rules);
        QG_TRY(qg_yaml_count(r, item));
        QG_TRY(read_rule(r, item, &file_of(r)->rules[file_of(r)->n_rules]));
    }
    r->path[before] = 0;
    return QG_OK;
}

/* ---- passthrough --------------------------------------------------------------------------- */

/* A path below /v1/, maybe with '*' at its end; nothing that a line or a header could hide in. */
static bool is_path(qg_slice path)
{
    for (size_t i = 0; i < path.n; i++)
        if (path.p[i] <= ' ' || path.p[i] >= 127 || path.p[i] == '?' ||
            (path.p[i] == '*' && i + 1 < path.n))
            return false;
    return path.n > 4 && memcmp(path.p, "/v1/", 4) == 0;
}

static qg_status read_passes(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)into, (void)arg;
    qg_buf text;
    qg_status rc = QG_OK;
    if (node->type != YAML_SEQUENCE_NODE)
        return qg_yaml_refuse(r, node, "expected a list of paths");
    qg_buf_init(&text, QG_MAX_POLICY_BYTES);
    for (const yaml_node_item_t *i = node->data.sequence.items.start;
         i < node->data.sequence.items.top && rc == QG_OK; i++) {
        const yaml_node_t *item = yaml_document_get_node(&r->doc, *i);
        qg_slice path = qg_yaml_scalar(item);
        if (!is_path(path))
            rc = qg_yaml_refuse(r, item, "expected a path such as /v1/embeddings or /v1/files/*");
        else if (qg_buf_add(&text, path.p, path.n) != QG_OK || qg_buf_adds(&text, "\n") != QG_OK)
            rc = qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
    }
    if (rc == QG_OK && text.n)
        file_of(r)->policy->passes = qg_buf_take(&text);
    qg_buf_free(&text);
    return rc;
}

/* ---- the whole file -------------------------------------------------------------------------- */

static qg_status read_override(qg_yaml *r, const yaml_node_t *key, const yaml_node_t *value,
                               void *into)
{
    static const qg_yaml_field fields[] = {SETTINGS};
    qg_overrides *o = into;
    qg_settings *s = &o->at[o->n];
    qg_slice name = qg_yaml_scalar(key);
    s->name = qg_memdup0(name.p, name.n);
    if (!s->name)
        return qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
    o->n++;
    return qg_yaml_table(r, value, fields, QG_COUNT(fields), s);
}

static qg_status read_overrides(qg_yaml *r, const yaml_node_t *node, void *into, int models)
{
    (void)into;
    qg_overrides *o = models ? &file_of(r)->policy->models : &file_of(r)->policy->keys;
    if (node->type != YAML_MAPPING_NODE)
        return qg_yaml_refuse(r, node, "expected keys and values");
    size_t n = (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
    o->at = qg_calloc(n, sizeof *o->at);
    if (!o->at)
        return qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
    return qg_yaml_each(r, node, read_override, o);
}

static qg_status read_version(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)into, (void)arg;
    double version;
    QG_TRY(qg_yaml_number(r, node, 0, 1e9, true, &version));
    return (int)version == 1
               ? QG_OK
               : qg_yaml_refuse(r, node, "version %g is not known; this is version 1", version);
}

static qg_status read_file(qg_yaml *r)
{
    static const qg_yaml_field fields[] = {
        SETTINGS,
        {"version", read_version, 0},
        {"rules", read_rules, 0},
        {"passthrough", read_passes, 0},
        {"keys", read_overrides, 0},
        {"models", read_overrides, 1},
    };
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    bool version = false;
    if (!root)
        return qg_fail(r->err, QG_ERR_FORMAT, "line 1: the file is empty; it needs version: 1");
    QG_TRY(qg_yaml_table(r, root, fields, QG_COUNT(fields), &file_of(r)->policy->own));
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start;
         p < root->data.mapping.pairs.top; p++)
        version |= qg_slice_is(qg_yaml_scalar(yaml_document_get_node(&r->doc, p->key)), "version");
    if (!version)
        return qg_yaml_refuse(r, root, "version: 1 is missing");
    return qg_rules_open(&file_of(r)->policy->rules, file_of(r)->rules, file_of(r)->n_rules,
                         r->err);
}

qg_status qg_policy_read(qg_policy *policy, qg_slice text, qg_err *err)
{
    file f = {.policy = policy};
    qg_yaml r = {.ud = &f, .err = err};
    qg_status rc = qg_yaml_read(&r, text, read_file);
    qg_mfree(f.rules);
    return rc;
}
