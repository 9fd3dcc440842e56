#include "serve/shown.h"

static bool is_role(const qg_message *m, const char *a, const char *b)
{
    return strcmp(m->role, a) == 0 || strcmp(m->role, b) == 0;
}

/* The Gen template shows a first message only when it is the user's or the system's, and later ones
 * only when they are the user's or the assistant's.  A judged text that is not shown would be Safe,
 * whatever it says: a reply without its prompt stands behind an empty one, and a text of another
 * role is judged as the user's. */
qg_status qg_shown_messages(qg_arena *arena, qg_messages *m)
{
    size_t n = m->n, before = 0;
    const qg_message *first = m->p, *last = m->p + n - 1;
    bool odd_last =
        !is_role(last, "user", "assistant") && (n > 1 || !is_role(last, "system", "system"));
    before = !is_role(first, "user", "system") && !(n == 1 && odd_last);
    if (!before && !odd_last)
        return QG_OK;
    qg_message *shown = qg_arena_calloc(arena, n + before, sizeof *shown);
    if (!shown)
        return arena->why;
    shown[0] = (qg_message){"user", {"", 0}};
    memcpy(shown + before, m->p, n * sizeof *shown);
    if (odd_last)
        shown[before + n - 1].role = "user";
    *m = (qg_messages){shown, n + before};
    return QG_OK;
}

static bool in_scope(const qg_policy_view *view, const char *role)
{
    static const struct {
        const char *name;
        unsigned bit;
    } roles[] = {{"user", QG_ROLE_USER},
                 {"assistant", QG_ROLE_ASSISTANT},
                 {"system", QG_ROLE_SYSTEM},
                 {"tool", QG_ROLE_TOOL}};
    for (size_t i = 0; i < QG_COUNT(roles); i++)
        if (strcmp(role, roles[i].name) == 0)
            return view->roles & roles[i].bit;
    return true; /* a role that no policy can name is not left out by it */
}

/* The reader's messages stay; a shorter list is made when something is left out.  A list that was
 * cut may begin with a reply, which the template would drop. */
qg_status qg_shown_scope(const qg_policy_view *view, qg_arena *arena, qg_messages *m)
{
    size_t last = m->n - 1, n = 0;
    if (view->scope == QG_SCOPE_LAST_TURN) {
        *m = (qg_messages){m->p + last, 1};
        return qg_shown_messages(arena, m);
    }
    if (view->roles == QG_ROLE_ALL)
        return QG_OK;
    qg_message *kept = qg_arena_calloc(arena, m->n, sizeof *kept);
    if (!kept)
        return arena->why;
    for (size_t i = 0; i <= last; i++)
        if (i == last || in_scope(view, m->p[i].role))
            kept[n++] = m->p[i];
    *m = (qg_messages){kept, n};
    return qg_shown_messages(arena, m);
}

qg_phase qg_shown_phase(const qg_message *messages, size_t n)
{
    return strcmp(messages[n - 1].role, "user") == 0 ? QG_PHASE_PROMPT : QG_PHASE_RESPONSE;
}

qg_status qg_shown_rules(const qg_rules *rules, qg_phase phase, qg_text text, bool *found,
                         qg_rule_hit *match, qg_err *err)
{
    qg_scan *scan;
    *found = false;
    if (!qg_rules_n(rules, phase))
        return QG_OK;
    QG_TRY(qg_scan_open(&scan, rules, phase, err));
    qg_status rc = qg_scan_push(scan, qg_slice_of(text.p, text.n), true, err);
    if (rc == QG_OK)
        *found = qg_scan_verdict(scan, match);
    qg_scan_close(scan);
    return rc;
}

qg_status qg_shown_rule_result(const qg_engine *engine, qg_phase phase, const qg_rule *rule,
                               qg_result **out, qg_err *err)
{
    return qg_result_make(engine, phase == QG_PHASE_PROMPT ? "user" : "assistant", rule->severity,
                          rule->category, out, err);
}

bool qg_shown_rule_stands(const qg_rule *rule, const qg_result *said)
{
    return !said->well_formed || rule->severity > said->severity;
}
