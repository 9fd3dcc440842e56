#define _GNU_SOURCE /* memmem */
#include "hub/hubenv.h"

#include "base/limits.h"
#include "base/mem.h"
#include "hub/hubfile.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Empty is as good as absent, as the hubs' tools have it. */
static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static const char *either(const char *name, const char *old)
{
    const char *value = env(name);
    return value ? value : env(old);
}

static bool is_true(const char *name)
{
    static const char *const words[] = {"1", "ON", "YES", "TRUE"};
    const char *value = env(name);
    for (size_t i = 0; value && i < QG_COUNT(words); i++)
        if (!strcasecmp(value, words[i]))
            return true;
    return false;
}

qg_hub_kind qg_hub_default(void)
{
    return is_true("VLLM_USE_MODELSCOPE") ? QG_HUB_MODELSCOPE : QG_HUB_HF;
}

const char *qg_hub_name(qg_hub_kind kind)
{
    return kind == QG_HUB_HF ? "Hugging Face" : "ModelScope";
}

/* ~ is the home folder; NULL when there is none or no memory. */
static char *expand(const char *path)
{
    const char *home = env("HOME");
    if (path[0] != '~' || (path[1] && path[1] != '/'))
        return qg_pathf("%s", path);
    return home ? qg_pathf("%s%s", home, path + 1) : NULL;
}

/* "base/below", base expanded. */
static char *expand_below(const char *base, const char *below)
{
    char *at = expand(base);
    char *path = at ? qg_pathf("%s%s", at, below) : NULL;
    qg_mfree(at);
    return path;
}

static char *hf_home(void)
{
    const char *home = env("HF_HOME"), *xdg = env("XDG_CACHE_HOME");
    if (home)
        return expand(home);
    return xdg ? expand_below(xdg, "/huggingface") : expand("~/.cache/huggingface");
}

/* A token is one word of visible ASCII: anything else could end the header it goes into. */
static char *token_of(const char *text)
{
    size_t from = strspn(text, " \t\r\n"), n = strcspn(text + from, " \t\r\n");
    bool fine = n > 0 && !text[from + n + strspn(text + from + n, " \t\r\n")];
    for (size_t i = 0; fine && i < n; i++)
        fine = text[from + i] > 32 && text[from + i] < 127;
    return fine ? qg_memdup0(text + from, n) : NULL;
}

static char *token_in(const char *path)
{
    qg_buf text;
    char *token = NULL;
    qg_buf_init(&text, 4096);
    if (path && qg_read_whole(path, &text, NULL) == QG_OK && text.n)
        token = token_of(text.p);
    qg_buf_free(&text);
    return token;
}

static char *hf_token(const char *home)
{
    const char *said = either("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), *file = env("HF_TOKEN_PATH");
    if (is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
        return NULL;
    if (said)
        return token_of(said);
    char *path = file ? expand(file) : qg_pathf("%s/token", home);
    char *token = token_in(path);
    qg_mfree(path);
    return token;
}

static void read_hf(qg_hub_env *e)
{
    const char *endpoint = env("HF_ENDPOINT");
    const char *cache = either("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE");
    char *home = hf_home();

    e->endpoint = qg_pathf("%s", endpoint ? endpoint : "https://huggingface.co");
    e->cache = cache ? expand(cache) : home ? qg_pathf("%s/hub", home) : NULL;
    e->token = home ? hf_token(home) : NULL;
    e->offline = is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE");
    e->no_symlinks = is_true("HF_HUB_DISABLE_SYMLINKS");
    qg_mfree(home);
}

/* The SDK keeps its cookies as a Python pickle.  It is not unpickled: the token is the string
 * behind the first "value" that follows the cookie's name (0x8c, a length, bytes: a string; 0x94
 * ends it). */
static char *cookie_token(qg_slice pickle)
{
    static const char name[] = "m_session_id", key[] = "\x8c\x05value\x94\x8c";
    const char *end = pickle.p + pickle.n;

    const char *at = pickle.n ? memmem(pickle.p, pickle.n, name, sizeof name - 1) : NULL;
    at = at ? memmem(at, (size_t)(end - at), key, sizeof key - 1) : NULL;
    if (!at || end - at < (ptrdiff_t)sizeof key)
        return NULL;
    size_t n = (unsigned char)at[sizeof key - 1];
    at += sizeof key;
    char *text = (size_t)(end - at) >= n ? qg_memdup0(at, n) : NULL;
    char *token = text ? token_of(text) : NULL;
    qg_mfree(text);
    return token;
}

static char *ms_stored_token(void)
{
    const char *where = env("MODELSCOPE_CREDENTIALS_PATH"), *home = env("MODELSCOPE_HOME");
    char *path = where  ? expand_below(where, "/cookies")
                 : home ? expand_below(home, "/credentials/cookies")
                        : expand("~/.modelscope/credentials/cookies");
    char *token = NULL;
    qg_buf bytes;

    qg_buf_init(&bytes, 65536);
    if (path && qg_read_whole(path, &bytes, NULL) == QG_OK)
        token = cookie_token(qg_buf_slice(&bytes));
    qg_buf_free(&bytes);
    qg_mfree(path);
    return token;
}

static void read_modelscope(qg_hub_env *e)
{
    const char *endpoint = either("MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN");
    const char *cache = env("MODELSCOPE_CACHE"), *token = getenv("MODELSCOPE_API_TOKEN");
    bool scheme =
        endpoint && (!strncasecmp(endpoint, "http://", 7) || !strncasecmp(endpoint, "https://", 8));

    if (endpoint)
        e->endpoint = qg_pathf("%s%s", scheme ? "" : "https://", endpoint);
    else
        e->endpoint = qg_pathf("https://www.modelscope.%s",
                               is_true("MODELSCOPE_PREFER_AI_SITE") ? "ai" : "cn");
    e->cache = expand(cache ? cache : "~/.cache/modelscope");
    e->token = token ? token_of(token) : ms_stored_token(); /* empty: none is wanted */
    e->offline = is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE");
}

qg_status qg_hub_env_read(qg_hub_env *e, qg_hub_kind kind, qg_err *err)
{
    *e = (qg_hub_env){.kind = kind};
    if (kind == QG_HUB_HF)
        read_hf(e);
    else
        read_modelscope(e);
    size_t n = e->endpoint ? strlen(e->endpoint) : 0;
    while (n && e->endpoint[n - 1] == '/')
        e->endpoint[--n] = 0;
    if (e->endpoint && e->cache)
        return QG_OK;
    qg_hub_env_free(e);
    return env("HOME") ? qg_fail(err, QG_ERR_NOMEM, "out of memory")
                       : qg_fail(err, QG_ERR_IO, "HOME is not set: say where with %s",
                                 kind == QG_HUB_HF ? "HF_HOME" : "MODELSCOPE_CACHE");
}

void qg_hub_env_free(qg_hub_env *e)
{
    qg_mfree(e->endpoint);
    qg_mfree(e->cache);
    qg_mfree(e->token);
    *e = (qg_hub_env){0};
}
