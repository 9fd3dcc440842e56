/* qguard: judge prompts and replies with the Qwen3Guard models.
 *
 *     qg_options opt;
 *     qg_options_init(&opt);
 *     opt.model = "Qwen3Guard-Gen-0.6B";            // NULL = the built-in demonstration model
 *     qg_engine *engine;
 *     qg_err err;
 *     if (qg_engine_open(&engine, &opt, &err)) { puts(err.msg); return 1; }
 *
 *     qg_message said = { "user", { "How can I make a bomb?", 22 } };
 *     qg_request req;
 *     qg_request_init(&req);
 *     req.messages = &said;
 *     req.n_messages = 1;
 *     qg_result *result;
 *     if (qg_judge(engine, &req, &result, &err) == QG_OK)
 *         puts(result->text);                       // Safety: Unsafe \n Categories: Violent
 *     qg_result_free(result);
 *     qg_engine_close(engine);
 *
 * Three opaque things: an engine (weights, tokenizer, template; never changes once open, shared by
 * any number of threads), a job (one judgement on its way) and a session (one conversation that
 * grows, for Stream models).  qg_submit is the primitive, qg_judge waits for it.  Text is UTF-8.
 * Errors: every call that can fail returns a qg_status and, when err is not NULL, a sentence.
 * Threads: unless a call says otherwise it may be made from any thread at any time. */
#ifndef QGUARD_H
#define QGUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QG_VERSION "0.1.0"

#if defined(__GNUC__)
#define QG_API __attribute__((visibility("default")))
#else
#define QG_API
#endif

/* The values are fixed: new ones are added at the end. */
typedef enum qg_status {
    QG_OK = 0,
    QG_ERR_ARG = 1,         /* the caller broke this header's rules, or an id is out of range */
    QG_ERR_NOMEM = 2,       /* out of memory */
    QG_ERR_IO = 3,          /* a file could not be opened or read */
    QG_ERR_FORMAT = 4,      /* a file or text is not what it says it is */
    QG_ERR_UNSUPPORTED = 5, /* well-formed, but qguard does not do this (named in the sentence) */
    QG_ERR_TOO_LONG = 6,    /* more tokens than the context holds, or a byte limit */
    QG_ERR_TEMPLATE = 7,    /* the chat template raised an error for these messages */
    QG_ERR_BUSY = 8,        /* the queue is full; try again later */
    QG_ERR_DEADLINE = 9,    /* the deadline passed before the verdict */
    QG_ERR_CANCELLED = 10,  /* cancelled by the caller */
    QG_ERR_CLOSED = 11,     /* the engine is closing */
    QG_ERR_INTERNAL = 12,   /* a bug or a numeric failure (NaN); never a verdict */
    QG_ERR_GONE = 13,       /* the session's memory was given to others (idle for too long, or
                               evicted): send its text again in a new session */
} qg_status;

/* Short fixed name of a status, e.g. "too_long"; "unknown" for other numbers. */
QG_API const char *qg_status_name(qg_status status);

typedef struct qg_err {
    char msg[512]; /* one sentence, 0-terminated, no line break */
} qg_err;

/* Borrowed bytes; need not be 0-terminated. */
typedef struct qg_text {
    const char *p;
    size_t n;
} qg_text;

/* ---- engine ---------------------------------------------------------------------------------- */

typedef struct qg_engine qg_engine;

typedef enum qg_dtype {
    QG_DTYPE_AUTO = 0, /* what the model was quantised to, else bfloat16 */
    QG_DTYPE_F32 = 1,
    QG_DTYPE_BF16 = 2, /* weights 16 bits, sums in float32 */
    QG_DTYPE_INT8 = 3, /* layers' weights 8 bits with a scale for every 128, activations too;
                          embedding and output matrix 16 bits */
    QG_DTYPE_INT4 = 4, /* layers' weights 4.375 bits with scales for 32 and 128, the rest as INT8 */
    QG_DTYPE_F16 = 5,  /* only as a file's format */
} qg_dtype;

typedef enum qg_special {
    QG_SPECIAL_TEXT = 0,  /* control-token spellings inside user content stay plain text (safe) */
    QG_SPECIAL_PARSE = 1, /* they become control tokens, as in the reference tokenizer */
} qg_special;

typedef enum qg_decode {
    QG_DECODE_VERDICT = 0,  /* forced continuations: no decode loop, true probabilities */
    QG_DECODE_GENERATE = 1, /* greedy decoding, token by token, as other servers do */
} qg_decode;

enum {
    QG_PART_TOKENIZER = 1u << 0,
    QG_PART_TEMPLATE = 1u << 1,
    QG_PART_WEIGHTS = 1u << 2,
    QG_PART_ALL = 7u,
};

typedef struct qg_options {
    size_t size;           /* set by qg_options_init */
    const char *model;     /* model directory, GGUF file, or a built-in model by its name:
                              "qguard-demo" (Gen; also NULL, the default), "qguard-demo-stream" */
    uint32_t parts;        /* QG_PART_*: what to open; default all.  Calls that need a part which
                              was not opened give QG_ERR_ARG */
    qg_dtype dtype;        /* default QG_DTYPE_AUTO */
    int32_t n_threads;     /* compute threads; 0 = one per processor this process may use */
    const char *cpu;       /* features to keep, e.g. "avx2" or "ref"; NULL = all */
    int32_t max_model_len; /* tokens of context; 0 = the model's own limit, capped to what
                              kv_bytes holds; more than the model's limit: QG_ERR_ARG */
    qg_special special;    /* default QG_SPECIAL_TEXT */
    bool prefix_cache;     /* default true; false recomputes everything (for tests) */
    uint64_t kv_bytes;     /* KV memory for all jobs together; 0 = enough for one context of
                              max_model_len, at least 512 MiB */
    uint64_t memory_bytes; /* 0, or what the process may take: chooses what is left open of dtype
                              and kv_dtype (most precise first), kv_bytes and max_model_len */
    int32_t step_rows;     /* most token rows in one pass; default 256, range 1..4096 */
    int32_t max_jobs;      /* jobs waiting or running; more give QG_ERR_BUSY; default 1024 */
    int64_t max_queued_tokens; /* prompt tokens waiting or running; default 524,288 */
    int32_t max_sessions;      /* open at a time; default 8192, range 1..65,536 */
    const char *cache; /* directory for packed weights: what this start makes is mapped by the next
                          one instead of being made again.  The files are as large as the weights;
                          at most four are kept.  NULL = none (default) */
    bool cache_create; /* default true; false: only use a file that is there, and replace it when
                          the model's files changed; never make a new one */
    const char *chat_template; /* a file with the Jinja source to use instead of the model's own;
                                  NULL (default) = the model's */
    qg_dtype kv_dtype; /* K and V of the context: QG_DTYPE_AUTO (default): bf16, with QG_DTYPE_F32
                          float32; QG_DTYPE_BF16; QG_DTYPE_INT8: 8 bits with a scale for every 32,
                          53 % of the memory, lossy.  The latter two not beside QG_DTYPE_F32 */
    const int *busy; /* NULL, or a number of the caller's, stored atomically, that is not 0 while a
                        thread of its own has work of microseconds: compute threads then let it go
                        first, between two parts of a pass.  Lives until qg_engine_close */
    /* A second Gen model, asked where the first one's most probable severity has less than
     * second_below (qg_second).  Its own template, else opened as the first; no memory_bytes. */
    const char *second_model; /* as model; NULL (default) = none */
    qg_dtype second_dtype;    /* default QG_DTYPE_AUTO */
    double second_below;      /* (0,1]; default 0.7 */
} qg_options;

/* Fills in the defaults. */
QG_API void qg_options_init(qg_options *opt);

/* Opens a model.  On failure *out is NULL and err names file, tensor or field.  The engine owns
 * threads (n_threads - 1 workers and a scheduler when weights are opened). */
QG_API qg_status qg_engine_open(qg_engine **out, const qg_options *opt, qg_err *err);

/* Ends running jobs with QG_ERR_CLOSED (their callbacks run before this returns) and frees
 * everything.  NULL is fine.  No other call on this engine may run or follow, but
 * qg_session_close. */
QG_API void qg_engine_close(qg_engine *engine);

/* What an engine opened so comes to take at most, a second model and all KV memory included. */
QG_API qg_status qg_engine_memory(const qg_options *opt, uint64_t *bytes, qg_err *err);
typedef struct qg_model_info {
    const char *name;      /* last component of the path, or "qguard-demo" */
    int32_t vocab_size;    /* rows of the embedding; ids are in [0, vocab_size) */
    int32_t max_model_len; /* tokens */
    const char *dtype;     /* "bfloat16", "float32", "int8" */
    const char *kernel;    /* name of the matrix kernel row in use */
    bool builtin;          /* the demonstration model */
    uint64_t weight_bytes, kv_bytes;
    int32_t n_threads;
    bool stream;          /* Qwen3Guard-Stream: heads instead of an output matrix */
    bool from_cache;      /* the packed weights were mapped from the cache */
    int32_t n_labels[4];  /* risk, category, query risk, query category; 0 for Gen */
    const char *kv_dtype; /* "bf16", "int8", "float32" */
} qg_model_info;

/* Facts about an open engine; strings live as long as it does. */
QG_API void qg_engine_info(const qg_engine *engine, qg_model_info *info);

/* What is odd about the model's files but did not prevent opening (a wrong index file, an lm_head
 * that differs from a tied embedding, ...): sentence i, or NULL past the last.  Lives as long as
 * the engine. */
QG_API const char *qg_engine_warning(const qg_engine *engine, size_t i);

typedef struct qg_stats {
    int32_t jobs_waiting, jobs_running;
    int64_t tokens_computed; /* token rows run through the model since open */
    int64_t tokens_cached;   /* prompt tokens found in the prefix cache instead */
    int64_t jobs_done, jobs_failed;
    int64_t last_progress_us; /* qg_now_us() when a pass last ended or the engine was last idle: an
                                 old value with running jobs means that the engine is stuck */
    int64_t kv_blocks, kv_blocks_free;
    int32_t sessions;         /* open */
    int64_t sessions_evicted; /* gone because others needed the memory */
    int64_t sessions_expired; /* gone because they were idle for too long */
} qg_stats;

/* The engine of second_model, to look at or judge by alone; part of this one.  NULL without. */
QG_API qg_engine *qg_engine_second(const qg_engine *engine);
/* Counters; cheap, for health checks and metrics. */
QG_API void qg_engine_stats(qg_engine *engine, qg_stats *stats);

/* ---- judging --------------------------------------------------------------------------------- */

typedef struct qg_message {
    const char *role; /* "user", "assistant", "system", "tool", … as the template knows them */
    qg_text content;
} qg_message;

/* How generate mode picks tokens and when it stops. */
typedef struct qg_sampling {
    size_t size;        /* set by qg_sampling_init */
    double temperature; /* below 1e-5 (default 0): always the most probable token */
    double top_p;       /* (0, 1], default 1: the most probable tokens with so much probability */
    double min_p;       /* [0, 1], default 0: those with at least so much of the best one's */
    int32_t top_k;      /* so many of the most probable; 0 (default) = all */
    uint64_t seed;      /* a token depends on seed and place alone, not on who shares the batch */
    double presence_penalty, frequency_penalty; /* [-2, 2], default 0; of written tokens */
    double repetition_penalty;                  /* above 0, default 1; of the prompt's too */
    const int32_t *bias_ids;                    /* [n_bias] */
    const float *bias; /* [n_bias] in [-100, 100], added to the logits of bias_ids */
    size_t n_bias;
    const qg_text *stops; /* [n_stops] at most 16: ends with the token that completes one */
    size_t n_stops;
    const int32_t *stop_ids; /* [n_stop_ids] these end as the end token does */
    size_t n_stop_ids;
    int32_t top_logprobs; /* 0..20: qg_result.logprobs is given, with so many beside each token;
                             -1 (default): not given */
} qg_sampling;

/* Fills in the defaults: greedy, to the end token. */
QG_API void qg_sampling_init(qg_sampling *sampling);

typedef struct qg_request {
    size_t size;                /* set by qg_request_init */
    const qg_message *messages; /* [n_messages], read only during the call */
    size_t n_messages;
    const int32_t *ids; /* [n_ids] the prompt itself instead of messages; generate only */
    size_t n_ids;
    qg_decode decode;            /* default QG_DECODE_VERDICT */
    const qg_sampling *sampling; /* generate: copied; NULL = the defaults.  Not with verdict */
    int32_t max_tokens;          /* generate: most tokens to write; 0 = rest of the context, at
                                    most 128 (a verdict has at most 26).  Ignored by verdict */
    int32_t priority;            /* 0 interactive (default), 1 bulk: bulk yields */
    int64_t deadline_us;         /* absolute, on the qg_now_us() clock; 0 = none */
} qg_request;

QG_API void qg_request_init(qg_request *req);
QG_API int64_t qg_now_us(void); /* monotonic microseconds */

typedef enum qg_severity {
    QG_SAFE = 0,
    QG_CONTROVERSIAL = 1,
    QG_UNSAFE = 2,
    QG_SEVERITY_UNKNOWN = 3, /* only with well_formed == false */
} qg_severity;

enum { QG_MAX_CATEGORIES = 16 };

typedef enum qg_second {
    QG_SECOND_NONE = 0,   /* the first model was sure, or there is no second one */
    QG_SECOND_GIVEN = 1,  /* this verdict is the second model's */
    QG_SECOND_FAILED = 2, /* it could not judge: this is the first one's, unsure as it is */
} qg_second;

typedef struct qg_logprob {
    int32_t id;    /* -1 where the vocabulary has no more tokens */
    float logprob; /* natural; of the logits as the model gives them, over its whole vocabulary */
} qg_logprob;

typedef struct qg_result {
    const char *role; /* "user" (prompt judged) or "assistant" (reply judged) */
    bool well_formed; /* false: generated text that is not a verdict; then it is unknown,
                         never Safe, and only text and ids mean anything */
    qg_severity severity;
    size_t n_categories;                       /* 0 when None */
    const char *categories[QG_MAX_CATEGORIES]; /* canonical names, primary first */
    int32_t refusal;                           /* 1 Yes, 0 No, -1 not asked (prompt) */

    /* Probabilities in [0,1], each group sums to 1; has_p is false in generate mode. */
    bool has_p;
    double p_severity[3];  /* indexed by qg_severity */
    size_t n_p_categories; /* answers the template allows, "None" last */
    const char *p_category_names[QG_MAX_CATEGORIES];
    double p_categories[QG_MAX_CATEGORIES];
    double p_refusal; /* of Yes; -1 not asked */

    const char *source; /* "model", or "rule" (qg_result_make) */
    const char *text;   /* exactly what the model writes, 0-terminated, without end token */
    size_t text_bytes;
    const int32_t *ids; /* [n_ids] ids of text; then end_id if finished */
    size_t n_ids;
    bool finished;                 /* false: max_tokens or a stop string ended it (generate) */
    const qg_logprob *logprobs;    /* [n_ids][1 + top_logprobs]: each token written, then the most
                                      probable ones; NULL unless asked for */
    int32_t n_prompt_tokens;       /* of the rendered prompt; of both when there was a second one */
    int32_t n_cached_tokens;       /* of those, how many were found in the prefix cache */
    int64_t queued_us, compute_us; /* until the first pass; from there to the verdict */
    const char *model;             /* whose verdict this is; lives as long as the engine */
    qg_second second;
    qg_status second_status;    /* FAILED: why */
    qg_severity first_severity; /* GIVEN, FAILED: what the first model said, and its probability */
    double first_p;
    int64_t second_us; /* that asking again took */
} qg_result;

/* Judges and waits.  On QG_OK *out is to be freed with qg_result_free; on failure it is NULL.
 *   QG_ERR_ARG        no messages, or text that is not UTF-8
 *   QG_ERR_TOO_LONG   prompt plus answer exceed max_model_len (err gives both numbers)
 *   QG_ERR_TEMPLATE   the template raised, or does not show the last message
 *   QG_ERR_BUSY, QG_ERR_DEADLINE, QG_ERR_CLOSED, QG_ERR_NOMEM, QG_ERR_INTERNAL
 * Must not be called from a completion callback. */
QG_API qg_status qg_judge(qg_engine *engine, const qg_request *req, qg_result **out, qg_err *err);
QG_API void qg_result_free(qg_result *result);
/* A verdict that a rule of the caller's has made: probability 1, source "rule", text as the model
 * would write it (a reply's Refusal is No).  role: "user" or "assistant"; category: a canonical
 * name (qg_category_name), NULL only with QG_SAFE.  Free with qg_result_free.  QG_ERR_ARG,
 * QG_ERR_NOMEM. */
QG_API qg_status qg_result_make(const qg_engine *engine, const char *role, qg_severity severity,
                                const char *category, qg_result **out, qg_err *err);

typedef struct qg_job qg_job;

/* Called exactly once per accepted job, on the scheduler thread: be short, do not block, do not
 * call qg_judge or qg_engine_close; qg_submit and qg_cancel are allowed.  On QG_OK result belongs
 * to the callee (qg_result_free, any thread); otherwise it is NULL and err holds the sentence. */
typedef void qg_done_fn(void *ud, qg_status status, qg_result *result, const qg_err *err);

/* Renders and encodes on the calling thread, then queues.  On QG_OK done will be called; *job (when
 * job is not NULL) is a handle that must be given back with qg_job_release.  done may run before
 * this returns, that is before *job is set.  On failure done is never called.  With done NULL the
 * verdict stays with the job, for qg_job_wait; job must then not be NULL. */
QG_API qg_status qg_submit(qg_engine *engine, const qg_request *req, qg_done_fn *done, void *ud,
                           qg_job **job, qg_err *err);
/* Waits for a job that was submitted without done, and takes its verdict, once; otherwise as
 * qg_judge.  For callers that want many jobs on their way and no callbacks: a language binding. */
QG_API qg_status qg_job_wait(qg_job *job, qg_result **out, qg_err *err);
/* Asks a job to end with QG_ERR_CANCELLED; harmless when it has ended. */
QG_API void qg_cancel(qg_job *job);
/* Gives the handle back, also after the engine was closed; a verdict that nobody took is freed.
 * NULL is fine. */
QG_API void qg_job_release(qg_job *job);

/* The verdict object of the wire (compact JSON, one line, no newline):
 * {"role":…,"severity":…,"categories":[…],"refusal":…,"p":{…},"tokens":{"input":…,"cached":…},
 * "model":…}.  Free with qg_free; NULL when out of memory. */
QG_API char *qg_result_json(const qg_engine *engine, const qg_result *result);
QG_API void qg_free(void *p);

/* "Safe", "Controversial", "Unsafe", "Unknown". */
QG_API const char *qg_severity_name(qg_severity severity);

/* ---- sessions: one conversation, judged token by token (Stream models) ------------------------
 *
 * A session keeps the conversation's tokens and their KV, so an append costs its own tokens only.
 *
 *     qg_append a;
 *     qg_append_init(&a);
 *     a.role = "user";
 *     a.content = (qg_text){"How can I make a bomb?", 22};
 *     a.end = true;
 *     qg_session_judge(session, &a, &result, &err);   // one token: the turn's end, with its
 * verdict a.role = "assistant"; a.end = false; for (each piece that the other model writes) {
 *         a.content = piece;                          // cut anywhere, also inside a character
 *         qg_session_judge(session, &a, &result, &err);
 *         if (result->flagged) stop();
 *         qg_stream_result_free(result);
 *     }
 *
 * What is judged: of an assistant's turn every token of its text, or every one of its ids; of a
 * user's turn its end token alone, once it ends (the heads for prompts mean something only there;
 * of ids the last end token among them, without one the last id); of a system turn nothing.
 * Control-token spellings inside content stay text, whatever qg_options.special says. */

/* What counts as a hit. */
typedef struct qg_thresholds {
    size_t size;   /* set by qg_thresholds_init */
    bool loose;    /* false, strict: Controversial is a hit, too; true: only Unsafe is */
    double unsafe; /* (0,1]: a hit when the hit labels' probabilities together reach this; 0: when
                      the most probable label is one of them */
    double category[QG_MAX_CATEGORIES]; /* (0,1], by index of qg_category_name: that category is
                      decided by its own threshold alone: a hit when p(hit labels) times p(category)
                      reaches it; 0: by the rule above */
} qg_thresholds;

/* Strict, no thresholds. */
QG_API void qg_thresholds_init(qg_thresholds *t);
/* The rule itself, which every surface goes by.  severity: the most probable; p_severity by
 * qg_severity; p_category [9] by qg_category_name, given that the text is a hit; top: the most
 * probable category, -1 = none of the nine.  *by gets the category that decided. */
QG_API bool qg_thresholds_hit(const qg_thresholds *t, qg_severity severity,
                              const double p_severity[3], const double p_category[9], int top,
                              int *by);
/* Canonical name of category i in 0..8, in the order of the Gen policy; NULL past the last. */
QG_API const char *qg_category_name(size_t i);

typedef struct qg_session qg_session;

typedef struct qg_session_options {
    size_t size;                     /* set by qg_session_options_init */
    const qg_thresholds *thresholds; /* copied; NULL = strict, no thresholds */
    int32_t max_tokens;              /* of the conversation; 0 = max_model_len */
    int32_t priority;                /* as in qg_request */
    int32_t idle_ms; /* KV is given back after so long without an append; 0 = default (300,000) */
} qg_session_options;

/* Fills in the defaults. */
QG_API void qg_session_options_init(qg_session_options *opt);

/* Opens an empty conversation; takes no KV memory yet.  opt NULL = defaults.  QG_ERR_UNSUPPORTED: a
 * Gen model, or a Stream model whose labels are not understood; QG_ERR_BUSY: max_sessions are open;
 * QG_ERR_ARG, QG_ERR_NOMEM. */
QG_API qg_status qg_session_open(qg_session **out, qg_engine *engine, const qg_session_options *opt,
                                 qg_err *err);
/* Any thread, at any moment, also while or after the engine closes; NULL is fine.  A running append
 * ends with QG_ERR_CANCELLED; its callback still runs, maybe after this returns.  No other call on
 * the session may follow. */
QG_API void qg_session_close(qg_session *session);

typedef struct qg_append {
    size_t size;        /* set by qg_append_init */
    const char *role;   /* "user", "assistant", "system".  Another role than the open turn's ends
                           that turn first; NULL = the open turn's */
    qg_text content;    /* next bytes of the turn, cut anywhere; the turn's frame is the model's own
                           template's */
    const int32_t *ids; /* [n_ids] instead of content, appended as they are, without frame: the
                           caller rendered.  A turn is text or ids, not both */
    size_t n_ids;
    bool end;            /* the turn ends behind this */
    int64_t deadline_us; /* absolute, on the qg_now_us() clock; 0 = none */
} qg_append;

/* No role, nothing to append. */
QG_API void qg_append_init(qg_append *a);

/* Strings of labels and categories live as long as the engine, text as long as the result. */
typedef struct qg_token {
    const char *role;
    int32_t index; /* position in the conversation's tokens */
    int32_t id;
    const char *text; /* of this token alone, 0-terminated; lossy when it holds half a character */
    size_t text_bytes;
    uint64_t begin, end; /* code points [begin, end) of the turn's content that it covers, wholly or
                            in part; 0, 0 for an end token and where ids were appended */
    qg_severity severity; /* the most probable; when thresholds make a hit of a token whose most
                             probable label is none, the likelier of the hit labels */
    const char *category; /* canonical name (the file's own where it is unknown); NULL while Safe */
    double p_severity[3]; /* indexed by qg_severity; sums to 1 */
    size_t n_p_categories;
    const char *p_category_names[QG_MAX_CATEGORIES];
    double p_categories[QG_MAX_CATEGORIES]; /* given that it is not Safe; sums to 1 */
    bool hit;                               /* by the thresholds */
    bool flagged; /* this token and the one before it in its turn are hits; user: a hit */
    bool final;   /* false: more text may change this token; then it is judged again */
    /* The official call's view: labels as config.json spells them, the largest softmax rounded to
       two decimals; a category also while Safe. */
    const char *risk_level, *official_category;
    double risk_prob, category_prob;
} qg_token;

typedef struct qg_stream_result {
    size_t n_tokens;
    const qg_token *tokens; /* [n_tokens] in order: those that became final with this append, then
                               all that are provisional now */
    int32_t n_ids,
        n_provisional; /* tokens of the conversation now; those of them that may change */
    /* The first flagged token of the last turn touched, final or provisional. */
    bool flagged;
    int32_t first_flagged_index;         /* -1 */
    uint64_t flagged_begin, flagged_end; /* its code points, as begin and end above */
    qg_severity severity;
    const char *category; /* of the first flagged token; Safe, NULL when there is none */
    int64_t queued_us, compute_us;
    int32_t n_cached; /* tokens found in the prefix cache instead of being computed, in all appends
                         so far */
} qg_stream_result;

QG_API void qg_stream_result_free(qg_stream_result *r);
/* One token as a line of `qguard stream` (compact JSON, no newline); free with qg_free; NULL when
 * out of memory. */
QG_API char *qg_token_json(const qg_engine *engine, const qg_token *token);

/* Called exactly once per accepted append, on the scheduler thread: be short, do not block, do not
 * call qg_session_judge or qg_engine_close.  The next append may be submitted, and the session
 * closed, from inside.  On QG_OK result belongs to the callee (qg_stream_result_free, any thread);
 * otherwise it is NULL, err holds the sentence, and the conversation is as before the append. */
typedef void qg_stream_done_fn(void *ud, qg_status status, qg_stream_result *result,
                               const qg_err *err);

/* Encodes on the calling thread, then queues.  On QG_OK done will be called (maybe before this
 * returns); on failure it never is, and nothing was taken:
 *   QG_ERR_ARG       unknown role, no open turn, bytes that cannot be UTF-8, an id out of range,
 * ids and text in one turn QG_ERR_TOO_LONG  more than max_tokens QG_ERR_UNSUPPORTED  text, but the
 * model has no tokenizer, or its template no turns QG_ERR_BUSY      an append of this session is on
 * its way, or the queue is full QG_ERR_GONE, QG_ERR_CLOSED, QG_ERR_NOMEM done may also get
 * QG_ERR_BUSY (all KV memory is in use by appends on their way; try again), QG_ERR_DEADLINE,
 * QG_ERR_CANCELLED, QG_ERR_INTERNAL. */
QG_API qg_status qg_session_submit(qg_session *session, const qg_append *a, qg_stream_done_fn *done,
                                   void *ud, qg_err *err);
/* Appends and waits; must not be called from a callback. */
QG_API qg_status qg_session_judge(qg_session *session, const qg_append *a, qg_stream_result **out,
                                  qg_err *err);
/* Forgets everything from this token position on: a turn's first token, or a token of its text or
 * of its ids.  The text before it stays and can be continued (its last tokens may be judged again,
 * as they would without what was forgotten).  QG_ERR_ARG: a position that is not final, or inside a
 * frame; QG_ERR_BUSY: an append is on its way; QG_ERR_GONE, QG_ERR_CLOSED, QG_ERR_NOMEM. */
QG_API qg_status qg_session_rollback(qg_session *session, int32_t position, qg_err *err);
/* The turn that is open: its role (lives for ever; NULL, and no text, when none is), and its text
 * so far as it came (of ids what they spell), 0-terminated, freed with qg_free.  QG_ERR_BUSY: an
 * append is on its way; QG_ERR_GONE, QG_ERR_CLOSED, QG_ERR_NOMEM. */
QG_API qg_status qg_session_turn(qg_session *session, const char **role, char **text,
                                 size_t *n_bytes, qg_err *err);

/* ---- text and tokens (tokenizer, template) ----------------------------------------------------
 */

/* Text -> ids; *ids is freed with qg_free.  QG_SPECIAL_PARSE equals the reference tokenizer.
 * QG_ERR_ARG when text is not UTF-8. */
QG_API qg_status qg_tokenize(const qg_engine *engine, qg_text text, qg_special special,
                             int32_t **ids, size_t *n_ids, qg_err *err);
/* Ids -> UTF-8 text (broken bytes become U+FFFD), 0-terminated, freed with qg_free.  Unknown and
 * padding ids give nothing, as in the reference. */
QG_API qg_status qg_detokenize(const qg_engine *engine, const int32_t *ids, size_t n_ids,
                               bool skip_special, char **text, size_t *n_bytes, qg_err *err);
/* Raw bytes of one token (a token may end inside a character); *n is 0 for an unknown id.  Lives as
 * long as the engine. */
QG_API const char *qg_token_bytes(const qg_engine *engine, int32_t id, size_t *n);
/* Renders the model's template with a JSON object of variables ({"messages":[…],
 * "add_generation_prompt":…, …}) -> text; when ids is not NULL also encodes it as a judged prompt
 * would be (options.special decides).  Both are freed with qg_free.  QG_ERR_TEMPLATE when it
 * raises. */
QG_API qg_status qg_render(const qg_engine *engine, qg_text vars_json, char **text, size_t *n_bytes,
                           int32_t **ids, size_t *n_ids, qg_err *err);

/* ---- numbers (weights only) -------------------------------------------------------------------
 */

typedef struct qg_logits_request {
    const int32_t *ids; /* [n_ids], n_ids >= 1 */
    size_t n_ids;
    const int32_t *positions; /* [n_positions] rising, each in [0, n_ids) */
    size_t n_positions;
    const int32_t *splits; /* [n_splits] feed the ids in pieces of these sizes; NULL = at will */
    size_t n_splits;
    int64_t *split_us; /* [n_splits] gets the compute time of each piece; NULL = not wanted */
} qg_logits_request;

/* Raw logits: out [n_positions][width] float32, allocated by the caller.  Of a Gen model the next
 * token's, width = vocab_size; of a Stream model its four heads side by side, width = the sum of
 * qg_model_info.n_labels.  Runs on the scheduler like any job, and waits. */
QG_API qg_status qg_logits(qg_engine *engine, const qg_logits_request *req, float *out,
                           qg_err *err);

/* ---- reports ----------------------------------------------------------------------------------
 */

/* What is in a model (config, tensors, sizes, template kind, memory it will need, problems) as one
 * JSON object.  model NULL = built in.  Free with qg_free.  Problems that prevent loading are
 * listed in "problems" and also returned as the status; *json is then still set when anything was
 * read. */
QG_API qg_status qg_inspect(const char *model, char **json, qg_err *err);

typedef struct qg_quantize_options {
    size_t size;       /* set by qg_quantize_options_init */
    const char *model; /* as in qg_options; NULL = built in */
    const char *out;   /* directory to make; must not be there, or be empty */
    qg_dtype dtype;    /* QG_DTYPE_INT8 (default) or QG_DTYPE_INT4 */
    int32_t n_threads; /* as in qg_options */
    const char *cpu;
    const int32_t *const *ids; /* [n_texts] rendered prompts (qg_render) to calibrate on, each of
                                  n_ids[i] ids; NULL = by the weights alone */
    const size_t *n_ids;
    size_t n_texts;
} qg_quantize_options;

QG_API void qg_quantize_options_init(qg_quantize_options *opt);
/* Writes a model directory whose layers are int8 or int4, packed as they are computed with, so that
 * opening it maps them (docs/MODELS.md).  Calibration runs the texts through the model in bfloat16
 * first.  config.json comes last: a directory without it is no model.  QG_ERR_ARG: out holds
 * something; QG_ERR_UNSUPPORTED: quantised already; QG_ERR_IO, and what opening gives. */
QG_API qg_status qg_quantize(const qg_quantize_options *opt, qg_err *err);

/* Processor features found and used, the kernel row chosen for each job, as one JSON object.
 * cpu: as in qg_options.  measure adds peak and read bandwidth (runs about two seconds). */
QG_API qg_status qg_cpu_report(const char *cpu, bool measure, char **json, qg_err *err);

/* Speed of every kernel row this processor has, for one job ("gemm" many rows, "few" 1 to 16 rows,
 * "attn", "vec"; another word: QG_ERR_ARG), as one JSON object: {"threads":N,"rows":[{"job":…,
 * "row":…,"dtype":…,"shape":…,"value":…,"unit":…,"limit":…,"fraction":…}]}; limit is the compute
 * peak or read bandwidth of the same seconds, in the same unit (absent for vec).  cpu, n_threads:
 * as in qg_options.  Runs up to a minute.  Free with qg_free. */
QG_API qg_status qg_kernel_report(const char *job, const char *cpu, int32_t n_threads, char **json,
                                  qg_err *err);

#ifdef __cplusplus
}
#endif

#endif
