/* A small model made in memory: config.json and one safetensors file with weights that follow from
 * their names, and the ways in which such a file can be wrong. */
#ifndef QG_TESTS_TINY_MODEL_H
#define QG_TESTS_TINY_MODEL_H

#include "fmt/modeldir.h"

typedef struct tiny_spec {
    int32_t vocab, hidden, inter, layers, heads, kv_heads, head_dim;
    bool tied, store_lm_head, lm_head_differs;
    const char *dtype;        /* "BF16", "F16", "F32" of all tensors; all give the same values */
    const char *architecture; /* NULL: Qwen3ForCausalLM */
    const char *leave_out;    /* a tensor that is not written */
    const char *transposed;   /* a tensor whose dimensions are swapped, or that gets one more */
    const char *extra;        /* a tensor [4] that no model has */
    const char *poison;       /* a tensor whose first element is infinite */
    const char *odd_dtype;    /* a tensor that claims to hold I32 */
    int32_t guard_inner;      /* > 0: a Stream model with heads 3, 8, 3, 9 of this inner size */
    int32_t max_positions;    /* 0: 512 */
} tiny_spec;

typedef struct tiny_model {
    char *config, *weights;
    qg_file files[2];
} tiny_model;

/* 3 layers, 6/2 heads of 16, hidden 40, odd widths everywhere, tied. */
tiny_spec tiny_spec_default(void);
/* Fails the test when it cannot be made. */
void tiny_model_make(tiny_model *t, const tiny_spec *spec);
void tiny_model_free(tiny_model *t);
/* Makes and opens; t must be freed after the directory is closed. */
qg_status tiny_model_open(qg_modeldir **dir, tiny_model *t, const tiny_spec *spec, qg_err *err);

#endif
