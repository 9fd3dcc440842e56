#include "batch/view.h"

static qg_status without_file(qg_policy_view *view, qg_err *err)
{
    qg_policy *policy;
    QG_TRY(qg_policy_default(&policy, err));
    qg_policy_view_of(policy, qg_str(""), qg_str(""), view);
    view->message = ""; /* the policy's, which goes */
    qg_policy_unref(policy);
    return QG_OK;
}

qg_status qg_batch_policy_open(qg_batch_policy *p, const char *path, const qg_engine *engine,
                               qg_err *err)
{
    qg_model_info info = {.name = ""};
    *p = (qg_batch_policy){.hash = ""};
    if (!path)
        return without_file(&p->view, err);
    QG_TRY(qg_policy_open(&p->policy, path, err));
    if (engine)
        qg_engine_info(engine, &info);
    qg_policy_view_of(p->policy, qg_str(""), qg_str(info.name), &p->view);
    p->rules = qg_policy_rules(p->policy);
    p->hash = qg_policy_hash(p->policy);
    return QG_OK;
}

void qg_batch_policy_close(qg_batch_policy *p)
{
    qg_policy_unref(p->policy);
}
