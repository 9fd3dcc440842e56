/* Many streams through a gateway, both ends in this one thread: it is the upstream that writes the
 * tokens and the client that reads them, so that one clock measures.
 *     bench_gateway_load UPSTREAM-PORT GATEWAY-PORT STREAMS TOKENS-A-SECOND SECONDS HOLD-BACK
 * Token i may leave when token i + HOLD-BACK is judged: its delay is counted from when that one was
 * sent.  Each is a word that is one token of the models' tokenizer.  With both ports the same there
 * is no gateway.  Prints, as one line: streams, tokens received, tokens lost, delays in ms (50, 99,
 * 99.9 %, longest), seconds of this program's own processor time, and tokens a second as the first
 * stream's upstream wrote and its client read them. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 65536, RING = 64, DELAYS = 1 << 24 };

typedef struct stream {
    int up, down;        /* -1 = not (any more) there */
    int sent, received;  /* tokens */
    int64_t next_us;     /* of the upstream */
    int64_t times[RING]; /* when token i was sent */
    char carry[64];      /* end of what was read, for a token cut in two */
    size_t n_carry;
    int64_t first_up, last_up, first_down, last_down;
    int done;
} stream;

static const char *const words[] = {
    " the",  " and",   " of",    " to",    " in",    " is",    " that", " for",   " it",   " was",
    " with", " as",    " his",   " on",    " be",    " at",    " by",   " had",   " are",  " but",
    " from", " or",    " have",  " an",    " they",  " which", " one",  " you",   " were", " her",
    " all",  " she",   " there", " would", " their", " we",    " him",  " been",  " has",  " when",
    " who",  " will",  " more",  " no",    " if",    " out",   " so",   " said",  " what", " up",
    " its",  " about", " into",  " than",  " them",  " can",   " only", " other", " new",  " some"};
enum { WORDS = sizeof words / sizeof *words };

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

typedef struct load {
    int epoll, listener, gateway_port, n, hold, started, done;
    int64_t step_us, end_us;
    stream *streams;
    int owner[MOST]; /* stream of a descriptor, + 1; negative: upstream side */
    float *delays;
    size_t n_delays;
} load;

static void watch(load *l, int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e);
}

static struct sockaddr_in here(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

static void begin(load *l, int i)
{
    static const char body[] = "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\","
                               "\"content\":\"Tell me a story.\"}]}";
    char text[512];
    struct sockaddr_in at = here(l->gateway_port);
    stream *s = &l->streams[i];
    s->down = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(s->down, (struct sockaddr *)&at, sizeof at)) {
        fprintf(stderr, "connect: %s\n", strerror(errno));
        exit(1);
    }
    int n = snprintf(text, sizeof text,
                     "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Request-Id: s%d\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     i, sizeof body - 1, body);
    if (write(s->down, text, (size_t)n) != n)
        exit(1);
    l->owner[s->down] = i + 1;
    watch(l, s->down);
}

static void on_accept(load *l)
{
    int one = 1, fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    l->owner[fd] = 0;
    watch(l, fd);
}

/* A request of the gateway's: its id says which stream it is. */
static void on_asked(load *l, int fd)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    char text[8192];
    ssize_t n = read(fd, text, sizeof text - 1);
    if (n <= 0) {
        close(fd);
        return;
    }
    text[n] = 0;
    const char *id = strcasestr(text, "X-Request-Id: s");
    if (!id)
        return;
    int i = (int)strtol(id + 15, NULL, 10);
    stream *s = &l->streams[i];
    if (s->up >= 0)
        return;
    s->up = fd;
    if (write(fd, head, sizeof head - 1) < 0)
        exit(1);
    s->next_us = now_us() + rand() % l->step_us;
}

static void on_read(load *l, int i)
{
    static char text[1 << 16];
    stream *s = &l->streams[i];
    int64_t now = now_us();
    memcpy(text, s->carry, s->n_carry);
    ssize_t n = read(s->down, text + s->n_carry, sizeof text - 1 - s->n_carry);
    if (n <= 0) {
        close(s->down);
        s->down = -1;
        if (!s->done) {
            s->done = 1;
            l->done++;
        }
        return;
    }
    size_t all = s->n_carry + (size_t)n;
    text[all] = 0;
    const char *at = text, *last = text;
    while ((at = strstr(at, "\"content\":\" "))) {
        int k = s->received; /* events leave as they came, one token each */
        int last_cause = s->next_us ? s->sent - 1 : s->sent; /* the end releases, too */
        int by = k + l->hold < last_cause ? k + l->hold : last_cause;
        if (l->n_delays < DELAYS && now < l->end_us) /* the ends, all at once, are not measured */
            l->delays[l->n_delays++] = (float)(now - s->times[by % RING]) / 1000.0f;
        s->first_down = s->received++ ? s->first_down : now;
        s->last_down = now;
        at += 12;
        last = at;
    }
    size_t left = (size_t)(text + all - last);
    s->n_carry = left < 11 ? left : 11; /* one byte less than what is looked for */
    memcpy(s->carry, text + all - s->n_carry, s->n_carry);
}

static int speak(load *l, stream *s, int64_t now)
{
    char data[256], text[300];
    int n = snprintf(data, sizeof data,
                     "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,"
                     "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},"
                     "\"finish_reason\":null}]}\n\n",
                     words[rand() % WORDS]);
    if (now >= l->end_us)
        n = snprintf(data, sizeof data,
                     "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,"
                     "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},"
                     "\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
    int whole =
        snprintf(text, sizeof text, "%x\r\n%s\r\n%s", n, data, now >= l->end_us ? "0\r\n\r\n" : "");
    if (send(s->up, text, (size_t)whole, MSG_NOSIGNAL) != whole)
        fprintf(stderr, "the gateway hung up or does not read\n");
    if (now >= l->end_us) {
        s->next_us = 0;
        s->times[s->sent % RING] = now_us();
        return 0;
    }
    s->times[s->sent % RING] = s->last_up = now_us();
    s->first_up = s->sent++ ? s->first_up : s->last_up;
    s->next_us += l->step_us;
    return 1;
}

static void turn(load *l)
{
    struct epoll_event events[512];
    int n = epoll_wait(l->epoll, events, 512, 1);
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        if (fd == l->listener)
            on_accept(l);
        else if (l->owner[fd])
            on_read(l, l->owner[fd] - 1);
        else
            on_asked(l, fd);
    }
    int64_t now = now_us();
    for (int i = 0; i < l->n; i++)
        if (l->streams[i].next_us && l->streams[i].next_us <= now)
            speak(l, &l->streams[i], now);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double own_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double rate(int n, int64_t first, int64_t last)
{
    return last > first ? (n - 1) * 1e6 / (double)(last - first) : 0;
}

static void report(load *l)
{
    const stream *one = &l->streams[0];
    long received = 0, sent = 0;
    for (int i = 0; i < l->n; i++) {
        received += l->streams[i].received;
        sent += l->streams[i].sent;
    }
    qsort(l->delays, l->n_delays, sizeof *l->delays, by_size);
    size_t n = l->n_delays ? l->n_delays : 1;
    printf("streams %d tokens %ld lost %ld p50 %.2f p99 %.2f p999 %.2f max %.2f own %.2f up %.2f "
           "down %.2f\n",
           l->n, received, sent - received, l->delays[n / 2], l->delays[n * 99 / 100],
           l->delays[n * 999 / 1000], l->delays[n - 1], own_seconds(),
           rate(one->sent, one->first_up, one->last_up),
           rate(one->received, one->first_down, one->last_down));
}

int main(int argc, char **argv)
{
    static load l;
    if (argc < 7)
        return 2;
    struct sockaddr_in at = here((int)strtol(argv[1], NULL, 10));
    int one = 1;
    l.gateway_port = (int)strtol(argv[2], NULL, 10);
    l.n = (int)strtol(argv[3], NULL, 10);
    l.step_us = 1000000 / strtol(argv[4], NULL, 10);
    l.hold = (int)strtol(argv[6], NULL, 10);
    l.streams = calloc((size_t)l.n, sizeof *l.streams);
    l.delays = malloc(DELAYS * sizeof *l.delays);
    l.epoll = epoll_create1(0);
    l.listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(l.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!l.streams || !l.delays || bind(l.listener, (struct sockaddr *)&at, sizeof at) ||
        listen(l.listener, 4096)) {
        fprintf(stderr, "listen: %s\n", strerror(errno));
        return 1;
    }
    watch(&l, l.listener);
    for (int i = 0; i < l.n; i++)
        l.streams[i].up = l.streams[i].down = -1;
    l.end_us = INT64_MAX;
    for (int i = 0; i < l.n; i++) { /* a ramp, so that no backlog overflows */
        begin(&l, i);
        turn(&l);
    }
    for (int64_t until = now_us() + 2000000; now_us() < until;) /* what the ramp left behind */
        turn(&l);
    l.n_delays = 0;
    l.end_us = now_us() + strtol(argv[5], NULL, 10) * 1000000;
    while (l.done < l.n && now_us() < l.end_us + 10000000)
        turn(&l);
    report(&l);
    return 0;
}
