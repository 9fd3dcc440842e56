/* Results of a Stream session as JSON. */
#ifndef QG_SERVE_STREAM_TEXT_H
#define QG_SERVE_STREAM_TEXT_H

#include "qguard.h"
#include "text/json.h"

/* {"role":…,"n_tokens":…,"n_provisional":…,"flagged":…,"first_flagged_index":…,"range":…,
 * "severity":…,"category":…}: where the conversation stands.  role may be NULL.  NULL when out of
 * memory. */
json_t *qg_stream_summary(const char *role, const qg_stream_result *result);

#endif
