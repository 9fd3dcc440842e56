/* The four protocols that the gateway speaks, as a table: what a request asks, which strings of a
 * reply carry the model's text, and how a reply ends that the policy stops.  Nothing here does
 * input or output, keeps a clock or starts a thread.
 *
 * What is text.  A reply is JSON whose members are known (ids, counters, finish reasons) or not.
 * Every string that is not known to be something else is text and is judged, wherever it stands:
 * a member that a server adds tomorrow is read, not passed.  "Known" strings (ids, model names)
 * must look like what they are (no blanks, at most 256 bytes); one that does not is text. */
#ifndef QG_GATEWAY_WIRE_H
#define QG_GATEWAY_WIRE_H

#include "base/buf.h"
#include "svc/policy.h"

#include <stdint.h>

typedef enum qg_proto {
    QG_PROTO_CHAT = 0,    /* POST /v1/chat/completions */
    QG_PROTO_COMPLETIONS, /* POST /v1/completions */
    QG_PROTO_RESPONSES,   /* POST /v1/responses */
    QG_PROTO_ANTHROPIC,   /* POST /v1/messages */
    QG_N_PROTOS
} qg_proto;

/* "chat", "completions", "responses", "anthropic": for metrics and logs. */
const char *qg_proto_name(qg_proto proto);
/* The protocol of a request path ("/v1/chat/completions"; a query is not part of it), or false. */
bool qg_proto_of(qg_slice path, qg_proto *out);
/* Where the upstream has it, behind its base URL: "/chat/completions", "/messages". */
const char *qg_proto_path(qg_proto proto);

/* ---- requests -------------------------------------------------------------------------------- */

/* What a request says.  Messages in the order of the conversation, for qg_request and sessions;
 * system texts and instructions first, tool calls and tool results as their texts.  All lies in
 * the object. */
typedef struct qg_asked {
    qg_proto proto;
    qg_slice model; /* "" when none is named */
    bool stream;
    int32_t n_choices;
    const qg_message *messages; /* [n_messages], at least one */
    size_t n_messages;
    size_t n_unread; /* parts that are no text (images, audio, files, token ids): nobody judges
                        them, so a policy that closes must refuse a request that has any */
} qg_asked;

/* Reads a request body.  QG_ERR_FORMAT / QG_ERR_ARG / QG_ERR_TOO_LONG with a sentence for the
 * client, QG_ERR_NOMEM.  Free with qg_asked_close; the body may go. */
qg_status qg_asked_open(qg_asked **out, qg_proto proto, qg_slice body, qg_err *err);
void qg_asked_close(qg_asked *asked); /* NULL is fine */

/* The same body with one more instruction for the model (system message, instructions, system, or
 * text before the prompt), for a second try.  Everything else keeps its value.  Appends to out. */
qg_status qg_asked_instruct(qg_proto proto, qg_slice body, qg_slice instruction, qg_buf *out,
                            qg_err *err);

/* ---- what the gateway itself says ------------------------------------------------------------ */

/* The verdict behind an answer; for annotations.  category NULL: there is none (failures). */
typedef struct qg_wire_note {
    qg_severity severity;
    const char *category;
    double p;            /* of the severity, [0,1] */
    uint64_t begin, end; /* code points of the text it stands in; 0, 0 unknown */
    bool filtered;       /* something was taken away */
} qg_wire_note;

/* Appends a note as a member of content_filter_results, keyed by its category in small letters:
 * "violent":{"filtered":false,"detected":true,"severity":"medium",…} (CONTRACTS 10.3). */
qg_status qg_wire_note_put(const qg_wire_note *note, qg_buf *out);

/* An error body of the protocol (JSON, no newline).  http: the status it goes with; code: a word
 * such as "content_filter", "upstream_error", "judge_unavailable"; note may be NULL. */
qg_status qg_wire_error(qg_proto proto, int http, const char *code, const char *sentence,
                        const qg_wire_note *note, qg_buf *out);
/* The same within an event stream, terminator included. */
qg_status qg_wire_error_event(qg_proto proto, int http, const char *code, const char *sentence,
                              qg_buf *out);

typedef struct qg_wire_blocked {
    qg_slice model, id; /* id: letters and digits; the protocol's prefix is put before it */
    int64_t created;    /* seconds since 1970 */
    const char *message;
    const qg_wire_note *note; /* may be NULL */
} qg_wire_blocked;

/* A whole normal reply that says message and ends as filtered: JSON, or with stream all events of
 * it, terminator included.  For prompt_block: message. */
qg_status qg_wire_blocked_reply(qg_proto proto, bool stream, const qg_wire_blocked *b, qg_buf *out);

#endif
