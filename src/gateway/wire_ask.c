/* Requests: the conversation that is judged.  A part that is not known is read as its JSON; only
 * what is known to be no text (pictures, sound, files) is counted instead. */
#include "base/limits.h"
#include "base/mem.h"
#include "gateway/wire.h"
#include "text/json.h"

enum { DEPTH = 8 }; /* parts within parts */

typedef struct turn {
    const char *role;
    size_t begin, end; /* of the text */
} turn;

typedef struct asked {
    qg_asked a; /* first: the caller's view */
    json_t *tree;
    qg_buf text;
    turn *turns; /* [n, cap] */
    size_t n, cap;
    qg_message *messages;
} asked;

static qg_status no_memory(qg_err *err)
{
    return qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

/* ---- texts ----------------------------------------------------------------------------------- */

static qg_status add_slice(asked *q, qg_slice s)
{
    return qg_buf_add(&q->text, s.p, s.n);
}

static qg_status add_json(asked *q, const json_t *value)
{
    char *text = qg_json_dump(value);
    qg_status rc = text ? qg_buf_adds(&q->text, text) : QG_ERR_NOMEM;
    qg_mfree(text);
    return rc;
}

/* A new line before a call or a result that follows a text of the same turn. */
static qg_status apart(asked *q, size_t turn_begin)
{
    return q->text.n > turn_begin ? qg_buf_adds(&q->text, "\n") : QG_OK;
}

static bool is_one_of(qg_slice s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (qg_slice_is(s, words[i]))
            return true;
    return false;
}

static bool is_no_text(qg_slice type)
{
    static const char *const types[] = {
        "image_url",        "image",         "input_image", "input_audio", "audio",
        "audio_url",        "file",          "input_file",  "video",       "video_url",
        "container_upload", "item_reference"};
    return is_one_of(type, types, QG_COUNT(types));
}

static qg_status add_value(asked *q, const json_t *value, size_t begin, int depth);

/* Name and arguments of a call, in any protocol. */
static qg_status add_call(asked *q, const json_t *call, size_t begin)
{
    static const char *const texts[] = {"arguments", "input", "code", "action", "query"};
    const json_t *inner = json_object_get(call, "function");
    const json_t *from = json_is_object(inner) ? inner : call;
    QG_TRY(apart(q, begin));
    QG_TRY(add_slice(q, qg_json_slice(json_object_get(from, "name"))));
    for (size_t i = 0; i < QG_COUNT(texts); i++) {
        const json_t *value = json_object_get(from, texts[i]);
        if (!value || json_is_null(value))
            continue;
        QG_TRY(qg_buf_adds(&q->text, " "));
        QG_TRY(json_is_string(value) ? add_slice(q, qg_json_slice(value)) : add_json(q, value));
    }
    return QG_OK;
}

/* A document in a prompt: its text where it has one. */
static qg_status add_document(asked *q, const json_t *part, size_t begin)
{
    const json_t *source = json_object_get(part, "source");
    const json_t *data = json_object_get(source, "data");
    QG_TRY(add_slice(q, qg_json_slice(json_object_get(part, "title"))));
    QG_TRY(add_slice(q, qg_json_slice(json_object_get(part, "context"))));
    if (qg_slice_is(qg_json_slice(json_object_get(source, "type")), "text"))
        return add_slice(q, qg_json_slice(data));
    if (json_object_get(source, "content"))
        return add_value(q, json_object_get(source, "content"), begin, 2);
    q->a.n_unread++;
    return QG_OK;
}

static qg_status add_part(asked *q, const json_t *part, size_t begin, int depth)
{
    static const char *const texts[] = {"text",   "refusal", "thinking",
                                        "output", "content", "summary"};
    qg_slice type = qg_json_slice(json_object_get(part, "type"));
    bool any = false;
    if (is_no_text(type)) {
        q->a.n_unread++;
        return QG_OK;
    }
    if (qg_slice_is(type, "document"))
        return add_document(q, part, begin);
    if (json_object_get(part, "name") || json_object_get(part, "function"))
        return add_call(q, part, begin);
    for (size_t i = 0; i < QG_COUNT(texts); i++) {
        const json_t *value = json_object_get(part, texts[i]);
        any |= value != NULL;
        if (value)
            QG_TRY(add_value(q, value, begin, depth - 1));
    }
    return any ? QG_OK : add_json(q, part);
}

/* Strings, parts, lists of them. */
static qg_status add_value(asked *q, const json_t *value, size_t begin, int depth)
{
    size_t i;
    json_t *item;
    if (json_is_string(value))
        return add_slice(q, qg_json_slice(value));
    if (!value || json_is_null(value))
        return QG_OK;
    if (depth <= 0 || !(json_is_array(value) || json_is_object(value)))
        return add_json(q, value);
    if (json_is_object(value))
        return add_part(q, value, begin, depth);
    json_array_foreach (value, i, item)
        QG_TRY(add_value(q, item, begin, depth - 1));
    return QG_OK;
}

/* ---- turns ----------------------------------------------------------------------------------- */

static qg_status open_turn(asked *q, const char *role, qg_err *err)
{
    if (q->n == QG_MAX_MESSAGES)
        return qg_fail(err, QG_ERR_TOO_LONG, "There are more than %d messages.", QG_MAX_MESSAGES);
    if (q->n == q->cap) {
        size_t cap = q->cap ? 2 * q->cap : 8;
        turn *turns = qg_realloc_array(q->turns, cap, sizeof *turns);
        if (!turns)
            return no_memory(err);
        q->turns = turns;
        q->cap = cap;
    }
    q->turns[q->n++] = (turn){role, q->text.n, q->text.n};
    return QG_OK;
}

/* rc of what was added to the turn that is open. */
static qg_status close_turn(asked *q, qg_status rc, qg_err *err)
{
    q->turns[q->n - 1].end = q->text.n;
    if (rc == QG_ERR_TOO_LONG)
        return qg_fail(err, rc, "The messages hold too much text.");
    return rc == QG_OK ? QG_OK : no_memory(err);
}

static qg_status add_turn(asked *q, const char *role, const json_t *value, qg_err *err)
{
    if (!value || json_is_null(value))
        return QG_OK;
    QG_TRY(open_turn(q, role, err));
    return close_turn(q, add_value(q, value, q->text.n, DEPTH), err);
}

static qg_status role_of(const json_t *message, size_t i, const char **out, qg_err *err)
{
    qg_slice role = qg_json_slice(json_object_get(message, "role"));
    if (!json_is_object(message))
        return qg_fail(err, QG_ERR_FORMAT, "messages.%zu must be an object.", i);
    if (role.n == 0 || role.n > QG_MAX_ROLE_BYTES || memchr(role.p, 0, role.n))
        return qg_fail(err, QG_ERR_FORMAT, "messages.%zu.role must be a role.", i);
    *out = qg_slice_is(role, "developer")  ? "system"
           : qg_slice_is(role, "function") ? "tool"
                                           : role.p;
    return QG_OK;
}

/* Content, then the calls. */
static qg_status add_message(asked *q, const json_t *message, size_t begin)
{
    static const char *const texts[] = {"content", "refusal", "reasoning_content", "reasoning"};
    const json_t *calls = json_object_get(message, "tool_calls");
    const json_t *old = json_object_get(message, "function_call");
    for (size_t i = 0; i < QG_COUNT(texts); i++)
        QG_TRY(add_value(q, json_object_get(message, texts[i]), begin, DEPTH));
    for (size_t i = 0; i < json_array_size(calls); i++)
        QG_TRY(add_call(q, json_array_get(calls, i), begin));
    return json_is_object(old) ? add_call(q, old, begin) : QG_OK;
}

/* A misspelt key must not be judged as an empty text, which is Safe. */
static bool says_something(const json_t *message)
{
    static const char *const keys[] = {"content", "tool_calls", "function_call", "refusal"};
    for (size_t i = 0; i < QG_COUNT(keys); i++) {
        const json_t *value = json_object_get(message, keys[i]);
        if (value && !json_is_null(value))
            return true;
    }
    return false;
}

static qg_status read_messages(asked *q, const json_t *list, qg_err *err)
{
    size_t i;
    json_t *message;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return qg_fail(err, QG_ERR_FORMAT, "messages must be a list that is not empty.");
    json_array_foreach (list, i, message) {
        const char *role;
        QG_TRY(role_of(message, i, &role, err));
        if (i + 1 == json_array_size(list) && !says_something(message))
            return qg_fail(err, QG_ERR_ARG, "messages.%zu has no text to judge.", i);
        QG_TRY(open_turn(q, role, err));
        QG_TRY(close_turn(q, add_message(q, message, q->text.n), err));
    }
    return QG_OK;
}

/* ---- protocols ------------------------------------------------------------------------------- */

static bool holds_ids(const json_t *list)
{
    const json_t *first = json_array_get(list, 0);
    return json_is_integer(first) || (json_is_array(first) && json_array_size(first) > 0);
}

/* Several prompts are judged as one text: each of them is read, whichever comes last. */
static qg_status read_prompts(asked *q, qg_err *err)
{
    const json_t *prompt = json_object_get(q->tree, "prompt");
    qg_status rc = QG_OK;
    if (!json_is_string(prompt) && (!json_is_array(prompt) || json_array_size(prompt) == 0))
        return qg_fail(err, QG_ERR_FORMAT, "prompt must be a text or a list of them.");
    QG_TRY(open_turn(q, "user", err));
    size_t begin = q->text.n;
    if (holds_ids(prompt)) {
        q->a.n_unread++;
        return close_turn(q, QG_OK, err);
    }
    if (json_is_string(prompt))
        rc = add_slice(q, qg_json_slice(prompt));
    for (size_t i = 0; i < json_array_size(prompt) && rc == QG_OK; i++) {
        rc = apart(q, begin);
        if (rc == QG_OK)
            rc = add_value(q, json_array_get(prompt, i), begin, DEPTH);
    }
    if (json_is_array(prompt))
        q->a.n_choices *= (int32_t)json_array_size(prompt);
    if (rc == QG_OK && json_is_string(json_object_get(q->tree, "suffix"))) {
        rc = apart(q, begin);
        if (rc == QG_OK)
            rc = add_slice(q, qg_json_slice(json_object_get(q->tree, "suffix")));
    }
    return close_turn(q, rc, err);
}

static const char *item_role(const json_t *item)
{
    qg_slice type = qg_json_slice(json_object_get(item, "type"));
    size_t n = strlen("_output");
    if (type.n > n && !memcmp(type.p + type.n - n, "_output", n))
        return "tool";
    return "assistant"; /* calls and reasoning */
}

static qg_status read_items(asked *q, const json_t *list, qg_err *err)
{
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item) {
        const char *role = item_role(item);
        bool message = json_object_get(item, "role") != NULL;
        if (message)
            QG_TRY(role_of(item, i, &role, err));
        QG_TRY(open_turn(q, role, err));
        size_t begin = q->text.n;
        QG_TRY(close_turn(
            q, message ? add_message(q, item, begin) : add_value(q, item, begin, DEPTH), err));
    }
    return QG_OK;
}

static qg_status read_responses(asked *q, qg_err *err)
{
    const json_t *input = json_object_get(q->tree, "input");
    const json_t *prompt = json_object_get(q->tree, "prompt");
    QG_TRY(add_turn(q, "system", json_object_get(q->tree, "instructions"), err));
    if (json_is_object(prompt))
        QG_TRY(add_turn(q, "user", json_object_get(prompt, "variables"), err));
    return json_is_array(input) ? read_items(q, input, err) : add_turn(q, "user", input, err);
}

static qg_status read_anthropic(asked *q, qg_err *err)
{
    QG_TRY(add_turn(q, "system", json_object_get(q->tree, "system"), err));
    return read_messages(q, json_object_get(q->tree, "messages"), err);
}

static qg_status read_turns(asked *q, qg_err *err)
{
    switch (q->a.proto) {
    case QG_PROTO_COMPLETIONS:
        return read_prompts(q, err);
    case QG_PROTO_RESPONSES:
        return read_responses(q, err);
    case QG_PROTO_ANTHROPIC:
        return read_anthropic(q, err);
    default:
        return read_messages(q, json_object_get(q->tree, "messages"), err);
    }
}

/* Servers in Go (Ollama, LocalAI) read names without regard to case, and the last of them counts:
 * what is called "Messages" must not reach them unjudged beside what is called "messages". */
static bool folds_to(const char *key, const char *name)
{
    while (*key && *name) {
        unsigned char c = (unsigned char)*key;
        if (c == 0xC5 && (unsigned char)key[1] == 0xBF) { /* ſ */
            c = 's';
            key += 1;
        } else if (c == 0xE2 && (unsigned char)key[1] == 0x84 && (unsigned char)key[2] == 0xAA) {
            c = 'k'; /* the sign for Kelvin */
            key += 2;
        } else if (c >= 'A' && c <= 'Z') {
            c = (unsigned char)(c + 'a' - 'A');
        }
        if (c != (unsigned char)*name)
            return false;
        key++;
        name++;
    }
    return !*key && !*name;
}

static qg_status check_names(const json_t *object, qg_err *err)
{
    static const char *const names[] = {
        "messages", "prompt",    "suffix",     "input",         "instructions",
        "system",   "model",     "stream",     "role",          "content",
        "text",     "refusal",   "tool_calls", "function_call", "function",
        "name",     "arguments", "thinking",   "reasoning",     "reasoning_content",
        "output",   "type",      "n"};
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)object, key, value)
        for (size_t i = 0; i < QG_COUNT(names); i++)
            if (strcmp(key, names[i]) != 0 && folds_to(key, names[i]))
                return qg_fail(err, QG_ERR_FORMAT, "\"%s\" is spelt \"%s\".", key, names[i]);
    return QG_OK;
}

/* Of the request, its messages, their parts and calls. */
static qg_status check_all_names(const json_t *value, int depth, qg_err *err)
{
    static const char *const inside[] = {"messages",   "input",    "content",
                                         "tool_calls", "function", "function_call"};
    size_t i;
    json_t *item;
    json_array_foreach (value, i, item)
        if (depth > 0)
            QG_TRY(check_all_names(item, depth - 1, err));
    if (!json_is_object(value))
        return QG_OK;
    QG_TRY(check_names(value, err));
    for (i = 0; i < QG_COUNT(inside) && depth > 0; i++)
        QG_TRY(check_all_names(json_object_get(value, inside[i]), depth - 1, err));
    return QG_OK;
}

static qg_status read_options(asked *q, qg_err *err)
{
    int64_t n = 1;
    QG_TRY(qg_json_opt_str(q->tree, "model", &q->a.model, err));
    QG_TRY(qg_json_opt_bool(q->tree, "stream", &q->a.stream, err));
    if (q->a.proto <= QG_PROTO_COMPLETIONS)
        QG_TRY(qg_json_opt_int(q->tree, "n", 1, QG_MAX_CHOICES, &n, err));
    q->a.n_choices = (int32_t)n;
    return QG_OK;
}

static qg_status show_messages(asked *q, qg_err *err)
{
    if (q->n == 0)
        return qg_fail(err, QG_ERR_ARG, "The request has nothing to judge.");
    q->messages = qg_calloc(q->n, sizeof *q->messages);
    if (!q->messages)
        return no_memory(err);
    qg_slice all = qg_buf_slice(&q->text);
    for (size_t i = 0; i < q->n; i++)
        q->messages[i] = (qg_message){
            q->turns[i].role, {all.p + q->turns[i].begin, q->turns[i].end - q->turns[i].begin}};
    q->a.messages = q->messages;
    q->a.n_messages = q->n;
    return QG_OK;
}

qg_status qg_asked_open(qg_asked **out, qg_proto proto, qg_slice body, qg_err *err)
{
    *out = NULL;
    asked *q = qg_calloc(1, sizeof *q);
    if (!q)
        return no_memory(err);
    q->a = (qg_asked){.proto = proto, .model = {"", 0}, .n_choices = 1};
    qg_buf_init(&q->text, QG_MAX_TEXT_BYTES);
    qg_status rc = qg_json_parse(body, 0, &q->tree, err);
    if (rc == QG_OK && !json_is_object(q->tree))
        rc = qg_fail(err, QG_ERR_FORMAT, "The body must be a JSON object.");
    if (rc == QG_OK)
        rc = check_all_names(q->tree, 2 * DEPTH, err);
    if (rc == QG_OK)
        rc = read_options(q, err);
    if (rc == QG_OK)
        rc = read_turns(q, err);
    if (rc == QG_OK)
        rc = show_messages(q, err);
    if (rc != QG_OK) {
        qg_asked_close(&q->a);
        return rc;
    }
    *out = &q->a;
    return QG_OK;
}

void qg_asked_close(qg_asked *a)
{
    asked *q = (asked *)a;
    if (!q)
        return;
    json_decref(q->tree);
    qg_buf_free(&q->text);
    qg_mfree(q->turns);
    qg_mfree(q->messages);
    qg_mfree(q);
}

/* ---- a second try ---------------------------------------------------------------------------- */

static json_t *text_behind(qg_slice first, const json_t *then)
{
    qg_slice rest = qg_json_slice(then);
    return json_sprintf("%.*s%s%.*s", (int)first.n, first.p, rest.n ? "\n\n" : "", (int)rest.n,
                        rest.p);
}

/* Puts the instruction before a member that is a text or a list of parts. */
static bool instruct_member(json_t *tree, const char *name, qg_slice instruction)
{
    json_t *value = json_object_get(tree, name);
    if (!json_is_array(value))
        return !json_object_set_new(tree, name, text_behind(instruction, value));
    return !json_array_insert_new(
        value, 0, json_pack("{s:s,s:s%}", "type", "text", "text", instruction.p, instruction.n));
}

static bool instruct_prompts(json_t *tree, qg_slice instruction)
{
    json_t *prompt = json_object_get(tree, "prompt");
    bool good = true;
    if (!json_is_array(prompt))
        return instruct_member(tree, "prompt", instruction);
    for (size_t i = 0; i < json_array_size(prompt); i++)
        if (json_is_string(json_array_get(prompt, i)))
            good &=
                !json_array_set_new(prompt, i, text_behind(instruction, json_array_get(prompt, i)));
    return good;
}

static bool instruct(qg_proto proto, json_t *tree, qg_slice instruction)
{
    switch (proto) {
    case QG_PROTO_COMPLETIONS:
        return instruct_prompts(tree, instruction);
    case QG_PROTO_RESPONSES:
        return instruct_member(tree, "instructions", instruction);
    case QG_PROTO_ANTHROPIC:
        return instruct_member(tree, "system", instruction);
    default:
        return !json_array_insert_new(
            json_object_get(tree, "messages"), 0,
            json_pack("{s:s,s:s%}", "role", "system", "content", instruction.p, instruction.n));
    }
}

qg_status qg_asked_instruct(qg_proto proto, qg_slice body, qg_slice instruction, qg_buf *out,
                            qg_err *err)
{
    json_t *tree = NULL;
    char *text = NULL;
    QG_TRY(qg_json_parse(body, 0, &tree, err));
    if (instruct(proto, tree, instruction))
        text = qg_json_dump(tree);
    qg_status rc = text ? qg_buf_adds(out, text) : no_memory(err);
    if (rc != QG_OK)
        qg_fail(err, rc, "the request cannot be sent again");
    qg_mfree(text);
    json_decref(tree);
    return rc;
}
