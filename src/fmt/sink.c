#include "fmt/sink.h"

qg_status qg_sink_take(qg_sink *sink, qg_status rc, const qg_err *e)
{
    if (rc == QG_OK)
        return QG_OK;
    if (sink->first == QG_OK) {
        sink->first = rc;
        if (sink->err)
            *sink->err = *e;
    }
    if (!sink->each || rc == QG_ERR_NOMEM)
        return rc;
    sink->each(sink->ud, rc, e->msg);
    return QG_OK;
}
