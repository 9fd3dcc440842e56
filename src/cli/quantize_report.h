/* Texts for calibration and evaluation, and what quantising changed on them. */
#ifndef QG_CLI_QUANTIZE_REPORT_H
#define QG_CLI_QUANTIZE_REPORT_H

#include "base/arena.h"
#include "cli/io.h"

typedef struct cli_conversation {
    const qg_message *messages;
    size_t n;
} cli_conversation;

typedef struct cli_texts {
    cli_conversation *at; /* [n] */
    size_t n, cap;
    qg_arena arena;
    json_t *rows; /* holds the texts */
} cli_texts;

/* Reads a file: a line is a prompt, or, when it begins with a brace, a row as `check --jsonl` takes
 * it. Empty lines are skipped; at most 4096 texts. */
qg_status cli_texts_read(cli_texts *out, const char *path, qg_err *err);
void cli_texts_free(cli_texts *texts); /* a zeroed one is fine */

/* Every fourth text is not calibrated on when the same file is also what is evaluated on. */
static inline bool cli_text_held_out(size_t i)
{
    return i % 4 == 3;
}

/* The rendered prompt's ids (zero-initialised by the caller, who frees them). */
qg_status cli_text_ids(const qg_engine *engine, const cli_conversation *text, qg_ids *ids,
                       qg_err *err);

/* Judges texts (held_out: only those) with the model in bfloat16 and with what was written, one
 * after the other, writes args->report (JSON) and prints a summary. */
qg_status cli_quantize_report(const cli_args *args, qg_dtype dtype, const cli_texts *texts,
                              bool held_out, qg_err *err);

#endif
