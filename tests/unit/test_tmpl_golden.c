/* Every row of goldens/template-vectors.jsonl: same text, or an error where the reference raises.
 */
#include "unit.h"

#include "base/map.h"
#include "text/json.h"
#include "tmpl/tmpl.h"

typedef struct source {
    const char *name, *file;
    qg_tmpl *tmpl;
} source;

static qg_map map_shared(const char *path)
{
    char full[1024];
    qg_map map;
    qg_err err;
    snprintf(full, sizeof full, "%s/%s", unit_shared(), path);
    if (qg_map_open(&map, full, &err) != QG_OK)
        fail_msg("%s", err.msg);
    return map;
}

static void open_templates(source *sources, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        qg_map map = map_shared(sources[i].file);
        qg_err err;
        if (qg_tmpl_open(&sources[i].tmpl, qg_slice_of((const char *)map.data, map.size), &err))
            fail_msg("%s: %s", sources[i].file, err.msg);
        qg_map_close(&map);
    }
}

/* Leaves the variables: what the reference always passes, and the row's own. */
static json_t *vars_of(const json_t *row)
{
    json_t *vars = json_pack("{s:n, s:n, s:b}", "tools", "documents", "add_generation_prompt", 0);
    json_object_update(vars, (json_t *)(uintptr_t)row);
    json_object_del(vars, "name");
    json_object_del(vars, "template");
    json_object_del(vars, "text");
    json_object_del(vars, "raises");
    return vars;
}

static void check_row(const source *sources, size_t n, const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    const char *which = json_string_value(json_object_get(row, "template"));
    const json_t *text = json_object_get(row, "text");
    qg_rendered out = {0};
    qg_err err = {""};
    size_t i = 0;
    while (i < n && strcmp(sources[i].name, which))
        i++;
    assert_true(i < n);
    json_t *vars = vars_of(row);
    qg_status rc = qg_tmpl_render(sources[i].tmpl, vars, &out, &err);
    if (!text && rc != QG_ERR_TEMPLATE)
        fail_msg("%s: status %d where the reference raises", name, rc);
    if (text && rc != QG_OK)
        fail_msg("%s: %s", name, err.msg);
    if (text && !qg_slice_eq(qg_buf_slice(&out.text), qg_json_slice(text)))
        fail_msg("%s: other text: %s", name, out.text.p);
    if (text)
        assert_int_equal(out.n_spans ? out.spans[out.n_spans - 1].end : 0, out.text.n);
    qg_rendered_free(&out);
    json_decref(vars);
}

static void every_row_renders_as_the_reference_does(void **state)
{
    source sources[] = {
        {"gen", "model/templates/qwen3guard-gen.chat_template.jinja", NULL},
        {"qwen3", "model/templates/qwen3-rev2.chat_template.jinja", NULL},
        {"first", "model/templates/qwen3-0.6B.chat_template.jinja", NULL},
    };
    (void)state;
    if (!unit_shared()) {
        print_message("SKIPPED: QGUARD_SHARED is not set, template goldens not read\n");
        skip();
    }
    open_templates(sources, COUNT(sources));
    qg_map map = map_shared("goldens/template-vectors.jsonl");
    const char *p = (const char *)map.data, *end = p + map.size;
    size_t rows = 0;
    for (const char *line; p < end; p = line + 1) {
        line = memchr(p, '\n', (size_t)(end - p));
        line = line ? line : end;
        json_t *row;
        qg_err err;
        if (qg_json_parse(qg_slice_of(p, (size_t)(line - p)), QG_JSON_NUL, &row, &err))
            fail_msg("row %zu: %s", rows, err.msg);
        if (rows++ > 0) /* the first is the birth certificate */
            check_row(sources, COUNT(sources), row);
        json_decref(row);
    }
    assert_true(rows > 200);
    print_message("%zu rows\n", rows - 1);
    qg_map_close(&map);
    for (size_t i = 0; i < COUNT(sources); i++)
        qg_tmpl_close(sources[i].tmpl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_renders_as_the_reference_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
