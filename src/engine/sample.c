#define _GNU_SOURCE

#include "engine/sample.h"

#include "base/limits.h"
#include "base/mem.h"

#include <math.h>

/* Below this a temperature means greedy, as at vLLM; clients write 1e-20 for zero. */
#define LEAST_TEMPERATURE 1e-5

void qg_sampling_init(qg_sampling *how)
{
    *how =
        (qg_sampling){.size = sizeof *how, .top_p = 1, .repetition_penalty = 1, .top_logprobs = -1};
}

qg_status qg_sample_room_open(qg_sample_room *room, int32_t n, qg_err *err)
{
    room->weights = qg_calloc((size_t)n, sizeof *room->weights);
    room->order = qg_calloc((size_t)n, sizeof *room->order);
    return room->weights && room->order ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

void qg_sample_room_close(qg_sample_room *room)
{
    qg_mfree(room->weights);
    qg_mfree(room->order);
}

/* ---- what a job keeps ---- */

static bool between(double x, double least, double most)
{
    return x >= least && x <= most; /* false for NaN */
}

static qg_status check_ids(const char *what, const int32_t *ids, size_t n, int32_t n_vocab,
                           qg_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= n_vocab)
            return qg_fail(err, QG_ERR_ARG, "%s: token %d is not in 0..%d", what, ids[i],
                           n_vocab - 1);
    return QG_OK;
}

static qg_status check(const qg_sampling *how, int32_t n_vocab, qg_err *err)
{
    if (how->size != sizeof *how)
        return qg_fail(err, QG_ERR_ARG, "sampling: size is not set; call qg_sampling_init first");
    if (!between(how->temperature, 0, 1e6))
        return qg_fail(err, QG_ERR_ARG, "temperature must be a number that is not negative");
    if (!between(how->top_p, 0, 1) || how->top_p <= 0 || !between(how->min_p, 0, 1))
        return qg_fail(err, QG_ERR_ARG, "top_p must be in (0, 1], min_p in [0, 1]");
    if (how->top_k < 0)
        return qg_fail(err, QG_ERR_ARG, "top_k must not be negative");
    if (!between(how->presence_penalty, -2, 2) || !between(how->frequency_penalty, -2, 2))
        return qg_fail(err, QG_ERR_ARG, "penalties must be in [-2, 2]");
    if (!between(how->repetition_penalty, 1e-3, 1e3))
        return qg_fail(err, QG_ERR_ARG, "repetition_penalty must be above 0");
    if (how->top_logprobs < -1 || how->top_logprobs > QG_MAX_TOP_LOGPROBS)
        return qg_fail(err, QG_ERR_ARG, "top_logprobs must be at most %d", QG_MAX_TOP_LOGPROBS);
    if (how->n_bias > QG_MAX_SAMPLING_LIST || how->n_stop_ids > QG_MAX_SAMPLING_LIST ||
        how->n_stops > QG_MAX_STOPS)
        return qg_fail(err, QG_ERR_ARG, "too many stop strings, stop tokens or biases");
    for (size_t i = 0; i < how->n_bias; i++)
        if (!between(how->bias[i], -100, 100))
            return qg_fail(err, QG_ERR_ARG, "a bias must be in [-100, 100]");
    for (size_t i = 0; i < how->n_stops; i++)
        if (how->stops[i].n == 0 || how->stops[i].n > QG_MAX_STOP_BYTES)
            return qg_fail(err, QG_ERR_ARG, "a stop string must have 1 to %d bytes",
                           QG_MAX_STOP_BYTES);
    QG_TRY(check_ids("logit_bias", how->bias_ids, how->n_bias, n_vocab, err));
    return check_ids("stop_token_ids", how->stop_ids, how->n_stop_ids, n_vocab, err);
}

/* Copies n bytes to *at and moves it on, keeping 8-byte alignment. */
static void *pack(char **at, const void *from, size_t n)
{
    void *copy = *at;
    if (n)
        memcpy(copy, from, n);
    *at += (n + 7) & ~(size_t)7;
    return copy;
}

qg_status qg_sampler_new(qg_sampler **out, const qg_sampling *how, int32_t n_vocab, qg_err *err)
{
    *out = NULL;
    QG_TRY(check(how, n_vocab, err));
    size_t bytes = sizeof(qg_sampler) + how->n_bias * (sizeof(int32_t) + sizeof(float)) +
                   how->n_stop_ids * sizeof(int32_t) + how->n_stops * (sizeof(qg_text) + 8) + 64;
    for (size_t i = 0; i < how->n_stops; i++)
        bytes += how->stops[i].n;
    qg_sampler *s = qg_calloc(1, bytes);
    if (!s)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    char *at = (char *)(s + 1);
    s->how = *how;
    s->how.bias_ids = pack(&at, how->bias_ids, how->n_bias * sizeof(int32_t));
    s->how.bias = pack(&at, how->bias, how->n_bias * sizeof(float));
    s->how.stop_ids = pack(&at, how->stop_ids, how->n_stop_ids * sizeof(int32_t));
    qg_text *stops = pack(&at, how->stops, how->n_stops * sizeof(qg_text));
    for (size_t i = 0; i < how->n_stops; i++) {
        stops[i].p = pack(&at, how->stops[i].p, how->stops[i].n);
        if (stops[i].n > s->longest_stop)
            s->longest_stop = stops[i].n;
    }
    s->how.stops = stops;
    qg_buf_init(&s->tail, 4 * (QG_MAX_STOP_BYTES + QG_MAX_TOKEN_BYTES));
    *out = s;
    return QG_OK;
}

void qg_sampler_free(qg_sampler *s)
{
    if (!s)
        return;
    qg_buf_free(&s->tail);
    qg_mfree(s->logprobs);
    qg_mfree(s);
}

/* ---- stopping ---- */

bool qg_sampler_is_stop_id(const qg_sampler *s, int32_t id)
{
    for (size_t i = 0; s && i < s->how.n_stop_ids; i++)
        if (s->how.stop_ids[i] == id)
            return true;
    return false;
}

bool qg_sampler_stops(qg_sampler *s, const qg_tok *tok, int32_t id, qg_status *why)
{
    *why = QG_OK;
    if (!s || !s->how.n_stops || qg_tok_is_special(tok, id))
        return false;
    qg_slice bytes = qg_tok_bytes(tok, id);
    size_t keep = s->longest_stop - 1;
    if (s->tail.n > keep) {
        memmove(s->tail.p, s->tail.p + (s->tail.n - keep), keep);
        s->tail.n = keep;
    }
    *why = qg_buf_add(&s->tail, bytes.p, bytes.n);
    for (size_t i = 0; *why == QG_OK && i < s->how.n_stops; i++)
        if (s->tail.n && memmem(s->tail.p, s->tail.n, s->how.stops[i].p, s->how.stops[i].n))
            return true;
    return false;
}

/* ---- log probabilities: of the logits as they are, over the whole vocabulary ---- */

static double log_sum_exp(const float *x, int32_t n)
{
    float top = x[0];
    double sum = 0;
    for (int32_t i = 1; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (int32_t i = 0; i < n; i++)
        sum += exp((double)x[i] - top);
    return top + log(sum);
}

/* The k largest, first the largest; of equals the smaller id. */
static void best_few(const float *x, int32_t n, int32_t k, qg_logprob *out)
{
    int32_t n_out = 0;
    for (int32_t i = 0; i < n; i++) {
        if (n_out == k && (k == 0 || x[i] <= out[k - 1].logprob))
            continue;
        int32_t at = n_out < k ? n_out++ : k - 1;
        for (; at > 0 && out[at - 1].logprob < x[i]; at--)
            out[at] = out[at - 1];
        out[at] = (qg_logprob){i, x[i]};
    }
    for (int32_t i = n_out; i < k; i++)
        out[i] = (qg_logprob){-1, -INFINITY};
}

static bool record(qg_sampler *s, const float *logits, int32_t n_vocab, int32_t picked)
{
    size_t width = 1 + (size_t)s->how.top_logprobs;
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 16;
        qg_logprob *more = qg_realloc_array(s->logprobs, cap * width, sizeof *more);
        if (!more)
            return false;
        s->logprobs = more;
        s->cap = cap;
    }
    qg_logprob *row = s->logprobs + s->n++ * width;
    double all = log_sum_exp(logits, n_vocab);
    row[0] = (qg_logprob){picked, logits[picked]};
    best_few(logits, n_vocab, s->how.top_logprobs, row + 1);
    for (size_t i = 0; i < width; i++)
        row[i].logprob = (float)(row[i].logprob - all);
    return true;
}

/* ---- choosing ---- */

static int32_t best_id(const float *logits, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!isfinite(logits[i]))
            return -1;
        if (logits[i] > logits[best])
            best = i;
    }
    return best;
}

/* Penalties count ids in marks, which is zero before and after. */
static void adjust(const qg_sampling *how, float *w, int32_t *marks, int32_t n, const qg_ids *ids,
                   int32_t n_prompt)
{
    for (size_t i = 0; i < how->n_bias; i++)
        if (how->bias_ids[i] < n)
            w[how->bias_ids[i]] += how->bias[i];
    if (how->repetition_penalty != 1)
        for (size_t i = 0; i < ids->n; i++) {
            int32_t id = ids->p[i];
            if (id < 0 || id >= n || marks[id]++)
                continue;
            w[id] = (float)(w[id] > 0 ? w[id] / how->repetition_penalty
                                      : w[id] * how->repetition_penalty);
        }
    for (size_t i = 0; i < ids->n; i++)
        if (ids->p[i] >= 0 && ids->p[i] < n)
            marks[ids->p[i]] = 0;
    if (how->presence_penalty == 0 && how->frequency_penalty == 0)
        return;
    for (size_t i = (size_t)n_prompt; i < ids->n; i++) {
        int32_t id = ids->p[i];
        if (id < 0 || id >= n)
            continue;
        w[id] -= (float)(how->frequency_penalty + (marks[id]++ ? 0 : how->presence_penalty));
    }
    for (size_t i = (size_t)n_prompt; i < ids->n; i++)
        if (ids->p[i] >= 0 && ids->p[i] < n)
            marks[ids->p[i]] = 0;
}

/* Before b in a list that falls; of equals the smaller id. */
static bool before(const float *w, int32_t a, int32_t b)
{
    return w[a] > w[b] || (w[a] == w[b] && a < b);
}

static void sift_down(const float *w, int32_t *heap, int32_t n, int32_t at)
{
    for (;;) {
        int32_t best = at, child = 2 * at + 1;
        if (child < n && before(w, heap[child], heap[best]))
            best = child;
        if (child + 1 < n && before(w, heap[child + 1], heap[best]))
            best = child + 1;
        if (best == at)
            return;
        int32_t id = heap[at];
        heap[at] = heap[best];
        heap[best] = id;
        at = best;
    }
}

/* Uniform in [0,1), a function of seed and place alone (splitmix64). */
static double uniform(uint64_t seed, uint64_t place)
{
    uint64_t z = seed + (place + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* The most probable ones, as many as min_p, top_k and top_p let in (top_p of what top_k left): they
 * end up at the end of order, backwards.  A heap gives them in turn, so that few cost little.
 * Returns how many; *sum is their weight. */
static int32_t let_in(const qg_sampling *how, const float *w, int32_t *order, int32_t n,
                      double *sum)
{
    int32_t most = how->top_k && how->top_k < n ? how->top_k : n, m = 0;
    double all = 0;
    for (int32_t i = 0; i < n; i++) {
        order[i] = i;
        all += w[i] >= how->min_p ? w[i] : 0;
    }
    for (int32_t i = n / 2 - 1; i >= 0; i--)
        sift_down(w, order, n, i);
    *sum = 0;
    while (m < most && (m == 0 || w[order[0]] >= how->min_p) && *sum < how->top_p * all) {
        int32_t id = order[0], left = n - ++m;
        order[0] = order[left];
        sift_down(w, order, left, 0);
        order[left] = id;
        *sum += w[id];
    }
    if (m < most)
        return m;
    all = *sum; /* top_k ended it: top_p counts anew */
    *sum = 0;
    for (m = 0; m < most && *sum < how->top_p * all; m++)
        *sum += w[order[n - 1 - m]];
    return m;
}

/* w holds logits; it becomes weights, 1 for the most probable. */
static int32_t draw(const qg_sampling *how, float *w, int32_t *order, int32_t n, int32_t best,
                    double u)
{
    float top = w[best];
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        w[i] = (float)exp(((double)w[i] - top) / how->temperature);
        sum += w[i];
    }
    bool all = how->top_p == 1 && how->min_p == 0 && !how->top_k;
    int32_t m = all ? n : let_in(how, w, order, n, &sum);
    double rest = u * sum;
    int32_t last = best;
    for (int32_t i = 0; i < m; i++) {
        int32_t id = all ? i : order[n - 1 - i];
        if (w[id] <= 0)
            continue;
        last = id; /* what rounding leaves over belongs to the last */
        rest -= w[id];
        if (rest < 0)
            break;
    }
    return last;
}

static int32_t choose(const qg_sampling *how, const qg_sample_room *room, const float *logits,
                      int32_t n, int32_t best, const qg_ids *ids, int32_t n_prompt)
{
    bool adjusts = how->n_bias || how->repetition_penalty != 1 || how->presence_penalty != 0 ||
                   how->frequency_penalty != 0;
    bool samples = how->temperature >= LEAST_TEMPERATURE;
    if (!adjusts && !samples)
        return best;
    memcpy(room->weights, logits, (size_t)n * sizeof *logits);
    if (adjusts) {
        memset(room->order, 0, (size_t)n * sizeof *room->order);
        adjust(how, room->weights, room->order, n, ids, n_prompt);
        best = best_id(room->weights, n);
    }
    if (best < 0 || !samples)
        return best;
    return draw(how, room->weights, room->order, n, best,
                uniform(how->seed, (uint64_t)ids->n - (uint64_t)n_prompt));
}

int32_t qg_sample_pick(qg_sampler *s, const qg_sample_room *room, const float *logits,
                       int32_t n_known, int32_t n_vocab, const qg_ids *ids, int32_t n_prompt)
{
    int32_t best = best_id(logits, n_known);
    if (best < 0 || !s)
        return best;
    int32_t picked = choose(&s->how, room, logits, n_known, best, ids, n_prompt);
    if (picked >= 0 && s->how.top_logprobs >= 0 && !record(s, logits, n_vocab, picked))
        return -2;
    return picked;
}
