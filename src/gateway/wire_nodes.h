/* The tables of wire.h's protocols: which members a reply's JSON has, and what each event does. */
#ifndef QG_GATEWAY_WIRE_NODES_H
#define QG_GATEWAY_WIRE_NODES_H

#include "gateway/marks.h"
#include "gateway/wire.h"

/* What an event of a stream means beside its texts. */
typedef struct qg_wire_event {
    const qg_node *root;
    bool ends_choice; /* the texts of the root's index have ended (index -1: all) */
    bool ends_all;
    bool last; /* the reply ends with this event */
} qg_wire_event;

/* data: of an event that holds JSON. */
qg_wire_event qg_wire_event_of(qg_proto proto, qg_slice data);
/* The same of a whole body. */
const qg_node *qg_wire_body(qg_proto proto);
/* data is the protocol's last line that is no JSON: "[DONE]". */
bool qg_wire_is_done(qg_proto proto, qg_slice data);

#endif
