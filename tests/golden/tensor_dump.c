/* Writes every tensor of a model as this house reads it, for tests/golden/test_gguf.py:
 *
 *     tensor_dump MODEL > TENSORS
 *
 * For each a line "name elements", then as many float32 in this machine's byte order. */
#include "base/mem.h"
#include "model/model_int.h"

#include <stdio.h>
#include <stdlib.h>

static void need(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "tensor_dump: %s\n", what);
    exit(1);
}

/* In pieces of an odd length, so that blocks are cut as the rooms above may cut them. */
static void dump(const qg_tensor *t)
{
    enum { PIECE = 1000 };
    float v[PIECE];
    const int64_t n = t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
    printf("%s %lld\n", t->name, (long long)n);
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t m = n - i < PIECE ? n - i : PIECE;
        qg_tensor_f32(v, t, i, m);
        need(fwrite(v, sizeof *v, (size_t)m, stdout) == (size_t)m, "cannot write");
    }
}

int main(int argc, char **argv)
{
    qg_modeldir *dir;
    qg_err err = {""};
    need(argc == 2, "usage: tensor_dump MODEL");
    need(qg_modeldir_open(&dir, argv[1], QG_MODELDIR_TENSORS, &err) == QG_OK, err.msg);
    for (size_t i = 0; i < qg_modeldir_n_tensors(dir); i++)
        dump(qg_modeldir_tensor_at(dir, i));
    qg_modeldir_close(dir);
    return 0;
}
