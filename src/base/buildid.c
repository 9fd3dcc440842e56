#define _GNU_SOURCE /* dl_iterate_phdr */
#include "base/buildid.h"

#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct search {
    uintptr_t code; /* an address in the object that is meant */
    char *out;
    size_t n;
} search;

static bool holds(const struct dl_phdr_info *info, uintptr_t code)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + h->p_vaddr;
        if (h->p_type == PT_LOAD && code >= from && code - from < h->p_memsz)
            return true;
    }
    return false;
}

/* Notes stand one behind the other: sizes, name, description, each padded to 4 bytes. */
static void read_notes(const search *s, const uint8_t *at, size_t n)
{
    ElfW(Nhdr) note;
    while (n >= sizeof note) {
        memcpy(&note, at, sizeof note);
        size_t name = ((size_t)note.n_namesz + 3) & ~(size_t)3;
        size_t desc = ((size_t)note.n_descsz + 3) & ~(size_t)3;
        if (name > n - sizeof note || desc > n - sizeof note - name)
            return;
        const uint8_t *id = at + sizeof note + name;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            memcmp(at + sizeof note, "GNU", 4) == 0 && 2 * (size_t)note.n_descsz < s->n)
            for (size_t i = 0; i < note.n_descsz; i++)
                snprintf(s->out + 2 * i, 3, "%02x", id[i]);
        at = id + desc;
        n -= sizeof note + name + desc;
    }
}

static int visit(struct dl_phdr_info *info, size_t size, void *arg)
{
    const search *s = arg;
    (void)size;
    if (!holds(info, s->code))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_NOTE)
            read_notes(s, (const uint8_t *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr),
                       info->dlpi_phdr[i].p_memsz);
    return 1;
}

bool qg_build_id(char *out, size_t n)
{
    search s = {.code = (uintptr_t)&qg_build_id, .out = out, .n = n};
    if (!n)
        return false;
    out[0] = 0;
    dl_iterate_phdr(visit, &s);
    return out[0] != 0;
}
