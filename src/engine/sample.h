/* Picking the next token in generate mode: greedy or sampled, with log probabilities on demand. */
#ifndef QG_ENGINE_SAMPLE_H
#define QG_ENGINE_SAMPLE_H

#include "base/buf.h"
#include "tok/tok.h"

/* What a job keeps of its qg_sampling, and what it has collected. */
typedef struct qg_sampler {
    qg_sampling how; /* lists copied; they lie behind the struct */
    size_t longest_stop;
    qg_logprob *logprobs; /* [n][1 + top_logprobs] */
    size_t n, cap;        /* rows of it */
    qg_buf tail;          /* raw bytes of what was written last: enough to find a stop string in */
} qg_sampler;

/* Numbers for one choice at a time; scheduler thread. */
typedef struct qg_sample_room {
    float *weights; /* [n] */
    int32_t *order; /* [n] */
} qg_sample_room;

/* Room for a vocabulary of n. */
qg_status qg_sample_room_open(qg_sample_room *room, int32_t n, qg_err *err);
void qg_sample_room_close(qg_sample_room *room);

/* Checks ranges (QG_ERR_ARG) and copies. */
qg_status qg_sampler_new(qg_sampler **out, const qg_sampling *how, int32_t n_vocab, qg_err *err);
void qg_sampler_free(qg_sampler *s);

/* The next token behind ids (the first n_prompt of which are the prompt): one of the first n_known
 * columns of logits [n_vocab].  -1 when a logit is not finite: the weights are broken then, and the
 * winner among the rest is not what the model says ("Safe" wins where the row of " Unsafe" is NaN);
 * -2 when there is no memory for its log probabilities.  s may be NULL: the most probable token. */
int32_t qg_sample_pick(qg_sampler *s, const qg_sample_room *room, const float *logits,
                       int32_t n_known, int32_t n_vocab, const qg_ids *ids, int32_t n_prompt);

/* After a token was written: does a stop string end in it, or is it a stop id?  *why: QG_OK, or
 * QG_ERR_NOMEM. */
bool qg_sampler_stops(qg_sampler *s, const qg_tok *tok, int32_t id, qg_status *why);
bool qg_sampler_is_stop_id(const qg_sampler *s, int32_t id);

#endif
