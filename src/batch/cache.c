#define _GNU_SOURCE
#include "batch/cache.h"

#include "base/mem.h"
#include "base/sum.h"

#include <openssl/evp.h>
#include <sqlite3.h>

/* The file says whose it is: "qgvd", and the layout of what is kept. */
enum { APPLICATION = 0x71677664, LAYOUT = 2, BUSY_MS = 60000, COMMIT_EVERY = 4096 };

struct qg_cache {
    char *path, *identity;
    sqlite3 *reader, *writer;
    sqlite3_stmt *get, *put;
    int waiting; /* puts since the last commit */
};

typedef struct kept {
    qg_said said;
    uint64_t sum; /* a damaged verdict is none */
} kept;

static qg_status broken(const qg_cache *c, sqlite3 *db, qg_err *err)
{
    int code = db ? sqlite3_errcode(db) : SQLITE_NOMEM;
    qg_status rc = code == SQLITE_NOTADB || code == SQLITE_CORRUPT ? QG_ERR_FORMAT : QG_ERR_IO;
    return qg_fail(err, rc, "%s: %s", c->path, db ? sqlite3_errmsg(db) : "out of memory");
}

static qg_status run(const qg_cache *c, sqlite3 *db, const char *sql, qg_err *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? QG_OK : broken(c, db, err);
}

static qg_status pragma(const qg_cache *c, const char *sql, int *value, qg_err *err)
{
    sqlite3_stmt *ask;
    if (sqlite3_prepare_v2(c->writer, sql, -1, &ask, NULL) != SQLITE_OK)
        return broken(c, c->writer, err);
    bool row = sqlite3_step(ask) == SQLITE_ROW;
    *value = row ? sqlite3_column_int(ask, 0) : 0;
    sqlite3_finalize(ask);
    return row ? QG_OK : broken(c, c->writer, err);
}

/* An empty file becomes a cache; one of another kind or layout is left alone. */
static qg_status prepare_file(const qg_cache *c, qg_err *err)
{
    char sql[160];
    int application, layout, pages;
    QG_TRY(pragma(c, "PRAGMA page_count", &pages, err));
    QG_TRY(pragma(c, "PRAGMA application_id", &application, err));
    QG_TRY(pragma(c, "PRAGMA user_version", &layout, err));
    if (pages && (application != APPLICATION || layout != LAYOUT))
        return qg_fail(err, QG_ERR_FORMAT, "%s: not a verdict cache of this version", c->path);
    sqlite3_snprintf(sizeof sql, sql, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
                     APPLICATION, LAYOUT);
    QG_TRY(run(c, c->writer, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;", err));
    if (!pages)
        QG_TRY(run(c, c->writer, sql, err));
    return run(c, c->writer,
               "CREATE TABLE IF NOT EXISTS verdicts (key BLOB PRIMARY KEY, said BLOB NOT NULL) "
               "WITHOUT ROWID",
               err);
}

static qg_status connect_one(const qg_cache *c, sqlite3 **db, qg_err *err)
{
    if (sqlite3_open_v2(c->path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
        return broken(c, *db, err);
    sqlite3_busy_timeout(*db, BUSY_MS);
    return QG_OK;
}

static qg_status connect_both(qg_cache *c, qg_err *err)
{
    static const char get[] = "SELECT said FROM verdicts WHERE key=?1";
    static const char put[] = "INSERT OR REPLACE INTO verdicts VALUES (?1,?2)";
    QG_TRY(connect_one(c, &c->writer, err));
    QG_TRY(prepare_file(c, err));
    QG_TRY(connect_one(c, &c->reader, err));
    if (sqlite3_prepare_v2(c->reader, get, -1, &c->get, NULL) != SQLITE_OK)
        return broken(c, c->reader, err);
    if (sqlite3_prepare_v2(c->writer, put, -1, &c->put, NULL) != SQLITE_OK)
        return broken(c, c->writer, err);
    return QG_OK;
}

qg_status qg_cache_open(qg_cache **out, const char *path, const char *identity, qg_err *err)
{
    *out = NULL;
    qg_cache *c = qg_calloc(1, sizeof *c);
    if (!c)
        return qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", path);
    c->path = qg_memdup0(path, strlen(path));
    c->identity = qg_memdup0(identity, strlen(identity));
    qg_status rc = c->path && c->identity ? connect_both(c, err)
                                          : qg_fail(err, QG_ERR_NOMEM, "%s: out of memory", path);
    if (rc == QG_OK)
        *out = c;
    else
        qg_cache_close(c);
    return rc;
}

void qg_cache_close(qg_cache *c)
{
    if (!c)
        return;
    if (c->put)
        qg_cache_commit(c, NULL);
    sqlite3_finalize(c->get);
    sqlite3_finalize(c->put);
    sqlite3_close(c->reader);
    sqlite3_close(c->writer);
    qg_mfree(c->path);
    qg_mfree(c->identity);
    qg_mfree(c);
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* Length before bytes: no two lists of messages give the same stream. */
static bool hash_bytes(EVP_MD_CTX *hash, const char *p, size_t n)
{
    uint64_t length = n;
    return EVP_DigestUpdate(hash, &length, sizeof length) && EVP_DigestUpdate(hash, p, n);
}

qg_status qg_cache_key_of(const qg_cache *c, const qg_message *messages, size_t n,
                          qg_cache_key *key, qg_err *err)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    bool fine = hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) &&
                hash_bytes(hash, c->identity, strlen(c->identity));
    for (size_t i = 0; fine && i < n; i++)
        fine = hash_bytes(hash, messages[i].role, strlen(messages[i].role)) &&
               hash_bytes(hash, messages[i].content.p, messages[i].content.n);
    fine = fine && EVP_DigestFinal_ex(hash, key->at, NULL);
    EVP_MD_CTX_free(hash);
    return fine ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "SHA-256 failed");
}

/* ---- verdicts -------------------------------------------------------------------------------- */

bool qg_cache_get(qg_cache *c, const qg_cache_key *key, qg_said *said)
{
    kept k;
    sqlite3_bind_blob(c->get, 1, key->at, sizeof key->at, SQLITE_STATIC);
    bool found =
        sqlite3_step(c->get) == SQLITE_ROW && sqlite3_column_bytes(c->get, 0) == (int)sizeof k;
    if (found) {
        memcpy(&k, sqlite3_column_blob(c->get, 0), sizeof k);
        found = k.sum == qg_sum64(LAYOUT, &k.said, sizeof k.said);
    }
    sqlite3_reset(c->get);
    if (found)
        *said = k.said;
    return found;
}

qg_status qg_cache_put(qg_cache *c, const qg_cache_key *key, const qg_said *said, qg_err *err)
{
    kept k;
    memset(&k, 0, sizeof k);
    memcpy(&k.said, said, sizeof *said);
    k.sum = qg_sum64(LAYOUT, &k.said, sizeof k.said);
    if (!c->waiting)
        QG_TRY(run(c, c->writer, "BEGIN IMMEDIATE", err));
    c->waiting++;
    sqlite3_bind_blob(c->put, 1, key->at, sizeof key->at, SQLITE_STATIC);
    sqlite3_bind_blob(c->put, 2, &k, sizeof k, SQLITE_STATIC);
    int rc = sqlite3_step(c->put);
    sqlite3_reset(c->put);
    if (rc != SQLITE_DONE)
        return broken(c, c->writer, err);
    return c->waiting < COMMIT_EVERY ? QG_OK : qg_cache_commit(c, err);
}

qg_status qg_cache_commit(qg_cache *c, qg_err *err)
{
    if (!c->waiting)
        return QG_OK;
    c->waiting = 0;
    return run(c, c->writer, "COMMIT", err);
}
