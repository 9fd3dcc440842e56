/* The engines that serve at one time.  A request, or a session, keeps those that it began with, so
 * that a new model takes over between requests. */
#ifndef QG_SVC_HOUSE_H
#define QG_SVC_HOUSE_H

#include "svc/probe.h"
#include "svc/raw_prompt.h"

#include <stdatomic.h>

typedef struct qg_house {
    atomic_int refs;
    struct qg_house *next; /* in the list of those that are to be closed */
    qg_engine *engine;
    qg_model_info info;
    qg_engine *stream; /* with a Stream model: engine, one of its own, or NULL */
    qg_model_info stream_info;
    qg_engine *second; /* of the engine's second model, its own; NULL = none */
    qg_model_info second_info;
    char *model, *stream_model, *second_model; /* what they were opened by; NULL = built in, none */
    char *typed;                               /* what the model was called then; NULL = nothing */
    const char *name;                          /* when none was chosen */
    const char *const *names;                  /* [n_names], the first one is answered */
    size_t n_names;
    bool chosen; /* the names were */
    qg_raw raw;
    qg_probe probe, stream_probe, second_probe; /* the server's thread's */
    uint64_t print; /* of the models' files as they were: path, identity, size and time of each */
} qg_house;

typedef struct qg_house_options {
    const qg_options *engine; /* how to open; its models are not looked at */
    const char *model;        /* NULL = the built-in model */
    const char *stream_model; /* NULL = the model, if it is a Stream model, else none */
    const char *second_model; /* asked where the model is not sure; NULL = none */
    const char *typed;        /* what the model is called when it is no path; NULL = nothing */
    const char *const *names; /* [n_names] chosen ones; live for ever */
    size_t n_names;
} qg_house_options;

/* Opens the engines, with one reference.  Any thread.  As qg_engine_open. */
qg_status qg_house_open(qg_house **out, const qg_house_options *opt, qg_err *err);
/* Closes the engines, which ends what runs on them; whoever holds a reference may still give it
 * back. */
void qg_house_shut(qg_house *house);
/* The same, and frees it: nobody holds a reference any more.  NULL is fine. */
void qg_house_close(qg_house *house);
/* Any thread.  Giving a reference back never closes: that is for whoever finds that one is left. */
qg_house *qg_house_ref(qg_house *house);
void qg_house_unref(qg_house *house);
/* The print that a house opened so would have now. */
uint64_t qg_house_print(const qg_house_options *opt);
/* One small verdict (or token): QG_OK when the engines compute.  Also brings in what the first
 * request would have to wait for. */
qg_status qg_house_try(qg_house *house, qg_err *err);
/* QG_ERR_NOMEM with both numbers when opening these beside what is there would take more memory
 * than the machine (or the control group) has free: weights, working memory and all of the KV
 * memory.  What cannot be told is let pass. */
qg_status qg_house_room(const qg_house_options *opt, qg_err *err);

#endif
