/* The policy file's schema, as tables, over libyaml's tree.  Why not libcyaml: its mappings have
 * fixed keys, and `keys:` and `models:` have the user's (docs/decisions/0015). */
#include "base/limits.h"
#include "base/mem.h"
#include "svc/policy_int.h"
#include "text/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <yaml.h>

typedef struct reader {
    yaml_document_t doc;
    qg_policy *policy;
    size_t visited; /* nodes, against aliases that multiply */
    int depth;
    char path[128]; /* "categories.Jailbreak": where the reader is */
    qg_rule *rules; /* texts are the document's */
    size_t n_rules;
    qg_err *err;
} reader;

/* Reads a value into settings or a rule; arg is the field's. */
typedef qg_status read_fn(reader *r, const yaml_node_t *node, void *into, int arg);

typedef struct field {
    const char *name;
    read_fn *read;
    int arg;
} field;

static int line_of(const yaml_node_t *node)
{
    return (int)node->start_mark.line + 1;
}

static qg_status refuse(reader *r, const yaml_node_t *node, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static qg_status refuse(reader *r, const yaml_node_t *node, const char *fmt, ...)
{
    char why[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    return qg_fail(r->err, QG_ERR_FORMAT, "line %d: %s%s%s", line_of(node), r->path,
                   *r->path ? ": " : "", why);
}

static qg_slice scalar(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE
               ? qg_slice_of((const char *)node->data.scalar.value, node->data.scalar.length)
               : qg_slice_of("", 0);
}

/* ---- walking --------------------------------------------------------------------------------- */

typedef qg_status pair_fn(reader *r, const yaml_node_t *key, const yaml_node_t *value, void *into);

static qg_status count_node(reader *r, const yaml_node_t *node)
{
    if (++r->visited > QG_MAX_POLICY_NODES)
        return refuse(r, node, "more than %u values (aliases count each time)",
                      QG_MAX_POLICY_NODES);
    return QG_OK;
}

static bool seen_before(reader *r, const yaml_node_t *map, const yaml_node_pair_t *pair)
{
    qg_slice name = scalar(yaml_document_get_node(&r->doc, pair->key));
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++)
        if (qg_slice_eq(scalar(yaml_document_get_node(&r->doc, p->key)), name))
            return true;
    return false;
}

/* Calls each for every pair, with the key's name on the path. */
static qg_status each_pair(reader *r, const yaml_node_t *map, pair_fn *each, void *into)
{
    if (map->type != YAML_MAPPING_NODE)
        return refuse(r, map, "expected keys and values");
    if (r->depth == QG_MAX_POLICY_DEPTH)
        return refuse(r, map, "nested too deeply");
    if (map->data.mapping.pairs.top - map->data.mapping.pairs.start > QG_MAX_POLICY_VIEWS)
        return refuse(r, map, "more than %d keys", QG_MAX_POLICY_VIEWS);
    r->depth++;
    size_t before = strlen(r->path);
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->doc, p->key);
        const yaml_node_t *value = yaml_document_get_node(&r->doc, p->value);
        QG_TRY(count_node(r, key));
        if (key->type != YAML_SCALAR_NODE)
            return refuse(r, key, "a key must be a word");
        qg_slice name = scalar(key);
        snprintf(r->path + before, sizeof r->path - before, "%s%.*s", before ? "." : "",
                 qg_utf8_cut(name, 64), name.p);
        if (seen_before(r, map, p))
            return refuse(r, key, "given twice");
        QG_TRY(each(r, key, value, into));
        r->path[before] = 0;
    }
    r->depth--;
    return QG_OK;
}

typedef struct table {
    const field *fields;
    size_t n;
    void *into;
} table;

static qg_status read_field(reader *r, const yaml_node_t *key, const yaml_node_t *value, void *into)
{
    const table *t = into;
    char known[240];
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        if (qg_slice_is(scalar(key), t->fields[i].name))
            return t->fields[i].read(r, value, t->into, t->fields[i].arg);
    for (size_t i = 0; i < t->n && n < sizeof known; i++)
        n +=
            (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", t->fields[i].name);
    return refuse(r, key, "unknown key; known here: %s", known);
}

static qg_status read_table(reader *r, const yaml_node_t *node, const field *fields, size_t n,
                            void *into)
{
    table t = {fields, n, into};
    return each_pair(r, node, read_field, &t);
}

/* ---- values ---------------------------------------------------------------------------------- */

static qg_status read_number(reader *r, const yaml_node_t *node, double min, double max, bool whole,
                             double *out)
{
    qg_slice text = scalar(node);
    char *end = NULL;
    *out = 0;
    double x = node->type == YAML_SCALAR_NODE &&
                       node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && text.n
                   ? strtod(text.p, &end)
                   : NAN;
    if (!end || end != text.p + text.n || !isfinite(x) || (whole && x != floor(x)))
        return refuse(r, node, "expected a %snumber", whole ? "whole " : "");
    if (x < min || x > max)
        return refuse(r, node, "expected %g to %g, not %g", min, max, x);
    *out = x;
    return QG_OK;
}

/* Words and what they stand for; the list ends with NULL. */
typedef struct word {
    const char *name;
    int value;
} word;

static const word modes[] = {{"strict", 0}, {"loose", 1}, {NULL, 0}};
static const word closings[] = {{"closed", 0}, {"open", 1}, {NULL, 0}};
static const word actions[] = {
    {"allow", QG_ACTION_ALLOW}, {"flag", QG_ACTION_FLAG}, {"block", QG_ACTION_BLOCK}, {NULL, 0}};
static const word scopes[] = {
    {"conversation", QG_SCOPE_CONVERSATION}, {"last_turn", QG_SCOPE_LAST_TURN}, {NULL, 0}};
static const word blocks[] = {{"error", 0}, {"message", 1}, {NULL, 0}};
static const word lengths[] = {{"refuse", 0}, {"windows", 1}, {NULL, 0}};
static const word truths[] = {{"false", 0}, {"true", 1}, {NULL, 0}};
static const word phases[] = {
    {"prompt", QG_PHASE_PROMPT}, {"response", QG_PHASE_RESPONSE}, {NULL, 0}};
static const word severities[] = {
    {"Safe", QG_SAFE}, {"Controversial", QG_CONTROVERSIAL}, {"Unsafe", QG_UNSAFE}, {NULL, 0}};
static const word roles[] = {{"user", QG_ROLE_USER},
                             {"assistant", QG_ROLE_ASSISTANT},
                             {"system", QG_ROLE_SYSTEM},
                             {"tool", QG_ROLE_TOOL},
                             {NULL, 0}};

static qg_status read_word(reader *r, const yaml_node_t *node, const word *words, int *out)
{
    char known[120];
    size_t n = 0;
    QG_TRY(count_node(r, node));
    for (const word *w = words; w->name; w++) {
        if (node->type == YAML_SCALAR_NODE && qg_slice_is(scalar(node), w->name)) {
            *out = w->value;
            return QG_OK;
        }
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", w->name);
    }
    return refuse(r, node, "expected one of: %s", known);
}

static void put(qg_settings *s, int slot, double value)
{
    s->set[slot] = true;
    s->value[slot] = value;
}

/* arg of the next three: the slot */
static qg_status choose(reader *r, const yaml_node_t *node, qg_settings *s, int slot,
                        const word *words)
{
    int value;
    QG_TRY(read_word(r, node, words, &value));
    put(s, slot, value);
    return QG_OK;
}

static qg_status read_mode(reader *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, modes);
}

static qg_status read_closing(reader *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, closings);
}

static qg_status read_action(reader *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, actions);
}

static qg_status read_scope(reader *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, scopes);
}

static qg_status read_block(reader *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, blocks);
}

static qg_status read_length(reader *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, lengths);
}

static qg_status read_truth(reader *r, const yaml_node_t *node, void *into, int slot)
{
    return choose(r, node, into, slot, truths);
}

static qg_status read_hold_back(reader *r, const yaml_node_t *node, void *into, int slot)
{
    double x; /* at least the debounce of two */
    QG_TRY(read_number(r, node, 2, 64, true, &x));
    put(into, slot, x);
    return QG_OK;
}

static qg_status read_ms(reader *r, const yaml_node_t *node, void *into, int slot)
{
    double x;
    QG_TRY(read_number(r, node, 1, 3600000, true, &x));
    put(into, slot, x);
    return QG_OK;
}

static qg_status read_threshold(reader *r, const yaml_node_t *node, void *into, int slot)
{
    double x;
    QG_TRY(read_number(r, node, 0.000001, 1, false, &x));
    put(into, slot, x);
    return QG_OK;
}

static qg_status read_message(reader *r, const yaml_node_t *node, void *into, int slot)
{
    qg_settings *s = into;
    qg_slice text = scalar(node);
    if (node->type != YAML_SCALAR_NODE || text.n > 4096)
        return refuse(r, node, "expected a text of at most 4096 bytes");
    qg_mfree(s->message);
    s->message = qg_memdup0(text.p, text.n);
    if (!s->message)
        return qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
    put(s, slot, 0);
    return QG_OK;
}

static qg_status read_roles(reader *r, const yaml_node_t *node, void *into, int slot)
{
    unsigned mask = 0;
    if (node->type != YAML_SEQUENCE_NODE)
        return refuse(r, node, "expected a list of roles");
    for (const yaml_node_item_t *i = node->data.sequence.items.start;
         i < node->data.sequence.items.top; i++) {
        int role;
        QG_TRY(read_word(r, yaml_document_get_node(&r->doc, *i), roles, &role));
        mask |= (unsigned)role;
    }
    if (!mask)
        return refuse(r, node, "at least one role must be judged");
    put(into, slot, mask);
    return QG_OK;
}

/* ---- settings -------------------------------------------------------------------------------- */

/* One value for both phases, or one for each by name. */
static qg_status read_phases(reader *r, const yaml_node_t *node, void *into, int slot,
                             read_fn *read)
{
    const field each[] = {{"prompt", read, slot + QG_PHASE_PROMPT},
                          {"response", read, slot + QG_PHASE_RESPONSE}};
    if (node->type == YAML_MAPPING_NODE)
        return read_table(r, node, each, QG_COUNT(each), into);
    QG_TRY(read(r, node, into, slot + QG_PHASE_PROMPT));
    return read(r, node, into, slot + QG_PHASE_RESPONSE);
}

static qg_status read_on_error(reader *r, const yaml_node_t *node, void *into, int slot)
{
    return read_phases(r, node, into, slot, read_closing);
}

static qg_status read_deadline(reader *r, const yaml_node_t *node, void *into, int slot)
{
    return read_phases(r, node, into, slot, read_ms);
}

static qg_status read_thresholds(reader *r, const yaml_node_t *node, void *into, int slot)
{
    const field fields[] = {{"unsafe", read_threshold, slot}};
    return read_table(r, node, fields, QG_COUNT(fields), into);
}

static qg_status read_severity_action(reader *r, const yaml_node_t *node, void *into, int slot)
{
    const field fields[] = {{"action", read_action, slot}};
    return read_table(r, node, fields, QG_COUNT(fields), into);
}

static qg_status read_severities(reader *r, const yaml_node_t *node, void *into, int slot)
{
    (void)slot;
    static const field fields[] = {
        {"Unsafe", read_severity_action, QG_SLOT_ON_UNSAFE},
        {"Controversial", read_severity_action, QG_SLOT_ON_CONTROVERSIAL},
    };
    return read_table(r, node, fields, QG_COUNT(fields), into);
}

static qg_status read_category(reader *r, const yaml_node_t *key, const yaml_node_t *value,
                               void *into)
{
    qg_slice name = scalar(key);
    for (int i = 0; i < QG_POLICY_CATEGORIES; i++) {
        const field fields[] = {{"threshold", read_threshold, QG_SLOT_THRESHOLD + i},
                                {"action", read_action, QG_SLOT_ACTION + i}};
        if (name.n == strlen(qg_policy_category_names[i]) &&
            !strncasecmp(name.p, qg_policy_category_names[i], name.n))
            return read_table(r, value, fields, QG_COUNT(fields), into);
    }
    return refuse(r, key, "unknown category; the nine are listed in docs/POLICY.md");
}

static qg_status read_categories(reader *r, const yaml_node_t *node, void *into, int slot)
{
    (void)slot;
    return each_pair(r, node, read_category, into);
}

#define SETTINGS                                                                                   \
    {"mode", read_mode, QG_SLOT_LOOSE}, {"on_error", read_on_error, QG_SLOT_OPEN},                 \
        {"thresholds", read_thresholds, QG_SLOT_UNSAFE}, {"severities", read_severities, 0},       \
        {"categories", read_categories, 0}, {"message", read_message, QG_SLOT_MESSAGE},            \
        {"hold_back_tokens", read_hold_back, QG_SLOT_HOLD_BACK},                                   \
        {"scope", read_scope, QG_SLOT_SCOPE}, {"roles", read_roles, QG_SLOT_ROLES},                \
        {"shadow", read_truth, QG_SLOT_SHADOW}, {"long_input", read_length, QG_SLOT_LONG_INPUT},   \
        {"prompt_block", read_block, QG_SLOT_PROMPT_BLOCK},                                        \
    {                                                                                              \
        "deadline_ms", read_deadline, QG_SLOT_DEADLINE                                             \
    }

/* ---- rules ----------------------------------------------------------------------------------- */

static qg_status rule_text(reader *r, const yaml_node_t *node, void *into, int regex)
{
    qg_rule *rule = into;
    if (node->type != YAML_SCALAR_NODE)
        return refuse(r, node, "expected a text");
    if (rule->text.p)
        return refuse(r, node, "a rule is either contains or regex");
    rule->text = scalar(node);
    rule->regex = regex;
    return QG_OK;
}

static qg_status rule_severity(reader *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    int value;
    QG_TRY(read_word(r, node, severities, &value));
    ((qg_rule *)into)->severity = (qg_severity)value;
    return QG_OK;
}

static qg_status rule_category(reader *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    int i = node->type == YAML_SCALAR_NODE ? qg_policy_category(scalar(node).p) : -1;
    if (i < 0)
        return refuse(r, node, "unknown category; the nine are listed in docs/POLICY.md");
    ((qg_rule *)into)->category = qg_policy_category_names[i];
    return QG_OK;
}

static qg_status rule_phases(reader *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    qg_rule *rule = into;
    int phase;
    if (node->type != YAML_SEQUENCE_NODE ||
        node->data.sequence.items.start == node->data.sequence.items.top)
        return refuse(r, node, "expected a list of prompt and response");
    rule->phases[QG_PHASE_PROMPT] = rule->phases[QG_PHASE_RESPONSE] = false;
    for (const yaml_node_item_t *i = node->data.sequence.items.start;
         i < node->data.sequence.items.top; i++) {
        QG_TRY(read_word(r, yaml_document_get_node(&r->doc, *i), phases, &phase));
        rule->phases[phase] = true;
    }
    return QG_OK;
}

static qg_status rule_final(reader *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    int value;
    QG_TRY(read_word(r, node, truths, &value));
    ((qg_rule *)into)->final = value;
    return QG_OK;
}

static qg_status read_rule(reader *r, const yaml_node_t *node, qg_rule *rule)
{
    static const field fields[] = {
        {"contains", rule_text, 0},     {"regex", rule_text, 1}, {"severity", rule_severity, 0},
        {"category", rule_category, 0}, {"in", rule_phases, 0},  {"final", rule_final, 0},
    };
    *rule = (qg_rule){.severity = QG_SEVERITY_UNKNOWN, .phases = {true, true}};
    rule->line = line_of(node);
    QG_TRY(read_table(r, node, fields, QG_COUNT(fields), rule));
    if (!rule->text.p)
        return refuse(r, node, "a rule needs contains or regex");
    if (rule->severity == QG_SEVERITY_UNKNOWN)
        return refuse(r, node, "a rule needs a severity");
    if (rule->severity == QG_SAFE && rule->category)
        return refuse(r, node, "a Safe rule has no category");
    if (rule->severity == QG_SAFE && !rule->final)
        return refuse(r, node, "a Safe rule changes nothing unless it is final");
    if (rule->severity != QG_SAFE && !rule->category)
        return refuse(r, node, "a rule that is not Safe needs a category");
    return QG_OK;
}

static qg_status read_rules(reader *r, const yaml_node_t *node, void *into, int arg)
{
    (void)into, (void)arg;
    if (node->type != YAML_SEQUENCE_NODE)
        return refuse(r, node, "expected a list of rules");
    const yaml_node_item_t *first = node->data.sequence.items.start;
    size_t n = (size_t)(node->data.sequence.items.top - first);
    if (n > QG_MAX_RULES)
        return refuse(r, node, "%zu rules, at most %d are allowed", n, QG_MAX_RULES);
    r->rules = qg_calloc(n, sizeof *r->rules);
    if (!r->rules)
        return qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
    size_t before = strlen(r->path);
    for (; r->n_rules < n; r->n_rules++) {
        const yaml_node_t *item = yaml_document_get_node(&r->doc, first[r->n_rules]);
        snprintf(r->path + before, sizeof r->path - before, "[%zu]", r->n_rules);
        QG_TRY(count_node(r, item));
        QG_TRY(read_rule(r, item, &r->rules[r->n_rules]));
    }
    r->path[before] = 0;
    return QG_OK;
}

/* ---- the whole file -------------------------------------------------------------------------- */

static qg_status read_override(reader *r, const yaml_node_t *key, const yaml_node_t *value,
                               void *into)
{
    static const field fields[] = {SETTINGS};
    qg_overrides *o = into;
    qg_settings *s = &o->at[o->n];
    qg_slice name = scalar(key);
    s->name = qg_memdup0(name.p, name.n);
    if (!s->name)
        return qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
    o->n++;
    return read_table(r, value, fields, QG_COUNT(fields), s);
}

static qg_status read_overrides(reader *r, const yaml_node_t *node, void *into, int models)
{
    (void)into;
    qg_overrides *o = models ? &r->policy->models : &r->policy->keys;
    if (node->type != YAML_MAPPING_NODE)
        return refuse(r, node, "expected keys and values");
    size_t n = (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
    o->at = qg_calloc(n, sizeof *o->at);
    if (!o->at)
        return qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
    return each_pair(r, node, read_override, o);
}

static qg_status read_version(reader *r, const yaml_node_t *node, void *into, int arg)
{
    (void)into, (void)arg;
    double version;
    QG_TRY(read_number(r, node, 0, 1e9, true, &version));
    return (int)version == 1
               ? QG_OK
               : refuse(r, node, "version %g is not known; this is version 1", version);
}

static qg_status read_file(reader *r)
{
    static const field fields[] = {
        SETTINGS,
        {"version", read_version, 0},
        {"rules", read_rules, 0},
        {"keys", read_overrides, 0},
        {"models", read_overrides, 1},
    };
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    bool version = false;
    if (!root)
        return qg_fail(r->err, QG_ERR_FORMAT, "line 1: the file is empty; it needs version: 1");
    QG_TRY(read_table(r, root, fields, QG_COUNT(fields), &r->policy->own));
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start;
         p < root->data.mapping.pairs.top; p++)
        version |= qg_slice_is(scalar(yaml_document_get_node(&r->doc, p->key)), "version");
    if (!version)
        return refuse(r, root, "version: 1 is missing");
    return qg_rules_open(&r->policy->rules, r->rules, r->n_rules, r->err);
}

static qg_status syntax_error(const yaml_parser_t *parser, qg_err *err)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    const char *why = parser->problem ? parser->problem : "not YAML";
    if (parser->error == YAML_READER_ERROR)
        return qg_fail(err, QG_ERR_FORMAT, "byte %zu: %s", parser->problem_offset, why);
    return qg_fail(err, QG_ERR_FORMAT, "line %zu: %s", parser->problem_mark.line + 1, why);
}

static qg_status one_document(yaml_parser_t *parser, qg_err *err)
{
    yaml_document_t more;
    if (!yaml_parser_load(parser, &more))
        return syntax_error(parser, err);
    const yaml_node_t *root = yaml_document_get_root_node(&more);
    qg_status rc =
        root ? qg_fail(err, QG_ERR_FORMAT, "line %d: a second document", line_of(root)) : QG_OK;
    yaml_document_delete(&more);
    return rc;
}

qg_status qg_policy_read(qg_policy *policy, qg_slice text, qg_err *err)
{
    reader r = {.policy = policy, .err = err};
    yaml_parser_t parser;
    if (!qg_utf8_valid(text))
        return qg_fail(err, QG_ERR_FORMAT, "byte %zu is not UTF-8", qg_utf8_valid_prefix(text));
    if (!yaml_parser_initialize(&parser))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    qg_status rc;
    if (!yaml_parser_load(&parser, &r.doc)) {
        rc = syntax_error(&parser, err);
    } else {
        rc = read_file(&r);
        if (rc == QG_OK)
            rc = one_document(&parser, err);
        yaml_document_delete(&r.doc);
    }
    qg_mfree(r.rules);
    yaml_parser_delete(&parser);
    return rc;
}
