/* One event of a reply that waits to leave, with the marks of its texts; a whole body is one, too.
 */
#ifndef QG_GATEWAY_EVENT_H
#define QG_GATEWAY_EVENT_H

#include "gateway/marks.h"
#include "gateway/sse.h"

typedef struct qg_event {
    struct qg_event *next;
    qg_slice raw, data;   /* in the event's own memory; data may lie in raw */
    const qg_mark *marks; /* [n_marks] */
    size_t n_marks;
    bool last;     /* the reply ends with it */
    bool has_text; /* a mark's text waits for a verdict */
} qg_event;

/* A copy of all of it; NULL: out of memory.  Free with qg_mfree. */
qg_event *qg_event_make(const qg_sse_event *from, const qg_marks *marks);

/* Bytes [begin, end) of the data say text instead; edits do not overlap. */
typedef struct qg_edit {
    uint32_t begin, end;
    size_t at, n; /* in the edits' text */
} qg_edit;

typedef struct qg_edits {
    qg_edit *p; /* [n] by begin */
    size_t n, cap;
    qg_buf text;
} qg_edits;

void qg_edits_init(qg_edits *edits);
void qg_edits_free(qg_edits *edits);
/* text: what begins at `at` of edits->text, up to its end now. */
qg_status qg_edits_add(qg_edits *edits, uint32_t begin, uint32_t end, size_t at);

/* Appends the event: as it came without edits, else with its data edited (in one line). */
qg_status qg_event_write(const qg_event *event, const qg_edits *edits, qg_buf *out);

#endif
