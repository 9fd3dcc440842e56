/* Random replies of the four protocols, as lists of events. */
#ifndef QG_TESTS_GATEWAY_GEN_H
#define QG_TESTS_GATEWAY_GEN_H

#include "base/buf.h"
#include "gateway/wire.h"

enum { GEN_EVENTS = 512 };

typedef struct gen {
    uint64_t seed;
    qg_proto proto;
    bool crlf;
    int hits; /* of a hundred pieces, how many hold marks that the test's judge takes for hits */
    qg_buf text;
    size_t ends[GEN_EVENTS]; /* [n] byte behind each event */
    size_t n;
} gen;

uint32_t gen_random(gen *g, uint32_t below);
/* Fills text and ends anew. */
void gen_reply(gen *g);
static inline qg_slice gen_event(const gen *g, size_t i)
{
    size_t from = i ? g->ends[i - 1] : 0;
    return qg_slice_of(g->text.p + from, g->ends[i] - from);
}

#endif
