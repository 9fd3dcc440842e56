/* Any line of a Stream session, as a first one and as a later one: it is refused with a sentence,
 * or everything that it appends is in range and lies in memory that the line owns. */
#include "base/limits.h"
#include "serve/stream_ask.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static size_t touch(const char *p, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (unsigned char)p[i];
    return sum;
}

static void check_threshold(double p)
{
    must(p >= 0 && p <= 1);
}

static void check_accepted(const qg_stream_ask *ask, bool first, size_t n_line)
{
    size_t bytes = 0;
    volatile size_t sum = 0;
    must(ask->n <= QG_MAX_MESSAGES + 1 && (first || ask->n <= 1));
    must(first || ask->n || ask->empty);
    for (size_t i = 0; i < ask->n; i++) {
        const qg_append *a = &ask->appends[i];
        must(a->role || (!a->content.n && !a->n_ids && a->end));
        must(!a->n_ids || !a->content.n);
        must(i + 1 == ask->n || a->end);
        sum += touch(a->content.p, a->content.n);
        sum += touch((const char *)a->ids, a->n_ids * sizeof *a->ids);
        for (size_t k = 0; k < a->n_ids; k++)
            must(a->ids[k] >= 0);
        bytes += a->content.n + a->n_ids;
    }
    must(bytes <= n_line);
    sum += touch(ask->model.p, ask->model.n);
    check_threshold(ask->thresholds.unsafe);
    for (size_t i = 0; i < QG_MAX_CATEGORIES; i++)
        check_threshold(ask->thresholds.category[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    for (int first = 0; first < 2; first++) {
        qg_stream_ask ask;
        qg_err err = {""};
        qg_status rc = qg_stream_ask_read(&ask, qg_slice_of((const char *)in, n), first,
                                          first ? NULL : "user", &err);
        if (rc == QG_OK)
            check_accepted(&ask, first, n);
        else
            must(err.msg[0]);
        qg_stream_ask_free(&ask);
    }
    return 0;
}
