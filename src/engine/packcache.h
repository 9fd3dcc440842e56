/* The cache of packed weights: what a start has made is mapped by the next one.
 *
 * One file for each model directory, number format and set of kernel rows, named after them; its
 * key says which state of the model's files and which build of qguard made it.  Part 0 is the
 * model's packed memory, part 1 the KV of the prefixes that all prompts share (warm.h).  Used while
 * the engine opens, by one thread. */
#ifndef QG_ENGINE_PACKCACHE_H
#define QG_ENGINE_PACKCACHE_H

#include "base/buf.h"
#include "fmt/modeldir.h"
#include "fmt/packfile.h"
#include "model/model.h"

typedef struct qg_packcache {
    char *dir, *name; /* NULL: no cache */
    qg_buf key;
    qg_packfile file;         /* empty unless it was there and fits */
    bool write;               /* make or replace the file once the model is open */
    const qg_modeldir *model; /* the files the key is about */
    qg_err note;              /* what did not work, or empty; never an error of opening */
} qg_packcache;

/* Looks in directory dir (NULL: no cache) for what fits model and opt, maps and checks it.
 * create: make a file where there is none; else only one that does not fit any more is replaced.
 * Files that are being changed or that changed a moment ago are not cached.  Fails only when out of
 * memory: everything else is a note. */
qg_status qg_packcache_open(qg_packcache *cache, const char *dir, bool create,
                            const qg_modeldir *model, const qg_model_options *opt, qg_pool *pool,
                            qg_err *err);
/* Writes packed and kv, if that is wanted and the model's files are still what they were. */
void qg_packcache_write(qg_packcache *cache, qg_slice packed, qg_slice kv, qg_pool *pool);
/* A zeroed one is fine.  The model that uses the file must be closed. */
void qg_packcache_close(qg_packcache *cache);

#endif
