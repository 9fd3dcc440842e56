/* Watches a reply while it is being written, with a Qwen3Guard-Stream model:
 *
 *     cc stream.c $(pkg-config --cflags --libs qguard) -o stream
 *     some-model | ./stream MODEL-DIRECTORY "How can I make a bomb?"
 *
 * Reads the reply from standard input as it comes and prints it; stops where it is flagged. */
#include <qguard.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Appends and shows what is new; 1: flagged, -1: an error. */
static int append(qg_session *session, const qg_append *a)
{
    qg_stream_result *result;
    qg_err err;
    if (qg_session_judge(session, a, &result, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return -1;
    }
    for (size_t i = 0; i < result->n_tokens; i++) {
        const qg_token *t = &result->tokens[i];
        if (t->final)
            printf("%-14s %.2f  %s\n", qg_severity_name(t->severity), t->p_severity[t->severity],
                   t->text);
    }
    int flagged = result->flagged;
    if (flagged)
        printf("flagged: %s, %s\n", qg_severity_name(result->severity), result->category);
    qg_stream_result_free(result);
    return flagged;
}

static int watch(qg_session *session, const char *prompt)
{
    char piece[64];
    qg_append a;
    ssize_t n;
    int state;

    qg_append_init(&a);
    a.role = "user";
    a.content = (qg_text){prompt, strlen(prompt)};
    a.end = true;
    state = append(session, &a); /* the prompt's verdict; the reply is watched all the same */
    a.role = "assistant";
    a.end = false;
    while (state >= 0 && (n = read(0, piece, sizeof piece)) > 0) {
        a.content = (qg_text){piece, (size_t)n};
        state = append(session, &a);
        if (state)
            return state;
    }
    a.content = (qg_text){NULL, 0};
    a.end = true;
    return state < 0 ? state : append(session, &a);
}

int main(int argc, char **argv)
{
    qg_options options;
    qg_engine *engine;
    qg_session *session;
    qg_err err;

    if (argc != 3) {
        fprintf(stderr, "usage: stream MODEL-DIRECTORY PROMPT < REPLY\n");
        return 2;
    }
    qg_options_init(&options);
    options.model = argv[1];
    if (qg_engine_open(&engine, &options, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    int rc = -1;
    if (qg_session_open(&session, engine, NULL, &err)) {
        fprintf(stderr, "%s\n", err.msg);
    } else {
        rc = watch(session, argv[2]);
        qg_session_close(session);
    }
    qg_engine_close(engine);
    return rc < 0 ? 1 : rc ? 3 : 0;
}
