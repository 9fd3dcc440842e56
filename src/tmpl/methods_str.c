/* Methods of strings. */
#include "tmpl/run.h"

/* ---- strip, case ----------------------------------------------------------------------------- */

qg_status qg_strip_args(qg_run *r, const qg_val *s, const qg_args *a, int sides, qg_val *out)
{
    const qg_val *chars = qg_arg(a, 0, "chars");
    if (chars && chars->kind == QG_V_NONE)
        chars = NULL;
    if (chars && chars->kind != QG_V_STR)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "strip needs a string, not '%s'",
                           qg_val_type(chars));
    QG_TRY(qg_run_spend(r, s->s.n / 64 * (chars ? chars->s.n / 4 + 1 : 1)));
    *out = qg_ustr_strip(s, chars, sides);
    return QG_OK;
}

static qg_status m_strip(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return qg_strip_args(r, s, a, QG_STRIP_LEFT | QG_STRIP_RIGHT, out);
}

static qg_status m_lstrip(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return qg_strip_args(r, s, a, QG_STRIP_LEFT, out);
}

static qg_status m_rstrip(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return qg_strip_args(r, s, a, QG_STRIP_RIGHT, out);
}

static qg_status m_upper(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    (void)a;
    return qg_ustr_case(r, s, QG_UPPER, out);
}

static qg_status m_lower(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    (void)a;
    return qg_ustr_case(r, s, QG_LOWER, out);
}

static qg_status m_title(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    (void)a;
    return qg_ustr_case(r, s, QG_TITLE, out);
}

static qg_status m_capitalize(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    (void)a;
    return qg_ustr_case(r, s, QG_CAPITALIZE, out);
}

/* ---- split ----------------------------------------------------------------------------------- */

static qg_status push_cut(qg_run *r, qg_val *list, const qg_val *s, size_t from, size_t to)
{
    QG_TRY(qg_run_spend(r, 1));
    return qg_val_push(r, list, qg_ustr_cut(s, from, to));
}

static qg_status split_at(qg_run *r, const qg_val *s, qg_slice sep, int64_t max, qg_val *out)
{
    size_t at = 0, hit;
    for (; max != 0 && (hit = qg_ustr_find(s, sep, at)) != SIZE_MAX; max--) {
        QG_TRY(push_cut(r, out, s, at, hit));
        at = hit + sep.n;
    }
    return push_cut(r, out, s, at, s->s.n);
}

/* Words between runs of blanks; with max, the last piece keeps its inner and trailing blanks. */
static qg_status split_words(qg_run *r, const qg_val *s, int64_t max, qg_val *out)
{
    size_t at = 0, len;
    while (at < s->s.n) {
        if (qg_cp_space(qg_cp_read(s->s.p + at, s->s.n - at, &len))) {
            at += len;
            continue;
        }
        size_t end = max-- == 0 ? s->s.n : at;
        while (end < s->s.n && !qg_cp_space(qg_cp_read(s->s.p + end, s->s.n - end, &len)))
            end += len;
        QG_TRY(push_cut(r, out, s, at, end));
        at = end;
    }
    return QG_OK;
}

static void turn_around(qg_vlist *l)
{
    for (size_t i = 0; i < l->n / 2; i++) {
        qg_val swap = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = swap;
    }
}

/* Last place of sep in s[0..end), or SIZE_MAX. */
static qg_status find_last(qg_run *r, const qg_val *s, qg_slice sep, size_t end, size_t *hit)
{
    *hit = SIZE_MAX;
    if (sep.n > end)
        return QG_OK;
    for (size_t i = end - sep.n + 1; i-- > 0;) {
        if (sep.n && s->s.p[i] != sep.p[0])
            continue;
        QG_TRY(qg_run_spend(r, 1 + sep.n / 256));
        if (sep.n == 0 || memcmp(s->s.p + i, sep.p, sep.n) == 0) {
            *hit = i;
            break;
        }
    }
    return qg_run_spend(r, (end - (*hit == SIZE_MAX ? 0 : *hit)) / 256);
}

static qg_status rsplit_at(qg_run *r, const qg_val *s, qg_slice sep, int64_t max, qg_val *out)
{
    size_t end = s->s.n, hit;
    for (; max != 0; max--) {
        QG_TRY(find_last(r, s, sep, end, &hit));
        if (hit == SIZE_MAX)
            break;
        QG_TRY(push_cut(r, out, s, hit + sep.n, end));
        end = hit;
    }
    return push_cut(r, out, s, 0, end);
}

static qg_status rsplit_words(qg_run *r, const qg_val *s, int64_t max, qg_val *out)
{
    size_t end = s->s.n, len;
    while (end > 0) {
        size_t back = qg_cp_before(s->s.p, end);
        if (qg_cp_space(qg_cp_read(s->s.p + end - back, back, &len))) {
            end -= back;
            continue;
        }
        size_t from = max-- == 0 ? 0 : end;
        while (from > 0) {
            back = qg_cp_before(s->s.p, from);
            if (qg_cp_space(qg_cp_read(s->s.p + from - back, back, &len)))
                break;
            from -= back;
        }
        QG_TRY(push_cut(r, out, s, from, end));
        end = from;
    }
    return QG_OK;
}

static qg_status split(qg_run *r, const qg_val *s, const qg_args *a, bool right, qg_val *out)
{
    const qg_val *by = qg_arg(a, 0, "sep");
    qg_val sep;
    int64_t max;
    QG_TRY(qg_arg_int(r, a, 1, "maxsplit", -1, &max));
    QG_TRY(qg_val_list(r, QG_V_LIST, 4, out));
    QG_TRY(qg_run_spend(r, s->s.n / 256));
    if (!by || by->kind == QG_V_NONE) {
        QG_TRY(right ? rsplit_words(r, s, max, out) : split_words(r, s, max, out));
    } else {
        QG_TRY(qg_arg_str(r, a, 0, "sep", &sep));
        if (sep.s.n == 0)
            return qg_run_fail(r, QG_ERR_TEMPLATE, "empty separator");
        qg_slice bytes = qg_v_slice(&sep);
        QG_TRY(right ? rsplit_at(r, s, bytes, max, out) : split_at(r, s, bytes, max, out));
    }
    if (right)
        turn_around(out->list);
    return QG_OK;
}

static qg_status m_split(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return split(r, s, a, false, out);
}

static qg_status m_rsplit(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return split(r, s, a, true, out);
}

static qg_status m_splitlines(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    bool keep = qg_arg_true(a, 0, "keepends", false);
    QG_TRY(qg_val_list(r, QG_V_LIST, 4, out));
    for (size_t at = 0, end, next; at < s->s.n; at = next) {
        qg_ustr_line(s, at, &end, &next);
        QG_TRY(push_cut(r, out, s, at, keep ? next : end));
    }
    return qg_run_spend(r, s->s.n / 64);
}

/* (before, sep, behind); without a hit the whole string stands first, or last from the right. */
static qg_status partition(qg_run *r, const qg_val *s, const qg_args *a, bool right, qg_val *out)
{
    qg_val sep, none = qg_v_str(qg_str(""));
    QG_TRY(qg_arg_str(r, a, 0, "/sep", &sep));
    if (sep.s.n == 0)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "empty separator");
    QG_TRY(qg_run_spend(r, s->s.n / 64));
    size_t hit = right ? 0 : qg_ustr_find(s, qg_v_slice(&sep), 0);
    if (right)
        QG_TRY(find_last(r, s, qg_v_slice(&sep), s->s.n, &hit));
    bool found = hit != SIZE_MAX;
    QG_TRY(qg_val_list(r, QG_V_TUPLE, 3, out));
    qg_val parts[3] = {*s, none, none};
    if (!found && right) {
        parts[0] = none;
        parts[2] = *s;
    } else if (found) {
        parts[0] = qg_ustr_cut(s, 0, hit);
        parts[1] = sep;
        parts[2] = qg_ustr_cut(s, hit + sep.s.n, s->s.n);
    }
    for (int i = 0; i < 3; i++)
        QG_TRY(qg_val_push(r, out, parts[i]));
    return QG_OK;
}

static qg_status m_partition(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return partition(r, s, a, false, out);
}

static qg_status m_rpartition(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return partition(r, s, a, true, out);
}

/* ---- looking --------------------------------------------------------------------------------- */

/* s[start:end] as find and its kin take them (arguments 1 and 2), and how many code points come
 * before it; *valid false when start lies behind the end of s, where not even "" is found. */
static qg_status window(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out, int64_t *before,
                        bool *valid)
{
    int64_t from, to, n = 0;
    *out = *s;
    *before = 0;
    *valid = true;
    QG_TRY(qg_run_spend(r, s->s.n / 256));
    if (a->n_pos < 2)
        return QG_OK;
    n = (int64_t)qg_ustr_length(s);
    if (a->v[1].kind == QG_V_NONE)
        from = 0;
    else
        QG_TRY(qg_arg_int(r, a, 1, "start", 0, &from));
    if (a->n_pos > 2 && a->v[2].kind == QG_V_NONE)
        to = n;
    else
        QG_TRY(qg_arg_int(r, a, 2, "end", n, &to));
    *valid = from <= n;
    from = from < 0 ? (from < -n ? 0 : from + n) : from;
    to = to < 0 ? (to < -n ? 0 : to + n) : to > n ? n : to;
    *valid = *valid && from <= to;
    *before = from;
    return qg_ustr_slice(r, s, from, to, 1, out);
}

static bool has_affix(const qg_val *s, const qg_val *part, bool end)
{
    return part->s.n <= s->s.n &&
           memcmp(s->s.p + (end ? s->s.n - part->s.n : 0), part->s.p, part->s.n) == 0;
}

static qg_status affix(qg_run *r, const qg_val *s, const qg_args *a, bool end, qg_val *out)
{
    const qg_val *part = &a->v[0];
    qg_val within;
    int64_t before;
    bool valid, has = false;
    QG_TRY(window(r, s, a, &within, &before, &valid));
    const qg_val *v = part->kind == QG_V_TUPLE ? part->list->v : part;
    size_t n = part->kind == QG_V_TUPLE ? part->list->n : 1;
    for (size_t i = 0; i < n && !has; i++) {
        if (v[i].kind != QG_V_STR)
            return qg_run_fail(r, QG_ERR_TEMPLATE,
                               "%s needs a string, or a tuple of them, not '%s'",
                               end ? "endswith" : "startswith", qg_val_type(&v[i]));
        has = valid && has_affix(&within, &v[i], end);
        QG_TRY(qg_run_spend(r, 1));
    }
    *out = qg_v_bool(has);
    return QG_OK;
}

static qg_status m_startswith(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return affix(r, s, a, false, out);
}

static qg_status m_endswith(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return affix(r, s, a, true, out);
}

static qg_status remove_affix(qg_run *r, const qg_val *s, const qg_args *a, bool end, qg_val *out)
{
    qg_val part;
    QG_TRY(qg_arg_str(r, a, 0, "/affix", &part));
    *out = *s;
    if (part.s.n && has_affix(s, &part, end))
        *out = qg_ustr_cut(s, end ? 0 : part.s.n, end ? s->s.n - part.s.n : s->s.n);
    return QG_OK;
}

static qg_status m_removeprefix(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return remove_affix(r, s, a, false, out);
}

static qg_status m_removesuffix(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return remove_affix(r, s, a, true, out);
}

static qg_status find(qg_run *r, const qg_val *s, const qg_args *a, bool last, bool must,
                      qg_val *out)
{
    qg_val part, within;
    int64_t before;
    bool valid;
    QG_TRY(qg_arg_str(r, a, 0, "/sub", &part));
    QG_TRY(window(r, s, a, &within, &before, &valid));
    QG_TRY(qg_run_spend(r, within.s.n / 64));
    size_t hit = last ? 0 : qg_ustr_find(&within, qg_v_slice(&part), 0);
    if (last)
        QG_TRY(find_last(r, &within, qg_v_slice(&part), within.s.n, &hit));
    *out = qg_v_int(-1);
    if (valid && hit != SIZE_MAX) {
        qg_val front = qg_ustr_cut(&within, 0, hit);
        *out = qg_v_int(before + (int64_t)qg_ustr_length(&front));
    } else if (must) {
        return qg_run_fail(r, QG_ERR_TEMPLATE, "substring not found");
    }
    out->input = s->input || part.input;
    return QG_OK;
}

static qg_status m_find(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return find(r, s, a, false, false, out);
}

static qg_status m_rfind(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return find(r, s, a, true, false, out);
}

static qg_status m_index(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return find(r, s, a, false, true, out);
}

static qg_status m_rindex(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    return find(r, s, a, true, true, out);
}

static qg_status m_count(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    qg_val part, within;
    int64_t before, count = 0;
    bool valid;
    QG_TRY(qg_arg_str(r, a, 0, "/sub", &part));
    QG_TRY(window(r, s, a, &within, &before, &valid));
    size_t at = 0;
    if (valid && part.s.n == 0)
        count = (int64_t)qg_ustr_length(&within) + 1;
    while (valid && part.s.n && (at = qg_ustr_find(&within, qg_v_slice(&part), at)) != SIZE_MAX) {
        count++;
        at += part.s.n;
    }
    *out = qg_v_int(count);
    out->input = s->input || part.input;
    return qg_run_spend(r, s->s.n / 64);
}

/* ---- making ---------------------------------------------------------------------------------- */

static qg_status m_replace(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    qg_val old, with;
    int64_t count;
    QG_TRY(qg_arg_str(r, a, 0, "/old", &old));
    QG_TRY(qg_arg_str(r, a, 1, "/new", &with));
    QG_TRY(qg_arg_int(r, a, 2, "/count", -1, &count));
    return qg_ustr_replace(r, s, &old, &with, count, out);
}

static qg_status m_join(qg_run *r, const qg_val *s, const qg_args *a, qg_val *out)
{
    qg_vlist *items;
    qg_sb b = {0};
    if (a->v[0].kind == QG_V_UNDEF) { /* joins nothing, as an empty list */
        *out = qg_v_str(qg_str(""));
        return QG_OK;
    }
    QG_TRY(qg_val_items(r, &a->v[0], &items));
    for (size_t i = 0; i < items->n; i++) {
        if (items->v[i].kind != QG_V_STR)
            return qg_run_fail(r, QG_ERR_TEMPLATE, "join needs strings, element %zu is '%s'", i,
                               qg_val_type(&items->v[i]));
        QG_TRY(qg_run_spend(r, 1));
        if (i)
            QG_TRY(qg_sb_add(r, &b, s));
        QG_TRY(qg_sb_add(r, &b, &items->v[i]));
    }
    *out = qg_sb_done(&b);
    return QG_OK;
}

const qg_builtin qg_str_methods[] = {
    {"strip", m_strip, "/chars", 0},
    {"lstrip", m_lstrip, "/chars", 0},
    {"rstrip", m_rstrip, "/chars", 0},
    {"upper", m_upper, "", 0},
    {"lower", m_lower, "", 0},
    {"title", m_title, "", 0},
    {"capitalize", m_capitalize, "", 0},
    {"split", m_split, "sep maxsplit", 0},
    {"rsplit", m_rsplit, "sep maxsplit", 0},
    {"splitlines", m_splitlines, "keepends", 0},
    {"partition", m_partition, "/sep", 1},
    {"rpartition", m_rpartition, "/sep", 1},
    {"startswith", m_startswith, "/prefix /start /end", 1},
    {"endswith", m_endswith, "/suffix /start /end", 1},
    {"removeprefix", m_removeprefix, "/prefix", 1},
    {"removesuffix", m_removesuffix, "/suffix", 1},
    {"find", m_find, "/sub /start /end", 1},
    {"rfind", m_rfind, "/sub /start /end", 1},
    {"index", m_index, "/sub /start /end", 1},
    {"rindex", m_rindex, "/sub /start /end", 1},
    {"count", m_count, "/sub /start /end", 1},
    {"replace", m_replace, "/old /new /count", 2},
    {"join", m_join, "/iterable", 1},
    {0},
};
