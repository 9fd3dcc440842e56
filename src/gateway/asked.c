/* Provisional: chat requests whose contents are strings; everything else is refused or counted as
 * unread.  The reader of all four protocols takes this file's place. */
#include "base/mem.h"
#include "gateway/wire.h"

#include <jansson.h>

typedef struct asked {
    qg_asked pub; /* first */
    json_t *root;
    qg_message *messages;
} asked;

static const char *text_of(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

static qg_status fill(asked *a, qg_proto proto)
{
    const json_t *list = json_object_get(a->root, "messages");
    size_t n = json_array_size(list);
    a->messages = qg_calloc(n + 1, sizeof *a->messages);
    if (!a->messages)
        return QG_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_array_get(list, i);
        const char *content = text_of(message, "content");
        a->messages[i] = (qg_message){text_of(message, "role"), {content, strlen(content)}};
        a->pub.n_unread += !json_is_string(json_object_get(message, "content"));
    }
    a->pub.proto = proto;
    a->pub.model = qg_str(text_of(a->root, "model"));
    a->pub.stream = json_is_true(json_object_get(a->root, "stream"));
    a->pub.n_choices = 1;
    a->pub.messages = a->messages;
    a->pub.n_messages = n;
    return n ? QG_OK : QG_ERR_ARG;
}

qg_status qg_asked_open(qg_asked **out, qg_proto proto, qg_slice body, qg_err *err)
{
    asked *a = qg_calloc(1, sizeof *a);
    *out = NULL;
    if (!a)
        return qg_fail(err, QG_ERR_NOMEM, "Out of memory.");
    a->root = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
    qg_status rc =
        proto == QG_PROTO_CHAT && json_is_object(a->root) ? fill(a, proto) : QG_ERR_FORMAT;
    if (rc != QG_OK) {
        qg_asked_close(&a->pub);
        return qg_fail(err, rc, "The request cannot be read.");
    }
    *out = &a->pub;
    return QG_OK;
}

void qg_asked_close(qg_asked *pub)
{
    asked *a = (asked *)pub;
    if (!a)
        return;
    json_decref(a->root);
    qg_mfree(a->messages);
    qg_mfree(a);
}

qg_status qg_asked_instruct(qg_proto proto, qg_slice body, qg_slice instruction, qg_buf *out,
                            qg_err *err)
{
    (void)proto;
    (void)body;
    (void)instruction;
    (void)out;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "not yet");
}
