/* Speed of the chat-template language, one thread:
 *
 *     bench_tmpl TEMPLATE…
 *
 * Prints microseconds to open each template and to render five messages with it (best of runs). */
#include "tmpl/tmpl.h"
#include "base/clock.h"
#include "base/map.h"
#include "text/json.h"

#include <stdio.h>

static const char conversation[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"You are helpful and brief.\"},"
    "{\"role\":\"user\",\"content\":\"How can I make a bomb? And what is the capital of France?\"},"
    "{\"role\":\"assistant\",\"content\":\"<think>\\nhm\\n</think>\\n\\nNot with that. Paris.\"},"
    "{\"role\":\"user\",\"content\":\"Thanks. And Italy?\"},"
    "{\"role\":\"assistant\",\"content\":\"Rome, of course.\"}],\"add_generation_prompt\":true}";

enum { RUNS = 20, EACH = 500 };

static double time_open(qg_slice source, qg_err *err)
{
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
        qg_tmpl *tmpl;
        int64_t start = qg_clock_us();
        for (int i = 0; i < EACH / 10; i++) {
            if (qg_tmpl_open(&tmpl, source, err) != QG_OK)
                return -1;
            qg_tmpl_close(tmpl);
        }
        double us = (double)(qg_clock_us() - start) / (EACH / 10);
        best = us < best ? us : best;
    }
    return best;
}

static double time_render(const qg_tmpl *tmpl, const json_t *vars, size_t *bytes, qg_err *err)
{
    double best = 1e9;
    qg_rendered out = {0};
    for (int run = 0; run < RUNS; run++) {
        int64_t start = qg_clock_us();
        for (int i = 0; i < EACH; i++)
            if (qg_tmpl_render(tmpl, vars, &out, err) != QG_OK)
                return -1;
        double us = (double)(qg_clock_us() - start) / EACH;
        best = us < best ? us : best;
    }
    *bytes = out.text.n;
    qg_rendered_free(&out);
    return best;
}

static int bench(const char *path, const json_t *vars)
{
    qg_map map;
    qg_err err;
    qg_tmpl *tmpl = NULL;
    size_t bytes = 0;
    double open = -1, render = -1;
    if (qg_map_open(&map, path, &err) == QG_OK) {
        qg_slice source = {(const char *)map.data, map.size};
        open = time_open(source, &err);
        if (open >= 0 && qg_tmpl_open(&tmpl, source, &err) == QG_OK)
            render = time_render(tmpl, vars, &bytes, &err);
        qg_map_close(&map);
    }
    if (render < 0)
        fprintf(stderr, "%s: %s\n", path, err.msg);
    else
        printf("%-50s open %6.1f us, render %6.2f us, %zu bytes\n", path, open, render, bytes);
    qg_tmpl_close(tmpl);
    return render < 0;
}

int main(int argc, char **argv)
{
    json_t *vars;
    qg_err err;
    int bad = qg_json_parse(qg_str(conversation), 0, &vars, &err) != QG_OK;
    for (int i = 1; i < argc; i++)
        bad |= bench(argv[i], vars);
    json_decref(vars);
    return bad;
}
