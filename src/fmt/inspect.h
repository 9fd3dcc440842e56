/* What is in a model directory, as a JSON object for people and programs. */
#ifndef QG_FMT_INSPECT_H
#define QG_FMT_INSPECT_H

#include "fmt/modeldir.h"

#include <jansson.h>

typedef struct qg_inspection {
    qg_modeldir *dir; /* as far as it could be read; NULL: not even listed */
    json_t *report;   /* object; its last members are the arrays "warnings" and "problems" */
    qg_status first;  /* of the first problem, QG_OK when there is none */
} qg_inspection;

/* Surveys the directory at path, or the n_files files in memory when path is NULL, and fills in the
 * report: name, kind, config, tensors, template, memory, warnings, problems.  Returns QG_OK or
 * QG_ERR_NOMEM; problems of the model are in first and in the report, err then holds the sentence
 * of the first.  Free with qg_inspection_close either way. */
qg_status qg_inspection_open(qg_inspection *out, const char *path, const qg_file *files,
                             size_t n_files, qg_err *err);
/* Adds what another room found: QG_OK adds nothing, else *e joins the problems. */
void qg_inspection_add(qg_inspection *in, qg_status status, const qg_err *e, qg_err *err);
/* NULL members are fine. */
void qg_inspection_close(qg_inspection *in);

#endif
