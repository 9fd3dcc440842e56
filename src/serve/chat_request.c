#include "serve/chat_request.h"

#include "base/limits.h"

static qg_status read_logprobs(qg_chat_request *r, const json_t *root, qg_fault *fault)
{
    bool wanted = false;
    int64_t top = 0;
    QG_TRY(qg_body_opt_bool(root, "body", "logprobs", &wanted, fault));
    QG_TRY(qg_body_opt_int(root, "body", "top_logprobs", 0, QG_MAX_TOP_LOGPROBS, &top, fault));
    if (top && !wanted)
        return qg_fault_set(fault, QG_ERR_ARG, "top_logprobs needs logprobs to be true.",
                            "top_logprobs");
    if (wanted) {
        r->gen.sampling.top_logprobs = (int32_t)top;
        r->gen.decodes = true;
    }
    return QG_OK;
}

static bool is_users(const qg_message *message)
{
    return qg_slice_is(qg_str(message->role), "user");
}

static qg_status read_moderation(qg_chat_request *r, const json_t *root, qg_fault *fault)
{
    json_t *moderation = NULL;
    QG_TRY(qg_body_opt_object(root, "body", "moderation", &moderation, fault));
    r->moderation = moderation != NULL;
    r->prompt = r->messages;
    while (r->prompt.n && !is_users(&r->prompt.p[r->prompt.n - 1]))
        r->prompt.n--;
    r->judges_prompt = r->prompt.n == r->messages.n;
    return QG_OK;
}

qg_status qg_chat_request_read(qg_chat_request *r, const json_t *root, qg_arena *arena,
                               qg_fault *fault)
{
    r->id = qg_str("");
    QG_TRY(qg_body_opt_str(root, "body", "request_id", &r->id, fault));
    QG_TRY(qg_messages_read(arena, json_object_get(root, "messages"), "body.messages", &r->messages,
                            fault));
    QG_TRY(qg_gen_options_read(&r->gen, root, arena, fault));
    /* Wins over its older name. */
    QG_TRY(qg_body_opt_int(root, "body", "max_completion_tokens", 1, INT64_MAX, &r->gen.max_tokens,
                           fault));
    QG_TRY(read_logprobs(r, root, fault));
    return read_moderation(r, root, fault);
}
