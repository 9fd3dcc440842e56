/* The judge's desk: messages -> prompt ids -> (token tree, logits) -> verdict.  Knows no queue. */
#ifndef QG_GUARD_GUARD_H
#define QG_GUARD_GUARD_H

#include "guard/parse.h"
#include "guard/verdict.h"
#include "tmpl/tmpl.h"

typedef struct qg_guard qg_guard; /* immutable once open; borrows tok and tmpl until close */

/* Derives labels, trees and the common prefixes from the tokenizer and the template.  When the
 * tokenizer cannot tell the answers apart the guard still opens, for generate mode only, and
 * qg_guard_forced() says why. */
qg_status qg_guard_open(qg_guard **out, const qg_tok *tok, const qg_tmpl *tmpl, qg_err *err);
void qg_guard_close(qg_guard *guard);

/* QG_OK when verdicts by forced continuation are possible; else the reason. */
qg_status qg_guard_forced(const qg_guard *guard, qg_err *err);

/* Prompt or reply: the last message's role decides, as in the Gen template. */
qg_judged qg_guard_judged(const qg_message *messages, size_t n_messages);

/* Renders messages by the template and appends the ids of the prompt.
 * QG_ERR_ARG: no messages, a role or content that is not UTF-8; QG_ERR_TEMPLATE: it raised, or it
 * does not show the last message, which is the one to be judged. */
qg_status qg_guard_prompt(const qg_guard *guard, const qg_message *messages, size_t n_messages,
                          qg_special special, qg_ids *ids, qg_err *err);
/* The same from a JSON object of template variables; text (caller inits and frees) gets the
 * rendered text, ids may be NULL. */
qg_status qg_guard_render(const qg_guard *guard, const json_t *vars, qg_special special,
                          qg_buf *text, qg_ids *ids, qg_err *err);

/* Renders a conversation as it is, without the opening of an answer, into text (caller inits and
 * frees).  Errors as qg_guard_prompt. */
qg_status qg_guard_turns(const qg_guard *guard, const qg_message *messages, size_t n_messages,
                         qg_buf *text, qg_err *err);

/* Ids that every prompt of this kind begins with, found by rendering different contents (201 and
 * 267 with the real template and tokenizer); may be empty. */
const qg_ids *qg_guard_prefix(const qg_guard *guard, qg_judged judged);

/* For verdicts; valid only when qg_guard_forced() is QG_OK. */
const qg_labels *qg_guard_labels(const qg_guard *guard);
const qg_tree *qg_guard_tree(const qg_guard *guard, qg_judged judged); /* to be copied per job */
const qg_answers *qg_guard_answers(const qg_guard *guard);

#endif
