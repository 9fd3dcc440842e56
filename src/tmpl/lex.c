#include "tmpl/lex.h"

#include "text/utf8.h"
#include "tmpl/ustr.h"

#include <string.h>

typedef struct lexer {
    qg_arena *arena;
    qg_err *err;
    const char *p, *end;
    uint32_t line;
    bool line_start; /* what was read last ended a line (or nothing was read yet) */
    qg_lexeme *tok;
    size_t n, cap;
    char open[128]; /* brackets not yet closed; a tag cannot end inside */
    size_t n_open;
} lexer;

static const struct {
    char spelling[3];
    uint8_t type;
} operators[] = {
    /* longer ones first */
    {"//", QG_T_FLOORDIV}, {"**", QG_T_POW},   {"==", QG_T_EQ},       {"!=", QG_T_NE},
    {"<=", QG_T_LE},       {">=", QG_T_GE},    {"+", QG_T_ADD},       {"-", QG_T_SUB},
    {"*", QG_T_MUL},       {"/", QG_T_DIV},    {"%", QG_T_MOD},       {"~", QG_T_TILDE},
    {"<", QG_T_LT},        {">", QG_T_GT},     {"=", QG_T_ASSIGN},    {".", QG_T_DOT},
    {",", QG_T_COMMA},     {":", QG_T_COLON},  {";", QG_T_SEMICOLON}, {"|", QG_T_PIPE},
    {"(", QG_T_LPAREN},    {")", QG_T_RPAREN}, {"[", QG_T_LBRACKET},  {"]", QG_T_RBRACKET},
    {"{", QG_T_LBRACE},    {"}", QG_T_RBRACE},
};

const char *qg_tok_name(qg_tok type)
{
    static const char *const names[] = {
        [QG_T_END] = "end of template", [QG_T_TEXT] = "text",        [QG_T_BLOCK_BEGIN] = "'{%'",
        [QG_T_BLOCK_END] = "'%}'",      [QG_T_PRINT_BEGIN] = "'{{'", [QG_T_PRINT_END] = "'}}'",
        [QG_T_NAME] = "a name",         [QG_T_STRING] = "a string",  [QG_T_INT] = "a number",
        [QG_T_FLOAT] = "a number",      [QG_T_IN] = "'in'",          [QG_T_NOTIN] = "'not in'",
    };
    for (size_t i = 0; i < QG_COUNT(operators); i++)
        if (operators[i].type == type)
            return operators[i].spelling;
    return names[type];
}

static qg_status add(lexer *x, qg_tok type, qg_slice text)
{
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 256;
        qg_lexeme *tok = qg_arena_calloc(x->arena, cap, sizeof *tok);
        if (!tok)
            return qg_fail(x->err, x->arena->why, "template line %u: out of memory", x->line);
        if (x->n)
            memcpy(tok, x->tok, x->n * sizeof *tok);
        x->tok = tok;
        x->cap = cap;
    }
    x->tok[x->n++] = (qg_lexeme){.type = type, .line = x->line, .text = text};
    return QG_OK;
}

static qg_status bad(const lexer *x, const char *what)
{
    return qg_fail(x->err, QG_ERR_FORMAT, "template line %u: %s", x->line, what);
}

static bool at(const lexer *x, const char *s)
{
    size_t n = strlen(s);
    return (size_t)(x->end - x->p) >= n && memcmp(x->p, s, n) == 0;
}

/* Moves on to p, counting lines. */
static void move(lexer *x, const char *p)
{
    for (; x->p < p; x->p++)
        x->line += *x->p == '\n';
}

static const char *skip_blank(const lexer *x, const char *p)
{
    while (p < x->end) {
        size_t n;
        if (!qg_cp_space(qg_cp_read(p, (size_t)(x->end - p), &n)))
            break;
        p += n;
    }
    return p;
}

/* What follows the end of a tag: "-" eats all blanks, otherwise one line break goes (trim_blocks)
 * unless the sign is "+".  width: of sign and end mark. */
static void end_tag(lexer *x, char sign, size_t width, bool trim)
{
    const char *p = x->p + width;
    if (sign == '-')
        p = skip_blank(x, p);
    else if (trim && sign != '+' && p < x->end && *p == '\n')
        p++;
    x->line_start = p > x->p && p[-1] == '\n';
    move(x, p);
}

/* Text before a tag: "-" eats its trailing blanks; otherwise blanks between the start of the line
 * and the tag go (lstrip_blocks), unless the sign is "+" or the tag prints. */
static qg_slice text_before(const lexer *x, const char *from, const char *to, char sign,
                            bool prints)
{
    const char *p = to;
    while (p > from) {
        size_t n = qg_cp_before(from, (size_t)(p - from)), len;
        uint32_t cp = qg_cp_read(p - n, n, &len);
        if (!qg_cp_space(cp) || (sign != '-' && cp == '\n'))
            break;
        p -= n;
    }
    if (sign == '-')
        return qg_slice_of(from, (size_t)(p - from));
    bool line_start = p > from ? p[-1] == '\n' : x->line_start;
    if (sign == '+' || prints || !line_start)
        p = to;
    return qg_slice_of(from, (size_t)(p - from));
}

/* "{%" name "%}" with signs, as raw and endraw are written, at p: the byte behind, or NULL. */
static const char *bare_tag(const lexer *x, const char *p, const char *name, char *sign_end)
{
    size_t n = strlen(name);
    p += 2;
    if (p < x->end && (*p == '-' || *p == '+'))
        p++;
    p = skip_blank(x, p);
    if ((size_t)(x->end - p) < n || memcmp(p, name, n))
        return NULL;
    p = skip_blank(x, p + n);
    *sign_end = 0;
    if (p < x->end && (*p == '-' || *p == '+'))
        *sign_end = *p++;
    return x->end - p >= 2 && p[0] == '%' && p[1] == '}' ? p + 2 : NULL;
}

static char sign_at(const lexer *x, const char *p)
{
    return p < x->end && (*p == '-' || *p == '+') ? *p : 0;
}

/* Behind {% raw %}: everything up to {% endraw %} is text. */
static qg_status lex_raw(lexer *x)
{
    const char *from = x->p;
    for (const char *p = from; p + 1 < x->end; p++) {
        if (p[0] != '{' || p[1] != '%')
            continue;
        char sign_end, sign = sign_at(x, p + 2);
        const char *behind = bare_tag(x, p, "endraw", &sign_end);
        if (!behind)
            continue;
        qg_slice text = text_before(x, from, p, sign, false);
        if (text.n)
            QG_TRY(add(x, QG_T_TEXT, text));
        move(x, behind - 2 - (sign_end != 0));
        end_tag(x, sign_end, 2 + (sign_end != 0), true);
        return QG_OK;
    }
    return bad(x, "missing end of raw block");
}

static qg_status lex_comment(lexer *x)
{
    for (const char *p = x->p; p + 1 < x->end; p++) {
        bool sign = *p == '-' || *p == '+';
        if (sign && x->end - p >= 3 && p[1] == '#' && p[2] == '}') {
            move(x, p);
            end_tag(x, *p, 3, true);
            return QG_OK;
        }
        if (p[0] == '#' && p[1] == '}') {
            move(x, p);
            end_tag(x, 0, 2, true);
            return QG_OK;
        }
    }
    return bad(x, "missing end of comment");
}

/* ---- inside a tag ---------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static const char *digits(const lexer *x, const char *p)
{
    while (p < x->end && (is_digit(*p) || (*p == '_' && p + 1 < x->end && is_digit(p[1]))))
        p++;
    return p;
}

/* Decimal integers and floats; "1.e" and "1." are an integer and something else. */
static qg_status lex_number(lexer *x)
{
    const char *from = x->p, *p = digits(x, from), *e;
    bool real = false, index = from[-1] == '.'; /* x.1.2: two integers */
    if (!index && p + 1 < x->end && *p == '.' && is_digit(p[1])) {
        p = digits(x, p + 1);
        real = true;
    }
    if (!index && p < x->end && (*p == 'e' || *p == 'E')) {
        e = p + 1;
        if (e < x->end && (*e == '+' || *e == '-'))
            e++;
        if (e < x->end && is_digit(*e)) {
            p = digits(x, e);
            real = true;
        }
    }
    qg_slice text = qg_slice_of(from, (size_t)(p - from));
    if (!real && *from == '0' && strspn(from, "0_") < text.n)
        return bad(x, "a number with zeros in front");
    if (!real && *from == '0' && p < x->end && (*p == 'x' || *p == 'o' || *p == 'b'))
        return bad(x, "numbers are decimal here");
    QG_TRY(add(x, real ? QG_T_FLOAT : QG_T_INT, text));
    qg_lexeme *t = &x->tok[x->n - 1];
    if (real ? !qg_float_parse(text, &t->f) : qg_int_parse(text, &t->i) != 1)
        return bad(x, "a number that is too large");
    x->p = p;
    return QG_OK;
}

static int hex(const char *p, size_t n, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        int d = is_digit(c)            ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return 0;
        *out = *out * 16 + (uint32_t)d;
    }
    return 1;
}

/* One escape of Python's string literals: p stands behind the backslash.  Returns the byte behind
 * the escape, or NULL when it is malformed; writes at most 12 bytes to out and tells how many. */
static const char *unescape(const char *p, const char *end, char out[12], size_t *n)
{
    static const char plain[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    size_t width = *p == 'x' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 0;
    uint32_t cp = 0;
    if (width) {
        if ((size_t)(end - p) <= width || !hex(p + 1, width, &cp) || cp > 0x10FFFF ||
            (cp >= 0xD800 && cp < 0xE000))
            return NULL;
        *n = qg_utf8_put(cp, out);
        return p + 1 + width;
    }
    if (*p == '\n') {
        *n = 0;
        return p + 1;
    }
    for (size_t i = 0; i + 1 < sizeof plain; i += 2) {
        if (plain[i] == *p) {
            out[0] = plain[i + 1];
            *n = 1;
            return p + 1;
        }
    }
    if (*p >= '0' && *p <= '7') {
        const char *q = p;
        while (q < end && q < p + 3 && *q >= '0' && *q <= '7')
            cp = cp * 8 + (uint32_t)(*q++ - '0');
        *n = qg_utf8_put(cp, out);
        return q;
    }
    if (*p == 'N')
        return NULL; /* character names: no table for them */
    if ((unsigned char)*p >= 0x80) {
        /* The reference spells such characters in ASCII before it looks for escapes, and the
         * backslash here then belongs to that spelling: "\é" becomes "\xe9", four characters. */
        size_t len;
        cp = qg_cp_read(p, (size_t)(end - p), &len);
        *n = (size_t)snprintf(out, 12,
                              cp < 0x100     ? "\\x%02x"
                              : cp < 0x10000 ? "\\u%04x"
                                             : "\\U%08x",
                              cp);
        return p + len;
    }
    out[0] = '\\';
    out[1] = *p;
    *n = 2;
    return p + 1;
}

static qg_status lex_string(lexer *x)
{
    char quote = *x->p;
    const char *p = x->p + 1, *close = p;
    bool escapes = false;
    while (close < x->end && *close != quote) {
        escapes |= *close == '\\';
        close += *close == '\\' ? 2 : 1;
    }
    if (close >= x->end)
        return bad(x, "a string without end");
    qg_slice text = qg_slice_of(p, (size_t)(close - p));
    if (escapes) {
        /* an escape of two bytes never gives more than two, but for the odd case above: six each */
        char *buf = qg_arena_alloc(x->arena, text.n * 6), *q = buf;
        if (!buf)
            return qg_fail(x->err, x->arena->why, "template line %u: out of memory", x->line);
        while (p < close) {
            if (*p != '\\') {
                *q++ = *p++;
                continue;
            }
            char out[12];
            size_t n;
            p = unescape(p + 1, close, out, &n);
            if (!p)
                return bad(x, "an escape in a string that is malformed or not supported");
            memcpy(q, out, n);
            q += n;
        }
        text = qg_slice_of(buf, (size_t)(q - buf));
    }
    QG_TRY(add(x, QG_T_STRING, text));
    move(x, close + 1);
    return QG_OK;
}

static qg_status lex_operator(lexer *x)
{
    size_t i = 0;
    while (i < QG_COUNT(operators) && !at(x, operators[i].spelling))
        i++;
    if (i == QG_COUNT(operators)) {
        if (*x->p < 0x20 || *x->p == 0x7f)
            return bad(x, "a control character inside a tag");
        return qg_fail(x->err, QG_ERR_FORMAT, "template line %u: unexpected '%c'", x->line, *x->p);
    }
    char c = *x->p;
    if (c == '(' || c == '[' || c == '{') {
        if (x->n_open == sizeof x->open)
            return qg_fail(x->err, QG_ERR_TOO_LONG, "template line %u: too many open brackets",
                           x->line);
        x->open[x->n_open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (!x->n_open || x->open[--x->n_open] != c)
            return qg_fail(x->err, QG_ERR_FORMAT, "template line %u: unexpected '%c'", x->line, c);
    }
    QG_TRY(add(x, operators[i].type, qg_slice_of(x->p, strlen(operators[i].spelling))));
    x->p += strlen(operators[i].spelling);
    return QG_OK;
}

/* The tag's end, if it stands at hand: "%}" with a sign, or "}}" with "-". */
static bool tag_ends(lexer *x, bool prints, qg_status *rc)
{
    if (x->n_open)
        return false;
    char sign = sign_at(x, x->p);
    const char *mark = x->p + (sign != 0);
    if (x->end - mark < 2 || memcmp(mark, prints ? "}}" : "%}", 2) || (prints && sign == '+'))
        return false;
    *rc = add(x, prints ? QG_T_PRINT_END : QG_T_BLOCK_END, qg_slice_of(mark, 2));
    end_tag(x, sign, 2 + (sign != 0), !prints);
    return true;
}

static qg_status lex_tag(lexer *x, bool prints)
{
    x->n_open = 0;
    for (;;) {
        move(x, skip_blank(x, x->p));
        if (x->p >= x->end)
            return bad(x, prints ? "'{{' without '}}'" : "'{%' without '%}'");
        qg_status rc;
        if (tag_ends(x, prints, &rc))
            return rc;
        const char *p = x->p;
        if (is_digit(*p)) {
            QG_TRY(lex_number(x));
        } else if (is_word(*p)) {
            while (p < x->end && is_word(*p))
                p++;
            QG_TRY(add(x, QG_T_NAME, qg_slice_of(x->p, (size_t)(p - x->p))));
            x->p = p;
        } else if (*p == '"' || *p == '\'') {
            QG_TRY(lex_string(x));
        } else {
            QG_TRY(lex_operator(x));
        }
    }
}

/* One tag, whose "{" stands at hand. */
static qg_status lex_any_tag(lexer *x)
{
    char kind = x->p[1], sign_end;
    const char *behind = kind == '%' ? bare_tag(x, x->p, "raw", &sign_end) : NULL;
    if (behind && sign_end != '+') {
        move(x, behind);
        if (sign_end == '-')
            move(x, skip_blank(x, x->p));
        x->line_start = x->p[-1] == '\n';
        return lex_raw(x);
    }
    if (kind != '#')
        QG_TRY(add(x, kind == '%' ? QG_T_BLOCK_BEGIN : QG_T_PRINT_BEGIN, qg_slice_of(x->p, 2)));
    x->p += 2;
    x->p += sign_at(x, x->p) != 0;
    if (kind == '#')
        return lex_comment(x);
    return lex_tag(x, kind == '{');
}

/* Line breaks become "\n", a 0 stands behind; the last one goes (keep_trailing_newline is off). */
static qg_status normalise(qg_arena *arena, qg_slice *source)
{
    char *buf = qg_arena_alloc(arena, source->n + 1), *q = buf;
    if (!buf)
        return arena->why;
    for (const char *p = source->p, *end = p + source->n; p < end; p++) {
        *q++ = *p == '\r' ? '\n' : *p;
        if (*p == '\r' && p + 1 < end && p[1] == '\n')
            p++;
    }
    if (q > buf && q[-1] == '\n')
        q--;
    *q = 0;
    *source = qg_slice_of(buf, (size_t)(q - buf));
    return QG_OK;
}

qg_status qg_lex(qg_arena *arena, qg_slice source, qg_lexeme **out, qg_err *err)
{
    if (normalise(arena, &source) != QG_OK)
        return qg_fail(err, arena->why, "template: out of memory");
    lexer x = {.arena = arena, .err = err, .line = 1, .line_start = true};
    x.p = source.p;
    x.end = source.p + source.n;
    while (x.p < x.end) {
        const char *p = x.p;
        while (p < x.end &&
               !(p[0] == '{' && p + 1 < x.end && (p[1] == '%' || p[1] == '{' || p[1] == '#')))
            p++;
        qg_slice text = qg_slice_of(x.p, (size_t)(p - x.p));
        if (p < x.end)
            text = text_before(&x, x.p, p, sign_at(&x, p + 2), p[1] == '{');
        if (text.n)
            QG_TRY(add(&x, QG_T_TEXT, text));
        move(&x, p);
        if (p < x.end)
            QG_TRY(lex_any_tag(&x));
    }
    QG_TRY(add(&x, QG_T_END, qg_slice_of(x.end, 0)));
    *out = x.tok;
    return QG_OK;
}
