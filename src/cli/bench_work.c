/* The texts that are measured with. */
#include "cli/bench.h"

#include "base/limits.h"
#include "text/json.h"

#include <string.h>

static const char *const words[] = {
    "time",    "people",   "year",    "work",    "state",     "group",    "part",    "place",
    "case",    "week",     "company", "system",  "program",   "question", "number",  "night",
    "point",   "home",     "water",   "room",    "mother",    "area",     "money",   "story",
    "fact",    "month",    "lot",     "right",   "study",     "book",     "eye",     "job",
    "word",    "business", "issue",   "side",    "kind",      "head",     "house",   "service",
    "friend",  "father",   "power",   "hour",    "game",      "line",     "end",     "member",
    "law",     "car",      "city",    "name",    "president", "team",     "minute",  "idea",
    "body",    "back",     "parent",  "face",    "level",     "office",   "door",    "health",
    "person",  "art",      "war",     "history", "party",     "result",   "change",  "morning",
    "reason",  "research", "girl",    "guy",     "moment",    "air",      "teacher", "force",
    "river",   "garden",   "window",  "letter",  "music",     "paper",    "market",  "table",
    "doctor",  "summer",   "winter",  "science", "language",  "village",  "kitchen", "picture",
    "animal",  "planet",   "bridge",  "engine",  "forest",    "island",   "recipe",  "budget",
    "meeting", "camera",   "ticket",  "student", "travel",    "weather",  "coffee",  "dinner",
};

/* Fixed seeds: the same texts on every machine and in every run. */
static const char *draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return words[(*seed >> 8) % QG_COUNT(words)];
}

qg_status bench_render(const qg_engine *engine, const qg_message *messages, size_t n, int32_t **ids,
                       size_t *n_ids, qg_err *err)
{
    json_t *list = json_array();
    char *text = NULL;
    size_t bytes;

    *ids = NULL;
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s%}", "role", messages[i].role, "content",
                                              messages[i].content.p, messages[i].content.n));
    json_t *vars = json_pack("{s:o, s:b}", "messages", list, "add_generation_prompt", 1);
    char *json = vars ? qg_json_dump(vars) : NULL;
    qg_status rc =
        json ? qg_render(engine, (qg_text){json, strlen(json)}, &text, &bytes, ids, n_ids, err)
             : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_free(text);
    qg_free(json);
    json_decref(vars);
    return rc;
}

static qg_status count_tokens(const qg_engine *engine, const qg_buf *content, size_t *n,
                              qg_err *err)
{
    int32_t *ids;
    const qg_message m = {"user", {content->p, content->n}};
    QG_TRY(bench_render(engine, &m, 1, &ids, n, err));
    qg_free(ids);
    return QG_OK;
}

static qg_status add_word(qg_buf *b, const char *word)
{
    if (b->n)
        QG_TRY(qg_buf_adds(b, " "));
    return qg_buf_adds(b, word);
}

static void drop_word(qg_buf *b)
{
    while (b->n && b->p[b->n - 1] != ' ')
        b->n--;
    if (b->n)
        b->n--;
    b->p[b->n] = 0;
}

qg_status bench_prompt(const qg_engine *engine, unsigned number, size_t n_tokens, char **content,
                       qg_err *err)
{
    uint32_t seed = number * 2654435761u + 1;
    qg_buf b;
    size_t n = 0;
    qg_status rc = QG_OK;

    *content = NULL;
    qg_buf_init(&b, QG_MAX_TEXT_BYTES);
    for (int i = 0; i < 60 && rc == QG_OK; i++)
        rc = add_word(&b, draw(&seed));
    for (int tries = 0; rc == QG_OK && tries < 4096; tries++) {
        rc = count_tokens(engine, &b, &n, err);
        if (rc != QG_OK || n == n_tokens)
            break;
        if (n > n_tokens)
            drop_word(&b);
        /* a word has one token, some have two: half of what is missing is never too much */
        for (size_t missing = n < n_tokens ? (n_tokens - n + 1) / 2 : 0; missing && rc == QG_OK;
             missing--)
            rc = add_word(&b, draw(&seed));
    }
    if (rc == QG_OK && n != n_tokens)
        rc = qg_fail(err, QG_ERR_ARG, "no content makes a prompt of %zu tokens", n_tokens);
    if (rc == QG_OK && !(*content = qg_buf_take(&b)))
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_buf_free(&b);
    return rc;
}

qg_status bench_words(qg_buf *text, unsigned number, size_t n)
{
    uint32_t seed = number * 2654435761u + 1;
    for (size_t i = 0; i < n; i++)
        QG_TRY(add_word(text, draw(&seed)));
    return QG_OK;
}

qg_status bench_ids(const qg_engine *engine, size_t n, int32_t **ids, qg_err *err)
{
    qg_buf b;
    size_t got = 0;

    *ids = NULL;
    qg_buf_init(&b, QG_MAX_TEXT_BYTES);
    qg_status rc = bench_words(&b, 1000, n); /* a word has at least one token */
    if (rc == QG_OK)
        rc = qg_tokenize(engine, (qg_text){b.p, b.n}, QG_SPECIAL_TEXT, ids, &got, err);
    qg_buf_free(&b);
    return rc;
}
