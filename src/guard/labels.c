#include "guard/labels.h"

#include <stdio.h>

static qg_status encode(qg_piece *piece, const qg_tok *tok, const char *text, qg_err *err)
{
    qg_ids ids = {0};
    qg_status rc = qg_tok_encode(tok, qg_str(text), false, &ids, err);
    if (rc == QG_OK && (ids.n == 0 || ids.n > QG_LABEL_IDS))
        rc = qg_fail(err, QG_ERR_UNSUPPORTED, "tokenizer: \"%s\" takes %zu tokens, at most %d fit",
                     text, ids.n, QG_LABEL_IDS);
    if (rc == QG_OK) {
        memcpy(piece->ids, ids.p, ids.n * sizeof *ids.p);
        piece->n = (int32_t)ids.n;
    }
    qg_ids_free(&ids);
    return rc;
}

static qg_status encode_group(qg_piece *pieces, int n, const char *const *labels, const qg_tok *tok,
                              qg_err *err)
{
    for (int i = 0; i < n; i++) {
        char text[64];
        snprintf(text, sizeof text, " %s", labels[i]);
        QG_TRY(encode(&pieces[i], tok, text, err));
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            if (i != j && pieces[i].n <= pieces[j].n &&
                !memcmp(pieces[i].ids, pieces[j].ids, (size_t)pieces[i].n * sizeof(int32_t)))
                return qg_fail(err, QG_ERR_UNSUPPORTED,
                               "tokenizer: the tokens of \"%s\" are a beginning of \"%s\"",
                               labels[i], labels[j]);
    return QG_OK;
}

static qg_status add(qg_ids *ids, const qg_piece *piece)
{
    return qg_ids_add(ids, piece->ids, (size_t)piece->n);
}

/* The pieces of one verdict, side by side, against the same verdict encoded whole. */
static qg_status check_whole(const qg_labels *l, const qg_tok *tok, int s, int c, int r,
                             qg_err *err)
{
    char text[160];
    qg_ids whole = {0}, apart = {0};
    qg_status rc;

    snprintf(text, sizeof text, "Safety: %s\nCategories: %s%s%s", qg_severity_labels[s],
             qg_category_labels[c], r < 0 ? "" : "\nRefusal: ", r < 0 ? "" : qg_refusal_labels[r]);
    rc = qg_tok_encode(tok, qg_str(text), false, &whole, err);
    if (rc == QG_OK)
        rc = add(&apart, &l->safety);
    if (rc == QG_OK)
        rc = add(&apart, &l->severity[s]);
    if (rc == QG_OK)
        rc = add(&apart, &l->categories);
    if (rc == QG_OK)
        rc = add(&apart, &l->category[c]);
    if (rc == QG_OK && r >= 0)
        rc = add(&apart, &l->refusal);
    if (rc == QG_OK && r >= 0)
        rc = add(&apart, &l->answer[r]);
    if (rc == QG_OK && (whole.n != apart.n || memcmp(whole.p, apart.p, whole.n * sizeof *whole.p)))
        rc = qg_fail(err, QG_ERR_UNSUPPORTED,
                     "tokenizer: a verdict's parts do not encode apart as in the whole "
                     "(Safety: %s, Categories: %s)",
                     qg_severity_labels[s], qg_category_labels[c]);
    qg_ids_free(&whole);
    qg_ids_free(&apart);
    return rc;
}

qg_status qg_labels_init(qg_labels *labels, const qg_tok *tok, qg_err *err)
{
    QG_TRY(encode(&labels->safety, tok, "Safety:", err));
    QG_TRY(encode(&labels->categories, tok, "\nCategories:", err));
    QG_TRY(encode(&labels->refusal, tok, "\nRefusal:", err));
    QG_TRY(encode_group(labels->severity, QG_N_SEVERITIES, qg_severity_labels, tok, err));
    QG_TRY(encode_group(labels->category, QG_N_CATEGORIES, qg_category_labels, tok, err));
    QG_TRY(encode_group(labels->answer, 2, qg_refusal_labels, tok, err));
    for (int s = 0; s < QG_N_SEVERITIES; s++)
        for (int c = 0; c < QG_N_CATEGORIES; c++)
            for (int r = -1; r < 2; r++)
                QG_TRY(check_whole(labels, tok, s, c, r, err));
    return QG_OK;
}

static int32_t longest(const qg_piece *pieces, int n)
{
    int32_t max = 0;
    for (int i = 0; i < n; i++)
        max = pieces[i].n > max ? pieces[i].n : max;
    return max;
}

int32_t qg_labels_longest(const qg_labels *labels, qg_judged judged)
{
    int32_t n = labels->safety.n + longest(labels->severity, QG_N_SEVERITIES) +
                labels->categories.n + longest(labels->category, QG_N_CATEGORIES) + 1;
    if (judged == QG_REPLY)
        n += labels->refusal.n + longest(labels->answer, 2);
    return n;
}
