/* Values as text: Python's str() and repr(), and json.dumps(). */
#include "base/limits.h"
#include "text/casemap.h"
#include "tmpl/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct printer {
    qg_run *r;
    qg_sb *b;
    bool input;                /* origin of all that is written */
    const qg_json_style *json; /* NULL: repr */
    uint32_t depth;
} printer;

static qg_status show(printer *p, const qg_val *v);

static qg_status put(printer *p, const char *s, size_t n)
{
    return qg_sb_bytes(p->r, p->b, s, n, p->input);
}

static qg_status puts_(printer *p, const char *s)
{
    return put(p, s, strlen(s));
}

static qg_status put_slice(printer *p, qg_slice s)
{
    return put(p, s.p, s.n);
}

/* ---- strings --------------------------------------------------------------------------------- */

/* Spelling of a character in a JSON string, or 0 when it stands for itself. */
static int json_escape(const printer *p, uint32_t cp, char out[16])
{
    static const char plain[] = "\"\"\\\\\nn\rr\tt\ff\bb";
    for (size_t i = 0; i + 1 < sizeof plain; i += 2)
        if ((unsigned char)plain[i] == cp)
            return snprintf(out, 16, "\\%c", plain[i + 1]);
    if (cp < 0x20 || (p->json->ascii && cp > 0x7e && cp < 0x10000))
        return snprintf(out, 16, "\\u%04x", (unsigned)cp);
    if (p->json->ascii && cp >= 0x10000)
        return snprintf(out, 16, "\\u%04x\\u%04x", (unsigned)(0xD800 + ((cp - 0x10000) >> 10)),
                        (unsigned)(0xDC00 + ((cp - 0x10000) & 0x3FF)));
    return 0;
}

static int repr_escape(uint32_t cp, char quote, char out[16])
{
    if (cp == '\\' || cp == (unsigned char)quote)
        return snprintf(out, 16, "\\%c", (char)cp);
    if (cp == '\n' || cp == '\r' || cp == '\t')
        return snprintf(out, 16, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
    if (qg_case_printable(cp))
        return 0;
    return snprintf(out, 16,
                    cp < 0x100     ? "\\x%02x"
                    : cp < 0x10000 ? "\\u%04x"
                                   : "\\U%08x",
                    (unsigned)cp);
}

static qg_status show_string(printer *p, const qg_val *s)
{
    char quote = '"';
    if (!p->json && (!memchr(s->s.p, '\'', s->s.n) || memchr(s->s.p, '"', s->s.n)))
        quote = '\'';
    QG_TRY(qg_run_spend(p->r, s->s.n / 32));
    QG_TRY(put(p, &quote, 1));
    size_t from = 0, len;
    for (size_t i = 0; i < s->s.n; i += len) {
        char out[16];
        uint32_t cp = qg_cp_read(s->s.p + i, s->s.n - i, &len);
        int n = p->json ? json_escape(p, cp, out) : repr_escape(cp, quote, out);
        if (n == 0)
            continue;
        QG_TRY(put(p, s->s.p + from, i - from));
        QG_TRY(put(p, out, (size_t)n));
        from = i + len;
    }
    QG_TRY(put(p, s->s.p + from, s->s.n - from));
    return put(p, &quote, 1);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* The C locale of the process may have another decimal point; what is no digit, sign or e is one.
 */
static void fix_point(char *s)
{
    for (; *s; s++)
        if (!strchr("0123456789+-e", *s))
            *s = '.';
}

void qg_float_repr(double f, char out[32])
{
    char digits[32];
    if (isnan(f) || isinf(f)) {
        snprintf(out, 32, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    for (int precision = 0; precision < 17; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision, f);
        if (strtod(digits, NULL) == f)
            break;
    }
    /* digits is d.ddde±xx: written out plainly when the exponent is within [-4, 16) */
    char *e = strchr(digits, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10), precision = (int)(e - digits) - 1;
    precision -= digits[0] == '-';
    precision = precision > 0 ? precision - 1 : 0;
    if (exponent >= -4 && exponent < 16) {
        int decimals = precision - exponent;
        snprintf(out, 32, "%.*f", decimals < 1 ? 1 : decimals, f);
    } else {
        snprintf(out, 32, "%s", digits);
    }
    fix_point(out);
}

static qg_status show_float(printer *p, double f)
{
    char out[32];
    qg_float_repr(f, out);
    if (p->json && isnan(f))
        return puts_(p, "NaN");
    if (p->json && isinf(f))
        return puts_(p, f < 0 ? "-Infinity" : "Infinity");
    return puts_(p, out);
}

static qg_status show_int(printer *p, int64_t i)
{
    char out[32];
    int n = snprintf(out, sizeof out, "%" PRId64, i);
    return put(p, out, (size_t)n);
}

/* ---- containers ------------------------------------------------------------------------------ */

/* Line break and indentation, in JSON that is spread over lines. */
static qg_status newline(printer *p)
{
    if (!p->json || !p->json->lines)
        return QG_OK;
    QG_TRY(puts_(p, "\n"));
    for (uint32_t i = 0; i < p->depth; i++)
        QG_TRY(put_slice(p, p->json->pad));
    return QG_OK;
}

static qg_status separator(printer *p)
{
    QG_TRY(put_slice(p, p->json ? p->json->item_sep : qg_str(", ")));
    return newline(p);
}

static qg_status show_list(printer *p, const qg_vlist *l, const char *open, const char *close)
{
    if (l->n == 0) {
        QG_TRY(puts_(p, open));
        return puts_(p, close);
    }
    QG_TRY(puts_(p, open));
    p->depth++;
    QG_TRY(newline(p));
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            QG_TRY(separator(p));
        QG_TRY(show(p, &l->v[i]));
    }
    p->depth--;
    QG_TRY(newline(p));
    return puts_(p, close);
}

/* JSON has string keys only: what json.dumps makes of the others. */
static qg_status show_key(printer *p, const qg_val *key)
{
    if (!p->json || key->kind == QG_V_STR)
        return show(p, key);
    if (!qg_v_is_number(key) && key->kind != QG_V_NONE)
        return qg_run_fail(p->r, QG_ERR_TEMPLATE, "JSON keys cannot be '%s'", qg_val_type(key));
    QG_TRY(puts_(p, "\""));
    QG_TRY(show(p, key));
    return puts_(p, "\"");
}

static qg_status show_pairs(printer *p, const qg_vpair *v, size_t n)
{
    QG_TRY(puts_(p, "{"));
    p->depth += n > 0;
    for (size_t i = 0; i < n; i++) {
        QG_TRY(i ? separator(p) : newline(p));
        QG_TRY(show_key(p, &v[i].key));
        QG_TRY(put_slice(p, p->json ? p->json->key_sep : qg_str(": ")));
        QG_TRY(show(p, &v[i].val));
    }
    p->depth -= n > 0;
    if (n)
        QG_TRY(newline(p));
    return puts_(p, "}");
}

static qg_status show_dict(printer *p, const qg_vdict *d)
{
    if (!p->json || !p->json->sort_keys || d->n < 2)
        return show_pairs(p, d->v, d->n);
    qg_vpair *v = qg_run_alloc(p->r, d->n, sizeof *v);
    if (!v)
        return p->r->arena.why;
    memcpy(v, d->v, d->n * sizeof *v);
    QG_TRY(qg_sort_pairs(p->r, v, d->n, false));
    return show_pairs(p, v, d->n);
}

static qg_status show_range(printer *p, const qg_vlist *l)
{
    QG_TRY(puts_(p, "range("));
    QG_TRY(show_int(p, l->range[0]));
    QG_TRY(puts_(p, ", "));
    QG_TRY(show_int(p, l->range[1]));
    if (l->range[2] != 1) {
        QG_TRY(puts_(p, ", "));
        QG_TRY(show_int(p, l->range[2]));
    }
    return puts_(p, ")");
}

/* What has no JSON form, and what prints an address in Python. */
static qg_status show_other(printer *p, const qg_val *v)
{
    if (p->json)
        return qg_run_fail(p->r, QG_ERR_TEMPLATE, "'%s' has no JSON form", qg_val_type(v));
    switch (v->kind) {
    case QG_V_UNDEF:
        return puts_(p, "Undefined");
    case QG_V_RANGE:
        return show_range(p, v->list);
    case QG_V_VIEW:
        QG_TRY(puts_(p, v->list->name));
        return show_list(p, v->list, "([", "])");
    case QG_V_NS:
        QG_TRY(puts_(p, "<Namespace "));
        QG_TRY(show_pairs(p, v->dict->v, v->dict->n));
        return puts_(p, ">");
    default:
        return qg_run_fail(p->r, QG_ERR_TEMPLATE, "'%s' cannot be printed", qg_val_type(v));
    }
}

static qg_status show_container(printer *p, const qg_val *v)
{
    bool brackets = v->kind == QG_V_LIST || p->json;
    switch (v->kind) {
    case QG_V_LIST:
    case QG_V_TUPLE:
        return show_list(p, v->list, brackets ? "[" : "(",
                         brackets          ? "]"
                         : v->list->n == 1 ? ",)"
                                           : ")");
    case QG_V_DICT:
        return show_dict(p, v->dict);
    default:
        return show_other(p, v);
    }
}

static qg_status show(printer *p, const qg_val *v)
{
    static const char *const words[2][3] = {{"None", "False", "True"}, {"null", "false", "true"}};
    QG_TRY(qg_run_spend(p->r, 1));
    switch (v->kind) {
    case QG_V_NONE:
        return puts_(p, words[p->json != NULL][0]);
    case QG_V_BOOL:
        return puts_(p, words[p->json != NULL][1 + v->b]);
    case QG_V_INT:
        return show_int(p, v->i);
    case QG_V_FLOAT:
        return show_float(p, v->f);
    case QG_V_STR:
        return show_string(p, v);
    default:
        break;
    }
    if (p->r->depth >= QG_MAX_TMPL_DEPTH)
        return qg_run_fail(p->r, QG_ERR_TOO_LONG, "values nested too deeply");
    p->r->depth++;
    QG_TRY(show_container(p, v));
    p->r->depth--;
    return QG_OK;
}

qg_status qg_val_str(qg_run *r, const qg_val *v, qg_val *out)
{
    if (v->kind == QG_V_STR) {
        *out = *v;
        return QG_OK;
    }
    qg_sb b = {0};
    printer p = {.r = r, .b = &b};
    QG_TRY(qg_val_tainted(r, v, &p.input));
    if (v->kind != QG_V_UNDEF)
        QG_TRY(show(&p, v));
    *out = qg_sb_done(&b);
    return QG_OK;
}

qg_status qg_val_json(qg_run *r, const qg_val *v, const qg_json_style *style, qg_val *out)
{
    qg_sb b = {0};
    printer p = {.r = r, .b = &b, .json = style};
    QG_TRY(qg_val_tainted(r, v, &p.input));
    QG_TRY(show(&p, v));
    *out = qg_sb_done(&b);
    return QG_OK;
}
