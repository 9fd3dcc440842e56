#define _GNU_SOURCE /* timegm, strptime */
#include "hub/ask.h"

#include "base/limits.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

static bool is_https(const char *url)
{
    return !strncasecmp(url, "https://", 8);
}

static bool is_this_machine(const char *url)
{
    char host[256];
    return qg_client_url_host(url, host, sizeof host) &&
           (!strcmp(host, "localhost") || !strcmp(host, "127.0.0.1") || !strcmp(host, "[::1]") ||
            !strcmp(host, "::1"));
}

qg_status qg_ask_open(qg_ask *ask, const qg_hub_env *env, const char *repo, const char *revision,
                      qg_err *err)
{
    const qg_client_options opt = {.proxy_env = true, .agent = "qguard"};

    ask->env = env;
    ask->repo = repo;
    ask->revision = revision;
    QG_TRY(qg_client_url_check(env->endpoint, err));
    if (env->token && (is_https(env->endpoint) || is_this_machine(env->endpoint))) {
        snprintf(ask->authorization, sizeof ask->authorization, "Bearer %.512s", env->token);
        if (env->kind == QG_HUB_MODELSCOPE)
            snprintf(ask->cookie, sizeof ask->cookie, "m_session_id=%.512s", env->token);
    } else if (env->token && ask->note) {
        ask->note(ask->ud, "the hub's address is plain http: the token is not sent");
    }
    return qg_client_open(&ask->client, &opt, err);
}

void qg_ask_close(qg_ask *ask)
{
    qg_client_close(ask->client);
    ask->client = NULL;
}

/* A hub sends its large files from other hosts.  The client itself never goes from https to http;
 * plain http is for those who chose a hub that speaks it. */
static bool may_go(void *ud, const char *url)
{
    const qg_ask *ask = ud;
    return is_https(url) || !is_https(ask->env->endpoint);
}

qg_client_request qg_ask_request(const qg_ask *ask, const char *url, qg_client_header *headers,
                                 const qg_client_header *extra)
{
    size_t n = 0;

    if (ask->authorization[0])
        headers[n++] = (qg_client_header){"Authorization", ask->authorization};
    if (ask->cookie[0])
        headers[n++] = (qg_client_header){"Cookie", ask->cookie};
    if (extra)
        headers[n++] = *extra;
    return (qg_client_request){
        .url = url,
        .headers = headers,
        .n_headers = n,
        .connect_ms = QG_HUB_CONNECT_MS,
        .header_ms = QG_HUB_HEADER_MS,
        .stall_ms = QG_HUB_STALL_MS,
        .buffer_bytes = 256u << 10,
        .redirects = 5,
        .allow = may_go,
        .allow_ud = (void *)(uintptr_t)ask,
    };
}

/* ---- trying again ---------------------------------------------------------------------------- */

int64_t qg_retry_after_s(const char *value, int64_t now)
{
    struct tm tm = {0};
    char *end;

    if (!value || !*value)
        return -1;
    if (value[0] >= '0' && value[0] <= '9') {
        long long s = strtoll(value, &end, 10);
        return *end ? -1 : s;
    }
    end = strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (!end || *end)
        return -1;
    int64_t then = (int64_t)timegm(&tm);
    return then > now ? then - now : 0;
}

/* `"api";r=0;t=55`: seconds until requests are allowed again. */
static int64_t rate_reset_s(const char *rate)
{
    const char *at = rate ? strstr(rate, ";t=") : NULL;
    return at && at[3] >= '0' && at[3] <= '9' ? strtoll(at + 3, NULL, 10) : -1;
}

static bool worth_it(const qg_client_end *end)
{
    static const int statuses[] = {408, 429, 500, 502, 503, 504};

    switch (end->cause) {
    case QG_CLIENT_WHOLE:
        for (size_t i = 0; i < QG_COUNT(statuses); i++)
            if (end->status == statuses[i])
                return true;
        return false;
    case QG_CLIENT_RESOLVE:
    case QG_CLIENT_CONNECT:
    case QG_CLIENT_LATE:
    case QG_CLIENT_STALLED:
    case QG_CLIENT_BROKEN:
        return true;
    default:
        return false;
    }
}

bool qg_ask_again(const qg_ask *ask, const qg_client_end *end, const char *retry_after,
                  const char *rate, int tries, int64_t *ms)
{
    /* A hub that was never reached is told soon: somebody may have mistyped its address. */
    const bool reached = ask->reached || end->cause == QG_CLIENT_WHOLE;
    if (tries >= (reached ? QG_HUB_TRIES : 2) || !worth_it(end))
        return false;
    int64_t s = qg_retry_after_s(retry_after, (int64_t)time(NULL));
    if (s < 0 && end->status == 429)
        s = rate_reset_s(rate);
    *ms = s >= 0 ? s * 1000 : (int64_t)QG_HUB_RETRY_MS << tries;
    return s <= QG_HUB_WAIT_S;
}

bool qg_ask_sleep(const qg_ask *ask, int64_t ms)
{
    for (; ms > 0 && !(ask->cancel && *ask->cancel); ms -= 100) {
        const struct timespec t = {0, (ms < 100 ? ms : 100) * 1000000};
        nanosleep(&t, NULL);
    }
    return !(ask->cancel && *ask->cancel);
}

/* ---- what went wrong ------------------------------------------------------------------------- */

static qg_status unauthorised(const qg_ask *ask, int status, qg_err *err)
{
    const bool hf = ask->env->kind == QG_HUB_HF;
    const char *variable = hf ? "HF_TOKEN" : "MODELSCOPE_API_TOKEN";
    if (ask->env->token)
        return qg_fail(err, QG_ERR_IO,
                       "%s: the hub refuses the token (%d); there is no such repository, or the "
                       "token may not read it",
                       ask->repo, status);
    return qg_fail(err, QG_ERR_IO,
                   "%s: no such repository, or it is private (%d); for a private one set %s",
                   ask->repo, status, variable);
}

static qg_status missing(const qg_ask *ask, const char *what, const char *code, qg_err *err)
{
    if (code && !strcmp(code, "RepoNotFound"))
        return unauthorised(ask, 404, err);
    if (code && !strcmp(code, "RevisionNotFound"))
        return qg_fail(err, QG_ERR_IO, "%s: no revision '%s' (404)", ask->repo, ask->revision);
    if (code && !strcmp(code, "EntryNotFound"))
        return qg_fail(err, QG_ERR_IO, "%s: %s is not there (404)", ask->repo, what);
    return qg_fail(err, QG_ERR_IO, "%s: no such repository, or no revision '%s' in it (404)",
                   ask->repo, ask->revision);
}

qg_status qg_ask_refused(const qg_ask *ask, const char *what, int status, const char *code,
                         const char *words, qg_slice body, qg_err *err)
{
    char said[128];

    qg_hub_error_words(body, said, sizeof said);
    if (!said[0] && words)
        snprintf(said, sizeof said, "%s", words);
    if (status == 401)
        return unauthorised(ask, status, err);
    if (status == 404)
        return missing(ask, what, code, err);
    if (status == 403 && (!code || !strcmp(code, "GatedRepo")))
        return qg_fail(err, QG_ERR_IO,
                       "%s is gated (403): accept its terms on the hub's page, and set %s to a "
                       "token of that account",
                       ask->repo,
                       ask->env->kind == QG_HUB_HF ? "HF_TOKEN" : "MODELSCOPE_API_TOKEN");
    if (status == 429)
        return qg_fail(err, QG_ERR_BUSY,
                       "%s: too many requests for the hub (429): try again later%s", ask->repo,
                       ask->env->token ? "" : ", or set a token");
    return qg_fail(err, QG_ERR_IO, "%s: %s: the hub answers %d%s%s", ask->repo, what, status,
                   said[0] ? ": " : "", said);
}

qg_status qg_ask_unreachable(const qg_ask *ask, const char *what, const qg_client_end *end,
                             qg_err *err)
{
    if (end->cause == QG_CLIENT_ABORTED)
        return qg_fail(err, QG_ERR_CANCELLED, "interrupted");
    return qg_fail(err, QG_ERR_CLOSED, "%s: %s: %.150s", ask->repo, what, end->err.msg);
}

void qg_ask_note_wait(const qg_ask *ask, const qg_client_end *end, int64_t ms)
{
    char text[128];
    if (!ask->note || ms < 1000)
        return;
    if (end->cause == QG_CLIENT_WHOLE)
        snprintf(text, sizeof text, "the hub answers %d; trying again in %lld s", end->status,
                 (long long)(ms + 999) / 1000);
    else
        snprintf(text, sizeof text, "no answer from the hub (%s); trying again in %lld s",
                 qg_client_cause_name(end->cause), (long long)(ms + 999) / 1000);
    ask->note(ask->ud, text);
}

/* ---- small answers --------------------------------------------------------------------------- */

enum { H_RETRY, H_RATE, H_CODE, H_WORDS, H_LINK };

/* QG_ERR_DEADLINE: shall be tried again, after *ms. */
static qg_status try_once(qg_ask *ask, const qg_client_request *request, const char *what,
                          int tries, qg_client_answer *a, int64_t *ms, qg_err *err)
{
    const qg_client_sink sink = {
        .max_bytes = QG_MAX_HUB_LIST_BYTES,
        .headers = {"Retry-After", "RateLimit", "X-Error-Code", "X-Error-Message", "Link"},
        .cancel = ask->cancel,
    };
    qg_status rc = qg_client_fetch(ask->client, request, &sink, a, err);
    if (rc == QG_OK && a->end.status == 200) {
        ask->reached = true;
        return QG_OK;
    }
    if (rc == QG_ERR_NOMEM || rc == QG_ERR_ARG || rc == QG_ERR_TOO_LONG)
        return rc;
    if (qg_ask_again(ask, &a->end, a->headers[H_RETRY], a->headers[H_RATE], tries, ms)) {
        qg_ask_note_wait(ask, &a->end, *ms);
        return QG_ERR_DEADLINE;
    }
    if (rc != QG_OK)
        return qg_ask_unreachable(ask, what, &a->end, err);
    return qg_ask_refused(ask, what, a->end.status, a->headers[H_CODE], a->headers[H_WORDS],
                          qg_slice_of(a->body ? a->body : "", a->n), err);
}

qg_status qg_ask_get(qg_ask *ask, const char *url, const char *what, qg_buf *body, char **link,
                     qg_err *err)
{
    qg_client_header headers[4];
    qg_client_request request = qg_ask_request(ask, url, headers, NULL);
    qg_status rc = QG_ERR_DEADLINE;
    int64_t ms;

    request.total_ms = QG_HUB_LIST_MS;
    request.decode = true;
    for (int tries = 0; rc == QG_ERR_DEADLINE; tries++) {
        qg_client_answer a = {0};
        rc = try_once(ask, &request, what, tries, &a, &ms, err);
        if (rc == QG_OK)
            rc = qg_buf_add(body, a.body, a.n);
        if (rc == QG_OK && link) {
            *link = a.headers[H_LINK];
            a.headers[H_LINK] = NULL;
        }
        qg_client_answer_free(&a);
        if (rc == QG_ERR_DEADLINE && !qg_ask_sleep(ask, ms))
            rc = qg_fail(err, QG_ERR_CANCELLED, "interrupted");
    }
    return rc;
}
