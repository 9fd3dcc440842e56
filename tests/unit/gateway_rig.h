/* A judge that is none, for tests of the gateway's core: tokens of four code points, the last whole
 * one and what is behind it provisional until the turn ends, a hit where the text has '#'. */
#ifndef QG_TESTS_GATEWAY_RIG_H
#define QG_TESTS_GATEWAY_RIG_H

#include "gateway/reply.h"

enum { RIG_TOKEN = 4, RIG_LANES = 64 };

typedef struct rig_session {
    char *text; /* of its turn */
    size_t n;
    size_t n_final; /* tokens given as final */
    bool open, ended;
    uint64_t judged; /* bytes of its turn whose tokens are final */
} rig_session;

typedef struct rig_judge {
    rig_session at[RIG_LANES];
    size_t n_asks;
    qg_severity severity; /* of a hit; default Unsafe */
    const char *category; /* default "Violent" */
    int first_token;      /* code points of a session's first token; 0 = RIG_TOKEN */
} rig_judge;

void rig_judge_init(rig_judge *j);
void rig_judge_free(rig_judge *j);
/* Takes the ask's text and says what the session would; qg_stream_result_free is not for it: the
 * result lives in *room until the next call (free with rig_result_free). */
typedef struct rig_result {
    qg_stream_result r;
    qg_token *tokens;
} rig_result;
void rig_judge_say(rig_judge *j, const qg_reply_ask *ask, rig_result *room);
void rig_result_free(rig_result *room);
/* Asks and answers until there is nothing more to ask. */
void rig_judge_all(rig_judge *j, qg_reply *reply);

#endif
