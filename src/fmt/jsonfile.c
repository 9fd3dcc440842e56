#include "fmt/jsonfile.h"

#include "text/json.h"

qg_status qg_jsonfile_parse(json_t **out, qg_slice bytes, const char *file, size_t max_bytes,
                            qg_err *err)
{
    *out = NULL;
    if (bytes.n > max_bytes)
        return qg_fail(err, QG_ERR_FORMAT, "%s: %zu bytes, more than the limit of %zu", file,
                       bytes.n, max_bytes);
    if (bytes.n == 0)
        return qg_fail(err, QG_ERR_FORMAT, "%s: the file is empty", file);
    qg_status rc = qg_json_parse(bytes, 0, out, err);
    if (rc)
        return qg_fail_prefix(err, rc, "%s", file);
    if (!json_is_object(*out)) {
        rc =
            qg_fail(err, QG_ERR_FORMAT, "%s: %s, must be an object", file, qg_json_type_name(*out));
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}
