#include "guard/parse.h"

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static qg_slice trim(qg_slice s)
{
    while (s.n && blank(s.p[0]))
        s = qg_slice_of(s.p + 1, s.n - 1);
    while (s.n && blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Cuts text at the first c: returns what stands before, leaves the rest (without c) in text. */
static qg_slice cut(qg_slice *text, char c)
{
    const char *at = text->n ? memchr(text->p, c, text->n) : NULL;
    size_t n = at ? (size_t)(at - text->p) : text->n;
    qg_slice head = {text->p, n};
    *text = at ? qg_slice_of(at + 1, text->n - n - 1) : qg_slice_of(text->p + n, 0);
    return head;
}

static void add_category(qg_parsed *out, qg_slice name)
{
    int c = qg_category_find(name);
    if (c < 0 || c == QG_CATEGORY_NONE || (out->categories & 1u << c))
        return;
    out->categories |= 1u << c;
    out->order[out->n_categories++] = c;
}

/* One "Key: value" line; false when it contradicts what was read before. */
static bool read_line(qg_parsed *out, qg_slice line)
{
    qg_slice value = line;
    qg_slice key = trim(cut(&value, ':'));
    value = trim(value);
    if (qg_same_word(key, "safety")) {
        int s = qg_severity_find(value);
        if (s < 0 || (out->severity != QG_SEVERITY_UNKNOWN && out->severity != s))
            return false;
        out->severity = s;
    } else if (qg_same_word(key, "categories")) {
        while (value.n)
            add_category(out, trim(cut(&value, ',')));
    } else if (qg_same_word(key, "refusal")) {
        if (qg_same_word(value, "yes"))
            out->refusal = 1;
        else if (qg_same_word(value, "no"))
            out->refusal = 0;
    }
    return true;
}

void qg_parse_verdict(qg_slice text, bool finished, qg_parsed *out)
{
    const qg_parsed nothing = {.severity = QG_SEVERITY_UNKNOWN, .refusal = -1};
    bool sound = true;

    *out = nothing;
    if (!finished)
        while (text.n && text.p[text.n - 1] != '\n')
            text.n--;
    while (text.n && sound)
        sound = read_line(out, cut(&text, '\n'));
    if (!sound)
        *out = nothing;
}
