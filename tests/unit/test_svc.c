/* What services share: metrics, audit log, trace context, admission. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/mem.h"
#include "svc/admission.h"
#include "svc/audit.h"
#include "svc/metrics.h"
#include "svc/trace.h"

#include <unistd.h>

/* ---- metrics --------------------------------------------------------------------------------- */

static char *page_of(const qg_metrics *m)
{
    const qg_metrics_now now = {
        .model = "m",
        .version = "1",
        .dtype = "int8",
        .kernel = "ref",
        .healthy = true,
        .engine = {.jobs_running = 2, .kv_blocks = 10, .kv_blocks_free = 5}};
    qg_buf page;
    qg_buf_init(&page, 1 << 20);
    assert_int_equal(qg_metrics_write(m, &now, &page), QG_OK);
    return qg_buf_take(&page);
}

static void has(const char *page, const char *line)
{
    char whole[256];
    snprintf(whole, sizeof whole, "\n%s\n", line);
    if (!strstr(page, whole))
        fail_msg("missing: %s in\n%s", line, page);
}

static void metrics_page(void **state)
{
    (void)state;
    qg_metrics *m;
    qg_err err;
    assert_int_equal(qg_metrics_open(&m, &err), QG_OK);
    qg_metrics_request(m, "/v1/moderations", 200, 0.002);
    qg_metrics_request(m, "/v1/moderations", 200, 100);
    qg_metrics_request(m, "/v1/moderations", 429, 0.001);
    qg_metrics_request(m, NULL, 404, 0);
    qg_metrics_verdict_add(m, &(qg_metrics_verdict){.phase = QG_PHASE_RESPONSE,
                                                    .severity = QG_UNSAFE,
                                                    .category = "PII",
                                                    .action = QG_ACTION_BLOCK,
                                                    .prompt_tokens = 100,
                                                    .cached_tokens = 60,
                                                    .compute_seconds = 0.3});
    qg_metrics_failure(m, QG_PHASE_PROMPT, QG_ERR_DEADLINE, true);
    qg_metrics_refusal(m, "rate");
    qg_metrics_refusal(m, "rate");
    char *page = page_of(m);
    has(page, "qwen3guard_requests_total{endpoint=\"/v1/moderations\",code=\"200\"} 2");
    has(page, "qwen3guard_requests_total{endpoint=\"/v1/moderations\",code=\"429\"} 1");
    has(page, "qwen3guard_requests_total{endpoint=\"other\",code=\"404\"} 1");
    has(page, "qwen3guard_request_duration_seconds_bucket{endpoint=\"/v1/moderations\","
              "le=\"0.0025\"} 2");
    has(page, "qwen3guard_request_duration_seconds_bucket{endpoint=\"/v1/moderations\","
              "le=\"+Inf\"} 3");
    has(page, "qwen3guard_request_duration_seconds_count{endpoint=\"/v1/moderations\"} 3");
    has(page, "qwen3guard_verdicts_total{role=\"response\",label=\"Unsafe\"} 1");
    has(page, "qwen3guard_category_total{category=\"PII\"} 1");
    has(page, "qwen3guard_actions_total{role=\"response\",action=\"block\"} 1");
    has(page, "qwen3guard_failures_total{role=\"prompt\",reason=\"deadline_exceeded\",outcome="
              "\"open\"} 1");
    has(page, "qwen3guard_refusals_total{reason=\"rate\"} 2");
    has(page, "qwen3guard_tokens_total{kind=\"cached\"} 60");
    has(page, "qwen3guard_compute_seconds_bucket{le=\"0.25\"} 0");
    has(page, "qwen3guard_compute_seconds_count 1");
    has(page, "qwen3guard_kv_used_ratio 0.5");
    has(page, "vllm:num_requests_running{model_name=\"m\",engine=\"0\"} 2");
    qg_mfree(page);
    qg_metrics_close(m);
}

/* ---- trace ----------------------------------------------------------------------------------- */

static void trace_context(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        bool taken;
    } cases[] = {
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
        {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false},
        {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more", false},
        {"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
        {"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false},
        {"", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        qg_trace t;
        char out[56];
        qg_trace_begin(&t, qg_str(cases[i].header));
        assert_int_equal(!strcmp(t.trace_id, "0af7651916cd43dd8448eb211c80319c"), cases[i].taken);
        assert_string_equal(t.parent_id, cases[i].taken ? "b7ad6b7169203331" : "");
        assert_int_equal(strlen(t.trace_id), 32);
        assert_int_equal(strlen(t.span_id), 16);
        qg_trace_header(&t, out);
        assert_int_equal(strlen(out), 55);
        assert_memory_equal(out + 3, t.trace_id, 32);
    }
}

/* ---- audit ----------------------------------------------------------------------------------- */

static char audit_path[] = "/tmp/qguard-audit-XXXXXX";

static void new_log(void)
{
    memcpy(audit_path + sizeof audit_path - 7, "XXXXXX", 6);
    int fd = mkstemp(audit_path);
    assert_true(fd >= 0);
    close(fd);
}

static void add(int n)
{
    qg_audit *a;
    qg_err err;
    if (qg_audit_open(&a, audit_path, &err) != QG_OK)
        fail_msg("%s", err.msg);
    for (int i = 0; i < n; i++) {
        json_t *record = json_pack("{s:s, s:i}", "event", "verdict", "n", i);
        assert_int_equal(qg_audit_add(a, record, &err), QG_OK);
        json_decref(record);
    }
    qg_audit_close(a);
}

static size_t slurp(char *text, size_t room)
{
    FILE *f = fopen(audit_path, "r");
    size_t n = fread(text, 1, room - 1, f);
    fclose(f);
    text[n] = 0;
    return n;
}

static void spill(const char *text, size_t n)
{
    FILE *f = fopen(audit_path, "w");
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static qg_status check(uint64_t *n)
{
    qg_err err;
    return qg_audit_check(audit_path, n, &err);
}

static void audit_chain(void **state)
{
    (void)state;
    static char text[16384], broken[16384];
    uint64_t n;
    new_log();
    add(3);
    add(2); /* goes on where it was */
    assert_int_equal(check(&n), QG_OK);
    assert_int_equal(n, 5);
    size_t len = slurp(text, sizeof text);
    for (size_t i = 0; i + 1 < len; i += 7) { /* any byte changed shows */
        memcpy(broken, text, len);
        broken[i] ^= 1;
        spill(broken, len);
        assert_int_equal(check(&n), QG_ERR_FORMAT);
    }
    char *second = strchr(text, '\n') + 1, *third = strchr(second, '\n') + 1;
    memcpy(broken, text, (size_t)(second - text)); /* a line taken out shows */
    memcpy(broken + (second - text), third, len - (size_t)(third - text));
    spill(broken, len - (size_t)(third - second));
    assert_int_equal(check(&n), QG_ERR_FORMAT);
    spill(second, len - (size_t)(second - text)); /* the first one, too */
    assert_int_equal(check(&n), QG_ERR_FORMAT);
    unlink(audit_path);
}

static void audit_after_crash(void **state)
{
    (void)state;
    static char text[16384];
    uint64_t n;
    new_log();
    add(2);
    size_t len = slurp(text, sizeof text);
    spill(text, len - 20); /* the last line was cut */
    assert_int_equal(check(&n), QG_ERR_FORMAT);
    add(2);
    assert_int_equal(check(&n), QG_OK);
    assert_int_equal(n, 3);
    slurp(text, sizeof text);
    assert_non_null(strstr(text, "\"after_torn_line\":true"));
    spill("hello\n", 6);
    qg_audit *a;
    qg_err err;
    assert_int_equal(qg_audit_open(&a, audit_path, &err), QG_ERR_FORMAT);
    unlink(audit_path);
}

/* ---- admission ------------------------------------------------------------------------------- */

static void admission(void **state)
{
    (void)state;
    qg_admission *a;
    qg_admission_slot slot, other;
    const char *why;
    int retry;
    qg_err err;
    int64_t now = 1000000;
    qg_slice key = qg_str("team");
    assert_int_equal(qg_admission_open(&a, &err), QG_OK);
    for (int i = 0; i < 100; i++) /* no limits */
        assert_int_equal(qg_admission_begin(a, key, 0, 0, now, &slot, &why, &retry), QG_OK);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(qg_admission_begin(a, key, 60, 0, now, &slot, &why, &retry), QG_OK);
        qg_admission_end(a, slot);
    }
    assert_int_equal(qg_admission_begin(a, key, 60, 0, now, &slot, &why, &retry), QG_ERR_BUSY);
    assert_string_equal(why, "rate");
    assert_int_equal(retry, 2);
    qg_admission_end(a, slot); /* nothing to give back */
    assert_int_equal(qg_admission_begin(a, qg_str("x"), 60, 0, now, &other, &why, &retry), QG_OK);
    now += 1000000; /* one more a second */
    assert_int_equal(qg_admission_begin(a, key, 60, 0, now, &slot, &why, &retry), QG_OK);
    assert_int_equal(qg_admission_begin(a, key, 60, 0, now, &other, &why, &retry), QG_ERR_BUSY);
    now += 60000000;
    assert_int_equal(qg_admission_begin(a, key, 60, 1, now, &other, &why, &retry), QG_ERR_BUSY);
    assert_string_equal(why, "concurrency");
    qg_admission_end(a, slot);
    assert_int_equal(qg_admission_begin(a, key, 60, 1, now, &other, &why, &retry), QG_OK);
    qg_admission_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_page), cmocka_unit_test(trace_context),
        cmocka_unit_test(audit_chain),  cmocka_unit_test(audit_after_crash),
        cmocka_unit_test(admission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
