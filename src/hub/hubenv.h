/* Where the hubs are and where their files lie: the environment variables of their own tools. */
#ifndef QG_HUB_HUBENV_H
#define QG_HUB_HUBENV_H

#include "base/status.h"

#include <stdbool.h>

typedef enum qg_hub_kind { QG_HUB_HF, QG_HUB_MODELSCOPE } qg_hub_kind;

typedef struct qg_hub_env {
    qg_hub_kind kind;
    char *endpoint; /* no slash at its end */
    char *cache;    /* folder of the cache */
    char *token;    /* NULL = none */
    bool offline, no_symlinks;
} qg_hub_env; /* owned; free with qg_hub_env_free */

/* Hugging Face unless VLLM_USE_MODELSCOPE is true. */
qg_hub_kind qg_hub_default(void);
const char *qg_hub_name(qg_hub_kind kind);
/* Reads the environment (docs/MODELS.md lists the variables) and the token's file.  QG_ERR_ARG: an
 * endpoint that is no address; QG_ERR_IO: no home folder for the cache; QG_ERR_NOMEM. */
qg_status qg_hub_env_read(qg_hub_env *env, qg_hub_kind kind, qg_err *err);
/* Zero-initialised is fine. */
void qg_hub_env_free(qg_hub_env *env);

#endif
