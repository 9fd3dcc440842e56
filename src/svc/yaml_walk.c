#include "svc/yaml_walk.h"

#include "base/limits.h"
#include "text/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int qg_yaml_line(const yaml_node_t *node)
{
    return (int)node->start_mark.line + 1;
}

qg_status qg_yaml_refuse(qg_yaml *r, const yaml_node_t *node, const char *fmt, ...)
{
    char why[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    return qg_fail(r->err, QG_ERR_FORMAT, "line %d: %s%s%s", qg_yaml_line(node), r->path,
                   *r->path ? ": " : "", why);
}

qg_slice qg_yaml_scalar(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE
               ? qg_slice_of((const char *)node->data.scalar.value, node->data.scalar.length)
               : qg_slice_of("", 0);
}

/* ---- walking --------------------------------------------------------------------------------- */

qg_status qg_yaml_count(qg_yaml *r, const yaml_node_t *node)
{
    if (++r->visited > QG_MAX_POLICY_NODES)
        return qg_yaml_refuse(r, node, "more than %u values (aliases count each time)",
                              QG_MAX_POLICY_NODES);
    return QG_OK;
}

static bool seen_before(qg_yaml *r, const yaml_node_t *map, const yaml_node_pair_t *pair)
{
    qg_slice name = qg_yaml_scalar(yaml_document_get_node(&r->doc, pair->key));
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++)
        if (qg_slice_eq(qg_yaml_scalar(yaml_document_get_node(&r->doc, p->key)), name))
            return true;
    return false;
}

/* Calls each for every pair, with the key's name on the path. */
qg_status qg_yaml_each(qg_yaml *r, const yaml_node_t *map, qg_yaml_pair_fn *each, void *into)
{
    if (map->type != YAML_MAPPING_NODE)
        return qg_yaml_refuse(r, map, "expected keys and values");
    if (r->depth == QG_MAX_POLICY_DEPTH)
        return qg_yaml_refuse(r, map, "nested too deeply");
    if (map->data.mapping.pairs.top - map->data.mapping.pairs.start > QG_MAX_POLICY_VIEWS)
        return qg_yaml_refuse(r, map, "more than %d keys", QG_MAX_POLICY_VIEWS);
    r->depth++;
    size_t before = strlen(r->path);
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->doc, p->key);
        const yaml_node_t *value = yaml_document_get_node(&r->doc, p->value);
        QG_TRY(qg_yaml_count(r, key));
        if (key->type != YAML_SCALAR_NODE)
            return qg_yaml_refuse(r, key, "a key must be a word");
        qg_slice name = qg_yaml_scalar(key);
        snprintf(r->path + before, sizeof r->path - before, "%s%.*s", before ? "." : "",
                 qg_utf8_cut(name, 64), name.p);
        if (seen_before(r, map, p))
            return qg_yaml_refuse(r, key, "given twice");
        QG_TRY(each(r, key, value, into));
        r->path[before] = 0;
    }
    r->depth--;
    return QG_OK;
}

typedef struct table {
    const qg_yaml_field *fields;
    size_t n;
    void *into;
} table;

static qg_status read_field(qg_yaml *r, const yaml_node_t *key, const yaml_node_t *value,
                            void *into)
{
    const table *t = into;
    char known[240];
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        if (qg_slice_is(qg_yaml_scalar(key), t->fields[i].name))
            return t->fields[i].read(r, value, t->into, t->fields[i].arg);
    for (size_t i = 0; i < t->n && n < sizeof known; i++)
        n +=
            (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", t->fields[i].name);
    return qg_yaml_refuse(r, key, "unknown key; known here: %s", known);
}

qg_status qg_yaml_table(qg_yaml *r, const yaml_node_t *node, const qg_yaml_field *fields, size_t n,
                        void *into)
{
    table t = {fields, n, into};
    return qg_yaml_each(r, node, read_field, &t);
}

/* ---- values ---------------------------------------------------------------------------------- */

qg_status qg_yaml_number(qg_yaml *r, const yaml_node_t *node, double min, double max, bool whole,
                         double *out)
{
    qg_slice text = qg_yaml_scalar(node);
    char *end = NULL;
    *out = 0;
    double x = node->type == YAML_SCALAR_NODE &&
                       node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && text.n
                   ? strtod(text.p, &end)
                   : NAN;
    if (!end || end != text.p + text.n || !isfinite(x) || (whole && x != floor(x)))
        return qg_yaml_refuse(r, node, "expected a %snumber", whole ? "whole " : "");
    if (x < min || x > max)
        return qg_yaml_refuse(r, node, "expected %g to %g, not %g", min, max, x);
    *out = x;
    return QG_OK;
}

qg_status qg_yaml_word(qg_yaml *r, const yaml_node_t *node, const qg_yaml_words *words, int *out)
{
    char known[120];
    size_t n = 0;
    QG_TRY(qg_yaml_count(r, node));
    for (const qg_yaml_words *w = words; w->name; w++) {
        if (node->type == YAML_SCALAR_NODE && qg_slice_is(qg_yaml_scalar(node), w->name)) {
            *out = w->value;
            return QG_OK;
        }
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", w->name);
    }
    return qg_yaml_refuse(r, node, "expected one of: %s", known);
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
        root ? qg_fail(err, QG_ERR_FORMAT, "line %d: a second document", qg_yaml_line(root))
             : QG_OK;
    yaml_document_delete(&more);
    return rc;
}

qg_status qg_yaml_read(qg_yaml *r, qg_slice text, qg_status (*read)(qg_yaml *r))
{
    yaml_parser_t parser;
    qg_status rc;
    if (!qg_utf8_valid(text))
        return qg_fail(r->err, QG_ERR_FORMAT, "byte %zu is not UTF-8", qg_utf8_valid_prefix(text));
    if (!yaml_parser_initialize(&parser))
        return qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    if (!yaml_parser_load(&parser, &r->doc)) {
        rc = syntax_error(&parser, r->err);
    } else {
        rc = read(r);
        if (rc == QG_OK)
            rc = one_document(&parser, r->err);
        yaml_document_delete(&r->doc);
    }
    yaml_parser_delete(&parser);
    return rc;
}
