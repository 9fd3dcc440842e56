#define _GNU_SOURCE

#include "http/http_priv.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int open_one(const struct addrinfo *at)
{
    int one = 1;
    int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static uint16_t bound_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {0};
    socklen_t n = sizeof at;
    if (getsockname(fd, &at.any, &n))
        return 0;
    return ntohs(at.any.sa_family == AF_INET6 ? at.v6.sin6_port : at.v4.sin_port);
}

/* ---- Unix sockets ---------------------------------------------------------------------------- */

static uint64_t socket_inode(const char *path)
{
    struct stat at;
    return lstat(path, &at) == 0 && S_ISSOCK(at.st_mode) ? (uint64_t)at.st_ino : 0;
}

/* A server that was killed leaves its file behind. */
static bool is_stale(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool stale = fd >= 0 && socket_inode(at->sun_path) &&
                 connect(fd, (const struct sockaddr *)(const void *)at, sizeof *at) != 0 &&
                 errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return stale;
}

static qg_status listen_path(qg_http *http, qg_err *err)
{
    const char *path = http->opt.path;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const struct addrinfo how = {.ai_family = AF_UNIX,
                                 .ai_socktype = SOCK_STREAM,
                                 .ai_addr = (struct sockaddr *)(void *)&at,
                                 .ai_addrlen = sizeof at};
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof at.sun_path)
        return qg_fail(err, QG_ERR_ARG, "%s: the path of a socket has 1 to %zu bytes", path,
                       sizeof at.sun_path - 1);
    memcpy(at.sun_path, path, n + 1);
    http->listen_fd = open_one(&how);
    if (http->listen_fd < 0 && errno == EADDRINUSE && is_stale(&at) && unlink(path) == 0)
        http->listen_fd = open_one(&how);
    if (http->listen_fd < 0)
        return qg_fail(err, QG_ERR_IO, "%s: cannot listen: %s", path, strerror(errno));
    http->socket_inode = socket_inode(path);
    return QG_OK;
}

void qg_http_unlisten(qg_http *http)
{
    if (http->socket_inode && socket_inode(http->opt.path) == http->socket_inode)
        (void)unlink(http->opt.path);
    http->socket_inode = 0;
}

qg_status qg_http_listen(qg_http *http, qg_err *err)
{
    if (http->opt.path)
        return listen_path(http, err);
    const char *host = http->opt.host;
    struct addrinfo how = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *all = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", http->opt.port);
    int rc = getaddrinfo(host, port, &how, &all);
    if (rc)
        return qg_fail(err, QG_ERR_IO, "%s: %s", host, gai_strerror(rc));
    for (const struct addrinfo *at = all; at && http->listen_fd < 0; at = at->ai_next)
        http->listen_fd = open_one(at);
    int why = errno;
    freeaddrinfo(all);
    if (http->listen_fd < 0)
        return qg_fail(err, QG_ERR_IO, "%s:%s: cannot listen: %s", host, port, strerror(why));
    http->port = bound_port(http->listen_fd);
    return QG_OK;
}
