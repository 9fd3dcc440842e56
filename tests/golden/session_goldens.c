/* Sessions beside the reference's heads:
 *
 *     session_goldens DIR GOLDENS.json BOUND
 *
 * Every case is fed as ids in several kinds of pieces, and where the file has the messages, as
 * text. Probabilities of judged tokens must lie within BOUND of the reference's, and pieces must
 * not change a bit.  Prints how many tokens were compared and the largest distance. */
#include "qguard.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_IDS = 4096 };

typedef struct seen {
    double severity[3], categories[QG_MAX_CATEGORIES];
    size_t n_categories; /* 0: not judged */
    int32_t id;
} seen;

static double worst;
static long compared;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void feed(qg_session *s, const qg_append *a, seen *out)
{
    qg_stream_result *r;
    qg_err err;
    if (qg_session_judge(s, a, &r, &err) != QG_OK)
        fail("append", err.msg);
    for (size_t i = 0; i < r->n_tokens; i++) {
        const qg_token *t = &r->tokens[i];
        seen *to = &out[t->index];
        memset(to, 0, sizeof *to);
        memcpy(to->severity, t->p_severity, sizeof to->severity);
        memcpy(to->categories, t->p_categories, sizeof to->categories);
        to->n_categories = t->n_p_categories;
        to->id = t->id;
    }
    qg_stream_result_free(r);
}

static qg_session *begin(qg_engine *engine)
{
    qg_session *s;
    qg_err err;
    if (qg_session_open(&s, engine, NULL, &err) != QG_OK)
        fail("session", err.msg);
    return s;
}

/* ids [0, user) are a prompt's, the rest a reply's */
static void feed_ids(qg_engine *engine, const int32_t *ids, int32_t n, int32_t user, int32_t piece,
                     seen *out)
{
    qg_session *s = begin(engine);
    memset(out, 0, MAX_IDS * sizeof *out);
    for (int32_t i = 0; i < n;) {
        int32_t end = i < user ? user : n, k = end - i < piece ? end - i : piece;
        qg_append a;
        qg_append_init(&a);
        a.role = i < user ? "user" : "assistant";
        a.ids = ids + i;
        a.n_ids = (size_t)k;
        a.end = i + k == user;
        feed(s, &a, out);
        i += k;
    }
    qg_session_close(s);
}

static void softmax(const json_t *logits, double *p)
{
    double sum = 0;
    size_t n = json_array_size(logits);
    for (size_t i = 0; i < n; i++)
        sum += p[i] = exp(json_number_value(json_array_get(logits, i)));
    for (size_t i = 0; i < n; i++)
        p[i] /= sum;
}

static void near(double got, double want)
{
    double d = fabs(got - want);
    if (!(d <= worst))
        worst = d;
}

/* Judged tokens among the golden's positions. */
static void compare(const json_t *c, const seen *got, int32_t user, int32_t first)
{
    static const int order[] = {QG_SAFE, QG_UNSAFE, QG_CONTROVERSIAL};
    const json_t *positions = json_object_get(c, "positions");
    long before = compared;
    for (size_t i = 0; i < json_array_size(positions); i++) {
        int32_t at = (int32_t)json_integer_value(json_array_get(positions, i));
        bool query = at < user;
        double p[16];
        if (!got[at].n_categories || at < first)
            continue;
        softmax(json_array_get(json_object_get(c, query ? "query_risk" : "risk"), i), p);
        for (int k = 0; k < 3; k++)
            near(got[at].severity[order[k]], p[k]);
        softmax(json_array_get(json_object_get(c, query ? "query_category" : "category"), i), p);
        for (size_t k = 0; k < got[at].n_categories; k++)
            near(got[at].categories[k], p[k]);
        compared++;
    }
    if (compared == before && !first)
        fail(json_string_value(json_object_get(c, "name")), "nothing was judged");
}

static void same(const char *name, const seen *a, const seen *b)
{
    for (int i = 0; i < MAX_IDS; i++)
        if (memcmp(&a[i], &b[i], sizeof *a))
            fail(name, "pieces changed a bit");
}

static void as_text(qg_engine *engine, const json_t *c, const int32_t *ids, int32_t n,
                    const seen *whole, size_t piece)
{
    static seen out[MAX_IDS];
    const json_t *messages = json_object_get(c, "messages");
    const char *name = json_string_value(json_object_get(c, "name"));
    qg_session *s = begin(engine);
    memset(out, 0, sizeof out);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        const char *text = json_string_value(json_object_get(m, "content"));
        size_t bytes = strlen(text);
        for (size_t at = 0; at < bytes; at += piece) {
            qg_append a;
            qg_append_init(&a);
            a.role = json_string_value(json_object_get(m, "role"));
            a.content = (qg_text){text + at, bytes - at < piece ? bytes - at : piece};
            a.end = at + piece >= bytes;
            feed(s, &a, out);
        }
    }
    qg_session_close(s);
    for (int32_t i = 0; i < n; i++)
        if (out[i].n_categories && (out[i].id != ids[i] || memcmp(&out[i], &whole[i], sizeof *out)))
            fail(name, "the text's tokens are not the ids'");
    compare(c, out, (int32_t)json_integer_value(json_object_get(c, "user_end")) + 1, 0);
}

static size_t replies(const json_t *messages)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(messages); i++)
        n += !strcmp(json_string_value(json_object_get(json_array_get(messages, i), "role")),
                     "assistant");
    return n;
}

static void run_case(qg_engine *engine, const json_t *c)
{
    static seen whole[MAX_IDS], pieces[MAX_IDS];
    static int32_t ids[MAX_IDS];
    const json_t *list = json_object_get(c, "ids"), *messages = json_object_get(c, "messages");
    const char *name = json_string_value(json_object_get(c, "name"));
    int32_t n = (int32_t)json_array_size(list), user = 0;
    if (n > MAX_IDS)
        fail(name, "too long");
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    if (messages)
        user = (int32_t)json_integer_value(json_object_get(c, "user_end")) + 1;
    feed_ids(engine, ids, n, user, n, whole);
    compare(c, whole, user, 0);
    for (int32_t piece = 1; piece < 64; piece = piece * 4 + 3) {
        feed_ids(engine, ids, n, user, piece, pieces);
        same(name, pieces, whole);
    }
    for (int32_t i = 1; !messages && i <= n && i < 20;
         i++) { /* as prompts: the last one's verdict */
        feed_ids(engine, ids, i, i, i % 5 + 1, pieces);
        compare(c, pieces, i, i - 1);
    }
    /* earlier replies are streamed with a think block that the template leaves out */
    if (messages && replies(messages) == 1)
        for (size_t piece = 1; piece < 200; piece = piece * 5 + 2)
            as_text(engine, c, ids, n, whole, piece);
}

int main(int argc, char **argv)
{
    qg_options opt;
    qg_engine *engine;
    qg_err err;
    json_error_t je;
    if (argc != 4)
        fail("usage", "session_goldens DIR GOLDENS.json BOUND");
    json_t *goldens = json_load_file(argv[2], 0, &je);
    if (!goldens)
        fail(argv[2], je.text);
    const json_t *cases = json_object_get(goldens, "cases");
    qg_options_init(&opt);
    opt.model = argv[1];
    opt.dtype = QG_DTYPE_F32;
    if (!json_object_get(json_array_get(cases, 0), "messages"))
        opt.parts = QG_PART_WEIGHTS;
    if (qg_engine_open(&engine, &opt, &err) != QG_OK)
        fail(argv[1], err.msg);
    for (size_t i = 0; i < json_array_size(cases); i++)
        run_case(engine, json_array_get(cases, i));
    qg_engine_close(engine);
    json_decref(goldens);
    printf("%ld tokens, largest distance %.2g\n", compared, worst);
    return worst <= strtod(argv[3], NULL) ? 0 : 1;
}
