#define _GNU_SOURCE
#include "base/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads a small text file whole; false when it cannot be read. */
static bool read_text(const char *path, char *out, size_t n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t used = 0;
    while (used + 1 < n) {
        ssize_t got = read(fd, out + used, n - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    close(fd);
    out[used] = 0;
    return used > 0;
}

/* Reads a number, moving *p behind it; -1 when there is none ("max"). */
static int64_t number(const char **p)
{
    char *end;
    errno = 0;
    long long v = strtoll(*p, &end, 10);
    if (end == *p || errno || v < 0)
        return -1;
    *p = end;
    return v;
}

static int cpus_of(int64_t quota, int64_t period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    int64_t n = quota / period + (quota % period != 0);
    return n > INT32_MAX ? 0 : (int)n;
}

static int quota_v2(const char *dir)
{
    char path[1200], text[128];
    snprintf(path, sizeof path, "%s/cpu.max", dir);
    if (!read_text(path, text, sizeof text))
        return 0;
    const char *p = text;
    int64_t quota = number(&p);
    return quota < 0 ? 0 : cpus_of(quota, number(&p));
}

static int quota_v1(const char *dir)
{
    char path[1200], text[128];
    const char *p = text;
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
    if (!read_text(path, text, sizeof text))
        return 0;
    int64_t quota = number(&p);
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
    if (!read_text(path, text, sizeof text))
        return 0;
    p = text;
    return cpus_of(quota, number(&p));
}

/* Smallest quota from root/group upwards to root. */
static int quota_upwards(const char *root, const char *group, size_t group_n,
                         int (*quota)(const char *dir))
{
    char dir[1100];
    int least = 0;
    size_t root_n = strlen(root);
    if (root_n + group_n >= sizeof dir)
        return 0;
    memcpy(dir, root, root_n);
    memcpy(dir + root_n, group, group_n);
    size_t n = root_n + group_n;
    for (;;) {
        dir[n] = 0;
        int q = quota(dir);
        if (q && (!least || q < least))
            least = q;
        if (n <= root_n)
            return least;
        do
            n--;
        while (n > root_n && dir[n] != '/');
    }
}

/* True when "cpu" is one of the comma-separated controllers in [p, end). */
static bool has_cpu(const char *p, const char *end)
{
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;
        if (stop - p == 3 && !memcmp(p, "cpu", 3))
            return true;
        p = stop + 1;
    }
    return false;
}

/* One line "id:controllers:/group". */
static int quota_of_line(const char *line, const char *end, const char *root)
{
    const char *a = memchr(line, ':', (size_t)(end - line));
    const char *b = a ? memchr(a + 1, ':', (size_t)(end - a - 1)) : NULL;
    if (!b)
        return 0;
    if (b == a + 1)
        return quota_upwards(root, b + 1, (size_t)(end - b - 1), quota_v2);
    if (!has_cpu(a + 1, b))
        return 0;
    char v1[1000];
    snprintf(v1, sizeof v1, "%s/cpu", root);
    return quota_upwards(v1, b + 1, (size_t)(end - b - 1), quota_v1);
}

int qg_cgroup_cpus(const char *list, const char *root)
{
    char text[8192];
    int least = 0;
    if (!read_text(list, text, sizeof text))
        return 0;
    for (const char *line = text; *line;) {
        const char *end = strchrnul(line, '\n');
        int q = quota_of_line(line, end, root);
        if (q && (!least || q < least))
            least = q;
        line = *end ? end + 1 : end;
    }
    return least;
}
