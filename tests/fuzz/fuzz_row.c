/* Any line of a data set, read in three ways: it is refused with a sentence, or its texts lie in
 * memory that the row owns; and with a verdict it is the line that it was. */
#include "base/limits.h"
#include "batch/row.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static size_t touch(const char *p, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (unsigned char)p[i];
    return sum;
}

static void check_texts(const qg_row *row)
{
    volatile size_t sum = 0;
    must(row->n >= 1 && row->n <= QG_MAX_INPUTS && (row->list || row->n == 1));
    for (size_t i = 0; i < row->n; i++) {
        must(row->asks[i].n >= 1 && row->asks[i].n <= QG_MAX_MESSAGES + 1);
        for (size_t k = 0; k < row->asks[i].n; k++) {
            const qg_message *m = &row->asks[i].p[k];
            must(m->role && m->role[0]);
            sum += touch(m->content.p, m->content.n);
        }
    }
}

/* With a verdict, parsed: the same members, and the verdict as the last. */
static void check_label(qg_slice line, const json_t *before)
{
    qg_err err;
    qg_buf out;
    json_t *after = NULL;
    const char *key, *last = NULL;
    json_t *value;
    qg_buf_init(&out, QG_MAX_TEXT_BYTES);
    must(qg_row_label(line, qg_str("{\"v\":[1]}"), &out, &err) == QG_OK);
    must(qg_json_parse(qg_buf_slice(&out), QG_JSON_NUL | QG_JSON_REALS, &after, &err) == QG_OK);
    json_object_foreach (after, key, value)
        last = key;
    must(last && !strcmp(last, "qguard") && json_is_object(json_object_get(after, last)));
    json_t *a = json_copy((json_t *)before);
    json_object_del(a, "qguard");
    json_object_del(after, "qguard");
    must(json_equal(a, after));
    json_decref(a);
    json_decref(after);
    qg_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    static const qg_row_fields ways[] = {{NULL, NULL}, {"q.text", NULL}, {"prompt", "data.a"}};
    qg_slice line = qg_slice_of((const char *)in, n);
    for (size_t i = 0; i < QG_COUNT(ways); i++) {
        qg_row row;
        qg_err err = {""};
        if (qg_row_read(&row, line, &ways[i], &err) != QG_OK) {
            must(err.msg[0]);
            continue;
        }
        check_texts(&row);
        check_label(line, row.root);
        qg_row_free(&row);
    }
    return 0;
}
