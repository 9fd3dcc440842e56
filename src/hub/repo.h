/* Names that come from people and from hubs: what may become a path or part of an address. */
#ifndef QG_HUB_REPO_H
#define QG_HUB_REPO_H

#include "base/buf.h"

enum { QG_HUB_COMMIT = 40, QG_HUB_ID = 64 }; /* hex digits of a commit; of a blob's id at most */

/* owner/name: letters, digits, '.', '_', '-' on both sides of one slash; neither side begins with a
 * dot or dash or holds "..", together at most 96 bytes, as the hubs have it. */
bool qg_repo_is_name(const char *word);
/* The same with a sentence: QG_ERR_ARG. */
qg_status qg_repo_check_name(const char *word, qg_err *err);
/* Branch, tag or commit: the characters of a name and '/', and nothing that could lead out of a
 * folder.  QG_ERR_ARG. */
qg_status qg_repo_check_revision(const char *revision, qg_err *err);
/* True for 40 hex digits. */
bool qg_repo_is_commit(const char *revision);

/* May a hub's file of this name be written below a folder?  QG_ERR_FORMAT for absolute paths, empty
 * parts, ".", "..", parts that begin with ".git" or are our own names for unfinished things,
 * control characters, backslashes, broken UTF-8, more than QG_MAX_HUB_PATH bytes. */
qg_status qg_repo_check_file(qg_slice path, qg_err *err);

/* Adds text with everything but letters, digits and "-._~" as %XX; with slashes, '/' stays. */
qg_status qg_url_escape(qg_buf *out, const char *text, bool slashes);

/* True when text [n] is hex digits only, of either case. */
bool qg_is_hex(const char *text, size_t n);

#endif
