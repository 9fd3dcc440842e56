/* Policy files from anywhere: read, and when well-formed, scan with them. */
#include "svc/policy.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "a bomb, 123-45-6789, as a large language model";
    qg_policy *policy;
    qg_scan *scan;
    qg_policy_view view;
    qg_err err;
    if (qg_policy_parse(&policy, qg_slice_of((const char *)data, size), "p", &err) != QG_OK)
        return 0;
    qg_policy_view_of(policy, qg_str("team-a"), qg_str("m"), &view);
    if (qg_scan_open(&scan, qg_policy_rules(policy), QG_PHASE_RESPONSE, &err) == QG_OK) {
        qg_rule_hit hit;
        for (size_t i = 0; i < sizeof text - 1; i++)
            if (qg_scan_push(scan, qg_slice_of(text + i, 1), i + 2 == sizeof text, &err) != QG_OK)
                break;
        (void)qg_scan_verdict(scan, &hit);
        (void)qg_scan_held(scan);
        qg_scan_close(scan);
    }
    qg_policy_unref(policy);
    return 0;
}
