/* Replays a fuzz target's corpus without a fuzzer, so that it runs as an ordinary test:
 *
 *     fuzz_<target> [-m N] FILE-OR-FOLDER…
 *
 * Each input is copied so that it ends at an unmapped page: one byte read too far is a fault even
 * without a sanitizer.  -m N adds N damaged copies of each input (cut short, bits flipped, bytes
 * overwritten), the same ones on every run.  Prints how many inputs ran; an empty corpus fails. */
#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n);

typedef struct replay {
    size_t n_inputs, n_runs;
    long n_damaged; /* copies per input */
    uint32_t seed;  /* of the input at hand, so that its damage does not depend on the others */
    char at[4096];  /* what runs now, for the report of a crash */
} replay;

static void die(const char *what, const char *path)
{
    fprintf(stderr, "replay: %s: %s (%s)\n", path, what, strerror(errno));
    exit(1);
}

static uint32_t next_random(replay *r)
{
    r->seed = r->seed * 1664525u + 1013904223u;
    return r->seed >> 8;
}

/* The target sees n bytes that end exactly where the mapping ends. */
static void run_guarded(replay *r, const uint8_t *in, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (n + page - 1) / page * page + page;
    uint8_t *map = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + room - page, page, PROT_NONE))
        die("cannot map a guarded copy", r->at);
    uint8_t *copy = map + room - page - n;
    if (n)
        memcpy(copy, in, n);
    LLVMFuzzerTestOneInput(copy, n);
    munmap(map, room);
    r->n_runs++;
}

static void run_damaged(replay *r, const uint8_t *in, size_t n)
{
    uint8_t *bad = malloc(n ? n : 1);
    if (!bad)
        die("out of memory", r->at);
    for (long i = 0; i < r->n_damaged && n; i++) {
        size_t keep = n;
        memcpy(bad, in, n);
        if (i % 3 == 0)
            keep = next_random(r) % n;
        else if (i % 3 == 1)
            bad[next_random(r) % n] ^= (uint8_t)(1u << (next_random(r) % 8));
        else
            bad[next_random(r) % n] = (uint8_t)next_random(r);
        run_guarded(r, bad, keep);
    }
    free(bad);
}

static void run_file(replay *r, const char *path, size_t size)
{
    uint8_t *in = malloc(size ? size : 1);
    FILE *f = fopen(path, "rb");
    if (!in || !f || fread(in, 1, size, f) != size)
        die("cannot read", path);
    fclose(f);
    snprintf(r->at, sizeof r->at, "%s", path);
    r->n_inputs++;
    r->seed = (uint32_t)size + 1;
    printf("%s\n", path); /* the last line before a crash names the input */
    fflush(stdout);
    run_guarded(r, in, size);
    run_damaged(r, in, size);
    free(in);
}

static void run_path(replay *r, const char *path);

static void run_folder(replay *r, const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    if (n < 0)
        die("cannot list", path);
    for (int i = 0; i < n; i++) {
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            run_path(r, child);
        free(entries[i]);
    }
    free(entries);
}

static void run_path(replay *r, const char *path)
{
    struct stat st;
    if (stat(path, &st))
        die("cannot open", path);
    if (S_ISDIR(st.st_mode))
        run_folder(r, path);
    else
        run_file(r, path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    static replay r;
    int first = 1;
    if (argc > 2 && strcmp(argv[1], "-m") == 0) {
        r.n_damaged = strtol(argv[2], NULL, 10);
        first = 3;
    }
    for (int i = first; i < argc; i++)
        run_path(&r, argv[i]);
    printf("%zu inputs, %zu runs\n", r.n_inputs, r.n_runs);
    return r.n_inputs ? 0 : 1;
}
