/* Template source, and behind a line "====" the variables as JSON (or a short conversation).  What
 * must hold: it ends soon, rendered text is UTF-8 and covered by spans, the same comes out twice.
 */
#include "text/json.h"
#include "text/utf8.h"
#include "tmpl/tmpl.h"

#include <assert.h>

static const char conversation[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"S\\u00df\"},{\"role\":\"user\",\"content\":"
    "\" "
    "Hi\\n\",\"n\":3},{\"role\":\"assistant\",\"content\":\"<think>\\na</think>b\",\"tool_calls\":"
    "[{\"function\":{\"name\":\"f\",\"arguments\":{\"x\":[1,2.5,null,true]}}}]},"
    "{\"role\":\"tool\",\"content\":null}],\"s\":\"a "
    "b,c\",\"l\":[3,1,2],\"add_generation_prompt\":true}";

static void check_result(const qg_rendered *out)
{
    size_t at = 0;
    assert(qg_utf8_valid(qg_buf_slice(&out->text)));
    for (size_t i = 0; i < out->n_spans; i++) {
        assert(out->spans[i].end > at);
        assert(i == 0 || out->spans[i].input != out->spans[i - 1].input);
        at = out->spans[i].end;
    }
    assert(at == out->text.n);
}

static void render_twice(const qg_tmpl *tmpl, const json_t *vars)
{
    qg_rendered a = {0}, b = {0};
    qg_err err = {""};
    qg_status rc = qg_tmpl_render(tmpl, vars, &a, &err);
    assert(rc != QG_ERR_INTERNAL && rc != QG_ERR_NOMEM);
    assert((rc == QG_OK) == (err.msg[0] == 0) && !strchr(err.msg, '\n'));
    assert(qg_utf8_valid(qg_str(err.msg)));
    if (rc == QG_OK)
        check_result(&a);
    assert(qg_tmpl_render(tmpl, vars, &b, NULL) == rc);
    assert(rc != QG_OK || qg_slice_eq(qg_buf_slice(&a.text), qg_buf_slice(&b.text)));
    qg_rendered_free(&a);
    qg_rendered_free(&b);
}

/* Where the line of four equals signs stands, or NULL. */
static const char *find_vars(const char *p, const char *end)
{
    for (; end - p >= 6; p++)
        if (memcmp(p, "\n====\n", 6) == 0)
            return p;
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    const char *p = (const char *)in, *split = find_vars(p, p + n);
    qg_slice source = {p, split ? (size_t)(split - p) : n}, json = qg_str(conversation);
    qg_tmpl *tmpl;
    json_t *vars;
    qg_err err = {""};
    if (split)
        json = qg_slice_of(split + 6, n - source.n - 6);
    if (qg_tmpl_open(&tmpl, source, &err) != QG_OK) {
        assert(err.msg[0] && !tmpl && !strchr(err.msg, '\n') && qg_utf8_valid(qg_str(err.msg)));
        return 0;
    }
    if (qg_json_parse(json, QG_JSON_NUL, &vars, &err) == QG_OK) {
        if (json_is_object(vars))
            render_twice(tmpl, vars);
        json_decref(vars);
    }
    qg_tmpl_close(tmpl);
    return 0;
}
