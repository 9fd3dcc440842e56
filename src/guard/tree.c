#include "guard/tree.h"

int32_t qg_tree_child(const qg_tree *tree, int32_t node, int32_t id)
{
    for (int32_t i = node + 1; i < tree->n_nodes; i++)
        if (tree->nodes[i].parent == node && tree->nodes[i].id == id)
            return i;
    return QG_TREE_ROOT;
}

static qg_status full(qg_err *err)
{
    return qg_fail(err, QG_ERR_UNSUPPORTED, "tokenizer: the answers need more than %d tree tokens",
                   QG_TREE_NODES);
}

/* Follows piece from node, adding what is missing; *end is where it leads. */
static qg_status add_path(qg_tree *tree, int32_t node, const qg_piece *piece, int32_t *end,
                          qg_err *err)
{
    for (int32_t i = 0; i < piece->n; i++) {
        int32_t next = qg_tree_child(tree, node, piece->ids[i]);
        if (next == QG_TREE_ROOT) {
            if (tree->n_nodes == QG_TREE_NODES)
                return full(err);
            next = tree->n_nodes++;
            tree->nodes[next] = (qg_node){
                .id = piece->ids[i],
                .parent = node,
                .depth = node == QG_TREE_ROOT ? 0 : tree->nodes[node].depth + 1,
                .read = -1,
            };
        }
        node = next;
    }
    *end = node;
    return QG_OK;
}

static int32_t find_path(const qg_tree *tree, int32_t node, const qg_piece *piece)
{
    for (int32_t i = 0; i < piece->n; i++) {
        node = qg_tree_child(tree, node, piece->ids[i]);
        if (node == QG_TREE_ROOT)
            return QG_TREE_ROOT;
    }
    return node;
}

/* Makes every node readable at which labels of the group part, from depth tokens into them. */
static qg_status plant(qg_tree *tree, int32_t node, int32_t depth, qg_group group, qg_err *err)
{
    if (node != QG_TREE_ROOT && tree->nodes[node].read < 0)
        tree->nodes[node].read = tree->n_reads++;
    while (group.allowed) {
        int first = __builtin_ctz(group.allowed);
        int32_t id = group.pieces[first].ids[depth];
        qg_group same = {group.pieces, 0};
        for (unsigned rest = group.allowed; rest; rest &= rest - 1) {
            int i = __builtin_ctz(rest);
            if (group.pieces[i].ids[depth] == id)
                same.allowed |= 1u << i;
        }
        group.allowed &= ~same.allowed;
        if (!(same.allowed & (same.allowed - 1)))
            continue;
        int32_t child;
        QG_TRY(add_path(tree, node, &(qg_piece){.ids = {id}, .n = 1}, &child, err));
        QG_TRY(plant(tree, child, depth + 1, same, err));
    }
    return QG_OK;
}

qg_status qg_tree_init(qg_tree *tree, const qg_labels *labels, qg_judged judged, qg_err *err)
{
    const qg_group severities = {labels->severity, (1u << QG_N_SEVERITIES) - 1};
    const qg_group categories = {labels->category, qg_categories_allowed(judged)};

    *tree = (qg_tree){.n_reads = 1};
    QG_TRY(plant(tree, QG_TREE_ROOT, 0, severities, err));
    for (int s = 0; s < QG_N_SEVERITIES; s++) {
        int32_t node;
        QG_TRY(add_path(tree, QG_TREE_ROOT, &labels->severity[s], &node, err));
        QG_TRY(add_path(tree, node, &labels->categories, &tree->category_at[s], err));
        QG_TRY(plant(tree, tree->category_at[s], 0, categories, err));
    }
    if (judged == QG_REPLY)
        QG_TRY(qg_tree_add_refusal(tree, labels, QG_SAFE, QG_CATEGORY_NONE, err));
    return QG_OK;
}

int32_t qg_tree_refusal_at(const qg_tree *tree, const qg_labels *labels, int s, int c)
{
    int32_t node = find_path(tree, tree->category_at[s], &labels->category[c]);
    return node == QG_TREE_ROOT ? node : find_path(tree, node, &labels->refusal);
}

qg_status qg_tree_add_refusal(qg_tree *tree, const qg_labels *labels, int s, int c, qg_err *err)
{
    int32_t node;
    QG_TRY(add_path(tree, tree->category_at[s], &labels->category[c], &node, err));
    QG_TRY(add_path(tree, node, &labels->refusal, &node, err));
    return plant(tree, node, 0, (qg_group){labels->answer, 3}, err);
}
