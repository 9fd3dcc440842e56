#include "serve/serve.h"
#include "svc/audit.h"

qg_status qg_serve_audit_check(const char *path, uint64_t *n, qg_err *err)
{
    return qg_audit_check(path, n, err);
}
