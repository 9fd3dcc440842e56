#include "serve/stream_text.h"

json_t *qg_stream_summary(const char *role, const qg_stream_result *r)
{
    /* The end of a prompt covers no text. */
    json_t *range =
        r->flagged && r->flagged_end > r->flagged_begin
            ? json_pack("[I,I]", (json_int_t)r->flagged_begin, (json_int_t)r->flagged_end)
            : json_null();
    return json_pack("{s:s?,s:i,s:i,s:i,s:b,s:i,s:o,s:s,s:s?}", "role", role, "n_tokens",
                     (int)r->n_ids, "n_cached", (int)r->n_cached, "n_provisional",
                     (int)r->n_provisional, "flagged", (int)r->flagged, "first_flagged_index",
                     (int)r->first_flagged_index, "range", range, "severity",
                     qg_severity_name(r->severity), "category", r->category);
}
