/* qguard bench text: the tokenizer and the chat template, one thread. */
#include "cli/bench.h"

#include "base/limits.h"

#include <string.h>

enum { MIN_US = 1000000, RENDERS = 400, OWN_WORDS = 20000 };

/* Every line a text of its own; false when the tokenizer refuses one. */
static qg_status encode_lines(bench *b, const qg_buf *text, size_t *n_tokens)
{
    *n_tokens = 0;
    for (size_t at = 0; at < text->n;) {
        const char *line = (const char *)text->p + at;
        const char *end = memchr(line, '\n', text->n - at);
        size_t n = end ? (size_t)(end - line) : text->n - at, got;
        int32_t *ids;
        QG_TRY(qg_tokenize(b->engine, (qg_text){line, n}, QG_SPECIAL_PARSE, &ids, &got, &b->err));
        qg_free(ids);
        *n_tokens += got;
        at += n + 1;
    }
    return QG_OK;
}

static qg_status tokenizer_row(bench *b, const char *name, const qg_buf *text)
{
    int64_t best = INT64_MAX, spent = 0;
    char metric[80], notes[80];
    size_t n_tokens = 0;

    for (int run = 0; run < 5 || spent < MIN_US; run++) {
        int64_t start = qg_now_us();
        QG_TRY(encode_lines(b, text, &n_tokens));
        int64_t us = qg_now_us() - start;
        best = us < best ? us : best;
        spent += us + 1;
    }
    snprintf(metric, sizeof metric, "tokenizer_%s", name);
    snprintf(notes, sizeof notes, "%zu bytes; %zu tokens; line by line", text->n, n_tokens);
    bench_row(&b->out, "text", metric, (double)text->n / (double)(best ? best : 1), "MB/s", 0,
              notes);
    return QG_OK;
}

static qg_status tokenizer_file(bench *b, const char *path)
{
    qg_buf text;
    char name[40];
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;

    snprintf(name, sizeof name, "%.*s", (int)strcspn(base, "."), base);
    qg_buf_init(&text, QG_MAX_TEXT_BYTES);
    qg_status rc = cli_read(path, &text, &b->err);
    if (rc == QG_OK)
        rc = tokenizer_row(b, name, &text);
    qg_buf_free(&text);
    return rc;
}

static qg_status own_words(bench *b)
{
    qg_buf text;
    qg_buf_init(&text, QG_MAX_TEXT_BYTES);
    qg_status rc = bench_words(&text, 1, OWN_WORDS);
    for (size_t i = 0; i < text.n; i++) /* a line every so often */
        if (i % 400 > 390 && text.p[i] == ' ')
            text.p[i] = '\n';
    if (rc == QG_OK)
        rc = tokenizer_row(b, "words", &text);
    qg_buf_free(&text);
    return rc;
}

static qg_status template_row(bench *b)
{
    static const char vars[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"How can I make a bomb? And what is the "
        "capital of France?\"},{\"role\":\"assistant\",\"content\":\"Not with that. Paris.\"},"
        "{\"role\":\"user\",\"content\":\"Thanks. And Italy?\"}]}";
    int64_t us[RENDERS];
    size_t bytes;

    for (size_t i = 0; i < RENDERS; i++) {
        char *text;
        int64_t start = qg_now_us();
        QG_TRY(qg_render(b->engine, (qg_text){vars, sizeof vars - 1}, &text, &bytes, NULL, NULL,
                         &b->err));
        us[i] = qg_now_us() - start;
        qg_free(text);
    }
    bench_latency(&b->out, "text", "template", us, RENDERS, 0, "three messages rendered");
    return QG_OK;
}

qg_status bench_text(bench *b)
{
    QG_TRY(bench_open(b, true));
    for (int i = 1; i < b->args->n_positional; i++)
        QG_TRY(tokenizer_file(b, b->args->positional[i]));
    if (b->args->n_positional < 2)
        QG_TRY(own_words(b));
    return template_row(b);
}
