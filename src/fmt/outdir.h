/* A directory that a command fills. */
#ifndef QG_FMT_OUTDIR_H
#define QG_FMT_OUTDIR_H

#include "base/slice.h"
#include "base/status.h"

/* Makes it; one that is there must be empty.  QG_ERR_ARG: it holds something; QG_ERR_IO. */
qg_status qg_outdir_make(const char *path, qg_err *err);
/* Writes path/name: under another name until it is whole and on the disk.  QG_ERR_IO, QG_ERR_NOMEM.
 */
qg_status qg_outdir_write(const char *path, const char *name, qg_slice bytes, qg_err *err);

#endif
