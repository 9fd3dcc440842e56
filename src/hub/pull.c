#include "hub/pull.h"

#include "base/limits.h"
#include "base/mem.h"
#include "hub/hubfile.h"

#include <stdio.h>

typedef struct pull {
    const qg_pull_options *opt;
    qg_hub_env env;
    qg_ask ask;
    qg_store store;
    const char *revision;
    char commit[QG_HUB_COMMIT + 1];
    qg_hub_list all, chosen;
    atomic_bool cancel;
} pull;

static qg_status check(pull *p, qg_err *err)
{
    const qg_pull_options *opt = p->opt;

    p->revision = opt->revision ? opt->revision : opt->hub == QG_HUB_HF ? "main" : "master";
    QG_TRY(qg_repo_check_name(opt->repo, err));
    QG_TRY(qg_repo_check_revision(p->revision, err));
    QG_TRY(qg_hub_env_read(&p->env, opt->hub, err));
    return p->env.offline ? qg_fail(err, QG_ERR_ARG,
                                    "%s: not fetched: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) "
                                    "says to stay off the network",
                                    opt->repo)
                          : QG_OK;
}

static qg_status list_files(pull *p, qg_err *err)
{
    qg_hub_list_free(&p->all);
    qg_hub_list_free(&p->chosen);
    QG_TRY(qg_ask_commit(&p->ask, p->commit, err));
    QG_TRY(qg_ask_files(&p->ask, p->commit, &p->all, err));
    qg_status rc = qg_choose_files(&p->all, p->opt->include, &p->chosen, err);
    return rc == QG_OK ? QG_OK : qg_fail_prefix(err, rc, "%s", p->opt->repo);
}

/* Another commit than before lies in another snapshot. */
static qg_status fetch_listed(pull *p, qg_err *err)
{
    const qg_pull_options *opt = p->opt;
    const qg_fetch_options fo = {
        .connections = opt->connections ? opt->connections : QG_HUB_CONNECTIONS,
        .ud = opt->ud,
        .progress = opt->progress,
    };
    qg_store_free(&p->store);
    QG_TRY(qg_store_open(&p->store, &p->env, opt->dir, opt->repo, p->revision, p->commit, err));
    p->cancel = false;
    return qg_fetch_all(&p->ask, &p->store, p->commit, &p->chosen, &fo, &p->cancel, err);
}

static bool same_lists(const qg_hub_list *a, const qg_hub_list *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = !strcmp(a->at[i].path, b->at[i].path) && !strcmp(a->at[i].id, b->at[i].id);
    return same;
}

/* Bytes that are not those listed: on a hub whose revisions move under their name, the list may
 * have changed meanwhile.  Then it is read again, once. */
static qg_status fetch_moving(pull *p, qg_err *err)
{
    qg_hub_list before = {0};
    qg_err why;

    qg_status rc = fetch_listed(p, err);
    if (rc != QG_ERR_FORMAT || p->commit[0])
        return rc;
    why = *err;
    before = p->chosen;
    p->chosen = (qg_hub_list){0};
    p->cancel = false;
    rc = list_files(p, err);
    if (rc == QG_OK && same_lists(&before, &p->chosen)) {
        *err = why;
        rc = QG_ERR_FORMAT;
    } else if (rc == QG_OK) {
        if (p->opt->note)
            p->opt->note(p->opt->ud, "the revision has changed meanwhile: going on with the new "
                                     "list");
        rc = fetch_listed(p, err);
    }
    qg_hub_list_free(&before);
    return rc;
}

static qg_status run(pull *p, qg_err *err)
{
    QG_TRY(check(p, err));
    p->ask.cancel = &p->cancel;
    p->ask.ud = p->opt->ud;
    p->ask.note = p->opt->note;
    QG_TRY(qg_ask_open(&p->ask, &p->env, p->opt->repo, p->revision, err));
    QG_TRY(list_files(p, err));
    QG_TRY(fetch_moving(p, err));
    return qg_store_place(&p->store, &p->all, &p->chosen, err);
}

qg_status qg_hub_pull(const qg_pull_options *opt, char **path, qg_err *err)
{
    pull p = {.opt = opt};
    qg_err own;

    *path = NULL;
    qg_status rc = run(&p, err ? err : &own);
    if (rc == QG_OK) {
        *path = p.store.snapshot;
        p.store.snapshot = NULL;
    }
    qg_ask_close(&p.ask);
    qg_store_free(&p.store);
    qg_hub_list_free(&p.all);
    qg_hub_list_free(&p.chosen);
    qg_hub_env_free(&p.env);
    return rc;
}
