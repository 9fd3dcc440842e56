#define _GNU_SOURCE
#include "svc/signals.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

struct qg_signals {
    sigset_t ours, before;
    struct sigaction pipe_before;
    int fd;
};

void qg_signals_raise_descriptors(void)
{
    enum { WANTED = 65536 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < WANTED ? limit.rlim_max : WANTED;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

qg_status qg_signals_take(qg_signals **out, qg_err *err)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    qg_signals *s = qg_calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    sigemptyset(&s->ours);
    sigaddset(&s->ours, SIGTERM);
    sigaddset(&s->ours, SIGINT);
    sigaddset(&s->ours, SIGHUP);
    s->fd = signalfd(-1, &s->ours, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->fd < 0) {
        qg_mfree(s);
        return qg_fail(err, QG_ERR_IO, "signalfd: %s", strerror(errno));
    }
    pthread_sigmask(SIG_BLOCK, &s->ours, &s->before);
    sigaction(SIGPIPE, &ignore, &s->pipe_before);
    *out = s;
    return QG_OK;
}

int qg_signals_fd(const qg_signals *s)
{
    return s->fd;
}

qg_signal qg_signals_read(const qg_signals *s)
{
    struct signalfd_siginfo info;
    if (read(s->fd, &info, sizeof info) != (ssize_t)sizeof info)
        return QG_SIGNAL_NONE;
    return info.ssi_signo == SIGHUP ? QG_SIGNAL_RELOAD : QG_SIGNAL_STOP;
}

void qg_signals_give_back(qg_signals *s)
{
    const struct timespec now = {0};
    if (!s)
        return;
    close(s->fd);
    while (sigtimedwait(&s->ours, NULL, &now) > 0)
        continue;
    sigaction(SIGPIPE, &s->pipe_before, NULL);
    pthread_sigmask(SIG_SETMASK, &s->before, NULL);
    qg_mfree(s);
}
