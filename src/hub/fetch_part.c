#include "hub/fetch_priv.h"

#include "base/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { H_RETRY, H_RATE, H_CODE, H_WORDS };

/* One try. */
typedef struct
try {
    fetch *w;
    fetch_file *file;
    uint32_t part;
    uint64_t from; /* first byte asked for */
    bool ranged;   /* asked with Range */
    int status;
    qg_status rc; /* why we broke off; QG_OK: we did not */
    qg_err err;
    char error[4096]; /* body of an error answer */
    size_t n_error;
}
try;

static bool stop(try *t, qg_status rc)
{
    t->rc = rc;
    return false;
}

/* "bytes 5-9/20": from where we asked, of the size we know. */
static bool range_fits(qg_slice value, uint64_t from, uint64_t size)
{
    char text[80], want[64];
    int n = snprintf(want, sizeof want, "bytes %" PRIu64 "-", from);

    if (value.n >= sizeof text)
        return false;
    memcpy(text, value.p, value.n);
    text[value.n] = 0;
    const char *slash = strchr(text, '/');
    if (strncmp(text, want, (size_t)n) || !slash)
        return false;
    return !strcmp(slash, "/*") || strtoull(slash + 1, NULL, 10) == size;
}

static bool other_commit(const try *t, qg_client_call *call)
{
    qg_slice commit = qg_client_answer_header(call, "X-Repo-Commit");
    return commit.p && t->w->commit[0] && !qg_slice_is(commit, t->w->commit);
}

/* Length of a whole answer, where it is told: another one is another file. */
static bool length_fits(const try *t, qg_client_call *call)
{
    qg_slice length = qg_client_answer_header(call, "Content-Length");
    char text[32];

    if (!length.p || length.n >= sizeof text)
        return true;
    memcpy(text, length.p, length.n);
    text[length.n] = 0;
    return strtoull(text, NULL, 10) == t->file->f->size;
}

static bool on_head(void *ud, qg_client_call *call, int status)
{
    try *t = ud;
    const char *path = t->file->f->path;

    t->status = status;
    if (status != 200 && status != 206)
        return true; /* its body may say why */
    if (other_commit(t, call))
        return stop(t, qg_fail(&t->err, QG_ERR_FORMAT,
                               "%s: the hub sends it of another commit than was asked for", path));
    if (status == 206 && t->ranged) {
        if (range_fits(qg_client_answer_header(call, "Content-Range"), t->from, t->file->f->size))
            return true;
        return stop(t, qg_fail(&t->err, QG_ERR_FORMAT,
                               "%s: the hub sends another range, or has another size, than it "
                               "said",
                               path));
    }
    if (t->ranged || status == 206)
        return stop(t, QG_ERR_UNSUPPORTED);
    return length_fits(t, call) ||
           stop(t,
                qg_fail(&t->err, QG_ERR_FORMAT, "%s: it has another size than the hub said", path));
}

static bool on_data(void *ud, const char *p, size_t n)
{
    try *t = ud;

    if (t->status != 200 && t->status != 206) {
        size_t room = sizeof t->error - t->n_error, take = n < room ? n : room;
        memcpy(t->error + t->n_error, p, take);
        t->n_error += take;
        return take == n;
    }
    qg_status rc = qg_partial_write(&t->file->partial, t->part, p, n, &t->err);
    if (rc == QG_ERR_TOO_LONG)
        return stop(t, QG_ERR_FORMAT);
    if (rc != QG_OK)
        return stop(t, rc);
    atomic_fetch_add(&t->w->came, (int64_t)n);
    return true;
}

static qg_status request(try *t, const char *url, qg_client_answer *a, qg_err *err)
{
    char range[64];
    qg_client_header headers[4], extra = {"Range", range};
    const qg_partial *p = &t->file->partial;
    uint64_t at, n = qg_partial_part(p, t->part, &at);
    const qg_client_sink sink = {
        .max_bytes = sizeof t->error,
        .headers = {"Retry-After", "RateLimit", "X-Error-Code", "X-Error-Message"},
        .head = on_head,
        .data = on_data,
        .ud = t,
        .cancel = t->w->cancel,
    };

    t->from = at + p->done[t->part];
    t->ranged = p->n_parts > 1 || t->from > 0;
    snprintf(range, sizeof range, "bytes=%" PRIu64 "-%" PRIu64, t->from, at + n - 1);
    qg_client_request r = qg_ask_request(t->w->ask, url, headers, t->ranged ? &extra : NULL);
    return qg_client_fetch(t->w->ask->client, &r, &sink, a, err);
}

static bool complete(const fetch_file *file, uint32_t i)
{
    return file->partial.done[i] == qg_partial_part(&file->partial, i, NULL);
}

/* Signed addresses of the large files' hosts lapse: a refusal there is worth asking the hub again.
 */
static bool lapsed(const try *t, const qg_client_answer *a)
{
    return a->end.cause == QG_CLIENT_WHOLE && t->status == 403 && a->url &&
           !qg_client_url_same_origin(a->url, t->w->ask->env->endpoint);
}

/* QG_ERR_DEADLINE: again, after *ms. */
static qg_status judge(try *t, qg_status rc, qg_client_answer *a, int tries, int64_t *ms,
                       qg_err *err)
{
    const qg_ask *ask = t->w->ask;
    const char *path = t->file->f->path;

    if (t->rc != QG_OK) {
        *err = t->err;
        return t->rc;
    }
    if (rc == QG_ERR_NOMEM || rc == QG_ERR_ARG)
        return rc;
    if (rc == QG_OK && (t->status == 200 || t->status == 206)) {
        if (complete(t->file, t->part))
            return QG_OK;
        a->end.cause = QG_CLIENT_BROKEN; /* no length was told, and it ended early */
        qg_fail(&a->end.err, QG_ERR_IO, "the answer ended too early");
        rc = QG_ERR_IO;
    }
    if (lapsed(t, a) && tries < QG_HUB_TRIES) {
        *ms = (int64_t)QG_HUB_RETRY_MS << tries;
        return QG_ERR_DEADLINE;
    }
    if (qg_ask_again(ask, &a->end, a->headers[H_RETRY], a->headers[H_RATE], tries, ms)) {
        qg_ask_note_wait(ask, &a->end, *ms);
        return QG_ERR_DEADLINE;
    }
    return rc != QG_OK
               ? qg_ask_unreachable(ask, path, &a->end, err)
               : qg_ask_refused(ask, path, t->status, a->headers[H_CODE], a->headers[H_WORDS],
                                qg_slice_of(t->error, t->n_error), err);
}

qg_status qg_fetch_part(fetch *w, fetch_file *file, uint32_t i, qg_err *err)
{
    qg_status rc = QG_ERR_DEADLINE;
    int64_t ms = 0;
    qg_buf url;

    qg_buf_init(&url, QG_MAX_URI_BYTES);
    if (qg_ask_file_url(w->ask, w->commit, file->f->path, &url) != QG_OK)
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    /* Tries are counted while nothing comes: a connection that breaks now and then is gone on with.
     */
    for (int tries = 0, all = 0; rc == QG_ERR_DEADLINE; tries++, all++) {
        try t = {.w = w, .file = file, .part = i};
        qg_client_answer a = {0};
        const uint64_t had = file->partial.done[i];
        rc = request(&t, url.p, &a, err);
        if (file->partial.done[i] > had && all < QG_HUB_BREAKS)
            tries = 0;
        rc = judge(&t, rc, &a, tries, &ms, err);
        qg_client_answer_free(&a);
        if (rc == QG_ERR_DEADLINE && !qg_ask_sleep(w->ask, ms))
            rc = qg_fail(err, QG_ERR_CANCELLED, "interrupted");
    }
    qg_buf_free(&url);
    return rc;
}
