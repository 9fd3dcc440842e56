/* Asks a server over so many kept connections, each of which sends its next row when the last one
 * is answered; takes little of the processors itself.
 *     bench_http_load PORT CONNECTIONS < ROWS
 * A row is the JSON body of POST /v1/guard; row i (from 0) bears the request id row-i.  Prints the
 * seconds from first to last, then a line "i milliseconds" of each. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 64 * 1024, MOST = 4096 };

typedef struct client {
    int fd;
    long row; /* -1 = none under way */
    size_t n;
    char text[ROOM];
} client;

typedef struct load {
    int epoll, port;
    char **rows;
    long n_rows, next, done;
    double *sent, *took; /* ms */
    client *clients;
} load;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void give_up(const char *what)
{
    fprintf(stderr, "bench_http_load: %s\n", what);
    exit(1);
}

static void read_rows(load *l)
{
    size_t room = 0, line_room = 0;
    char *line = NULL;
    for (ssize_t n; (n = getline(&line, &line_room, stdin)) > 0;) {
        if (line[n - 1] == '\n')
            line[n - 1] = 0;
        if ((size_t)l->n_rows == room) {
            room = room ? 2 * room : 1024;
            l->rows = realloc(l->rows, room * sizeof *l->rows);
            if (!l->rows)
                give_up("out of memory");
        }
        l->rows[l->n_rows++] = strdup(line);
    }
    free(line);
    l->sent = calloc((size_t)l->n_rows + 1, sizeof *l->sent);
    l->took = calloc((size_t)l->n_rows + 1, sizeof *l->took);
    if (!l->sent || !l->took)
        give_up("out of memory");
}

static void ask(load *l, client *c)
{
    static char text[ROOM];
    c->n = 0;
    c->row = l->next < l->n_rows ? l->next++ : -1;
    if (c->row < 0)
        return;
    const char *body = l->rows[c->row];
    int n = snprintf(text, sizeof text,
                     "POST /v1/guard HTTP/1.1\r\nHost: x\r\nX-Request-Id: row-%ld\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     c->row, strlen(body), body);
    l->sent[c->row] = now_ms();
    if (n >= ROOM || write(c->fd, text, (size_t)n) != n)
        give_up("a row is too long, or the server takes none");
}

static void on_answer(load *l, client *c)
{
    ssize_t got = read(c->fd, c->text + c->n, ROOM - 1 - c->n);
    if (got <= 0)
        give_up("the server hung up");
    c->n += (size_t)got;
    c->text[c->n] = 0;
    const char *end = strstr(c->text, "\r\n\r\n"), *length;
    if (!end)
        return;
    if (strncmp(c->text, "HTTP/1.1 200", 12) != 0 ||
        !(length = strcasestr(c->text, "\r\nContent-Length:")))
        give_up(c->text);
    if (c->n < (size_t)(end + 4 - c->text) + strtoul(length + 17, NULL, 10))
        return;
    l->took[c->row] = now_ms() - l->sent[c->row];
    l->done++;
    ask(l, c);
}

static void connect_one(load *l, client *c)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    struct epoll_event want = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&at, sizeof at) ||
        epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &want))
        give_up(strerror(errno));
}

int main(int argc, char **argv)
{
    static load l;
    struct epoll_event events[64];
    long n = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    if (n < 1 || n > MOST)
        return 2;
    l.port = (int)strtol(argv[1], NULL, 10);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    l.clients = calloc((size_t)n, sizeof *l.clients);
    if (!l.clients)
        return 1;
    read_rows(&l);
    for (long i = 0; i < n; i++)
        connect_one(&l, &l.clients[i]);
    double start = now_ms();
    for (long i = 0; i < n; i++)
        ask(&l, &l.clients[i]);
    while (l.done < l.n_rows)
        for (int i = 0, m = epoll_wait(l.epoll, events, 64, -1); i < m; i++)
            on_answer(&l, events[i].data.ptr);
    printf("%.6f\n", (now_ms() - start) / 1e3);
    for (long i = 0; i < l.n_rows; i++)
        printf("%ld %.4f\n", i, l.took[i]);
    return 0;
}
