/* Upstreams from a YAML file: version: 1 and a list; see docs/GATEWAY.md. */
#define _GNU_SOURCE
#include "base/arena.h"
#include "base/limits.h"
#include "base/map.h"
#include "gateway/upstream.h"
#include "http/client.h"
#include "svc/yaml_walk.h"

#include <stdio.h>
#include <stdlib.h>

enum { ARENA_BYTES = 32 * 1024 * 1024 };

typedef struct file {
    qg_arena arena;
    bool version;
    size_t n;
    qg_upstream_spec specs[QG_MAX_UPSTREAMS];
    char *keys[QG_MAX_UPSTREAMS]; /* to be wiped; NULL = none */
} file;

static file *file_of(const qg_yaml *r)
{
    return r->ud;
}

static qg_status no_memory(const qg_yaml *r)
{
    return qg_fail(r->err, QG_ERR_NOMEM, "out of memory");
}

/* ---- one value ------------------------------------------------------------------------------- */

static qg_status copy(qg_yaml *r, const char *p, size_t n, char **out)
{
    *out = qg_arena_alloc(&file_of(r)->arena, n + 1);
    if (!*out)
        return no_memory(r);
    memcpy(*out, p, n);
    (*out)[n] = 0;
    return QG_OK;
}

static qg_status read_text(qg_yaml *r, const yaml_node_t *node, char **out)
{
    qg_slice text = qg_yaml_scalar(node);
    QG_TRY(qg_yaml_count(r, node));
    if (node->type != YAML_SCALAR_NODE || !text.n || memchr(text.p, 0, text.n))
        return qg_yaml_refuse(r, node, "expected a text");
    return copy(r, text.p, text.n, out);
}

static qg_status read_url(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    char *url;
    qg_err why;
    QG_TRY(read_text(r, node, &url));
    if (qg_client_url_check(url, &why) != QG_OK)
        return qg_yaml_refuse(r, node, "%s", why.msg);
    if (strchr(url, '?'))
        return qg_yaml_refuse(r, node, "an upstream's URL has no query");
    ((qg_upstream_spec *)into)->url = url;
    return QG_OK;
}

/* As the HTTP header will carry it. */
static qg_status take_key(qg_yaml *r, const yaml_node_t *node, qg_upstream_spec *spec,
                          const char *key, size_t n)
{
    char *kept;
    while (n && (key[n - 1] == '\n' || key[n - 1] == '\r' || key[n - 1] == ' '))
        n--;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)key[i] <= ' ' || (unsigned char)key[i] >= 127)
            return qg_yaml_refuse(r, node, "the key has a character that no header can carry");
    if (!n || n > QG_MAX_UPSTREAM_KEY)
        return qg_yaml_refuse(r, node, "expected a key of 1 to %d bytes", QG_MAX_UPSTREAM_KEY);
    if (spec->key)
        return qg_yaml_refuse(r, node, "key_env and key_file: one of them");
    QG_TRY(copy(r, key, n, &kept));
    spec->key = file_of(r)->keys[file_of(r)->n] = kept;
    return QG_OK;
}

static qg_status read_key_env(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    char *name;
    QG_TRY(read_text(r, node, &name));
    const char *key = getenv(name);
    if (!key || !*key)
        return qg_yaml_refuse(r, node, "the variable %.100s is not set", name);
    return take_key(r, node, into, key, strlen(key));
}

/* The file that a value names; the caller closes *map. */
static qg_status open_file(qg_yaml *r, const yaml_node_t *node, char **path, qg_map *map)
{
    qg_err why;
    QG_TRY(read_text(r, node, path));
    if (qg_map_open(map, *path, &why) != QG_OK)
        return qg_yaml_refuse(r, node, "%s", why.msg);
    return QG_OK;
}

static qg_status read_key_file(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    char *path;
    qg_map map;
    QG_TRY(open_file(r, node, &path, &map));
    qg_status rc = take_key(r, node, into, map.size ? (const char *)map.data : "", map.size);
    qg_map_close(&map);
    return rc;
}

static qg_status read_ca(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    char *path;
    qg_map map;
    QG_TRY(open_file(r, node, &path, &map));
    qg_map_close(&map);
    ((qg_upstream_spec *)into)->ca_file = path;
    return QG_OK;
}

static qg_status read_number(qg_yaml *r, const yaml_node_t *node, void *into, int weight)
{
    qg_upstream_spec *spec = into;
    double x;
    QG_TRY(qg_yaml_number(r, node, 1, QG_MAX_UPSTREAM_ORDER, true, &x));
    *(weight ? &spec->weight : &spec->order) = (int32_t)x;
    return QG_OK;
}

static qg_status read_model(qg_yaml *r, const yaml_node_t *node, const char **out)
{
    char *name;
    QG_TRY(read_text(r, node, &name));
    const char *star = strchr(name, '*');
    if (star && star[1])
        return qg_yaml_refuse(r, node, "'*' stands at the end of a name's beginning");
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127 || p - name > 255)
            return qg_yaml_refuse(r, node, "expected a model's name of at most 256 bytes");
    *out = name;
    return QG_OK;
}

static qg_status read_models(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)arg;
    qg_upstream_spec *spec = into;
    bool list = node->type == YAML_SEQUENCE_NODE;
    const yaml_node_item_t *first = list ? node->data.sequence.items.start : NULL;
    size_t n = list ? (size_t)(node->data.sequence.items.top - first) : 1;
    if (!n || n > QG_MAX_UPSTREAM_MODELS)
        return qg_yaml_refuse(r, node, "expected 1 to %d names", QG_MAX_UPSTREAM_MODELS);
    const char **names = qg_arena_calloc(&file_of(r)->arena, n, sizeof *names);
    if (!names)
        return no_memory(r);
    for (size_t i = 0; i < n; i++)
        QG_TRY(read_model(r, list ? yaml_document_get_node(&r->doc, first[i]) : node, &names[i]));
    spec->models = names;
    spec->n_models = n;
    return QG_OK;
}

/* ---- the list -------------------------------------------------------------------------------- */

static qg_status read_one(qg_yaml *r, const yaml_node_t *node, qg_upstream_spec *spec)
{
    static const qg_yaml_field fields[] = {
        {"url", read_url, 0},           {"models", read_models, 0}, {"key_env", read_key_env, 0},
        {"key_file", read_key_file, 0}, {"ca_file", read_ca, 0},    {"order", read_number, 0},
        {"weight", read_number, 1},
    };
    *spec = (qg_upstream_spec){.order = 1, .weight = 1};
    QG_TRY(qg_yaml_count(r, node));
    QG_TRY(qg_yaml_table(r, node, fields, QG_COUNT(fields), spec));
    return spec->url ? QG_OK : qg_yaml_refuse(r, node, "url is missing");
}

static qg_status read_list(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)into, (void)arg;
    file *f = file_of(r);
    if (node->type != YAML_SEQUENCE_NODE)
        return qg_yaml_refuse(r, node, "expected a list of upstreams");
    const yaml_node_item_t *first = node->data.sequence.items.start;
    size_t n = (size_t)(node->data.sequence.items.top - first), before = strlen(r->path);
    if (!n || n > QG_MAX_UPSTREAMS)
        return qg_yaml_refuse(r, node, "%zu upstreams; 1 to %d are allowed", n, QG_MAX_UPSTREAMS);
    for (; f->n < n; f->n++) {
        snprintf(r->path + before, sizeof r->path - before, "[%zu]", f->n);
        QG_TRY(read_one(r, yaml_document_get_node(&r->doc, first[f->n]), &f->specs[f->n]));
    }
    r->path[before] = 0;
    return QG_OK;
}

static qg_status read_version(qg_yaml *r, const yaml_node_t *node, void *into, int arg)
{
    (void)into, (void)arg;
    double version;
    QG_TRY(qg_yaml_number(r, node, 0, 1e9, true, &version));
    file_of(r)->version = true;
    return (int)version == 1
               ? QG_OK
               : qg_yaml_refuse(r, node, "version %g is not known; this is version 1", version);
}

static qg_status read_file(qg_yaml *r)
{
    static const qg_yaml_field fields[] = {
        {"version", read_version, 0},
        {"upstreams", read_list, 0},
    };
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    if (!root)
        return qg_fail(r->err, QG_ERR_FORMAT, "line 1: the file is empty; it needs version: 1");
    QG_TRY(qg_yaml_table(r, root, fields, QG_COUNT(fields), NULL));
    if (!file_of(r)->version)
        return qg_yaml_refuse(r, root, "version: 1 is missing");
    return file_of(r)->n ? QG_OK : qg_yaml_refuse(r, root, "upstreams is missing");
}

static qg_status parse(file *f, const char *path, qg_err *err)
{
    qg_yaml r = {.ud = f, .err = err};
    qg_map map;
    QG_TRY(qg_map_open(&map, path, err)); /* which names the path */
    qg_status rc =
        map.size <= QG_MAX_POLICY_BYTES
            ? qg_yaml_read(&r, qg_slice_of(map.size ? (const char *)map.data : "", map.size),
                           read_file)
            : qg_fail(err, QG_ERR_TOO_LONG, "%zu bytes, at most %u are allowed", map.size,
                      QG_MAX_POLICY_BYTES);
    qg_map_close(&map);
    return rc == QG_OK ? rc : qg_fail_prefix(err, rc, "%s", path);
}

qg_status qg_upstreams_read(qg_upstreams **out, const char *path, qg_err *err)
{
    file f = {.n = 0};
    *out = NULL;
    qg_arena_init(&f.arena, ARENA_BYTES);
    qg_status rc = parse(&f, path, err);
    if (rc == QG_OK)
        rc = qg_upstreams_open(out, f.specs, f.n, err);
    for (size_t i = 0; i < QG_MAX_UPSTREAMS; i++)
        if (f.keys[i])
            explicit_bzero(f.keys[i], strlen(f.keys[i]));
    qg_arena_free(&f.arena);
    return rc;
}
