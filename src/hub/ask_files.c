/* Revision to commit, and the list of files: both hubs' ways. */
#include "hub/ask.h"

#include "base/limits.h"
#include "base/mem.h"

qg_status qg_ask_file_url(const qg_ask *ask, const char *commit, const char *path, qg_buf *out)
{
    if (ask->env->kind == QG_HUB_HF) {
        QG_TRY(qg_buf_addf(out, "%s/%s/resolve/%s/", ask->env->endpoint, ask->repo, commit));
        return qg_url_escape(out, path, true);
    }
    QG_TRY(qg_buf_addf(out, "%s/api/v1/models/%s/repo?Revision=", ask->env->endpoint, ask->repo));
    QG_TRY(qg_url_escape(out, ask->revision, false));
    QG_TRY(qg_buf_adds(out, "&FilePath="));
    return qg_url_escape(out, path, false);
}

qg_status qg_ask_commit(qg_ask *ask, char commit[QG_HUB_COMMIT + 1], qg_err *err)
{
    qg_buf url, body;

    commit[0] = 0;
    if (ask->env->kind == QG_HUB_MODELSCOPE)
        return QG_OK;
    if (qg_repo_is_commit(ask->revision)) {
        memcpy(commit, ask->revision, QG_HUB_COMMIT + 1);
        return QG_OK;
    }
    qg_buf_init(&url, QG_MAX_URI_BYTES);
    qg_buf_init(&body, QG_MAX_HUB_LIST_BYTES);
    qg_status rc = qg_buf_addf(&url, "%s/api/models/%s/revision/", ask->env->endpoint, ask->repo);
    if (rc == QG_OK)
        rc = qg_url_escape(&url, ask->revision, false);
    if (rc == QG_OK)
        rc = qg_ask_get(ask, url.p, "the revision", &body, NULL, err);
    if (rc == QG_OK)
        rc = qg_hf_read_revision(qg_buf_slice(&body), commit, err);
    qg_buf_free(&url);
    qg_buf_free(&body);
    return rc;
}

/* The next page's address comes from the hub: it must be on the hub. */
static qg_status next_page(const qg_ask *ask, const char *link, qg_buf *url, qg_err *err)
{
    qg_slice next = link ? qg_hf_next_page(qg_str(link)) : (qg_slice){"", 0};

    url->n = 0;
    if (!next.n)
        return QG_OK;
    if (next.p[0] == '/')
        QG_TRY(qg_buf_adds(url, ask->env->endpoint));
    QG_TRY(qg_buf_add(url, next.p, next.n));
    if (!qg_client_url_same_origin(url->p, ask->env->endpoint))
        return qg_fail(err, QG_ERR_FORMAT, "%s: the list of files goes on at another host: refused",
                       ask->repo);
    return QG_OK;
}

static qg_status read_page(qg_ask *ask, qg_buf *url, qg_hub_list *list, qg_err *err)
{
    char *link = NULL;
    qg_buf body;

    qg_buf_init(&body, QG_MAX_HUB_LIST_BYTES);
    qg_status rc = qg_ask_get(ask, url->p, "the list of files", &body, &link, err);
    if (rc == QG_OK)
        rc = qg_hf_read_tree(qg_buf_slice(&body), list, err);
    if (rc == QG_OK)
        rc = next_page(ask, link, url, err);
    qg_mfree(link);
    qg_buf_free(&body);
    return rc;
}

static qg_status hf_files(qg_ask *ask, const char *commit, qg_hub_list *list, qg_err *err)
{
    qg_buf url;
    qg_buf_init(&url, QG_MAX_URI_BYTES);
    qg_status rc = qg_buf_addf(&url, "%s/api/models/%s/tree/%s?recursive=true&expand=false",
                               ask->env->endpoint, ask->repo, commit);
    for (int page = 0; rc == QG_OK && url.n; page++)
        rc = page < QG_MAX_HUB_PAGES
                 ? read_page(ask, &url, list, err)
                 : qg_fail(err, QG_ERR_TOO_LONG, "%s: the list of files has no end", ask->repo);
    qg_buf_free(&url);
    return rc;
}

/* A revision that is not there is told by a list that is not: say which there are. */
static void name_revisions(qg_ask *ask, qg_status rc, qg_err *err)
{
    qg_buf url, body, names;
    qg_err unused;
    bool there;

    qg_buf_init(&url, QG_MAX_URI_BYTES);
    qg_buf_init(&body, QG_MAX_HUB_LIST_BYTES);
    qg_buf_init(&names, 256);
    if (qg_buf_addf(&url, "%s/api/v1/models/%s/revisions", ask->env->endpoint, ask->repo) ==
            QG_OK &&
        qg_ask_get(ask, url.p, "its revisions", &body, NULL, &unused) == QG_OK &&
        qg_ms_read_revisions(qg_buf_slice(&body), ask->revision, &there, &names, &unused) ==
            QG_OK &&
        !there && names.n)
        qg_fail(err, rc, "%s: no revision '%s'; there are: %s", ask->repo, ask->revision, names.p);
    qg_buf_free(&url);
    qg_buf_free(&body);
    qg_buf_free(&names);
}

static qg_status ms_files(qg_ask *ask, qg_hub_list *list, qg_err *err)
{
    qg_buf url, body;

    qg_buf_init(&url, QG_MAX_URI_BYTES);
    qg_buf_init(&body, QG_MAX_HUB_LIST_BYTES);
    qg_status rc = qg_buf_addf(&url, "%s/api/v1/models/%s/repo/files?Revision=", ask->env->endpoint,
                               ask->repo);
    if (rc == QG_OK)
        rc = qg_url_escape(&url, ask->revision, false);
    if (rc == QG_OK)
        rc = qg_buf_adds(&url, "&Recursive=True");
    if (rc == QG_OK)
        rc = qg_ask_get(ask, url.p, "the list of files", &body, NULL, err);
    if (rc == QG_OK)
        rc = qg_ms_read_files(qg_buf_slice(&body), list, err);
    if (rc == QG_ERR_IO)
        name_revisions(ask, rc, err);
    qg_buf_free(&url);
    qg_buf_free(&body);
    return rc;
}

qg_status qg_ask_files(qg_ask *ask, const char *commit, qg_hub_list *list, qg_err *err)
{
    qg_status rc =
        ask->env->kind == QG_HUB_HF ? hf_files(ask, commit, list, err) : ms_files(ask, list, err);
    return rc == QG_OK ? qg_hub_list_sort(list, err) : rc;
}
