#define _GNU_SOURCE /* getline */
/* Renders templates for test_template_vs_jinja2.py:
 *
 *     tmpl_render < requests.jsonl > answers.jsonl
 *
 * request  {"template": source, "vars": {…}}
 * answer   {"text": …, "spans": [[end, input], …]}  or  {"status": …, "error": sentence} */
#include "tmpl/tmpl.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *failure(qg_status rc, const qg_err *err)
{
    return json_pack("{s:s, s:s}", "status", qg_status_name(rc), "error", err->msg);
}

static json_t *answer(const json_t *request)
{
    qg_err err = {""};
    qg_tmpl *tmpl;
    qg_rendered out = {0};
    const json_t *source = json_object_get(request, "template");
    qg_slice s = {json_string_value(source), json_string_length(source)};
    qg_status rc = qg_tmpl_open(&tmpl, s, &err);
    if (rc != QG_OK)
        return failure(rc, &err);
    json_t *result;
    rc = qg_tmpl_render(tmpl, json_object_get(request, "vars"), &out, &err);
    if (rc != QG_OK) {
        result = failure(rc, &err);
    } else {
        json_t *spans = json_array();
        for (size_t i = 0; i < out.n_spans; i++)
            json_array_append_new(
                spans, json_pack("[I, b]", (json_int_t)out.spans[i].end, (int)out.spans[i].input));
        result = json_pack("{s:o, s:o}", "text",
                           json_stringn(qg_buf_slice(&out.text).p, out.text.n), "spans", spans);
    }
    qg_rendered_free(&out);
    qg_tmpl_close(tmpl);
    return result;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        json_error_t why;
        json_t *request = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &why);
        if (!request) {
            fprintf(stderr, "tmpl_render: %s\n", why.text);
            return 1;
        }
        json_t *result = answer(request);
        char *text = result ? json_dumps(result, JSON_COMPACT) : NULL;
        puts(text ? text : "{\"status\": \"internal_error\", \"error\": \"not UTF-8\"}");
        free(text);
        json_decref(result);
        json_decref(request);
    }
    free(line);
    return 0;
}
