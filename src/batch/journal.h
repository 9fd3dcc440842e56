/* What a run has done so far, so that another can go on after a kill at any moment: a small file
 * beside the output.  Its head says which run it is, two slots of one disk sector each hold the
 * last checkpoints; they are written in turn, so that a torn write leaves the other.
 *
 * The order is the promise: first output and side file reach the disk, then the slot that counts
 * them.  Whatever lies behind what the slot says is cut off by the run that goes on. */
#ifndef QG_BATCH_JOURNAL_H
#define QG_BATCH_JOURNAL_H

#include "batch/source.h"
#include "text/json.h"

#include <stdint.h>

/* How rows ended. */
typedef struct qg_counts {
    int64_t lines;       /* of this shard, blank ones not counted */
    int64_t judged;      /* rows with their verdict */
    int64_t kept;        /* of those, written to the output */
    int64_t failed;      /* rows in the side file */
    int64_t severity[3]; /* of judged rows, by qg_severity */
    int64_t hits;        /* of judged rows, by the policy */
} qg_counts;

typedef struct qg_checkpoint {
    qg_place in;         /* the last line that is done */
    uint64_t out, wrong; /* bytes of output and side file */
    qg_counts counts;
    bool done; /* all of the input is */
} qg_checkpoint;

typedef struct qg_journal qg_journal;

/* Begins a journal (one that is there is replaced).  identity: what the output depends on, as a
 * JSON object of at most QG_MAX_IDENTITY bytes.  QG_ERR_BUSY: another process writes there. */
qg_status qg_journal_begin(qg_journal **out, const char *path, const char *identity, qg_err *err);
/* Opens one that is there and reads its last checkpoint.  QG_ERR_ARG: its run was another one; the
 * sentence names what differs.  QG_ERR_BUSY; QG_ERR_FORMAT: not a journal. */
qg_status qg_journal_resume(qg_journal **out, const char *path, const char *identity,
                            qg_checkpoint *last, qg_err *err);
/* The checkpoint is on the disk when this returns. */
qg_status qg_journal_write(qg_journal *j, const qg_checkpoint *c, qg_err *err);
/* Closes it and removes the file when remove is true.  NULL is fine. */
void qg_journal_close(qg_journal *j, bool remove);

/* QG_ERR_ARG when a member of now, an identity, is not the same in then: the sentence names the
 * first one, and path. */
qg_status qg_identity_same(const char *path, const json_t *then, const json_t *now, qg_err *err);

/* Makes the directory entry of a file that was just made or renamed durable. */
void qg_sync_folder_of(const char *path);

#endif
