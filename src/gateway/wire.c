#include "gateway/wire.h"

#include "base/limits.h"

static const struct {
    const char *name, *path;
} protos[QG_N_PROTOS] = {
    [QG_PROTO_CHAT] = {"chat", "/chat/completions"},
    [QG_PROTO_COMPLETIONS] = {"completions", "/completions"},
    [QG_PROTO_RESPONSES] = {"responses", "/responses"},
    [QG_PROTO_ANTHROPIC] = {"anthropic", "/messages"},
};

const char *qg_proto_name(qg_proto proto)
{
    return protos[proto].name;
}

const char *qg_proto_path(qg_proto proto)
{
    return protos[proto].path;
}

bool qg_proto_of(qg_slice path, qg_proto *out)
{
    if (path.n < 3 || memcmp(path.p, "/v1", 3) != 0)
        return false;
    for (int i = 0; i < QG_N_PROTOS; i++)
        if (qg_slice_is(qg_slice_of(path.p + 3, path.n - 3), protos[i].path)) {
            *out = (qg_proto)i;
            return true;
        }
    return false;
}
