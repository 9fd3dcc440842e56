/* What fake_session.c needs of the fake engine's thread. */
#ifndef FAKE_ENGINE_H
#define FAKE_ENGINE_H

#include "qguard.h"

typedef struct fake_later {
    int64_t due_us, deadline_us;
    bool hang;                           /* until it is cancelled or the engine closes */
    bool freeze;                         /* when it has ended, nothing else will */
    void (*run)(void *ud, qg_status rc); /* QG_OK when it is due; on the engine's thread */
    void *ud;
} fake_later;

/* The handle is released with qg_job_release; qg_cancel works on it. */
qg_job *fake_engine_later(qg_engine *engine, const fake_later *what);
int32_t fake_engine_max_len(const qg_engine *engine);
/* How many sessions may still be opened; outlives the engine, as sessions do. */
typedef struct fake_count {
    int left, refs;
} fake_count;
/* A place for one more session; NULL when there is none. */
fake_count *fake_engine_take(qg_engine *engine);
void fake_count_free(fake_count *count);

#endif
