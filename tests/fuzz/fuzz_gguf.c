/* Arbitrary bytes as a GGUF file: refused with a sentence, or every tensor inside the file, none
 * over another, each readable to its last block; what the metadata say as files is what the other
 * doors take or refuse in turn. */
#include "fmt/modeldir.h"

#include "base/limits.h"
#include "model/model_int.h"
#include "tok/tok.h"

#include <assert.h>
#include <string.h>

/* The last elements, and some that begin and end inside a block. */
static void read_some(const qg_tensor *t, int64_t n)
{
    float v[40];
    const int64_t m = n < 40 ? n : 40;
    qg_tensor_f32(v, t, n - m, m);
    qg_tensor_f32(v, t, n / 2, n - n / 2 < 40 ? n - n / 2 : 40);
}

static void check_tensors(const qg_modeldir *dir, const uint8_t *in, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < qg_modeldir_n_tensors(dir); i++) {
        const qg_tensor *t = qg_modeldir_tensor_at(dir, i);
        const uint8_t *p = t->data;
        int64_t elements = 1;
        assert(p >= in && t->bytes <= n && (size_t)(p - in) <= n - t->bytes && t->bytes > 0);
        assert(qg_modeldir_tensor(dir, t->name) == t && strlen(t->name) > 0);
        assert(t->n_dims >= 1 && t->n_dims <= 4 && strlen(qg_tensor_format(t)) > 1);
        for (int k = 0; k < 4; k++)
            elements *= t->dim[k];
        size_t bytes = t->blocks ? (size_t)(elements / t->blocks->elements * t->blocks->bytes)
                                 : (size_t)elements * qg_dtype_size(t->dtype);
        assert(bytes == t->bytes);
        read_some(t, elements);
        total += bytes;
    }
    assert(total <= n);
}

static void check_text(qg_modeldir *dir)
{
    qg_slice json;
    qg_buf source;
    qg_tok *tok;
    if (qg_modeldir_has(dir, "tokenizer.json") &&
        qg_modeldir_file(dir, "tokenizer.json", &json, NULL) == QG_OK &&
        qg_tok_open(&tok, json, NULL) == QG_OK)
        qg_tok_close(tok);
    qg_buf_init(&source, QG_MAX_TEMPLATE_BYTES);
    if (qg_modeldir_chat_template(dir, &source, NULL) == QG_OK)
        assert(source.n <= QG_MAX_TEMPLATE_BYTES);
    qg_buf_free(&source);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    const qg_file file = {"model.gguf", in, n};
    for (unsigned flags = 0; flags <= QG_MODELDIR_TENSORS; flags++) {
        qg_modeldir *dir;
        qg_err err = {""};
        qg_status rc = qg_modeldir_open_files(&dir, &file, 1, flags, &err);
        assert((rc == QG_OK) == (dir != NULL) && (rc == QG_OK) == (err.msg[0] == 0));
        assert(!strchr(err.msg, '\n'));
        if (dir && flags) {
            check_tensors(dir, in, n);
            rc = qg_model_check(dir, &err);
            assert((rc == QG_OK) == (err.msg[0] == 0));
        } else if (dir) {
            check_text(dir);
        }
        qg_modeldir_close(dir);
    }
    return 0;
}
