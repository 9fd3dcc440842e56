#include "guard/taxonomy.h"

const char *const qg_severity_labels[QG_N_SEVERITIES] = {
    [QG_SAFE] = "Safe",
    [QG_CONTROVERSIAL] = "Controversial",
    [QG_UNSAFE] = "Unsafe",
};

const char *const qg_category_labels[QG_N_CATEGORIES] = {
    "Violent",
    "Non-violent Illegal Acts",
    "Sexual Content or Sexual Acts",
    "PII",
    "Suicide & Self-Harm",
    "Unethical Acts",
    "Politically Sensitive Topics",
    "Copyright Violation",
    "Jailbreak",
    [QG_CATEGORY_NONE] = "None",
};

const char *const qg_refusal_labels[2] = {"No", "Yes"};

static const struct {
    const char *name;
    int category;
} aliases[] = {
    {"Personally Identifiable Information", 3},
    {"Sexual Content", 2},
    {"Self-Harm", 4},
    {"Suicide and Self-Harm", 4},
    {"Political", 6},
    {"Illegal Acts", 1},
    {"Copyright", 7},
    {"Unethical", 5},
    {"PII (Personally Identifiable Information)", 3},
};

unsigned qg_categories_allowed(qg_judged judged)
{
    enum { JAILBREAK = 8 };
    unsigned all = (1u << QG_N_CATEGORIES) - 1;
    return judged == QG_PROMPT ? all : all & ~(1u << JAILBREAK);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool qg_same_word(qg_slice a, const char *b)
{
    size_t n = strlen(b);
    if (a.n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (lower(a.p[i]) != lower(b[i]))
            return false;
    return true;
}

int qg_category_find(qg_slice name)
{
    for (int i = 0; i < QG_N_CATEGORIES; i++)
        if (qg_same_word(name, qg_category_labels[i]))
            return i;
    for (size_t i = 0; i < QG_COUNT(aliases); i++)
        if (qg_same_word(name, aliases[i].name))
            return aliases[i].category;
    return -1;
}

int qg_severity_find(qg_slice name)
{
    for (int i = 0; i < QG_N_SEVERITIES; i++)
        if (qg_same_word(name, qg_severity_labels[i]))
            return i;
    return -1;
}

const char *qg_category_name(size_t i)
{
    return i < QG_CATEGORY_NONE ? qg_category_labels[i] : NULL;
}
