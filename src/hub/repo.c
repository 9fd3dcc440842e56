#include "hub/repo.h"

#include "base/limits.h"
#include "text/utf8.h"

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_part(const char *p, size_t n)
{
    if (!n || p[0] == '.' || p[0] == '-' || p[n - 1] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        bool fine = is_alnum(p[i]) || p[i] == '.' || p[i] == '_' || p[i] == '-';
        /* "--" is how the caches write the slash */
        bool twice = i && p[i] == p[i - 1] && (p[i] == '.' || p[i] == '-');
        if (!fine || twice)
            return false;
    }
    return true;
}

bool qg_repo_is_name(const char *word)
{
    size_t n = strlen(word), owner = strcspn(word, "/");
    return n <= 96 && owner < n && is_part(word, owner) && is_part(word + owner + 1, n - owner - 1);
}

qg_status qg_repo_check_name(const char *word, qg_err *err)
{
    if (qg_repo_is_name(word))
        return QG_OK;
    return qg_fail(err, QG_ERR_ARG,
                   "'%s' is no repository: expected OWNER/NAME, as in Qwen/Qwen3Guard-Gen-0.6B",
                   word);
}

bool qg_is_hex(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f') ||
              (text[i] >= 'A' && text[i] <= 'F')))
            return false;
    return true;
}

bool qg_repo_is_commit(const char *revision)
{
    return strlen(revision) == QG_HUB_COMMIT && qg_is_hex(revision, QG_HUB_COMMIT);
}

/* One part between two slashes: no dots alone, nothing hidden. */
static bool is_folder_part(const char *p, size_t n)
{
    return n && p[0] != '.' && p[0] != '-';
}

qg_status qg_repo_check_revision(const char *revision, qg_err *err)
{
    size_t n = strlen(revision), from = 0;
    bool fine = n >= 1 && n <= 128;

    for (size_t i = 0; fine && i < n; i++)
        fine = is_alnum(revision[i]) || strchr("._-/+", revision[i]);
    for (size_t i = 0; fine && i <= n; i++)
        if (i == n || revision[i] == '/') {
            fine = is_folder_part(revision + from, i - from);
            from = i + 1;
        }
    return fine ? QG_OK
                : qg_fail(err, QG_ERR_ARG,
                          "'%.128s' is no revision: expected a branch, a tag or "
                          "a commit",
                          revision);
}

static bool has_prefix(qg_slice s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && !memcmp(s.p, prefix, n);
}

static const char *part_fault(qg_slice part)
{
    if (!part.n)
        return "an empty part";
    if (qg_slice_is(part, ".") || qg_slice_is(part, ".."))
        return "a part that leads elsewhere";
    /* .git belongs to git; .cache, ._____temp and .qguard are where unfinished files lie */
    if (has_prefix(part, ".git") && part.n == 4)
        return "a part named .git";
    if (has_prefix(part, ".qguard") || qg_slice_is(part, ".cache") || has_prefix(part, "._____"))
        return "a part that is kept for unfinished files";
    return part.n > 255 ? "a part that is too long" : NULL;
}

static const char *file_fault(qg_slice path)
{
    size_t from = 0;

    if (!path.n || path.n > QG_MAX_HUB_PATH)
        return "a length that is not in 1..512";
    if (path.p[0] == '/')
        return "a slash in front";
    if (!qg_utf8_valid(path))
        return "bytes that are not UTF-8";
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] < 32 || path.p[i] == 127 || path.p[i] == '\\')
            return "a character that no file name has";
    for (size_t i = 0; i <= path.n; i++)
        if (i == path.n || path.p[i] == '/') {
            const char *fault = part_fault(qg_slice_of(path.p + from, i - from));
            if (fault)
                return fault;
            from = i + 1;
        }
    return NULL;
}

/* The name may be anything: shown with all that is not plain as '?'. */
qg_status qg_repo_check_file(qg_slice path, qg_err *err)
{
    const char *fault = file_fault(path);
    char shown[64];
    size_t n = path.n < sizeof shown - 1 ? path.n : sizeof shown - 1;

    if (!fault)
        return QG_OK;
    for (size_t i = 0; i < n; i++)
        shown[i] = path.p[i];
    for (size_t i = 0; i < n; i++)
        if (shown[i] < 32 || shown[i] == 127)
            shown[i] = '?';
    shown[n] = 0;
    return qg_fail(err, QG_ERR_FORMAT, "the hub names a file '%s'%s, with %s: refused", shown,
                   n < path.n ? " …" : "", fault);
}

qg_status qg_url_escape(qg_buf *out, const char *text, bool slashes)
{
    for (const char *c = text; *c; c++) {
        if (is_alnum(*c) || strchr("-._~", *c) || (slashes && *c == '/'))
            QG_TRY(qg_buf_add(out, c, 1));
        else
            QG_TRY(qg_buf_addf(out, "%%%02X", (unsigned)(unsigned char)*c));
    }
    return QG_OK;
}
