/* The chat-template language: the part of Jinja that the templates of this family use, sandboxed.
 */
#ifndef QG_TMPL_TMPL_H
#define QG_TMPL_TMPL_H

#include "base/buf.h"

#include <jansson.h>

typedef struct qg_tmpl qg_tmpl; /* immutable once open; any number of threads may render with it */

/* Compiles a template (source is copied).  Unknown constructs: QG_ERR_UNSUPPORTED naming the
 * construct and its line; syntax errors: QG_ERR_FORMAT with the line.  Whitespace as transformers
 * sets it: trim_blocks, lstrip_blocks. */
qg_status qg_tmpl_open(qg_tmpl **out, qg_slice source, qg_err *err);
void qg_tmpl_close(qg_tmpl *tmpl);

typedef struct qg_rendered {
    qg_buf text;    /* UTF-8 */
    qg_span *spans; /* [n_spans], cover text; input: bytes that came out of vars */
    size_t n_spans, spans_cap;
} qg_rendered;

/* vars: a JSON object, the template's global names.  out: zero-initialised; freed with
 * qg_rendered_free also after failure.  QG_ERR_TEMPLATE: raise_exception, an undefined name used
 * where the reference raises, a type error; QG_ERR_TOO_LONG: step, depth or output limit. */
qg_status qg_tmpl_render(const qg_tmpl *tmpl, const json_t *vars, qg_rendered *out, qg_err *err);
void qg_rendered_free(qg_rendered *r);

#endif
