/* Strings that spell numbers, read as Python's int() and float() read them. */
#include "tmpl/run.h"

#include <math.h>

/* Copies the digits of s, blanks around and underscores between digits taken away, to out [n];
 * false when s has anything but ASCII in it, an underscore elsewhere, or more than fits. */
static bool clean(qg_slice s, char *out, size_t n)
{
    qg_val v = qg_v_str(s);
    v = qg_ustr_strip(&v, NULL, QG_STRIP_LEFT | QG_STRIP_RIGHT);
    size_t k = 0;
    for (size_t i = 0; i < v.s.n; i++) {
        char c = v.s.p[i];
        bool digit = c >= '0' && c <= '9';
        if (c == '_') {
            bool between = i > 0 && v.s.p[i - 1] >= '0' && v.s.p[i - 1] <= '9' && i + 1 < v.s.n &&
                           v.s.p[i + 1] >= '0' && v.s.p[i + 1] <= '9';
            if (!between)
                return false;
            continue;
        }
        if (k + 1 >= n || (!digit && !strchr("+-.eEinfatyINFATY", c)) || c == 0)
            return false;
        out[k++] = c;
    }
    out[k] = 0;
    return k > 0;
}

int qg_int_parse(qg_slice s, int64_t *out)
{
    char digits[64], *p = digits;
    if (!clean(s, digits, sizeof digits))
        return 0;
    bool neg = *p == '-';
    p += neg || *p == '+';
    if (!*p)
        return 0;
    int64_t value = 0;
    int rc = 1;
    for (; *p; p++) {
        if (*p < '0' || *p > '9')
            return 0;
        if (rc == 1 && (__builtin_mul_overflow(value, 10, &value) ||
                        __builtin_sub_overflow(value, *p - '0', &value)))
            rc = -1;
    }
    if (rc == 1 && !neg && __builtin_sub_overflow(0, value, &value))
        rc = -1;
    *out = value;
    return rc;
}

static bool word(const char *p, double *out)
{
    static const struct {
        const char *name;
        double value;
    } words[] = {{"inf", INFINITY}, {"infinity", INFINITY}, {"nan", NAN}};
    for (size_t i = 0; i < QG_COUNT(words); i++) {
        size_t k = 0;
        while (p[k] && (p[k] | 0x20) == words[i].name[k])
            k++;
        if (!p[k] && !words[i].name[k]) {
            *out = words[i].value;
            return true;
        }
    }
    return false;
}

/* [digits][.digits][e[sign]digits] with at least one digit in front of e; tells where . stands. */
static bool number_shape(const char *p, size_t *point)
{
    const char *start = p;
    size_t n = 0;
    *point = SIZE_MAX;
    for (; (*p >= '0' && *p <= '9') || (*p == '.' && *point == SIZE_MAX); p++) {
        if (*p == '.')
            *point = (size_t)(p - start);
        else
            n++;
    }
    if (n == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '+' || *p == '-';
        if (*p < '0' || *p > '9')
            return false;
        while (*p >= '0' && *p <= '9')
            p++;
    }
    return *p == 0;
}

bool qg_float_parse(qg_slice s, double *out)
{
    char text[512], json[520], *p = text;
    size_t point;
    if (!clean(s, text, sizeof text))
        return false;
    bool neg = *p == '-';
    p += neg || *p == '+';
    if (!word(p, out)) {
        if (!number_shape(p, &point))
            return false;
        /* jansson reads numbers whatever the locale; give it JSON's shape: digits on both sides of
         * the point, no zeros in front */
        while (p[0] == '0' && p[1] >= '0' && p[1] <= '9') {
            p++;
            point -= point != SIZE_MAX;
        }
        size_t whole = point == SIZE_MAX ? strcspn(p, "eE") : point;
        const char *rest = p + whole + (point != SIZE_MAX);
        size_t decimals = strcspn(rest, "eE");
        int n = snprintf(json, sizeof json, "[%.*s%s.%.*s%s%s]", (int)whole, p, whole ? "" : "0",
                         (int)decimals, rest, decimals ? "" : "0", rest + decimals);
        if (n < 0 || (size_t)n >= sizeof json)
            return false;
        json_error_t why;
        json_t *list = json_loads(json, JSON_DECODE_INT_AS_REAL, &why);
        *out = list ? json_number_value(json_array_get(list, 0)) : INFINITY;
        json_decref(list);
        if (!list && json_error_code(&why) != json_error_numeric_overflow)
            return false;
    }
    if (neg)
        *out = -*out;
    return true;
}
