#define _POSIX_C_SOURCE 200809L
#include "hub/digest.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

static qg_status feed_file(EVP_MD_CTX *ctx, int fd, const char *path, uint64_t size, qg_err *err)
{
    char *chunk = qg_malloc(CHUNK);
    qg_status rc = chunk ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");

    for (uint64_t at = 0; rc == QG_OK && at < size;) {
        size_t want = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        ssize_t n = pread(fd, chunk, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            rc = qg_fail(err, QG_ERR_IO, "%s: %s", path, n ? strerror(errno) : "it is too short");
        else if (!EVP_DigestUpdate(ctx, chunk, (size_t)n))
            rc = qg_fail(err, QG_ERR_INTERNAL, "%s: the hash cannot be computed", path);
        else
            at += (uint64_t)n;
    }
    qg_mfree(chunk);
    return rc;
}

qg_status qg_digest_file(int fd, const char *path, uint64_t size, bool git, char hex[QG_HUB_ID + 1],
                         qg_err *err)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    char head[48];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    hex[0] = 0;
    bool fine = ctx && EVP_DigestInit_ex(ctx, git ? EVP_sha1() : EVP_sha256(), NULL);
    if (fine && git) {
        int len = snprintf(head, sizeof head, "blob %llu", (unsigned long long)size);
        fine = EVP_DigestUpdate(ctx, head, (size_t)len + 1); /* the 0 belongs to it */
    }
    qg_status rc =
        fine ? feed_file(ctx, fd, path, size, err) : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    if (rc == QG_OK && (!EVP_DigestFinal_ex(ctx, bytes, &n) || 2 * n > QG_HUB_ID))
        rc = qg_fail(err, QG_ERR_INTERNAL, "%s: the hash cannot be computed", path);
    for (unsigned i = 0; rc == QG_OK && i < n; i++) {
        hex[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
        hex[2 * i + 2] = 0;
    }
    EVP_MD_CTX_free(ctx);
    return rc;
}

bool qg_digest_matches(const char *path, uint64_t size, const char *id, bool git)
{
    char hex[QG_HUB_ID + 1];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool same = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size &&
                qg_digest_file(fd, path, size, git, hex, NULL) == QG_OK && !strcmp(hex, id);
    if (fd >= 0)
        close(fd);
    return same;
}
