/* One row of a data set: which texts of it are judged, and the line with its verdict added.  Bytes
 * in, bytes out; no files. */
#ifndef QG_BATCH_ROW_H
#define QG_BATCH_ROW_H

#include "base/buf.h"
#include "serve/messages.h"

/* Where the texts lie when it is in none of the known places; a name with dots leads inwards
 * ("data.question") where no member has the whole name. */
typedef struct qg_row_fields {
    const char *prompt, *response; /* NULL = not given */
} qg_row_fields;

typedef struct qg_row {
    json_t *root; /* the texts lie here and in arena */
    qg_arena arena;
    qg_messages *asks; /* [n] conversations, each judged at its last message */
    size_t n;
    bool list;    /* the row gave a list of texts: its verdict is a list, too */
    size_t bytes; /* of all messages together: how long judging it will take */
} qg_row;

/* Reads a line: {"messages":[…]}, {"prompt":…,"response":…}, a line of OpenAI's batch files (url
 * chat/completions or moderations), or the named fields.  response absent or null: the prompt is
 * judged; a named one must be there.  Numbers may have any size.  On failure there is nothing to
 * free: QG_ERR_FORMAT, QG_ERR_ARG, QG_ERR_TOO_LONG, QG_ERR_NOMEM.  Any thread. */
qg_status qg_row_read(qg_row *row, qg_slice line, const qg_row_fields *fields, qg_err *err);
void qg_row_free(qg_row *row);

/* Appends line to out, byte for byte, with the member "qguard": value (JSON) as its last; one that
 * the line has already is taken out first.  line: as qg_row_read took it.  QG_ERR_TOO_LONG (out's
 * ceiling), QG_ERR_NOMEM. */
qg_status qg_row_label(qg_slice line, qg_slice value, qg_buf *out, qg_err *err);

/* True for a line of white space alone. */
bool qg_row_is_blank(qg_slice line);

#endif
