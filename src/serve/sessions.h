/* Sessions that outlive a request: POST /v1/moderations/sessions and what follows. */
#ifndef QG_SERVE_SESSIONS_H
#define QG_SERVE_SESSIONS_H

#include "serve/serve_priv.h"

typedef struct qg_sessions qg_sessions;

/* An empty table; NULL when out of memory. */
qg_sessions *qg_sessions_open(void);
/* Closes all of them; no append may be on its way (the engine is closed).  NULL is fine. */
void qg_sessions_close(qg_sessions *sessions);

#endif
