#include "cli/bench.h"

#include <string.h>

void bench_crowd_init(bench_crowd *crowd)
{
    memset(crowd, 0, sizeof *crowd);
    pthread_mutex_init(&crowd->lock, NULL);
    pthread_cond_init(&crowd->cond, NULL);
}

void bench_crowd_free(bench_crowd *crowd)
{
    pthread_cond_destroy(&crowd->cond);
    pthread_mutex_destroy(&crowd->lock);
}

void bench_crowd_arrived(bench_crowd *crowd, qg_status rc)
{
    pthread_mutex_lock(&crowd->lock);
    if (crowd->rc == QG_OK)
        crowd->rc = rc;
    crowd->left--;
    pthread_cond_signal(&crowd->cond);
    pthread_mutex_unlock(&crowd->lock);
}

void bench_crowd_add(bench_crowd *crowd, int n)
{
    pthread_mutex_lock(&crowd->lock);
    crowd->left += n;
    pthread_mutex_unlock(&crowd->lock);
}

static void arrived(void *ud, qg_status rc, qg_result *result, const qg_err *err)
{
    (void)err;
    qg_result_free(result);
    bench_crowd_arrived(ud, rc);
}

qg_status bench_crowd_submit(bench_crowd *crowd, bench *b, char **contents, int n)
{
    qg_request req;

    qg_request_init(&req);
    req.n_messages = 1;
    req.priority = 1;
    for (int i = 0; i < n; i++) {
        const qg_message m = {"user", {contents[i], strlen(contents[i])}};
        req.messages = &m;
        bench_crowd_add(crowd, 1);
        qg_status rc = qg_submit(b->engine, &req, arrived, crowd, NULL, &b->err);
        if (rc != QG_OK) {
            bench_crowd_add(crowd, -1);
            return rc;
        }
    }
    return QG_OK;
}

int bench_crowd_left(bench_crowd *crowd)
{
    pthread_mutex_lock(&crowd->lock);
    int left = crowd->left;
    pthread_mutex_unlock(&crowd->lock);
    return left;
}

qg_status bench_crowd_wait(bench_crowd *crowd, qg_err *err)
{
    pthread_mutex_lock(&crowd->lock);
    while (crowd->left > 0)
        pthread_cond_wait(&crowd->cond, &crowd->lock);
    qg_status rc = crowd->rc;
    pthread_mutex_unlock(&crowd->lock);
    return rc == QG_OK ? rc : qg_fail(err, rc, "a job in the crowd: %s", qg_status_name(rc));
}
