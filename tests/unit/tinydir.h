/* Builds small model directories for tests: in memory, and on disk in a temporary folder. */
#ifndef QG_TESTS_TINYDIR_H
#define QG_TESTS_TINYDIR_H

#define _GNU_SOURCE /* mkdtemp, nftw */

#include "unit.h"

#include "base/mem.h"
#include "fmt/dirlist.h"
#include "fmt/modeldir.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TINY_FILE_MAX = 64 * 1024 };

typedef struct tiny_file {
    char name[128];
    unsigned char data[TINY_FILE_MAX];
    size_t n;
} tiny_file;

/* One key a line, so that a test can replace or drop a line by its key. */
static const char *const tiny_config[] = {
    "\"architectures\": [\"Qwen3ForCausalLM\"]",
    "\"attention_bias\": false",
    "\"eos_token_id\": 2",
    "\"head_dim\": 4",
    "\"hidden_act\": \"silu\"",
    "\"hidden_size\": 8",
    "\"intermediate_size\": 16",
    "\"max_position_embeddings\": 64",
    "\"model_type\": \"qwen3\"",
    "\"num_attention_heads\": 4",
    "\"num_hidden_layers\": 2",
    "\"num_key_value_heads\": 2",
    "\"rms_norm_eps\": 1e-06",
    "\"rope_scaling\": null",
    "\"rope_theta\": 1000000",
    "\"sliding_window\": null",
    "\"tie_word_embeddings\": true",
    "\"torch_dtype\": \"bfloat16\"",
    "\"use_sliding_window\": false",
    "\"vocab_size\": 32",
};

static inline void tiny_put(tiny_file *f, const char *name, const void *data, size_t n)
{
    assert_true(n <= TINY_FILE_MAX && strlen(name) < sizeof f->name);
    snprintf(f->name, sizeof f->name, "%s", name);
    if (n)
        memcpy(f->data, data, n);
    f->n = n;
}

static inline void tiny_text(tiny_file *f, const char *name, const char *text)
{
    tiny_put(f, name, text, strlen(text));
}

/* config.json of tiny_config without the key drop (may be NULL) and with extra (may be NULL, a
 * piece of JSON such as "\"a\": 1") in it. */
static inline void tiny_put_config(tiny_file *f, const char *drop, const char *extra)
{
    char text[8192] = "{";
    const char *sep = "";

    for (size_t i = 0; i < COUNT(tiny_config); i++) {
        if (drop && strncmp(tiny_config[i] + 1, drop, strlen(drop)) == 0 &&
            tiny_config[i][1 + strlen(drop)] == '"')
            continue;
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", sep, tiny_config[i]);
        sep = ",\n";
    }
    if (extra && *extra)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", sep, extra);
    snprintf(text + strlen(text), sizeof text - strlen(text), "}");
    tiny_text(f, "config.json", text);
}

/* A shard of this header and n_data bytes of data. */
static inline void tiny_put_shard(tiny_file *f, const char *name, const char *header, size_t n_data)
{
    size_t n = strlen(header);

    assert_true(8 + n + n_data <= TINY_FILE_MAX && strlen(name) < sizeof f->name);
    snprintf(f->name, sizeof f->name, "%s", name);
    for (int i = 0; i < 8; i++)
        f->data[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(f->data + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        f->data[8 + n + i] = (unsigned char)i;
    f->n = 8 + n + n_data;
}

/* Makes a folder and writes its path. */
static inline void tiny_mkdir(char path[64])
{
    snprintf(path, 64, "/tmp/qguard-test-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static inline void tiny_write(const char *dir, const tiny_file *f)
{
    char *path = qg_path_join(dir, f->name);
    FILE *out = path ? fopen(path, "wb") : NULL;

    assert_non_null(out);
    assert_int_equal(fwrite(f->data, 1, f->n, out), f->n);
    assert_int_equal(fclose(out), 0);
    qg_mfree(path);
}

static inline int tiny_remove_entry(const char *path, const struct stat *st, int kind,
                                    struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

/* Removes the folder and what is in it; links are not followed. */
static inline void tiny_rmdir(const char *dir)
{
    assert_int_equal(nftw(dir, tiny_remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
