#include "model/model_int.h"

#include "base/mem.h"

void *qg_carve_take(qg_carve *c, size_t n, size_t size)
{
    size_t bytes, end;
    if (!qg_mul_size(n, size, &bytes) || !qg_add_size(bytes, 63, &end) ||
        !qg_add_size(c->at, end / 64 * 64, &end)) {
        c->overflow = true;
        return NULL;
    }
    uint8_t *p = c->base ? c->base + c->at : NULL;
    c->at = end;
    return p;
}
