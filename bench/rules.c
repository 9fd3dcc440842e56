/* Speed of the policy's rules: bench_rules TEXT LITERALS PATTERNS -> MB/s of one thread, best of 7.
 */
#include "svc/rules.h"
#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>

enum { WORD = 48, MOST = 1000000, RUNS = 7 };

static void make_rule(qg_rule *rule, char *word, int i, int n_literals)
{
    uint32_t x = (uint32_t)i * 2654435761u;
    if (i < n_literals)
        snprintf(word, WORD, "forbidden %08x words", x);
    else
        snprintf(word, WORD, "\\b%02x\\d{3}-\\d{2}-\\d{4}\\b", x & 255);
    *rule = (qg_rule){.text = qg_str(word),
                      .regex = i >= n_literals,
                      .severity = QG_UNSAFE,
                      .category = "PII",
                      .phases = {true, true}};
}

static qg_status scan(const qg_rules *rules, qg_slice text, qg_err *err)
{
    qg_scan *one;
    QG_TRY(qg_scan_open(&one, rules, QG_PHASE_PROMPT, err));
    qg_status rc = qg_scan_push(one, text, true, err);
    qg_scan_close(one);
    return rc;
}

int main(int argc, char **argv)
{
    int literals = argc == 4 ? (int)strtol(argv[2], NULL, 10) : -1,
        patterns = argc == 4 ? (int)strtol(argv[3], NULL, 10) : -1;
    qg_map map;
    qg_rules *rules;
    qg_err err;
    if (literals < 0 || patterns < 0 || qg_map_open(&map, argv[1], &err) != QG_OK)
        return fprintf(stderr, "usage: bench_rules TEXT LITERALS PATTERNS\n"), 2;
    size_t n = (size_t)literals + (size_t)patterns;
    qg_rule *list = calloc(n + 1, sizeof *list);
    char *words = calloc(n + 1, WORD);
    for (size_t i = 0; list && words && i < n; i++)
        make_rule(&list[i], words + i * WORD, (int)i, literals);
    int64_t start = qg_now_us(), best = INT64_MAX;
    if (!list || !words || qg_rules_open(&rules, list, n, &err) != QG_OK)
        return fprintf(stderr, "%s\n", err.msg), 1;
    printf("opened in %.1f ms\n", (double)(qg_now_us() - start) / 1e3);
    qg_slice text = {(const char *)map.data, map.size < MOST ? map.size : MOST};
    while (text.n && text.n < map.size && (text.p[text.n] & 0xC0) == 0x80)
        text.n--; /* not in the middle of a character */
    for (int i = 0; i < RUNS; i++) {
        start = qg_now_us();
        if (scan(rules, text, &err) != QG_OK)
            return fprintf(stderr, "%s\n", err.msg), 1;
        int64_t us = qg_now_us() - start;
        best = us < best ? us : best;
    }
    printf("%d literals, %d patterns: %.1f MB/s\n", literals, patterns,
           (double)text.n / (double)best);
    qg_rules_close(rules);
    qg_map_close(&map);
    free(words);
    free(list);
    return 0;
}
