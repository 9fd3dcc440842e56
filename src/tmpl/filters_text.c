/* Filters that make text. */
#include "tmpl/run.h"

static qg_status change_case(qg_run *r, const qg_val *v, qg_case how, qg_val *out)
{
    qg_val s;
    QG_TRY(qg_val_str(r, v, &s));
    return qg_ustr_case(r, &s, how, out);
}

static qg_status f_upper(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)a;
    return change_case(r, v, QG_UPPER, out);
}

static qg_status f_lower(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)a;
    return change_case(r, v, QG_LOWER, out);
}

static qg_status f_capitalize(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)a;
    return change_case(r, v, QG_CAPITALIZE, out);
}

static qg_status f_title(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)a;
    return change_case(r, v, QG_FILTER_TITLE, out);
}

static qg_status f_string(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    (void)a;
    return qg_val_str(r, v, out);
}

static qg_status f_trim(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    qg_val s;
    QG_TRY(qg_val_str(r, v, &s));
    return qg_strip_args(r, &s, a, QG_STRIP_LEFT | QG_STRIP_RIGHT, out);
}

static qg_status f_replace(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    qg_val s, old, with;
    int64_t count = -1;
    const qg_val *limit = qg_arg(a, 2, "count"), *o = qg_arg(a, 0, "old"), *w = qg_arg(a, 1, "new");
    if (!o || !w)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "replace needs old and new");
    if (limit && limit->kind != QG_V_NONE)
        QG_TRY(qg_arg_int(r, a, 2, "count", -1, &count));
    QG_TRY(qg_val_str(r, v, &s));
    QG_TRY(qg_val_str(r, o, &old));
    QG_TRY(qg_val_str(r, w, &with));
    return qg_ustr_replace(r, &s, &old, &with, count, out);
}

/* ---- indent ---------------------------------------------------------------------------------- */

static qg_status indention(qg_run *r, const qg_args *a, qg_val *out)
{
    const qg_val *width = qg_arg(a, 0, "width");
    int64_t n;
    if (width && width->kind == QG_V_STR) {
        *out = *width;
        return QG_OK;
    }
    QG_TRY(qg_arg_int(r, a, 0, "width", 4, &n));
    qg_val blank = qg_v_str(qg_str(" ")), count = qg_v_int(n);
    return qg_eval_binary(r, QG_T_MUL, &blank, &count, out);
}

static qg_status f_indent(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    qg_val pad, newline = qg_v_str(qg_str("\n")), s;
    qg_sb b = {0};
    bool first = qg_arg_true(a, 1, "first", false), blank = qg_arg_true(a, 2, "blank", false);
    QG_TRY(indention(r, a, &pad));
    QG_TRY(qg_eval_binary(r, QG_T_ADD, v, &newline, &s)); /* so that a last empty line counts */
    if (s.kind != QG_V_STR)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "indent needs a string");
    if (first)
        QG_TRY(qg_sb_add(r, &b, &pad));
    for (size_t at = 0, end, next; at < s.s.n; at = next) {
        qg_ustr_line(&s, at, &end, &next);
        qg_val line = qg_ustr_cut(&s, at, end);
        QG_TRY(qg_run_spend(r, 1));
        if (at) {
            QG_TRY(qg_sb_add(r, &b, &newline));
            if (line.s.n || blank)
                QG_TRY(qg_sb_add(r, &b, &pad));
        }
        QG_TRY(qg_sb_add(r, &b, &line));
    }
    *out = qg_sb_done(&b);
    return QG_OK;
}

/* ---- join ------------------------------------------------------------------------------------ */

static qg_status f_join(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    const qg_val *d = qg_arg(a, 0, "d"), *path = qg_arg(a, 1, "attribute");
    qg_val sep = qg_v_str(qg_str("")), part;
    qg_vlist *items;
    qg_sb b = {0};
    if (d)
        QG_TRY(qg_val_str(r, d, &sep));
    QG_TRY(qg_val_items(r, v, &items));
    for (size_t i = 0; i < items->n; i++) {
        part = items->v[i];
        if (path && path->kind != QG_V_NONE)
            QG_TRY(qg_get_path(r, &items->v[i], path, &part));
        QG_TRY(qg_run_spend(r, 1));
        QG_TRY(qg_val_str(r, &part, &part));
        if (i)
            QG_TRY(qg_sb_add(r, &b, &sep));
        QG_TRY(qg_sb_add(r, &b, &part));
    }
    *out = qg_sb_done(&b);
    return QG_OK;
}

/* ---- tojson, with the arguments that transformers gives it ----------------------------------- */

static qg_status json_pad(qg_run *r, const qg_val *indent, qg_json_style *style)
{
    if (!indent || indent->kind == QG_V_NONE)
        return QG_OK;
    style->lines = true;
    style->item_sep = qg_str(",");
    if (indent->kind == QG_V_STR) {
        style->pad = qg_v_slice(indent);
        return QG_OK;
    }
    if (!qg_v_is_integral(indent))
        return qg_run_fail(r, QG_ERR_TEMPLATE, "indent is a number or a string");
    qg_val blank = qg_v_str(qg_str(" ")), pad;
    QG_TRY(qg_eval_binary(r, QG_T_MUL, &blank, indent, &pad));
    style->pad = qg_v_slice(&pad);
    return QG_OK;
}

static qg_status json_separators(qg_run *r, const qg_val *seps, qg_json_style *style)
{
    if (!seps || seps->kind == QG_V_NONE)
        return QG_OK;
    bool pair = (seps->kind == QG_V_TUPLE || seps->kind == QG_V_LIST) && seps->list->n == 2 &&
                seps->list->v[0].kind == QG_V_STR && seps->list->v[1].kind == QG_V_STR;
    if (!pair)
        return qg_run_fail(r, QG_ERR_TEMPLATE, "separators are two strings");
    style->item_sep = qg_v_slice(&seps->list->v[0]);
    style->key_sep = qg_v_slice(&seps->list->v[1]);
    return QG_OK;
}

static qg_status f_tojson(qg_run *r, const qg_val *v, const qg_args *a, qg_val *out)
{
    qg_json_style style = {.item_sep = {", ", 2}, .key_sep = {": ", 2}};
    style.ascii = qg_arg_true(a, 0, "ensure_ascii", false);
    style.sort_keys = qg_arg_true(a, 3, "sort_keys", false);
    QG_TRY(json_pad(r, qg_arg(a, 1, "indent"), &style));
    QG_TRY(json_separators(r, qg_arg(a, 2, "separators"), &style));
    return qg_val_json(r, v, &style, out);
}

const qg_builtin qg_text_filters[] = {
    {"upper", f_upper, "", 0},
    {"lower", f_lower, "", 0},
    {"capitalize", f_capitalize, "", 0},
    {"title", f_title, "", 0},
    {"string", f_string, "", 0},
    {"safe", f_string, "", 0}, /* nothing is escaped anyway */
    {"trim", f_trim, "chars", 0},
    {"replace", f_replace, "old new count", 2},
    {"indent", f_indent, "width first blank", 0},
    {"join", f_join, "d attribute", 0},
    {"tojson", f_tojson, "ensure_ascii indent separators sort_keys", 0},
    {0},
};
