/* Arbitrary bytes as config.json and, behind a zero byte, generation_config.json: refused with a
 * sentence, or numbers inside their ranges.  Telling all problems and stopping at the first agree.
 */
#include "fmt/config.h"

#include "base/limits.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void count(void *ud, qg_status status, const char *sentence)
{
    assert(status != QG_OK && strlen(sentence) > 10 && !strchr(sentence, '\n'));
    ++*(int *)ud;
}

static void check(const qg_config *c)
{
    assert(c->architecture && c->architecture[0]);
    assert(c->vocab_size >= 1 && c->vocab_size <= QG_MAX_VOCAB);
    assert(c->hidden >= 1 && c->hidden <= QG_MAX_HIDDEN);
    assert(c->intermediate >= 1 && c->intermediate <= QG_MAX_INTERMEDIATE);
    assert(c->n_layers >= 1 && c->n_layers <= QG_MAX_LAYERS);
    assert(c->n_kv_heads >= 1 && c->n_heads >= 1 && c->n_heads % c->n_kv_heads == 0);
    assert(c->head_dim >= 2 && c->head_dim % 2 == 0 && c->n_heads * c->head_dim <= QG_MAX_Q_WIDTH);
    assert(c->max_positions >= 1 && c->max_positions <= QG_MAX_POSITIONS);
    assert(c->rms_eps > 0 && isfinite(c->rms_eps));
    assert(c->rope_theta >= 1 && isfinite(c->rope_theta));
    assert(c->n_eos >= 0 && c->n_eos <= (int32_t)QG_COUNT(c->eos));
    for (int32_t i = 0; i < c->n_eos; i++)
        assert(c->eos[i] >= 0 && c->eos[i] < c->vocab_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    const uint8_t *zero = n ? memchr(in, 0, n) : NULL;
    qg_slice config = {(const char *)in, zero ? (size_t)(zero - in) : n};
    qg_slice generation = {0};
    qg_err first = {""}, err = {""};
    qg_config c;
    int told = 0;

    if (zero)
        generation = (qg_slice){(const char *)zero + 1, n - config.n - 1};
    qg_sink stop = {.err = &first};
    qg_status rc = qg_config_read(&c, config, generation, &stop);
    assert((rc == QG_OK) == (first.msg[0] == 0));
    if (rc == QG_OK)
        check(&c);
    qg_config_free(&c);
    qg_sink all = {.each = count, .ud = &told, .err = &err};
    assert(qg_config_read(&c, config, generation, &all) == rc);
    assert((rc == QG_OK) == (told == 0) && strcmp(first.msg, err.msg) == 0);
    qg_config_free(&c);
    return 0;
}
