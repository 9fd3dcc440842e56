#include "svc/contains.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/casemap.h"
#include "text/utf8.h"

/* A node is a beginning of a literal in folded bytes.  While building, its children are a linked
 * list; finish() lays the edges of each node side by side, sorted, for a binary search. */
typedef struct node {
    int32_t fail;   /* the longest proper ending of this beginning that is itself a beginning */
    int32_t output; /* literal that ends here, -1 = none; equal literals chain by same */
    int32_t hits;   /* nearest node along the fail links (this one included) with an output; -1 */
    int32_t edges, n_edges; /* building: first child, - */
    int32_t sibling;        /* building */
    uint16_t depth;         /* folded code points */
    uint8_t byte;           /* on the edge to it */
} node;

typedef struct edge {
    uint8_t byte;
    int32_t to;
} edge;

struct qg_contains {
    node *nodes;
    edge *edges;
    int32_t *same; /* [n] another literal with the same folded form, -1 = none */
    size_t n_nodes, cap_nodes, n, longest;
    int32_t root[256]; /* the root's edges, 0 = stay */
};

static size_t fold_bytes(uint32_t cp, char out[12], size_t *n_cps)
{
    uint32_t folded[3];
    size_t n = 0;
    *n_cps = qg_case_fold(cp, folded);
    for (size_t i = 0; i < *n_cps; i++)
        n += qg_utf8_put(folded[i], out + n);
    return n;
}

/* ---- building -------------------------------------------------------------------------------- */

static qg_status add_node(qg_contains *c, int32_t parent, uint8_t byte, int32_t *out)
{
    if (c->n_nodes == c->cap_nodes) {
        size_t cap = c->cap_nodes ? c->cap_nodes * 2 : 64;
        node *grown = cap > INT32_MAX ? NULL : qg_realloc_array(c->nodes, cap, sizeof *grown);
        if (!grown)
            return QG_ERR_NOMEM;
        c->nodes = grown;
        c->cap_nodes = cap;
    }
    node *made = &c->nodes[c->n_nodes];
    *made = (node){.output = -1, .hits = -1, .edges = -1, .sibling = -1, .byte = byte};
    if (c->n_nodes) {
        bool starts = (byte & 0xC0) != 0x80;
        made->depth = (uint16_t)(c->nodes[parent].depth + starts);
        made->sibling = c->nodes[parent].edges;
        c->nodes[parent].edges = (int32_t)c->n_nodes;
        c->nodes[parent].n_edges++;
    }
    *out = (int32_t)c->n_nodes++;
    return QG_OK;
}

static int32_t child(const qg_contains *c, int32_t at, uint8_t byte)
{
    for (int32_t i = c->nodes[at].edges; i >= 0; i = c->nodes[i].sibling)
        if (c->nodes[i].byte == byte)
            return i;
    return -1;
}

static qg_status add_literal(qg_contains *c, qg_slice literal, int32_t index, qg_err *err)
{
    char bytes[12];
    int32_t at = 0;
    if (!literal.n)
        return qg_fail(err, QG_ERR_ARG, "empty: it would match everywhere");
    if (literal.n > QG_MAX_LITERAL_BYTES)
        return qg_fail(err, QG_ERR_TOO_LONG, "%zu bytes, at most %d are allowed", literal.n,
                       QG_MAX_LITERAL_BYTES);
    if (!qg_utf8_valid(literal))
        return qg_fail(err, QG_ERR_ARG, "not UTF-8");
    for (size_t i = 0, len; i < literal.n; i += len) {
        size_t n_cps, n = fold_bytes(qg_utf8_at(literal.p + i, &len), bytes, &n_cps);
        for (size_t j = 0; j < n; j++) {
            int32_t next = child(c, at, (uint8_t)bytes[j]);
            if (next < 0 && add_node(c, at, (uint8_t)bytes[j], &next) != QG_OK)
                return qg_fail(err, QG_ERR_NOMEM, "out of memory");
            at = next;
        }
    }
    c->same[index] = c->nodes[at].output;
    c->nodes[at].output = index;
    if (c->nodes[at].depth > c->longest)
        c->longest = c->nodes[at].depth;
    return QG_OK;
}

/* Parents come before children in queue order, so every fail link is ready when it is needed. */
static qg_status link_nodes(qg_contains *c)
{
    int32_t *queue = qg_malloc(c->n_nodes * sizeof *queue);
    if (!queue)
        return QG_ERR_NOMEM;
    size_t n = 0;
    queue[n++] = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t at = queue[i];
        for (int32_t k = c->nodes[at].edges; k >= 0; k = c->nodes[k].sibling) {
            node *kid = &c->nodes[k];
            int32_t to = at ? c->nodes[at].fail : -1, next = -1;
            while (to >= 0 && (next = child(c, to, kid->byte)) < 0)
                to = to ? c->nodes[to].fail : -1;
            kid->fail = next >= 0 ? next : 0;
            kid->hits = kid->output >= 0 ? k : c->nodes[kid->fail].hits;
            queue[n++] = k;
        }
    }
    qg_mfree(queue);
    return QG_OK;
}

static qg_status lay_edges(qg_contains *c)
{
    int32_t n = 0;
    c->edges = qg_malloc(c->n_nodes * sizeof *c->edges); /* one edge leads to each but the root */
    if (!c->edges)
        return QG_ERR_NOMEM;
    for (size_t i = 0; i < c->n_nodes; i++) {
        int32_t first = n;
        for (int32_t k = c->nodes[i].edges; k >= 0; k = c->nodes[k].sibling) {
            int32_t j = n++;
            for (; j > first && c->edges[j - 1].byte > c->nodes[k].byte; j--)
                c->edges[j] = c->edges[j - 1];
            c->edges[j] = (edge){c->nodes[k].byte, k};
        }
        c->nodes[i].edges = first;
    }
    for (int32_t i = 0; i < c->nodes[0].n_edges; i++)
        c->root[c->edges[i].byte] = c->edges[i].to;
    return QG_OK;
}

qg_status qg_contains_open(qg_contains **out, const qg_slice *literals, size_t n, size_t *bad,
                           qg_err *err)
{
    qg_contains *c = qg_calloc(1, sizeof *c);
    int32_t root;
    qg_status rc = QG_ERR_NOMEM;
    *out = NULL;
    *bad = 0;
    if (!c || !(c->same = qg_calloc(n, sizeof *c->same)) || add_node(c, 0, 0, &root) != QG_OK)
        goto failed;
    for (; *bad < n; ++*bad)
        if ((rc = add_literal(c, literals[*bad], (int32_t)*bad, err)) != QG_OK)
            goto closed;
    rc = link_nodes(c);
    if (rc == QG_OK)
        rc = lay_edges(c);
    if (rc == QG_OK) {
        *out = c;
        return QG_OK;
    }
failed:
    rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
closed:
    qg_contains_close(c);
    return rc;
}

void qg_contains_close(qg_contains *c)
{
    if (!c)
        return;
    qg_mfree(c->nodes);
    qg_mfree(c->edges);
    qg_mfree(c->same);
    qg_mfree(c);
}

/* ---- reading --------------------------------------------------------------------------------- */

size_t qg_contains_longest(const qg_contains *c)
{
    return c->longest;
}

static int32_t edge_to(const qg_contains *c, int32_t at, uint8_t byte)
{
    const edge *edges = c->edges + c->nodes[at].edges;
    int32_t low = 0, high = c->nodes[at].n_edges;
    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if (edges[mid].byte == byte)
            return edges[mid].to;
        if (edges[mid].byte < byte)
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

static int32_t advance(const qg_contains *c, int32_t at, uint8_t byte)
{
    for (; at; at = c->nodes[at].fail) {
        int32_t to = edge_to(c, at, byte);
        if (to >= 0)
            return to;
    }
    return c->root[byte];
}

static uint64_t origin_of(const qg_contains *c, const qg_contains_at *at, unsigned depth)
{
    return at->origin[(at->n_folded - depth) % c->longest];
}

static void report(const qg_contains *c, const qg_contains_at *at, qg_contains_hit_fn *hit,
                   void *ud)
{
    for (int32_t i = c->nodes[at->node].hits; i > 0; i = c->nodes[c->nodes[i].fail].hits)
        for (int32_t k = c->nodes[i].output; k >= 0; k = c->same[k])
            hit(ud, (size_t)k, origin_of(c, at, c->nodes[i].depth));
}

void qg_contains_step(const qg_contains *c, qg_contains_at *at, uint32_t cp, uint64_t index,
                      qg_contains_hit_fn *hit, void *ud)
{
    char bytes[12];
    size_t n_cps, n;
    if (!c->longest)
        return;
    n = fold_bytes(cp, bytes, &n_cps);
    for (size_t i = 0; i < n; i++) {
        if (((uint8_t)bytes[i] & 0xC0) != 0x80)
            at->origin[at->n_folded++ % c->longest] = index;
        at->node = advance(c, at->node, (uint8_t)bytes[i]);
        if (c->nodes[at->node].hits > 0)
            report(c, at, hit, ud);
    }
}

uint64_t qg_contains_held(const qg_contains *c, const qg_contains_at *at, uint64_t index)
{
    unsigned depth = c->nodes[at->node].depth;
    return depth ? origin_of(c, at, depth) : index;
}
