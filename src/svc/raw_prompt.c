#define _GNU_SOURCE /* memmem */
#include "svc/raw_prompt.h"

#include "base/buf.h"

#include <string.h>

/* Nothing that a template would say, or strip. */
static const char mark_begin[] = "qguard-begin-5f2c", mark_end[] = "qguard-end-5f2c";

static const char prompt_vars[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"qguard-begin-5f2c qguard-end-5f2c\"}],"
    "\"add_generation_prompt\":true}";
static const char reply_vars[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"qguard-begin-5f2c\"},"
    "{\"role\":\"assistant\",\"content\":\"qguard-end-5f2c\"}],\"add_generation_prompt\":true}";

static qg_raw_frame frame_of(const qg_engine *engine, const char *vars)
{
    qg_raw_frame f = {0};
    size_t n = 0;
    if (qg_render(engine, (qg_text){vars, strlen(vars)}, &f.text, &n, NULL, NULL, NULL) != QG_OK)
        return (qg_raw_frame){0};
    const char *begin = memmem(f.text, n, mark_begin, sizeof mark_begin - 1);
    const char *end = memmem(f.text, n, mark_end, sizeof mark_end - 1);
    if (!begin || !end) {
        qg_free(f.text);
        return (qg_raw_frame){0};
    }
    end += sizeof mark_end - 1;
    f.before = qg_slice_of(f.text, (size_t)(begin - f.text));
    f.behind = qg_slice_of(end, n - (size_t)(end - f.text));
    return f;
}

void qg_raw_open(qg_raw *raw, const qg_engine *engine)
{
    raw->frame[QG_PHASE_PROMPT] = frame_of(engine, prompt_vars);
    raw->frame[QG_PHASE_RESPONSE] = frame_of(engine, reply_vars);
}

void qg_raw_close(qg_raw *raw)
{
    for (size_t i = 0; i < QG_COUNT(raw->frame); i++)
        qg_free(raw->frame[i].text);
    *raw = (qg_raw){0};
}

static bool begins(qg_slice text, qg_slice with)
{
    return text.n >= with.n && memcmp(text.p, with.p, with.n) == 0;
}

static bool ends(qg_slice text, qg_slice with)
{
    return text.n >= with.n && memcmp(text.p + text.n - with.n, with.p, with.n) == 0;
}

/* Frames that begin alike differ at their end; one without any text of its own tells nothing. */
qg_slice qg_raw_inside(const qg_raw *raw, qg_slice text, qg_phase *phase, bool *known)
{
    size_t best = 0;
    qg_slice inside = text;
    *known = false;
    for (size_t i = 0; i < QG_COUNT(raw->frame); i++) {
        const qg_raw_frame *f = &raw->frame[i];
        if (!f->text || !f->before.n || !begins(text, f->before))
            continue;
        qg_slice rest = qg_slice_of(text.p + f->before.n, text.n - f->before.n);
        bool whole = ends(rest, f->behind);
        size_t fit = f->before.n + (whole ? f->behind.n : 0);
        if (fit == best)
            *known = false; /* either may be meant */
        if (fit <= best)
            continue;
        best = fit;
        *known = true;
        *phase = (qg_phase)i;
        inside = qg_slice_of(rest.p, rest.n - (whole ? f->behind.n : 0));
    }
    return inside;
}
