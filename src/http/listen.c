#define _GNU_SOURCE

#include "http/http_priv.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
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

qg_status qg_http_listen(qg_http *http, qg_err *err)
{
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
