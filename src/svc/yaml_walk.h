/* A YAML file read by a schema that is tables: which keys, what reads each, errors with line and
 * path.  libyaml wrapped once; nothing here knows what the file is about. */
#ifndef QG_SVC_YAML_WALK_H
#define QG_SVC_YAML_WALK_H

#include "base/slice.h"
#include "base/status.h"

#include <yaml.h>

typedef struct qg_yaml {
    void *ud; /* the file's own */
    qg_err *err;
    yaml_document_t doc;
    size_t visited; /* nodes, against aliases that multiply */
    int depth;
    char path[128]; /* "categories.Jailbreak": where the reader is */
} qg_yaml;

/* Reads a value into something; arg is the field's. */
typedef qg_status qg_yaml_fn(qg_yaml *r, const yaml_node_t *node, void *into, int arg);
typedef struct qg_yaml_field {
    const char *name;
    qg_yaml_fn *read;
    int arg;
} qg_yaml_field;

/* Words and what they stand for; the list ends with a NULL name. */
typedef struct qg_yaml_words {
    const char *name;
    int value;
} qg_yaml_words;

typedef qg_status qg_yaml_pair_fn(qg_yaml *r, const yaml_node_t *key, const yaml_node_t *value,
                                  void *into);

/* Parses text (UTF-8, one document) and calls read with r->doc open; r: ud and err set, the rest
 * zero.  QG_ERR_FORMAT with "line N: …". */
qg_status qg_yaml_read(qg_yaml *r, qg_slice text, qg_status (*read)(qg_yaml *r));

/* QG_ERR_FORMAT with "line N: path: sentence". */
qg_status qg_yaml_refuse(qg_yaml *r, const yaml_node_t *node, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Line of a node, from 1. */
int qg_yaml_line(const yaml_node_t *node);
/* Bytes of a scalar (a 0 follows them), the empty slice for others; borrowed from the document. */
qg_slice qg_yaml_scalar(const yaml_node_t *node);
/* One more node was visited: refuses past QG_MAX_POLICY_NODES. */
qg_status qg_yaml_count(qg_yaml *r, const yaml_node_t *node);
/* Calls each for every pair of a mapping, with the key's name on the path; a key given twice, and
 * anything that is not a mapping, is refused. */
qg_status qg_yaml_each(qg_yaml *r, const yaml_node_t *map, qg_yaml_pair_fn *each, void *into);
/* A mapping whose keys are those of fields [n]; unknown ones are refused with the known ones. */
qg_status qg_yaml_table(qg_yaml *r, const yaml_node_t *node, const qg_yaml_field *fields, size_t n,
                        void *into);
/* A plain number in [min, max]; whole: without a fraction. */
qg_status qg_yaml_number(qg_yaml *r, const yaml_node_t *node, double min, double max, bool whole,
                         double *out);
/* One of the words; others are refused with the list. */
qg_status qg_yaml_word(qg_yaml *r, const yaml_node_t *node, const qg_yaml_words *words, int *out);

#endif
