/* A JSON file of a model directory, parsed strictly. */
#ifndef QG_FMT_JSONFILE_H
#define QG_FMT_JSONFILE_H

#include "base/slice.h"
#include "base/status.h"

#include <jansson.h>

/* Parses one JSON object: UTF-8, no duplicate keys, nothing behind it, at most max_bytes and
 * QG_MAX_JSON_DEPTH deep.  Otherwise QG_ERR_FORMAT with a sentence that begins with file.  The
 * caller drops *out with json_decref. */
qg_status qg_jsonfile_parse(json_t **out, qg_slice bytes, const char *file, size_t max_bytes,
                            qg_err *err);

#endif
