/* Judges a prompt, and a reply to it, with the C API:
 *
 *     cc judge.c $(pkg-config --cflags --libs qguard) -o judge
 *     ./judge [MODEL-DIRECTORY] "How can I make a bomb?" ["I cannot help you with that."]
 *
 * Without a model directory the built-in demonstration model judges. */
#include <qguard.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void show(const qg_result *result)
{
    printf("%s\n", result->text);
    for (int i = QG_SAFE; i <= QG_UNSAFE; i++)
        printf("%s%s %.2f", i ? ", " : "P: ", qg_severity_name((qg_severity)i),
               result->p_severity[i]);
    printf("\n");
}

static int judge(qg_engine *engine, const char *prompt, const char *reply)
{
    const qg_message talk[] = {
        {"user", {prompt, strlen(prompt)}},
        {"assistant", {reply ? reply : "", reply ? strlen(reply) : 0}},
    };
    qg_request request;
    qg_request_init(&request);
    request.messages = talk;
    request.n_messages = reply ? 2 : 1;

    qg_result *result;
    qg_err err;
    if (qg_judge(engine, &request, &result, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    show(result);
    qg_result_free(result);
    return 0;
}

int main(int argc, char **argv)
{
    struct stat st;
    int first = argc > 1 && stat(argv[1], &st) == 0 && S_ISDIR(st.st_mode) ? 2 : 1;
    if (first >= argc) {
        fprintf(stderr, "usage: judge [MODEL-DIRECTORY] PROMPT [REPLY]\n");
        return 2;
    }

    qg_options options;
    qg_options_init(&options);
    options.model = first == 2 ? argv[1] : NULL;
    qg_engine *engine;
    qg_err err;
    if (qg_engine_open(&engine, &options, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    int rc = judge(engine, argv[first], first + 1 < argc ? argv[first + 1] : NULL);
    qg_engine_close(engine);
    return rc;
}
