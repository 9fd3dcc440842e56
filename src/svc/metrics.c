#include "svc/metrics.h"

#include "base/mem.h"
#include "svc/policy_int.h"

#include <stdio.h>
#include <unistd.h>

enum { MAX_ENDPOINTS = 96, MAX_CODES = 24, N_STATUSES = QG_ERR_GONE + 1, MAX_REASONS = 8 };

typedef struct endpoint {
    const char *name;
    qg_histogram duration;
    int code[MAX_CODES];
    uint64_t n[MAX_CODES];
} endpoint;

struct qg_metrics {
    endpoint endpoints[MAX_ENDPOINTS];
    size_t n_endpoints;
    uint64_t verdicts[QG_N_PHASES][4];
    uint64_t categories[QG_POLICY_CATEGORIES];
    uint64_t actions[QG_N_PHASES][3];
    uint64_t by_rule, shadowed;
    uint64_t failures[QG_N_PHASES][N_STATUSES][2];
    const char *reason[MAX_REASONS];
    uint64_t refusals[MAX_REASONS];
    uint64_t prompt_tokens, cached_tokens, generated_tokens;
    qg_histogram queue, compute, second;
    uint64_t second_same, second_changed, second_failed;
};

static const char *const phase_names[] = {"prompt", "response"};

qg_status qg_metrics_open(qg_metrics **out, qg_err *err)
{
    *out = qg_calloc(1, sizeof **out);
    return *out ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

void qg_metrics_close(qg_metrics *m)
{
    qg_mfree(m);
}

/* ---- counting -------------------------------------------------------------------------------- */

static endpoint *endpoint_of(qg_metrics *m, const char *name)
{
    if (!name)
        name = "other";
    for (size_t i = 0; i < m->n_endpoints; i++)
        if (!strcmp(m->endpoints[i].name, name))
            return &m->endpoints[i];
    if (m->n_endpoints == MAX_ENDPOINTS)
        return &m->endpoints[0];
    m->endpoints[m->n_endpoints].name = name;
    return &m->endpoints[m->n_endpoints++];
}

void qg_metrics_request(qg_metrics *m, const char *name, int code, double seconds)
{
    endpoint *e = endpoint_of(m, name);
    int i = 0;
    while (i < MAX_CODES - 1 && e->code[i] && e->code[i] != code)
        i++;
    e->code[i] = code;
    e->n[i]++;
    qg_histogram_add(&e->duration, seconds);
}

void qg_second_count_add(qg_second_count *count, const qg_result *r)
{
    if (r->second == QG_SECOND_NONE)
        return;
    count->failed += r->second == QG_SECOND_FAILED;
    if (r->second == QG_SECOND_GIVEN)
        *(r->severity == r->first_severity ? &count->same : &count->changed) += 1;
    count->seconds += (double)r->second_us / 1e6;
}

static void add_second(qg_metrics *m, const qg_second_count *second)
{
    if (!second->same && !second->changed && !second->failed)
        return;
    m->second_same += (uint64_t)second->same;
    m->second_changed += (uint64_t)second->changed;
    m->second_failed += (uint64_t)second->failed;
    qg_histogram_add(&m->second, second->seconds);
}

void qg_metrics_verdict_add(qg_metrics *m, const qg_metrics_verdict *v)
{
    int category = qg_policy_category(v->category);
    m->verdicts[v->phase][v->severity]++;
    if (category >= 0)
        m->categories[category]++;
    m->actions[v->phase][v->action]++;
    m->by_rule += v->by_rule;
    m->shadowed += v->shadow && v->action != QG_ACTION_ALLOW;
    m->prompt_tokens += (uint64_t)v->prompt_tokens;
    m->cached_tokens += (uint64_t)v->cached_tokens;
    m->generated_tokens += (uint64_t)v->generated_tokens;
    add_second(m, &v->second);
    if (!v->by_rule) {
        qg_histogram_add(&m->queue, v->queue_seconds);
        qg_histogram_add(&m->compute, v->compute_seconds);
    }
}

void qg_metrics_failure(qg_metrics *m, qg_phase phase, qg_status why, bool open)
{
    m->failures[phase][(int)why < N_STATUSES ? why : QG_ERR_INTERNAL][open]++;
}

void qg_metrics_refusal(qg_metrics *m, const char *why)
{
    int i = 0;
    while (i < MAX_REASONS - 1 && m->reason[i] && strcmp(m->reason[i], why) != 0)
        i++;
    m->reason[i] = why;
    m->refusals[i]++;
}

/* ---- the page -------------------------------------------------------------------------------- */

static void put_requests(qg_metrics_text *p, const qg_metrics *m)
{
    char labels[160];
    qg_metrics_head(p, "qwen3guard_requests_total", "counter", "Requests answered.");
    for (size_t i = 0; i < m->n_endpoints; i++)
        for (int k = 0; k < MAX_CODES && m->endpoints[i].n[k]; k++)
            qg_metrics_put(p, "qwen3guard_requests_total{endpoint=\"%s\",code=\"%d\"} %llu\n",
                           m->endpoints[i].name, m->endpoints[i].code[k],
                           (unsigned long long)m->endpoints[i].n[k]);
    qg_metrics_head(p, "qwen3guard_request_duration_seconds", "histogram",
                    "From the request line to the end of the answer.");
    for (size_t i = 0; i < m->n_endpoints; i++) {
        snprintf(labels, sizeof labels, "endpoint=\"%s\",", m->endpoints[i].name);
        qg_metrics_histogram(p, "qwen3guard_request_duration_seconds", labels,
                             &m->endpoints[i].duration);
    }
}

static void put_verdicts(qg_metrics_text *p, const qg_metrics *m)
{
    static const char *const severities[] = {"Safe", "Controversial", "Unsafe", "Unknown"};
    qg_metrics_head(p, "qwen3guard_verdicts_total", "counter", "Texts judged, by what was said.");
    for (int phase = 0; phase < QG_N_PHASES; phase++)
        for (int i = 0; i < 4; i++)
            qg_metrics_put(p, "qwen3guard_verdicts_total{role=\"%s\",label=\"%s\"} %llu\n",
                           phase_names[phase], severities[i],
                           (unsigned long long)m->verdicts[phase][i]);
    qg_metrics_head(p, "qwen3guard_category_total", "counter",
                    "Verdicts that are not Safe, by category.");
    for (int i = 0; i < QG_POLICY_CATEGORIES; i++)
        qg_metrics_put(p, "qwen3guard_category_total{category=\"%s\"} %llu\n",
                       qg_policy_category_names[i], (unsigned long long)m->categories[i]);
    qg_metrics_head(p, "qwen3guard_actions_total", "counter", "What the policy said to do.");
    for (int phase = 0; phase < QG_N_PHASES; phase++)
        for (int i = 0; i < 3; i++)
            qg_metrics_put(p, "qwen3guard_actions_total{role=\"%s\",action=\"%s\"} %llu\n",
                           phase_names[phase], qg_action_name((qg_action)i),
                           (unsigned long long)m->actions[phase][i]);
    qg_metrics_one(p, "qwen3guard_rule_verdicts_total", "counter",
                   "Verdicts by a rule of the policy.", (double)m->by_rule);
    qg_metrics_one(p, "qwen3guard_shadowed_total", "counter", "Hits that shadow mode let pass.",
                   (double)m->shadowed);
}

/* Zeros too: an alert on their increase does not see the first one of a row that was not there. */
static void put_failures(qg_metrics_text *p, const qg_metrics *m)
{
    qg_metrics_head(
        p, "qwen3guard_failures_total", "counter",
        "Texts that could not be judged, by reason, and whether the policy let them pass.");
    for (int phase = 0; phase < QG_N_PHASES; phase++)
        for (int why = 1; why < N_STATUSES; why++)
            for (int open = 0; open < 2; open++)
                qg_metrics_put(
                    p, "qwen3guard_failures_total{role=\"%s\",reason=\"%s\",outcome=\"%s\"} %llu\n",
                    phase_names[phase], qg_status_name((qg_status)why), open ? "open" : "closed",
                    (unsigned long long)m->failures[phase][why][open]);
    qg_metrics_head(p, "qwen3guard_refusals_total", "counter",
                    "Requests turned away before judging.");
    for (int i = 0; i < MAX_REASONS && m->reason[i]; i++)
        qg_metrics_put(p, "qwen3guard_refusals_total{reason=\"%s\"} %llu\n", m->reason[i],
                       (unsigned long long)m->refusals[i]);
}

static void put_tokens(qg_metrics_text *p, const qg_metrics *m, const qg_metrics_now *now)
{
    qg_metrics_head(
        p, "qwen3guard_tokens_total", "counter",
        "Tokens: of prompts judged, of those found in the prefix cache, generated, computed.");
    qg_metrics_put(p, "qwen3guard_tokens_total{kind=\"prompt\"} %llu\n",
                   (unsigned long long)m->prompt_tokens);
    qg_metrics_put(p, "qwen3guard_tokens_total{kind=\"cached\"} %llu\n",
                   (unsigned long long)m->cached_tokens);
    qg_metrics_put(p, "qwen3guard_tokens_total{kind=\"generated\"} %llu\n",
                   (unsigned long long)m->generated_tokens);
    qg_metrics_put(p, "qwen3guard_tokens_total{kind=\"computed\"} %lld\n",
                   (long long)now->engine.tokens_computed);
    qg_metrics_head(p, "qwen3guard_queue_seconds", "histogram",
                    "Until the first pass of a judgement.");
    qg_metrics_histogram(p, "qwen3guard_queue_seconds", "", &m->queue);
    qg_metrics_head(p, "qwen3guard_compute_seconds", "histogram",
                    "From the first pass to the verdict.");
    qg_metrics_histogram(p, "qwen3guard_compute_seconds", "", &m->compute);
}

static void put_second(qg_metrics_text *p, const qg_metrics *m)
{
    qg_metrics_head(p, "qwen3guard_second_opinions_total", "counter",
                    "Texts that a second model was asked about: the severity stayed the same, "
                    "became another, or could not be had, and the first one stood.");
    qg_metrics_put(p, "qwen3guard_second_opinions_total{outcome=\"same\"} %llu\n",
                   (unsigned long long)m->second_same);
    qg_metrics_put(p, "qwen3guard_second_opinions_total{outcome=\"changed\"} %llu\n",
                   (unsigned long long)m->second_changed);
    qg_metrics_put(p, "qwen3guard_second_opinions_total{outcome=\"failed\"} %llu\n",
                   (unsigned long long)m->second_failed);
    qg_metrics_head(p, "qwen3guard_second_opinion_seconds", "histogram",
                    "From a verdict that was not sure to the one that stands.");
    qg_metrics_histogram(p, "qwen3guard_second_opinion_seconds", "", &m->second);
}

static double resident_bytes(void)
{
    char line[128];
    double pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fgets(line, sizeof line, f)) {
        unsigned long long size, resident;
        if (sscanf(line, "%llu %llu", &size, &resident) == 2)
            pages = (double)resident;
    }
    fclose(f);
    return pages * (double)sysconf(_SC_PAGESIZE);
}

static double kv_used(const qg_stats *s)
{
    return s->kv_blocks ? 1 - (double)s->kv_blocks_free / (double)s->kv_blocks : 0;
}

static void put_now(qg_metrics_text *p, const qg_metrics_now *now)
{
    qg_metrics_head(p, "qwen3guard_build_info", "gauge",
                    "Version, model, number format and kernel row.");
    qg_metrics_put(
        p, "qwen3guard_build_info{version=\"%s\",model=\"%s\",dtype=\"%s\",kernel=\"%s\"} 1\n",
        now->version, now->model, now->dtype, now->kernel);
    qg_metrics_one(p, "qwen3guard_healthy", "gauge", "1 while the engine answers.", now->healthy);
    qg_metrics_one(p, "qwen3guard_jobs_running", "gauge", "Judgements under way.",
                   now->engine.jobs_running);
    qg_metrics_one(p, "qwen3guard_jobs_waiting", "gauge", "Judgements in the queue.",
                   now->engine.jobs_waiting);
    qg_metrics_one(p, "qwen3guard_kv_used_ratio", "gauge", "KV blocks in use.",
                   kv_used(&now->engine));
    qg_metrics_one(p, "process_start_time_seconds", "gauge", "Since 1970.",
                   (double)now->start_seconds);
    qg_metrics_one(p, "process_resident_memory_bytes", "gauge", "Resident size.", resident_bytes());
}

/* The names that dashboards and autoscalers for vLLM read (CONTRACTS: KEDA, llm-d). */
static void put_vllm(qg_metrics_text *p, const qg_metrics *m, const qg_metrics_now *now)
{
    const struct {
        const char *name, *type, *help;
        double value;
    } rows[] = {
        {"vllm:num_requests_running", "gauge", "Judgements under way.", now->engine.jobs_running},
        {"vllm:num_requests_waiting", "gauge", "Judgements in the queue.",
         now->engine.jobs_waiting},
        {"vllm:kv_cache_usage_perc", "gauge", "KV blocks in use, 1 = all.", kv_used(&now->engine)},
        {"vllm:gpu_cache_usage_perc", "gauge", "The same, by its old name.", kv_used(&now->engine)},
        {"vllm:prompt_tokens_total", "counter", "Tokens of prompts.", (double)m->prompt_tokens},
        {"vllm:generation_tokens_total", "counter", "Tokens generated.",
         (double)m->generated_tokens},
        {"vllm:prefix_cache_queries_total", "counter", "Tokens looked up in the prefix cache.",
         (double)m->prompt_tokens},
        {"vllm:prefix_cache_hits_total", "counter", "Tokens found there.",
         (double)m->cached_tokens},
        {"vllm:request_success_total", "counter", "Judgements that gave a verdict.",
         (double)now->engine.jobs_done},
    };
    char labels[192];
    snprintf(labels, sizeof labels, "model_name=\"%s\",engine=\"0\",", now->model);
    for (size_t i = 0; i < QG_COUNT(rows); i++) {
        qg_metrics_head(p, rows[i].name, rows[i].type, rows[i].help);
        qg_metrics_put(p, "%s{%.*s%s} %.15g\n", rows[i].name, (int)strlen(labels) - 1, labels,
                       strstr(rows[i].name, "success") ? ",finished_reason=\"stop\"" : "",
                       rows[i].value);
    }
    qg_metrics_head(p, "vllm:request_queue_time_seconds", "histogram", "Until the first pass.");
    qg_metrics_histogram(p, "vllm:request_queue_time_seconds", labels, &m->queue);
    qg_metrics_head(p, "vllm:request_inference_time_seconds", "histogram",
                    "From there to the verdict.");
    qg_metrics_histogram(p, "vllm:request_inference_time_seconds", labels, &m->compute);
}

/* A served name is the operator's, but a quote in it must not end the label. */
static void make_label(const char *name, char out[128])
{
    size_t n = 0;
    for (; *name && n < 127; name++)
        out[n++] = *name == '"' || *name == '\\' || (unsigned char)*name < 0x20 ? '_' : *name;
    out[n] = 0;
}

qg_status qg_metrics_write(const qg_metrics *m, const qg_metrics_now *as_read, qg_buf *out)
{
    qg_metrics_text p = {.out = out};
    char model[128];
    qg_metrics_now here = *as_read, *now = &here;
    make_label(as_read->model, model);
    here.model = model;
    put_requests(&p, m);
    put_verdicts(&p, m);
    put_failures(&p, m);
    put_tokens(&p, m, now);
    put_second(&p, m);
    put_now(&p, now);
    put_vllm(&p, m, now);
    return p.rc;
}
