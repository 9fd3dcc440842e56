/* The token tree: every answer that has to be looked at, as branches behind the prompt, so that one
 * forward pass reads them all.
 *
 *   … Safety:  ─┬─ Safe \n Categories:          <- read: category given Safe
 *       │       ├─ Unsafe \n Categories:        <- read: category given Unsafe
 *      read:    └─ Cont rovers ial \n Categories:
 *    severity
 *
 * For a reply the likeliest continuation ( Safe … None \n Refusal:) is a branch too; any other one
 * is added after the first reading and costs a second, short pass. */
#ifndef QG_GUARD_TREE_H
#define QG_GUARD_TREE_H

#include "guard/labels.h"

enum { QG_TREE_NODES = 256, QG_TREE_ROOT = -1 };

typedef struct qg_node {
    int32_t id;     /* token */
    int32_t parent; /* node, always a smaller index; QG_TREE_ROOT = the last token of "Safety:" */
    int32_t depth;  /* 0 for a child of the root */
    int32_t read;   /* row in the table of logits, or -1 when this node's logits are not needed */
} qg_node;

typedef struct qg_tree {
    qg_node nodes[QG_TREE_NODES];
    int32_t n_nodes;
    int32_t n_reads;                      /* row 0 is the root's */
    int32_t category_at[QG_N_SEVERITIES]; /* node behind "\nCategories:" of each severity */
} qg_tree;

/* A set of labels that can follow one node. */
typedef struct qg_group {
    const qg_piece *pieces;
    unsigned allowed; /* bits of pieces */
} qg_group;

/* The first pass's tree.  QG_ERR_UNSUPPORTED when it does not fit QG_TREE_NODES. */
qg_status qg_tree_init(qg_tree *tree, const qg_labels *labels, qg_judged judged, qg_err *err);

/* Node behind "\nRefusal:" on the branch of severity s and category c, or QG_TREE_ROOT if there is
 * none yet. */
int32_t qg_tree_refusal_at(const qg_tree *tree, const qg_labels *labels, int s, int c);
/* Adds that branch; its nodes and reads come after the ones that were there. */
qg_status qg_tree_add_refusal(qg_tree *tree, const qg_labels *labels, int s, int c, qg_err *err);

/* Child of node (or of the root) with this token; QG_TREE_ROOT if none. */
int32_t qg_tree_child(const qg_tree *tree, int32_t node, int32_t id);

#endif
