/* What a Stream model's session costs when nothing else runs: `bench_session_pass MODEL DTYPE`, one
 * prompt a line on stdin.  Prints, as one line: the median milliseconds of a prompt's pass (a new
 * session each, the user's turn with its end), and of one token appended to a reply behind it. */
#define _GNU_SOURCE
#include "qguard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 200, REPLY = 60 };

static const char *const words[] = {" the", " and", " of", " a", " is", " to", " in", " that"};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *p, size_t n)
{
    qsort(p, n, sizeof *p, by_size);
    return n ? p[n / 2] : 0;
}

/* Milliseconds of one append; ends the program when it fails. */
static double append(qg_session *s, const char *role, const char *text, size_t n, bool end)
{
    qg_append a;
    qg_err err;
    qg_stream_result *result = NULL;
    qg_append_init(&a);
    a.role = role;
    a.content = (qg_text){text, n};
    a.end = end;
    int64_t begun = qg_now_us();
    if (qg_session_judge(s, &a, &result, &err) != QG_OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    double ms = (double)(qg_now_us() - begun) / 1000;
    qg_stream_result_free(result);
    return ms;
}

int main(int argc, char **argv)
{
    static double prompts[MOST], tokens[MOST * REPLY];
    size_t n = 0, n_tokens = 0;
    char line[1 << 16];
    qg_options opt;
    qg_engine *engine;
    qg_err err;
    qg_options_init(&opt);
    opt.model = argc > 1 ? argv[1] : "";
    opt.dtype = argc > 2 && !strcmp(argv[2], "bfloat16") ? QG_DTYPE_BF16 : QG_DTYPE_INT8;
    if (qg_engine_open(&engine, &opt, &err) != QG_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    while (n < MOST && fgets(line, sizeof line, stdin)) {
        qg_session *s;
        if (qg_session_open(&s, engine, NULL, &err) != QG_OK)
            return 1;
        prompts[n++] = append(s, "user", line, strcspn(line, "\n"), true);
        for (size_t i = 0; i < REPLY && n <= 3; i++) {
            const char *word = words[i % (sizeof words / sizeof *words)];
            tokens[n_tokens++] = append(s, "assistant", word, strlen(word), false);
        }
        qg_session_close(s);
    }
    printf("prompt %.2f token %.2f\n", median(prompts, n), median(tokens, n_tokens));
    qg_engine_close(engine);
    return 0;
}
