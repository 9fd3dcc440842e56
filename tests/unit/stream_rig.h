/* A small Stream model on disk, with the demonstration model's tokenizer and a template of turns,
 * and what tests of sessions do with it. */
#ifndef QG_TESTS_STREAM_RIG_H
#define QG_TESTS_STREAM_RIG_H

#include "qguard.h"

#include <stdatomic.h>

/* A judged token to the last bit, without text. */
typedef struct stream_mark {
    int32_t index, id;
    uint64_t begin, end;
    qg_severity severity;
    const char *category;
    double p_severity[3], p_categories[QG_MAX_CATEGORIES];
    bool hit, flagged, user;
} stream_mark;

enum { STREAM_MARKS = 4096 };

/* The final tokens of a conversation, in order; a token that is judged again takes those from its
 * place on away. */
typedef struct stream_log {
    stream_mark marks[STREAM_MARKS];
    size_t n;
    int32_t n_ids, n_provisional; /* as the last result says */
    bool flagged;
    int32_t first_flagged;
} stream_log;

/* Makes the model's folder; poison: a tensor with an infinite element, or NULL. */
void stream_folder(char folder[64], const char *poison);
void stream_folder_remove(const char *folder);
/* The defaults, with this folder, two threads. */
void stream_options(qg_options *opt, const char *folder);
/* Fails the test when it cannot. */
qg_engine *stream_open(const qg_options *opt);
qg_session *stream_session(qg_engine *engine, const qg_session_options *opt);

qg_append stream_text(const char *role, const char *text, size_t n, bool end);
qg_append stream_ids(const char *role, const int32_t *ids, size_t n, bool end);
/* Appends, waits, adds final tokens to log (may be NULL); returns the status. */
qg_status stream_feed(qg_session *s, const qg_append *a, stream_log *log);
/* Adds a result's final tokens to log. */
void stream_add(stream_log *log, const qg_stream_result *r);
/* The same; fails the test unless it gives QG_OK. */
void stream_must(qg_session *s, const qg_append *a, stream_log *log);
/* Fails the test unless both say the same to the bit. */
void stream_same(const stream_log *got, const stream_log *want);
int64_t stream_computed(qg_engine *engine);
qg_stats stream_stats(qg_engine *engine);
/* Waits until the scheduler has taken leave of closed sessions. */
void stream_all_free(qg_engine *engine);
/* Appends n ids as an assistant's. */
qg_status stream_grow(qg_session *s, int32_t n);
void stream_pause(long ms);

/* Counts how appends end; left: those that have not. */
typedef struct stream_tally {
    atomic_int ok, busy, other, left;
} stream_tally;

void stream_count(void *tally, qg_status rc, qg_stream_result *r, const qg_err *err);
void stream_wait(stream_tally *t);

#endif
