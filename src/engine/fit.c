#include "engine/fit.h"

#include "base/limits.h"

enum {
    PROCESS = 7 << 20,      /* program, libraries, stacks */
    LARGE_PAGES = 3 << 20,  /* weights, scratch and KV each end in one of 2 MiB that is half used */
    PREFIX_TOKENS = 64 * 16 /* the pinned beginnings of prompts: as open_kv counts them */
};

qg_status qg_fit_measure(qg_fit *out, qg_modeldir *dir, bool builtin, qg_formats formats,
                         uint32_t features, int32_t rows, int32_t ctx, int32_t threads, qg_err *err)
{
    const qg_model_options mo = {
        .dtype = formats.weights, .kv_dtype = formats.kv, .features = features};
    const qg_config *c = qg_modeldir_config(dir);
    qg_model_size size;
    qg_slice json = {0};
    QG_TRY(qg_model_measure(c, &mo, rows, ctx, threads, &size, err));
    if (qg_modeldir_has(dir, "tokenizer.json"))
        QG_TRY(qg_modeldir_file(dir, "tokenizer.json", &json, err));
    uint64_t files = 0;
    for (size_t i = 0; builtin && i < qg_modeldir_n_shards(dir); i++)
        files += qg_modeldir_shard(dir, i)->map.size;
    *out = (qg_fit){
        .weights = size.weights,
        /* the tokenizer's tables and the file they are read from: measured */
        .rest = PROCESS + (uint64_t)LARGE_PAGES + size.scratch + files + 2 * json.n +
                (uint64_t)rows * (uint64_t)c->hidden * sizeof(float),
        .kv_token = size.kv_block / QG_KV_BLOCK,
    };
    return QG_OK;
}

uint64_t qg_fit_pool(uint64_t block_bytes, int32_t max_len)
{
    const uint64_t least = 512u << 20;
    const uint64_t n = (uint64_t)(max_len + QG_MAX_TREE_SLOTS) / QG_KV_BLOCK + 1 + 64;
    return n * block_bytes < least ? least / block_bytes : n;
}

/* Tokens of context that bytes hold beside what open_kv sets apart, from 0 up to most. */
static int32_t context_in(uint64_t bytes, const qg_fit *f, int32_t most)
{
    const uint64_t tokens = bytes / f->kv_token, apart = PREFIX_TOKENS + QG_MAX_TREE_SLOTS;
    if (tokens <= apart + 2 * QG_KV_BLOCK)
        return 0;
    const uint64_t left = tokens - apart - 2 * QG_KV_BLOCK;
    return left < (uint64_t)most ? (int32_t)left / QG_KV_BLOCK * QG_KV_BLOCK : most;
}

static void take(qg_engine *e, qg_formats formats, const qg_fit *f, int32_t context)
{
    const uint64_t left = e->opt.memory_bytes - f->weights - f->rest - LARGE_PAGES;
    e->opt.dtype = formats.weights;
    e->opt.kv_dtype = formats.kv;
    e->opt.max_model_len = context;
    if (!e->opt.kv_bytes)
        e->opt.kv_bytes = left;
}

/* What may be chosen, best first: bf16 before int8 for KV, with each format of the weights.  8 bits
 * of K and V cost less precision than 8 bits of the weights (docs/MEASURING.md). */
static size_t choices(const qg_engine *e, qg_dtype asked, qg_formats out[6])
{
    static const qg_dtype smaller[] = {QG_DTYPE_BF16, QG_DTYPE_INT8, QG_DTYPE_INT4};
    const bool fixed =
        asked != QG_DTYPE_AUTO || qg_modeldir_config(e->dir)->packed != QG_DTYPE_AUTO;
    size_t n = 0;
    for (size_t i = 0; i < (fixed ? 1 : QG_COUNT(smaller)); i++) {
        const qg_dtype weights = fixed ? e->opt.dtype : smaller[i];
        if (e->opt.kv_dtype != QG_DTYPE_AUTO || weights == QG_DTYPE_F32) {
            out[n++] = (qg_formats){weights, e->opt.kv_dtype};
            continue;
        }
        out[n++] = (qg_formats){weights, QG_DTYPE_BF16};
        out[n++] = (qg_formats){weights, QG_DTYPE_INT8};
    }
    return n;
}

qg_status qg_fit_choose(qg_engine *e, qg_dtype asked, qg_err *err)
{
    enum { WANTED = 8192, LEAST = 1024 };
    qg_formats may[6];
    const size_t n = choices(e, asked, may);
    const qg_config *c = qg_modeldir_config(e->dir);
    const int32_t most = e->opt.max_model_len ? e->opt.max_model_len : c->max_positions;
    const int32_t wanted = e->opt.max_model_len ? most : most < WANTED ? most : WANTED;
    qg_fit f = {0};
    for (size_t i = 0; i < n; i++) {
        QG_TRY(qg_fit_measure(&f, e->dir, e->builtin, may[i], e->features, e->opt.step_rows, most,
                              e->opt.n_threads, err));
        const uint64_t need = f.weights + f.rest + LARGE_PAGES; /* all of them, at worst */
        uint64_t left = e->opt.memory_bytes > need ? e->opt.memory_bytes - need : 0;
        if (e->opt.kv_bytes && left >= e->opt.kv_bytes)
            left = e->opt.kv_bytes;
        const int32_t context = context_in(left, &f, most);
        if (context >= wanted || (i + 1 == n && context >= (wanted < LEAST ? wanted : LEAST))) {
            take(e, may[i], &f, context);
            return QG_OK;
        }
    }
    return qg_fail(
        err, QG_ERR_NOMEM,
        "%llu MiB of memory are too few: weights take %llu MiB, all but KV %llu more, "
        "and a context of %d tokens %llu",
        (unsigned long long)(e->opt.memory_bytes >> 20), (unsigned long long)(f.weights >> 20),
        (unsigned long long)(f.rest >> 20), LEAST,
        (unsigned long long)(f.kv_token * (LEAST + PREFIX_TOKENS + QG_MAX_TREE_SLOTS) >> 20));
}
