/* A conversation longer than a judge's context, where the policy says long_input: windows: its last
 * message is cut into overlapping windows, each is judged behind the other messages, the worst
 * verdict stands. */
#include "base/mem.h"
#include "gateway/gate.h"

qg_status qg_long_open(qg_long **out, const qg_engine *engine, int32_t max_len,
                       const qg_message *messages, size_t n, qg_err *err)
{
    qg_request request;
    qg_long *w = *out = qg_calloc(1, sizeof *w);
    if (!w)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_request_init(&request);
    request.messages = messages;
    request.n_messages = n;
    qg_status rc = qg_window_cut_request(&w->cut, engine, max_len, &request, err);
    if (rc != QG_OK) {
        qg_long_close(w);
        *out = NULL;
    }
    return rc;
}

void qg_long_close(qg_long *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < QG_COUNT(w->handles); i++)
        if (w->handles[i])
            qg_job_release(w->handles[i]);
    qg_result_free(w->result);
    qg_mfree(w);
}

qg_text qg_long_text(const qg_long *w, qg_text whole, size_t i)
{
    return (qg_text){whole.p + w->cut.at[i].begin, w->cut.at[i].end - w->cut.at[i].begin};
}

static bool worse(const qg_prompt_verdict *a, const qg_prompt_verdict *b)
{
    qg_action x = a->hit ? a->action : QG_ACTION_ALLOW, y = b->hit ? b->action : QG_ACTION_ALLOW;
    if (x != y)
        return x > y;
    if (a->severity != b->severity)
        return a->severity > b->severity;
    return a->p_severity[QG_SAFE] < b->p_severity[QG_SAFE];
}

bool qg_long_keep(qg_long *w, const qg_prompt_verdict *v)
{
    bool stands = !w->judged || worse(v, &w->worst);
    if (stands)
        w->worst = *v;
    w->judged = true;
    return stands;
}

/* What all windows cost goes with the one that stands. */
void qg_long_keep_result(qg_long *w, qg_result *r, bool stands)
{
    qg_result *old = w->result, *kept = stands || !old ? r : old, *gone = kept == r ? old : r;
    if (gone) {
        kept->n_prompt_tokens += gone->n_prompt_tokens;
        kept->n_cached_tokens += gone->n_cached_tokens;
        kept->queued_us += gone->queued_us;
        kept->compute_us += gone->compute_us;
    }
    w->result = kept;
    qg_result_free(gone);
}

bool qg_long_decided(const qg_long *w)
{
    return w->judged && w->worst.hit && w->worst.action == QG_ACTION_BLOCK;
}

void qg_relay_count_long(qg_relay *r, const qg_long *w)
{
    bool gen = w == r->gen_long, first = atomic_load(&r->n_windows) == 0;
    if (first || gen)
        atomic_store(&r->n_windows, (unsigned)w->cut.n);
    if (!first)
        return;
    pthread_mutex_lock(&r->gate->desk);
    r->gate->counts.windowed++;
    pthread_mutex_unlock(&r->gate->desk);
}
