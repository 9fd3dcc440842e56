#include "cli/bench.h"

#include "base/limits.h"
#include "text/json.h"

#include <stdlib.h>
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

static qg_status count_tokens(const qg_engine *engine, const qg_buf *content, size_t *n,
                              qg_err *err)
{
    json_t *vars = json_pack("{s:[{s:s, s:s#}], s:b}", "messages", "role", "user", "content",
                             content->p, (int)content->n, "add_generation_prompt", 1);
    char *json = vars ? qg_json_dump(vars) : NULL;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t bytes;
    qg_status rc =
        json ? qg_render(engine, (qg_text){json, strlen(json)}, &text, &bytes, &ids, n, err)
             : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_free(text);
    qg_free(ids);
    qg_free(json);
    json_decref(vars);
    return rc;
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
        if (n < n_tokens)
            rc = add_word(&b, draw(&seed));
        else
            drop_word(&b);
    }
    if (rc == QG_OK && n != n_tokens)
        rc = qg_fail(err, QG_ERR_ARG, "no content makes a prompt of %zu tokens", n_tokens);
    if (rc == QG_OK && !(*content = qg_buf_take(&b)))
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_buf_free(&b);
    return rc;
}

qg_status bench_ids(const qg_engine *engine, size_t n, int32_t **ids, qg_err *err)
{
    uint32_t seed = 1000;
    qg_buf b;
    size_t got = 0;
    qg_status rc = QG_OK;

    *ids = NULL;
    qg_buf_init(&b, QG_MAX_TEXT_BYTES);
    for (size_t i = 0; i < n && rc == QG_OK; i++) /* a word has at least one token */
        rc = add_word(&b, draw(&seed));
    if (rc == QG_OK)
        rc = qg_tokenize(engine, (qg_text){b.p, b.n}, QG_SPECIAL_TEXT, ids, &got, err);
    qg_buf_free(&b);
    return rc;
}

void bench_row(const bench_out *out, const char *workload, const char *metric, double value,
               const char *unit, const char *notes)
{
    if (out->csv)
        printf("qguard,%s,%s,%s,%s,%.4g,%s,%d,%s\n", QG_VERSION, out->dtype, workload, metric,
               value, unit, out->threads, notes);
    else
        printf("%-8s %-34s %10.4g %-8s %s\n", workload, metric, value, unit, notes);
    fflush(stdout);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void bench_latency(const bench_out *out, const char *workload, const char *metric, int64_t *us,
                   size_t n, const char *notes)
{
    char name[80], all[120];
    qsort(us, n, sizeof *us, by_value);
    snprintf(all, sizeof all, "n=%zu%s%s", n, *notes ? "; " : "", notes);
    snprintf(name, sizeof name, "%s_p50", metric);
    double p50 = n % 2 ? (double)us[n / 2] : (double)(us[n / 2 - 1] + us[n / 2]) / 2;
    bench_row(out, workload, name, p50 / 1e3, "ms", all);
    if (n < 20)
        return;
    snprintf(name, sizeof name, "%s_p99", metric);
    double at = 0.99 * (double)(n - 1);
    size_t lo = (size_t)at, hi = lo + 1 < n ? lo + 1 : lo;
    double p99 = (double)us[lo] + (double)(us[hi] - us[lo]) * (at - (double)lo);
    bench_row(out, workload, name, p99 / 1e3, "ms", all);
}
