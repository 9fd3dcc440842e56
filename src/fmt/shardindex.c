#include "fmt/shardindex.h"

#include "base/limits.h"
#include "fmt/jsonfile.h"
#include "text/json.h"

/* Counts what differs and keeps the first for the sentence. */
static qg_status compare(const json_t *map, const qg_tensor *tensors, size_t n, qg_err *err)
{
    size_t wrong = 0, found = 0;
    const char *first = NULL;

    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_object_get(map, tensors[i].name);
        found += v != NULL;
        if (v && qg_slice_is(qg_json_slice(v), tensors[i].file))
            continue;
        if (!wrong++)
            first = tensors[i].name;
    }
    size_t listed = json_object_size(map);
    if (wrong)
        return qg_fail(
            err, QG_ERR_FORMAT,
            "%s: wrong about %zu tensors, the first is %s; the files' own headers are used",
            QG_SHARD_INDEX, wrong, first);
    if (listed > found)
        return qg_fail(err, QG_ERR_FORMAT,
                       "%s: lists %zu tensors that no file has; the files' own headers are used",
                       QG_SHARD_INDEX, listed - found);
    return QG_OK;
}

qg_status qg_shardindex_compare(qg_slice bytes, const qg_tensor *tensors, size_t n, qg_err *err)
{
    json_t *root, *map;

    QG_TRY(qg_jsonfile_parse(&root, bytes, QG_SHARD_INDEX, QG_ST_HEADER_MAX, err));
    qg_status rc = qg_json_get_object(root, "weight_map", &map, err);
    if (rc)
        qg_fail_prefix(err, rc, QG_SHARD_INDEX);
    else
        rc = compare(map, tensors, n, err);
    json_decref(root);
    return rc;
}
