/* Texts go to the judge, verdicts come back. */
#include "gateway/reply_int.h"

#include <stdio.h>

bool qg_reply_ask_next(qg_reply *r, qg_reply_ask *ask)
{
    if (r->spoiled || r->fault.now || r->state.retry || (r->state.done && !r->view.shadow))
        return false;
    for (uint32_t i = 0; i < r->n_lanes; i++) {
        uint32_t number = (r->ask_from + i) % r->n_lanes;
        qg_lane *l = r->lanes[number];
        /* when a hit ends a stream, only what stands before it is of interest */
        if ((r->cut && r->opt.stream && !l->stopped) ||
            !qg_lane_ask(l, &ask->text, &ask->last, &ask->fresh))
            continue;
        ask->lane = number;
        r->counts.sessions += ask->fresh;
        r->ask_from = (number + 1) % r->n_lanes;
        return true;
    }
    return false;
}

/* ---- hits ------------------------------------------------------------------------------------ */

static void record(qg_reply *r, const qg_reply_hit *hit)
{
    qg_reply_hit *before = r->n_hits > r->hits_before ? &r->hits[r->n_hits - 1] : NULL;
    bool same = before && before->lane == hit->lane && before->action == hit->action &&
                before->rule == hit->rule && before->severity == hit->severity &&
                (before->category == hit->category ||
                 (before->category && hit->category && !strcmp(before->category, hit->category))) &&
                before->end + 1 >= hit->begin;
    if (same && hit->end > before->end)
        before->end = hit->end;
    else if (!same && r->n_hits < QG_MAX_REPLY_HITS)
        r->hits[r->n_hits++] = *hit;
    else if (!same && hit->action == QG_ACTION_BLOCK) /* the one that matters has a place */
        r->hits[QG_MAX_REPLY_HITS - 1] = *hit;
}

bool qg_reply_on_hit(void *ud, qg_lane *l, const qg_lane_hit *found)
{
    qg_reply *r = ud;
    bool counts = found->rule ? found->severity == QG_UNSAFE || !r->view.thresholds.loose
                              : !found->final_safe;
    qg_action action = qg_policy_action(&r->view, found->severity, found->category);
    if (!counts || action == QG_ACTION_ALLOW)
        return false;
    qg_reply_hit hit = {.lane = l->number,
                        .choice = l->choice,
                        .kind = l->kind,
                        .severity = found->severity,
                        .category = found->category,
                        .p_category = found->p_category,
                        .begin = found->begin,
                        .end = found->end,
                        .action = action,
                        .rule = found->rule};
    memcpy(hit.p_severity, found->p_severity, sizeof hit.p_severity);
    record(r, &hit);
    if (action != QG_ACTION_BLOCK || r->view.shadow)
        return false;
    if (!r->cut)
        r->blocked = hit;
    r->cut = true;
    return true;
}

/* ---- answers --------------------------------------------------------------------------------- */

static qg_lane *busy_lane(qg_reply *r, uint32_t lane)
{
    return !r->spoiled && lane < r->n_lanes && r->lanes[lane]->busy ? r->lanes[lane] : NULL;
}

void qg_reply_judged(qg_reply *r, uint32_t lane, const qg_stream_result *result)
{
    qg_lane *l = busy_lane(r, lane);
    if (!l)
        return;
    qg_lane_judged(l, result);
    qg_reply_settle(r);
}

void qg_reply_judge_failed(qg_reply *r, uint32_t lane, qg_status status, const char *sentence)
{
    qg_lane *l = busy_lane(r, lane);
    if (!l)
        return;
    if (status == QG_ERR_GONE && qg_lane_gone(l)) {
        qg_reply_settle(r);
        return;
    }
    r->counts.judge_failures++;
    if (status == QG_ERR_NOMEM) {
        qg_reply_no_memory(r);
        return;
    }
    if (r->view.open[QG_PHASE_RESPONSE] || r->view.shadow) {
        qg_lane_pass(l);
    } else {
        char why[256];
        snprintf(why, sizeof why, "The reply could not be checked%s%s", sentence ? ": " : ".",
                 sentence ? sentence : "");
        qg_lane_give_up(l); /* a reply that is being cut ends with what is judged */
        qg_reply_fail(r, QG_REPLY_UNJUDGED, true, 503, "judge_failed", why);
    }
    qg_reply_settle(r);
}
