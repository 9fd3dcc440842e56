#include "svc/admission.h"

#include "base/limits.h"
#include "base/mem.h"

/* Keys are the operator's and few; callers cannot make accounts, so a plain list does. */
typedef struct account {
    char key[QG_MAX_ID_BYTES];
    double tokens; /* requests that may come now */
    int64_t seen_us;
    int32_t running;
} account;

struct qg_admission {
    account *at; /* [n] */
    size_t n, cap;
};

qg_status qg_admission_open(qg_admission **out, qg_err *err)
{
    *out = qg_calloc(1, sizeof **out);
    return *out ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

void qg_admission_close(qg_admission *a)
{
    if (!a)
        return;
    qg_mfree(a->at);
    qg_mfree(a);
}

static account *find(qg_admission *a, qg_slice key)
{
    for (size_t i = 0; i < a->n; i++)
        if (qg_slice_is(key, a->at[i].key))
            return &a->at[i];
    return NULL;
}

static account *account_of(qg_admission *a, qg_slice key, int32_t per_minute, int64_t now_us)
{
    if (key.n >= QG_MAX_ID_BYTES)
        key.n = QG_MAX_ID_BYTES - 1;
    account *it = find(a, key);
    if (it)
        return it;
    if (a->n == a->cap) {
        size_t cap = a->cap ? 2 * a->cap : 16;
        account *grown = qg_realloc_array(a->at, cap, sizeof *grown);
        if (!grown)
            return NULL;
        a->at = grown;
        a->cap = cap;
    }
    it = &a->at[a->n++];
    *it = (account){.tokens = per_minute, .seen_us = now_us};
    memcpy(it->key, key.p, key.n);
    return it;
}

static void refill(account *it, int32_t per_minute, int64_t now_us)
{
    it->tokens += (double)(now_us - it->seen_us) * per_minute / 60e6;
    if (it->tokens > per_minute)
        it->tokens = per_minute;
    it->seen_us = now_us;
}

qg_status qg_admission_begin(qg_admission *a, qg_slice key, int32_t per_minute, int32_t concurrent,
                             int64_t now_us, qg_admission_slot *slot, const char **why,
                             int *retry_s)
{
    *slot = -1;
    *why = NULL;
    *retry_s = 1;
    if (!per_minute && !concurrent)
        return QG_OK;
    account *it = account_of(a, key, per_minute, now_us);
    if (!it)
        return QG_ERR_NOMEM;
    if (concurrent && it->running >= concurrent) {
        *why = "concurrency";
        return QG_ERR_BUSY;
    }
    refill(it, per_minute, now_us);
    if (per_minute && it->tokens < 1) {
        *why = "rate";
        *retry_s = 1 + (int)((1 - it->tokens) * 60 / per_minute);
        return QG_ERR_BUSY;
    }
    it->tokens -= per_minute ? 1 : 0;
    it->running++;
    *slot = (qg_admission_slot)(it - a->at);
    return QG_OK;
}

void qg_admission_end(qg_admission *a, qg_admission_slot slot)
{
    if (slot >= 0)
        a->at[slot].running--;
}
