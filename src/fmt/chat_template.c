/* Where the source of the chat template is. */
#include "base/limits.h"
#include "fmt/jsonfile.h"
#include "fmt/modeldir.h"
#include "text/json.h"

#define JINJA_FILE  "chat_template.jinja"
#define CONFIG_FILE "tokenizer_config.json"
#define OLD_FILE    "chat_template.json"

static qg_status give(qg_buf *source, qg_slice text, const char *file, qg_err *err)
{
    if (text.n > QG_MAX_TEMPLATE_BYTES)
        return qg_fail(err, QG_ERR_FORMAT, "%s: a chat template of %zu bytes, limit %u", file,
                       text.n, QG_MAX_TEMPLATE_BYTES);
    qg_status rc = qg_buf_add(source, text.p, text.n);
    return rc ? qg_fail(err, rc, "%s: no memory for a chat template of %zu bytes", file, text.n)
              : QG_OK;
}

/* The list form: [{"name": "default", "template": "…"}, …]. */
static const json_t *default_of(const json_t *list)
{
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item) {
        if (qg_slice_is(qg_json_slice(json_object_get(item, "name")), "default"))
            return json_object_get(item, "template");
    }
    return NULL;
}

/* *found stays false when the file says nothing about a template. */
static qg_status from_json(qg_modeldir *dir, const char *file, qg_buf *source, bool *found,
                           qg_err *err)
{
    qg_slice bytes;
    json_t *root;

    if (!qg_modeldir_has(dir, file))
        return QG_OK;
    QG_TRY(qg_modeldir_file(dir, file, &bytes, err));
    QG_TRY(qg_jsonfile_parse(&root, bytes, file, QG_MAX_TOKCONF_BYTES, err));
    const json_t *v = json_object_get(root, "chat_template");
    qg_status rc = QG_OK;
    if (v && !json_is_null(v)) {
        const json_t *text = json_is_array(v) ? default_of(v) : v;
        if (json_is_string(text))
            rc = give(source, qg_json_slice(text), file, err);
        else
            rc = qg_fail(err, QG_ERR_FORMAT,
                         "%s: \"chat_template\" must be a string, or a list with an entry "
                         "\"default\"",
                         file);
        *found = true;
    }
    json_decref(root);
    return rc;
}

qg_status qg_modeldir_chat_template(qg_modeldir *dir, qg_buf *source, qg_err *err)
{
    bool found = false;
    qg_slice bytes;

    if (qg_modeldir_has(dir, JINJA_FILE)) {
        QG_TRY(qg_modeldir_file(dir, JINJA_FILE, &bytes, err));
        return give(source, bytes, JINJA_FILE, err);
    }
    QG_TRY(from_json(dir, CONFIG_FILE, source, &found, err));
    if (!found)
        QG_TRY(from_json(dir, OLD_FILE, source, &found, err));
    if (!found)
        return qg_fail(err, QG_ERR_FORMAT,
                       "%s: no chat template: looked for " JINJA_FILE
                       " and for \"chat_template\" in " CONFIG_FILE " and " OLD_FILE,
                       qg_modeldir_name(dir));
    return QG_OK;
}
