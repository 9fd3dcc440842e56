/* Arbitrary bytes as a shard: refused with a sentence, or every tensor inside the file, covering it
 * without overlap. */
#include "fmt/modeldir.h"

#include <assert.h>
#include <string.h>

static const char config[] =
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"vocab_size\":8,\"hidden_size\":4,"
    "\"intermediate_size\":4,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"head_dim\":2,\"max_position_embeddings\":16,"
    "\"rms_norm_eps\":1e-6,\"rope_theta\":1e4}";

static void check(const qg_modeldir *dir, const uint8_t *in, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < qg_modeldir_n_tensors(dir); i++) {
        const qg_tensor *t = qg_modeldir_tensor_at(dir, i);
        const uint8_t *p = t->data;
        assert(p >= in + 8 && t->bytes <= n && (size_t)(p - in) <= n - t->bytes);
        assert(qg_modeldir_tensor(dir, t->name) == t && strlen(t->name) > 0);
        size_t bytes = t->blocks ? 1 : qg_dtype_size(t->dtype);
        for (int k = 0; k < 4; k++)
            bytes *= (size_t)t->dim[k];
        assert(bytes == t->bytes && t->n_dims >= 0 && t->n_dims <= 4);
        total += bytes;
    }
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | in[i];
    assert(8 + header + total == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    const qg_file files[] = {{"config.json", config, sizeof config - 1},
                             {"model.safetensors", in, n},
                             {"model.safetensors.index.json", in, n}};
    qg_modeldir *dir;
    qg_err err = {""};

    qg_status rc = qg_modeldir_open_files(&dir, files, 3, QG_MODELDIR_TENSORS, &err);
    assert((rc == QG_OK) == (dir != NULL) && (rc == QG_OK) == (err.msg[0] == 0));
    assert(!strchr(err.msg, '\n'));
    if (dir)
        check(dir, in, n);
    qg_modeldir_close(dir);
    return 0;
}
