#include "tinydir.h"

#include "engine/engine_int.h"
#include "stream_rig.h"
#include "tiny_model.h"

#include <time.h>

static const char template[] =
    "{%- for m in messages %}"
    "{{- '<|im_start|>' + m.role + '\\n' }}"
    "{%- if m.role == 'assistant' and loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{{- m.content + '<|im_end|>\\n' }}"
    "{%- endfor %}";

static void write_file(const char *folder, const char *name, const void *data, size_t n)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

void stream_folder(char folder[64], const char *poison)
{
    qg_demo demo;
    tiny_model model;
    tiny_spec spec = tiny_spec_default();
    spec.vocab = 10240;
    spec.guard_inner = 24;
    spec.max_positions = 2048;
    spec.poison = poison;
    tiny_model_make(&model, &spec);
    tiny_mkdir(folder);
    for (size_t i = 0; i < 2; i++)
        write_file(folder, model.files[i].name, model.files[i].data, model.files[i].size);
    assert_true(qg_demo_find(&demo, NULL));
    for (size_t i = 0; i < demo.n; i++)
        if (!strcmp(demo.files[i].name, "tokenizer.json"))
            write_file(folder, demo.files[i].name, demo.files[i].data, demo.files[i].size);
    write_file(folder, "chat_template.jinja", template, strlen(template));
    tiny_model_free(&model);
}

void stream_folder_remove(const char *folder)
{
    tiny_rmdir(folder);
}

void stream_options(qg_options *opt, const char *folder)
{
    qg_options_init(opt);
    opt->model = folder;
    const char *kv = getenv("QGUARD_TEST_KV");
    opt->kv_dtype = kv && !strcmp(kv, "int8") ? QG_DTYPE_INT8 : QG_DTYPE_AUTO;
    opt->n_threads = 2;
}

qg_engine *stream_open(const qg_options *opt)
{
    qg_engine *engine;
    qg_err err;
    if (qg_engine_open(&engine, opt, &err) != QG_OK)
        fail_msg("%s", err.msg);
    return engine;
}

qg_session *stream_session(qg_engine *engine, const qg_session_options *opt)
{
    qg_session *s;
    qg_err err;
    if (qg_session_open(&s, engine, opt, &err) != QG_OK)
        fail_msg("%s", err.msg);
    return s;
}

qg_append stream_text(const char *role, const char *text, size_t n, bool end)
{
    qg_append a;
    qg_append_init(&a);
    a.role = role;
    a.content = (qg_text){text, n};
    a.end = end;
    return a;
}

qg_append stream_ids(const char *role, const int32_t *ids, size_t n, bool end)
{
    qg_append a;
    qg_append_init(&a);
    a.role = role;
    a.ids = ids;
    a.n_ids = n;
    a.end = end;
    return a;
}

void stream_add(stream_log *log, const qg_stream_result *r)
{
    bool tail = false;
    for (size_t i = 0; i < r->n_tokens; i++) {
        const qg_token *t = &r->tokens[i];
        assert_true(t->text && strlen(t->text) <= t->text_bytes);
        assert_true(!tail || !t->final); /* provisional ones come last */
        tail |= !t->final;
        if (!t->final)
            continue;
        while (log->n && log->marks[log->n - 1].index >= t->index) /* judged again */
            log->n--;
        assert_true(log->n < STREAM_MARKS);
        stream_mark *m = &log->marks[log->n++];
        memset(m, 0, sizeof *m);
        m->index = t->index;
        m->id = t->id;
        m->begin = t->begin;
        m->end = t->end;
        m->severity = t->severity;
        m->category = t->category;
        memcpy(m->p_severity, t->p_severity, sizeof m->p_severity);
        memcpy(m->p_categories, t->p_categories, sizeof m->p_categories);
        m->hit = t->hit;
        m->flagged = t->flagged;
        m->user = !strcmp(t->role, "user");
    }
    log->n_ids = r->n_ids;
    log->n_provisional = r->n_provisional;
    log->flagged = r->flagged;
    log->first_flagged = r->first_flagged_index;
}

qg_status stream_feed(qg_session *s, const qg_append *a, stream_log *log)
{
    qg_stream_result *r;
    qg_err err = {""};
    qg_status rc = qg_session_judge(s, a, &r, &err);
    assert_true((rc == QG_OK) == (r != NULL));
    assert_true(rc == QG_OK || err.msg[0]);
    if (r && log)
        stream_add(log, r);
    qg_stream_result_free(r);
    return rc;
}

void stream_must(qg_session *s, const qg_append *a, stream_log *log)
{
    qg_stream_result *r;
    qg_err err;
    if (qg_session_judge(s, a, &r, &err) != QG_OK)
        fail_msg("%s", err.msg);
    if (log)
        stream_add(log, r);
    qg_stream_result_free(r);
}

void stream_same(const stream_log *got, const stream_log *want)
{
    if (got->n != want->n)
        fail_msg("%zu tokens, want %zu", got->n, want->n);
    for (size_t i = 0; i < got->n; i++)
        if (memcmp(&got->marks[i], &want->marks[i], sizeof got->marks[i]))
            fail_msg("token %zu: index %d id %d [%d,%d) differs from index %d id %d [%d,%d)", i,
                     got->marks[i].index, got->marks[i].id, (int)got->marks[i].begin,
                     (int)got->marks[i].end, want->marks[i].index, want->marks[i].id,
                     (int)want->marks[i].begin, (int)want->marks[i].end);
    assert_int_equal(got->n_ids, want->n_ids);
    assert_int_equal(got->flagged, want->flagged);
    assert_int_equal(got->first_flagged, want->first_flagged);
}

int64_t stream_computed(qg_engine *engine)
{
    qg_stats s;
    qg_engine_stats(engine, &s);
    return s.tokens_computed;
}

void stream_pause(long ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

qg_stats stream_stats(qg_engine *engine)
{
    qg_stats s;
    qg_engine_stats(engine, &s);
    return s;
}

/* Waits for the scheduler to have taken leave of closed sessions. */
void stream_all_free(qg_engine *engine)
{
    for (int i = 0; stream_stats(engine).kv_blocks_free != stream_stats(engine).kv_blocks; i++) {
        assert_true(i < 20000);
        stream_pause(1);
    }
}

qg_status stream_grow(qg_session *s, int32_t n)
{
    int32_t ids[2048];
    for (int32_t i = 0; i < n; i++)
        ids[i] = 11 * i % 10000;
    qg_append a = stream_ids("assistant", ids, (size_t)n, false);
    return stream_feed(s, &a, NULL);
}

void stream_count(void *ud, qg_status rc, qg_stream_result *r, const qg_err *err)
{
    stream_tally *t = ud;
    (void)err;
    atomic_fetch_add(rc == QG_OK ? &t->ok : rc == QG_ERR_BUSY ? &t->busy : &t->other, 1);
    atomic_fetch_sub(&t->left, 1);
    qg_stream_result_free(r);
}

void stream_wait(stream_tally *t)
{
    for (int i = 0; atomic_load(&t->left); i++) {
        assert_true(i < 60000);
        stream_pause(1);
    }
}
