/* Opening and closing: what is read, in which order, and what is given back. */
#define _POSIX_C_SOURCE 200809L /* a condition on the monotonic clock */
#include "engine/engine_int.h"
#include "engine/fit.h"
#include "engine/second.h"
#include "engine/warm.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "text/utf8.h"

#include <stdio.h>
#include <time.h>

void qg_options_init(qg_options *opt)
{
    *opt = (qg_options){
        .size = sizeof *opt,
        .parts = QG_PART_ALL,
        .prefix_cache = true,
        .cache_create = true,
        .step_rows = 256,
        .max_jobs = 1024,
        .max_queued_tokens = 524288,
        .max_sessions = 8192,
        .second_below = 0.7,
    };
}

int64_t qg_now_us(void)
{
    return qg_clock_us();
}

static qg_status check_options(qg_engine *e, const qg_options *opt, qg_err *err)
{
    if (!opt || opt->size != sizeof *opt)
        return qg_fail(err, QG_ERR_ARG, "options: size is not set; call qg_options_init first");
    if (!opt->parts || (opt->parts & ~(unsigned)QG_PART_ALL))
        return qg_fail(err, QG_ERR_ARG, "options: parts 0x%x is not a set of QG_PART_*",
                       opt->parts);
    if (opt->dtype != QG_DTYPE_AUTO && opt->dtype != QG_DTYPE_F32 && opt->dtype != QG_DTYPE_BF16 &&
        opt->dtype != QG_DTYPE_INT8 && opt->dtype != QG_DTYPE_INT4)
        return qg_fail(err, QG_ERR_UNSUPPORTED,
                       "dtype: this version computes in float32, bfloat16, int8 or int4 only");
    if (opt->n_threads < 0 || opt->n_threads > QG_MAX_THREADS)
        return qg_fail(err, QG_ERR_ARG, "threads: %d is not in 0..%d", opt->n_threads,
                       QG_MAX_THREADS);
    if (opt->step_rows < 1 || opt->step_rows > QG_MAX_STEP_ROWS)
        return qg_fail(err, QG_ERR_ARG, "step_rows: %d is not in 1..%d", opt->step_rows,
                       QG_MAX_STEP_ROWS);
    if (opt->max_model_len < 0 || opt->max_jobs < 1 || opt->max_queued_tokens < 1)
        return qg_fail(err, QG_ERR_ARG, "options: a limit is below its range");
    if (opt->max_sessions < 1 || opt->max_sessions > QG_MAX_SESSIONS)
        return qg_fail(err, QG_ERR_ARG, "max_sessions: %d is not in 1..%d", opt->max_sessions,
                       QG_MAX_SESSIONS);
    QG_TRY(qg_second_check(opt, err));
    e->opt = *opt;
    e->opt.model = e->opt.cpu = e->opt.chat_template = e->opt.second_model =
        NULL; /* the caller's strings need not outlive the call */
    uint32_t mask = UINT32_MAX;
    if (opt->cpu)
        QG_TRY(qg_cpu_parse(opt->cpu, &mask, err));
    e->features = qg_cpu_detect() & mask;
    if (!e->opt.n_threads)
        e->opt.n_threads = qg_cpu_count();
    return QG_OK;
}

static qg_status open_dir(qg_engine *e, const char *model, qg_err *err)
{
    unsigned flags = e->opt.parts & QG_PART_WEIGHTS ? QG_MODELDIR_TENSORS : 0;
    e->builtin = qg_demo_find(&e->demo, model);
    if (!e->builtin)
        return qg_modeldir_open(&e->dir, model, flags, err);
    return qg_modeldir_open_files(&e->dir, e->demo.files, e->demo.n, flags, err);
}

/* Tokenizer, template and what follows from both: a fifth of a second's work with nothing to share
 * with the weights, so it runs beside them. */
typedef struct text_work {
    qg_engine *e;
    qg_slice json;   /* tokenizer.json */
    qg_buf template; /* source */
    qg_status rc;
    qg_err err;
} text_work;

static qg_status read_template(text_work *w, const char *path, qg_err *err)
{
    qg_map map;
    if (!path)
        return qg_modeldir_chat_template(w->e->dir, &w->template, err);
    QG_TRY(qg_map_open(&map, path, err));
    qg_status rc = map.size > QG_MAX_TEMPLATE_BYTES
                       ? qg_fail(err, QG_ERR_FORMAT, "%s: a chat template of %zu bytes, limit %u",
                                 path, map.size, QG_MAX_TEMPLATE_BYTES)
                       : qg_buf_add(&w->template, map.data, map.size);
    if (rc == QG_ERR_NOMEM)
        qg_fail(err, rc, "%s: out of memory", path);
    qg_map_close(&map);
    return rc;
}

static qg_status read_text(text_work *w, const char *template, qg_err *err)
{
    const unsigned parts = w->e->opt.parts;
    if (parts & QG_PART_TOKENIZER)
        QG_TRY(qg_modeldir_file(w->e->dir, "tokenizer.json", &w->json, err));
    return parts & QG_PART_TEMPLATE ? read_template(w, template, err) : QG_OK;
}

static qg_status open_text(const text_work *w, qg_err *err)
{
    qg_engine *e = w->e;
    if (e->opt.parts & QG_PART_TOKENIZER) {
        qg_status rc = qg_tok_open(&e->tok, w->json, err);
        if (rc != QG_OK)
            return qg_fail_prefix(err, rc, "%s/tokenizer.json", e->name);
    }
    if (e->opt.parts & QG_PART_TEMPLATE) {
        qg_status rc = qg_tmpl_open(&e->tmpl, qg_buf_slice(&w->template), err);
        if (rc != QG_OK)
            return qg_fail_prefix(err, rc, "%s: chat template", e->name);
    }
    return e->tok && e->tmpl ? qg_guard_open(&e->guard, e->tok, e->tmpl, err) : QG_OK;
}

static void *text_main(void *arg)
{
    text_work *w = arg;
    w->rc = open_text(w, &w->err);
    return NULL;
}

static void add_eos(qg_engine *e, int32_t id)
{
    for (int32_t i = 0; i < e->n_eos; i++)
        if (e->eos[i] == id)
            return;
    if (id >= 0 && e->n_eos < (int32_t)QG_COUNT(e->eos))
        e->eos[e->n_eos++] = id;
}

/* <|im_end|> ends a Qwen turn whatever the configuration says; it comes first, as the id that a
 * verdict reports. */
static void find_eos(qg_engine *e)
{
    const qg_config *config = qg_model_config(e->model);
    if (e->tok)
        add_eos(e, qg_tok_added_id(e->tok, qg_str("<|im_end|>")));
    for (int32_t i = 0; i < config->n_eos; i++)
        add_eos(e, config->eos[i]);
    if (e->tok)
        add_eos(e, qg_tok_added_id(e->tok, qg_str("<|endoftext|>")));
}

static qg_status check_vocabulary(const qg_engine *e, qg_err *err)
{
    int32_t rows = qg_model_config(e->model)->vocab_size;
    if (e->tok && qg_tok_n_ids(e->tok) > rows)
        return qg_fail(err, QG_ERR_FORMAT,
                       "%s: tokenizer.json has ids up to %d, config.json a vocab_size of %d",
                       e->name, qg_tok_n_ids(e->tok) - 1, rows);
    return QG_OK;
}

/* Context length and KV memory.  Reserved memory costs nothing until it is used. */
static qg_status open_kv(qg_engine *e, qg_err *err)
{
    const qg_kv_shape shape = qg_model_kv_shape(e->model);
    const uint64_t block = qg_kv_block_bytes(&shape);
    const uint64_t least = 512u << 20; /* as qg_fit_pool */
    int32_t limit = qg_model_config(e->model)->max_positions;

    if (e->opt.max_model_len > limit)
        return qg_fail(err, QG_ERR_ARG, "max_model_len: %d is more than the model's %d",
                       e->opt.max_model_len, limit);
    e->max_len = e->opt.max_model_len ? e->opt.max_model_len : limit;
    uint64_t for_context = (uint64_t)(e->max_len + QG_MAX_TREE_SLOTS) / QG_KV_BLOCK + 1;
    uint64_t n = e->opt.kv_bytes / block;
    if (!e->opt.kv_bytes) {
        n = qg_fit_pool(block, e->max_len);
    } else if (n < 64) {
        return qg_fail(err, QG_ERR_ARG, "kv_bytes: at least %llu are needed for this model",
                       (unsigned long long)(64 * block));
    } else if (n < for_context + 64 && !e->opt.max_model_len) {
        e->max_len = (int32_t)(n - 64) * QG_KV_BLOCK - QG_MAX_TREE_SLOTS;
        e->max_len = e->max_len < QG_KV_BLOCK ? QG_KV_BLOCK : e->max_len;
    }
    if (n > INT32_MAX / QG_KV_BLOCK)
        n = INT32_MAX / QG_KV_BLOCK;
    QG_TRY(qg_kv_open(&e->kv, &shape, (int32_t)n, err));
    e->opt.kv_bytes = n * block;
    e->stats.kv_blocks = e->stats.kv_blocks_free = (int64_t)n;
    /* What the cache may hold on to: 512 MiB or half, so that memory in use stays near need. */
    uint64_t keep = least / block < n / 2 ? least / block : n / 2;
    /* Made ready when idle: what will be in use sooner or later, no more than the weights. */
    const uint64_t weights = qg_model_weight_bytes(e->model) / block;
    e->kv_warm = (int32_t)(keep < weights ? keep : weights);
    if (!e->opt.prefix_cache || !e->guard)
        return QG_OK;
    QG_TRY(qg_prefix_open(&e->prefix, e->kv, (int32_t)(keep < 64 ? 64 : keep), err));
    if (!qg_model_is_stream(e->model))
        return QG_OK;
    /* What the heads said: 92 bytes beside the 112 KiB of a token's KV at 0.6B.  A model whose KV
     * is not much larger does without, and judges anew what it has the KV of. */
    enum { KV_TO_HEADS = 16 };
    uint64_t heads = (uint64_t)qg_logits_width(e) * sizeof(float);
    qg_prefix_for_sessions(
        e->prefix, heads * KV_TO_HEADS * QG_KV_BLOCK <= block ? (int32_t)qg_logits_width(e) : 0);
    return QG_OK;
}

static qg_status open_step(qg_engine *e, qg_err *err)
{
    qg_step *s = &e->step;
    size_t cap = (size_t)e->opt.step_rows;
    const qg_config *config = qg_model_config(e->model);

    s->cap = e->opt.step_rows;
    s->rows = qg_calloc(cap, sizeof *s->rows);
    s->wants = qg_calloc(cap, sizeof *s->wants);
    s->paths = qg_calloc(cap * QG_PATH_MAX, sizeof *s->paths);
    s->hidden = qg_calloc(cap * (size_t)config->hidden, sizeof *s->hidden);
    e->vocab_logits =
        qg_calloc((size_t)config->vocab_size * QG_VOCAB_ROWS, sizeof *e->vocab_logits);
    if (!s->rows || !s->wants || !s->paths || !s->hidden || !e->vocab_logits)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    QG_TRY(qg_sample_room_open(&e->sample_room, config->vocab_size, err));
    return qg_scratch_open(&e->scratch, e->model, s->cap, e->max_len, e->opt.n_threads, err);
}

/* What sessions need.  Labels or a template that are not understood do not prevent opening: the
 * numbers can be had all the same. */
static qg_status open_stream(qg_engine *e, qg_err *err)
{
    int32_t n[QG_N_LABEL_GROUPS];
    for (int g = 0; g < QG_N_LABEL_GROUPS; g++)
        n[g] = qg_model_n_labels(e->model, (qg_label_group)g);
    e->labels_rc = qg_stream_labels_init(&e->labels, qg_model_config(e->model), n, &e->labels_err);
    qg_status rc = e->guard ? qg_frames_init(&e->frames, e->guard, e->tok, NULL) : QG_OK;
    e->has_frames = e->guard && rc == QG_OK;
    e->heads = qg_calloc((size_t)e->step.cap * (size_t)qg_logits_width(e), sizeof *e->heads);
    e->hub = qg_hub_open(e);
    return e->heads && e->hub && rc != QG_ERR_NOMEM ? QG_OK
                                                    : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

static qg_status open_model(qg_engine *e, qg_err *err)
{
    QG_TRY(qg_pool_open(&e->pool, e->opt.n_threads, err));
    qg_pool_let_first(e->pool, e->opt.busy);
    qg_model_options mo = {
        .dtype = e->opt.dtype,
        .kv_dtype = e->opt.kv_dtype,
        .features = e->features,
        .max_positions = e->opt.max_model_len,
    };
    QG_TRY(qg_packcache_open(&e->packcache, e->opt.cache, e->opt.cache_create, e->dir, &mo, e->pool,
                             err));
    mo.packed = e->packcache.file.part[0];
    return qg_model_open(&e->model, e->dir, &mo, e->pool, err);
}

/* The model beside the text.  When both fail the text's sentence counts, whoever was first. */
static qg_status open_parts(qg_engine *e, const char *template, qg_err *err)
{
    text_work w = {.e = e};
    qg_err model_err;
    pthread_t thread;

    qg_buf_init(&w.template, QG_MAX_TEXT_BYTES);
    qg_status rc = read_text(&w, template, err);
    if (rc == QG_OK && (e->opt.parts & QG_PART_WEIGHTS)) {
        bool beside = pthread_create(&thread, NULL, text_main, &w) == 0;
        rc = open_model(e, &model_err);
        if (beside)
            pthread_join(thread, NULL);
        else
            text_main(&w);
        if (w.rc == QG_OK && rc != QG_OK && err)
            *err = model_err;
    } else if (rc == QG_OK) {
        text_main(&w);
    }
    if (w.rc != QG_OK) {
        rc = w.rc;
        if (err)
            *err = w.err;
    }
    qg_buf_free(&w.template);
    return rc;
}

/* What the cache holds besides the weights is put to use; or the cache is written. */
static qg_status use_cache(qg_engine *e, qg_err *err)
{
    uint8_t *image;
    size_t bytes;
    const qg_map *map = &e->packcache.file.map;
    const qg_slice saved = e->packcache.file.part[1];
    if (map->size) {
        qg_warm_restore(e, saved);
        qg_map_drop(map, (size_t)((const uint8_t *)saved.p - map->data), saved.n);
    }
    if (!e->packcache.write)
        return QG_OK;
    qg_status rc = qg_warm_make(e, &image, &bytes);
    if (rc != QG_OK)
        return qg_fail(err, rc, "%s: the template's own text cannot be computed", e->name);
    const qg_slice kv = {(const char *)image, bytes};
    qg_packcache_write(&e->packcache, qg_model_packed(e->model), kv, e->pool);
    qg_big_free(image, bytes);
    return QG_OK;
}

static qg_status open_weights(qg_engine *e, qg_err *err)
{
    QG_TRY(check_vocabulary(e, err));
    find_eos(e);
    QG_TRY(open_kv(e, err));
    QG_TRY(open_step(e, err));
    if (qg_model_is_stream(e->model)) {
        QG_TRY(open_stream(e, err));
    } else if (e->guard && qg_guard_forced(e->guard, NULL) == QG_OK) {
        const qg_answers *answers = qg_guard_answers(e->guard);
        QG_TRY(qg_head_open(&e->head, e->model, answers->ids, answers->n, err));
    }
    return use_cache(e, err);
}

static qg_status start_scheduler(qg_engine *e, qg_err *err)
{
    e->mailbox_end = &e->mailbox;
    if (pthread_mutex_init(&e->lock, NULL))
        return qg_fail(err, QG_ERR_NOMEM, "cannot make a lock");
    pthread_condattr_t attr;
    bool ok = !pthread_condattr_init(&attr);
    if (ok) {
        ok = !pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) && /* as qg_now_us() */
             !pthread_cond_init(&e->wake, &attr);
        pthread_condattr_destroy(&attr);
    }
    if (!ok) {
        pthread_mutex_destroy(&e->lock);
        return qg_fail(err, QG_ERR_NOMEM, "cannot make a condition");
    }
    e->lock_ready = true;
    if (pthread_create(&e->thread, NULL, qg_sched_main, e))
        return qg_fail(err, QG_ERR_NOMEM, "cannot start the scheduler thread");
    e->thread_ready = true;
    return QG_OK;
}

/* A directory's name need not be UTF-8, but it goes into JSON; a long one is cut between two
 * characters. */
static void set_name(qg_engine *e)
{
    qg_slice name = qg_str(e->builtin ? e->demo.name : qg_modeldir_name(e->dir));
    if (!qg_utf8_valid(name))
        name = qg_str("?"); /* as qg_inspect calls it */
    int n = qg_utf8_cut(name, (int)sizeof e->name - 1);
    snprintf(e->name, sizeof e->name, "%.*s", n, name.p);
}

static qg_status open_all(qg_engine *e, const qg_options *opt, qg_err *err)
{
    QG_TRY(check_options(e, opt, err));
    QG_TRY(open_dir(e, opt->model, err));
    set_name(e);
    const qg_dtype asked = e->opt.dtype;
    if (qg_modeldir_config(e->dir))
        QG_TRY(qg_model_settle_dtype(qg_modeldir_config(e->dir), &e->opt.dtype, err));
    if (e->opt.memory_bytes && (e->opt.parts & QG_PART_WEIGHTS))
        QG_TRY(qg_fit_choose(e, asked, err));
    QG_TRY(qg_model_settle_kv_dtype(e->opt.dtype, &e->opt.kv_dtype, err));
    QG_TRY(open_parts(e, opt->chat_template, err));
    if (!(e->opt.parts & QG_PART_WEIGHTS))
        return QG_OK;
    QG_TRY(open_weights(e, err));
    QG_TRY(qg_second_open(e, opt, err));
    return start_scheduler(e, err);
}

static qg_status measure(qg_engine *e, const qg_options *opt, uint64_t *bytes, qg_err *err)
{
    qg_fit f;
    QG_TRY(check_options(e, opt, err));
    e->opt.parts = QG_PART_WEIGHTS;
    QG_TRY(open_dir(e, opt->model, err));
    const qg_config *c = qg_modeldir_config(e->dir);
    if (!c)
        return qg_fail(err, QG_ERR_FORMAT, "%s: no configuration", qg_modeldir_name(e->dir));
    QG_TRY(qg_model_settle_dtype(c, &e->opt.dtype, err));
    const int32_t context = opt->max_model_len ? opt->max_model_len : c->max_positions;
    QG_TRY(qg_model_settle_kv_dtype(e->opt.dtype, &e->opt.kv_dtype, err));
    const qg_formats formats = {e->opt.dtype, e->opt.kv_dtype};
    QG_TRY(qg_fit_measure(&f, e->dir, e->builtin, formats, e->features, e->opt.step_rows, context,
                          e->opt.n_threads, err));
    const uint64_t block = f.kv_token * QG_KV_BLOCK;
    const uint64_t kv = opt->kv_bytes ? opt->kv_bytes : block * qg_fit_pool(block, context);
    *bytes = opt->memory_bytes ? opt->memory_bytes : f.weights + f.rest + kv;
    return QG_OK;
}

qg_status qg_engine_memory(const qg_options *opt, uint64_t *bytes, qg_err *err)
{
    uint64_t second = 0;
    qg_options own;
    *bytes = 0;
    qg_engine *e = qg_calloc(1, sizeof *e);
    if (!e)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_status rc = measure(e, opt, bytes, err);
    qg_engine_close(e);
    if (rc != QG_OK || !qg_second_options(opt, &own))
        return rc;
    rc = qg_engine_memory(&own, &second, err);
    *bytes += second;
    return rc;
}

qg_status qg_engine_open(qg_engine **out, const qg_options *opt, qg_err *err)
{
    qg_engine *e = qg_calloc(1, sizeof *e);
    *out = NULL;
    if (!e)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_status rc = open_all(e, opt, err);
    e->opt.cache = NULL; /* as above */
    if (rc != QG_OK) {
        qg_engine_close(e);
        return rc;
    }
    *out = e;
    return QG_OK;
}

static void stop_scheduler(qg_engine *e)
{
    if (e->thread_ready) {
        atomic_store(&e->stop_now, true);
        pthread_mutex_lock(&e->lock);
        e->closing = true;
        pthread_cond_signal(&e->wake);
        pthread_mutex_unlock(&e->lock);
        pthread_join(e->thread, NULL);
    }
    qg_engine_close(e->second); /* what it still ends is counted under our lock */
    e->second = NULL;
    if (e->lock_ready) {
        pthread_cond_destroy(&e->wake);
        pthread_mutex_destroy(&e->lock);
    }
}

void qg_engine_close(qg_engine *e)
{
    if (!e)
        return;
    qg_hub_close(e->hub);
    stop_scheduler(e);
    qg_prefix_close(e->prefix);
    qg_kv_close(e->kv);
    qg_head_close(e->head);
    qg_scratch_close(e->scratch);
    qg_mfree(e->step.rows);
    qg_mfree(e->step.wants);
    qg_mfree(e->step.paths);
    qg_mfree(e->step.hidden);
    qg_mfree(e->vocab_logits);
    qg_sample_room_close(&e->sample_room);
    qg_mfree(e->heads);
    qg_frames_free(&e->frames);
    qg_guard_close(e->guard);
    qg_tmpl_close(e->tmpl);
    qg_tok_close(e->tok);
    qg_model_close(e->model);
    qg_packcache_close(&e->packcache);
    qg_pool_close(e->pool);
    qg_modeldir_close(e->dir);
    qg_mfree(e);
}

const char *qg_engine_warning(const qg_engine *e, size_t i)
{
    size_t n = qg_modeldir_n_warnings(e->dir);
    if (i < n)
        return qg_modeldir_warning(e->dir, i);
    const char *more[] = {e->model ? qg_model_warning(e->model) : NULL,
                          e->packcache.note.msg[0] ? e->packcache.note.msg : NULL};
    for (size_t k = 0; k < QG_COUNT(more); k++)
        if (more[k] && n++ == i)
            return more[k];
    return NULL;
}

void qg_engine_info(const qg_engine *e, qg_model_info *info)
{
    *info = (qg_model_info){
        .name = e->name, .builtin = e->builtin, .dtype = "", .kernel = "", .kv_dtype = ""};
    if (e->tok)
        info->vocab_size = qg_tok_n_ids(e->tok);
    if (!e->model)
        return;
    info->vocab_size = qg_model_config(e->model)->vocab_size;
    info->max_model_len = e->max_len;
    info->dtype = e->opt.dtype == QG_DTYPE_F32    ? "float32"
                  : e->opt.dtype == QG_DTYPE_INT8 ? "int8"
                  : e->opt.dtype == QG_DTYPE_INT4 ? "int4"
                                                  : "bfloat16";
    info->kv_dtype = e->opt.kv_dtype == QG_DTYPE_F32    ? "float32"
                     : e->opt.kv_dtype == QG_DTYPE_INT8 ? "int8"
                                                        : "bf16";
    info->kernel = qg_model_kernel(e->model);
    info->weight_bytes = qg_model_weight_bytes(e->model);
    info->kv_bytes = e->opt.kv_bytes;
    info->n_threads = e->opt.n_threads;
    info->from_cache = e->packcache.file.map.size > 0;
    info->stream = qg_model_is_stream(e->model);
    for (int g = 0; g < QG_N_LABEL_GROUPS; g++)
        info->n_labels[g] = qg_model_n_labels(e->model, (qg_label_group)g);
}

void qg_engine_stats(qg_engine *e, qg_stats *stats)
{
    *stats = (qg_stats){0};
    if (!e->lock_ready)
        return;
    pthread_mutex_lock(&e->lock);
    *stats = e->stats;
    pthread_mutex_unlock(&e->lock);
}
