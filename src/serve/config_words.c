/* The file of `serve --config`, as vLLM has it: the keys are the names of flags. */
#include "base/limits.h"
#include "base/map.h"
#include "serve/serve.h"
#include "svc/yaml_walk.h"

#include <stdio.h>

typedef struct list {
    qg_arena *arena;
    qg_config_word *at;
    size_t n, cap;
} list;

static qg_status add(qg_yaml *r, list *l, const char *key, const yaml_node_t *value)
{
    qg_slice text = value ? qg_yaml_scalar(value) : qg_str("");
    size_t n = strlen(key);
    if (l->n == l->cap)
        return qg_fail(r->err, QG_ERR_TOO_LONG, "more than %zu settings", l->cap);
    char *copy = qg_arena_alloc(l->arena, n + 1 + text.n + 1);
    if (!copy)
        return qg_fail(r->err, l->arena->why, "out of memory");
    memcpy(copy, key, n + 1);
    memcpy(copy + n + 1, text.n ? text.p : "", text.n);
    copy[n + 1 + text.n] = 0;
    l->at[l->n++] = (qg_config_word){copy, value ? copy + n + 1 : NULL};
    return QG_OK;
}

/* A list is one setting after the other, true a flag, false none. */
static qg_status read_pair(qg_yaml *r, const yaml_node_t *key, const yaml_node_t *value, void *into)
{
    const char *name = qg_yaml_scalar(key).p;
    qg_slice text = qg_yaml_scalar(value);
    bool plain =
        value->type == YAML_SCALAR_NODE && value->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (value->type == YAML_SEQUENCE_NODE) {
        for (yaml_node_item_t *i = value->data.sequence.items.start;
             i < value->data.sequence.items.top; i++) {
            const yaml_node_t *item = yaml_document_get_node(&r->doc, *i);
            if (item->type != YAML_SCALAR_NODE)
                return qg_yaml_refuse(r, item, "expected a word");
            QG_TRY(add(r, into, name, item));
        }
        return QG_OK;
    }
    if (value->type != YAML_SCALAR_NODE)
        return qg_yaml_refuse(r, value, "expected a word or a list of words");
    if (plain && (qg_slice_is(text, "true") || qg_slice_is(text, "True")))
        return add(r, into, name, NULL);
    if (plain && (text.n == 0 || qg_slice_is(text, "false") || qg_slice_is(text, "False") ||
                  qg_slice_is(text, "null") || qg_slice_is(text, "~")))
        return QG_OK;
    return add(r, into, name, value);
}

static qg_status read_all(qg_yaml *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    if (!root)
        return QG_OK;
    return qg_yaml_each(r, root, read_pair, r->ud);
}

qg_status qg_serve_config(const char *path, qg_arena *arena, qg_config_word **words, size_t *n,
                          qg_err *err)
{
    enum { MOST = 256 };
    list l = {.arena = arena, .cap = MOST};
    qg_yaml r = {.ud = &l, .err = err};
    qg_map map;
    l.at = qg_arena_calloc(arena, MOST, sizeof *l.at);
    if (!l.at)
        return qg_fail(err, arena->why, "out of memory");
    QG_TRY(qg_map_open(&map, path, err));
    qg_status rc =
        map.size > QG_MAX_CONFIG_BYTES
            ? qg_fail(err, QG_ERR_TOO_LONG, "more than %u bytes", QG_MAX_CONFIG_BYTES)
            : qg_yaml_read(&r, qg_slice_of(map.size ? (const char *)map.data : "", map.size),
                           read_all);
    qg_map_close(&map);
    *words = l.at;
    *n = l.n;
    return rc == QG_OK ? QG_OK : qg_fail_prefix(err, rc, "%s", path);
}
