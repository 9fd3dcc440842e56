/* How a stream ends that was cut: what the client has seen of it so far, and the events that make
 * it whole in its protocol. */
#ifndef QG_GATEWAY_ENDING_H
#define QG_GATEWAY_ENDING_H

#include "gateway/event.h"
#include "gateway/wire.h"
#include "text/json.h"

enum { QG_ENDING_CHOICES = 128 };

typedef struct qg_ending {
    qg_proto proto;
    bool begun;   /* something was seen */
    json_t *head; /* chat: what all chunks share; Anthropic: NULL; responses: the response object */
    uint8_t choices[QG_ENDING_CHOICES]; /* chat: 1 seen, 2 finished */
    int32_t block, n_blocks;            /* Anthropic: the open one, -1; how many */
    bool block_is_text;
    json_t *items, *open; /* responses: output so far; {"output_index": item that is open} */
    size_t kept;          /* responses: bytes of the events that items and open are from */
    int64_t sequence;     /* responses: of the next event */
} qg_ending;

void qg_ending_init(qg_ending *e, qg_proto proto);
void qg_ending_free(qg_ending *e);
/* Has head (reference taken over) as if it had been seen: for replies of our own. */
void qg_ending_head(qg_ending *e, json_t *head);

/* The event has left whole, or (part) with some of its texts.  QG_ERR_NOMEM. */
qg_status qg_ending_saw(qg_ending *e, const qg_event *event);
qg_status qg_ending_saw_part(qg_ending *e, const qg_event *event);

/* What of a text has left; for protocols that say it again at the end. */
typedef qg_slice qg_ending_text_fn(void *ud, int32_t choice, int32_t sub, const char *lane);

typedef struct qg_ending_say {
    const char *message; /* NULL: none */
    int32_t choice;      /* whose text was cut; -1: no one's */
    bool behind_text;    /* some text has left: the message stands apart from it */
    uint64_t tokens;     /* judged, where the protocol wants a number */
    const qg_wire_note *note;
    qg_ending_text_fn *text; /* NULL: none */
    void *ud;
} qg_ending_say;

/* Appends the end of a filtered reply, terminator included. */
qg_status qg_ending_write(qg_ending *e, const qg_ending_say *s, qg_buf *out);
/* Appends an error event, terminator included. */
qg_status qg_ending_error(qg_ending *e, int http, const char *code, const char *sentence,
                          qg_buf *out);

/* ---- for the files of the ending ---- */
/* Appends `event: name` (NULL: none) and the object, which is given up.  NULL value: out of
 * memory. */
qg_status qg_put_event(qg_buf *out, const char *name, json_t *value);
/* {"content_filter_results": …} members of a note, or NULL. */
json_t *qg_note_json(const qg_wire_note *note);
qg_status qg_ending_responses_saw(qg_ending *e, const qg_event *event);
qg_status qg_ending_responses(qg_ending *e, const qg_ending_say *s, qg_buf *out);

#endif
