/* Errors: a code for programs (qg_status, from the public header), a sentence for people (qg_err).
 * Library code returns them; it never prints and never exits. */
#ifndef QG_BASE_STATUS_H
#define QG_BASE_STATUS_H

#include "qguard.h"

/* Fills err (when not NULL) with one formatted sentence and returns rc.  A sentence longer than
 * the buffer is cut at its end.  Safe from any thread; err belongs to the caller. */
qg_status qg_fail(qg_err *err, qg_status rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the sentence in err and returns rc, so that each level can add what it
 * knows (file, tensor, line).  Does nothing to err when err is NULL. */
qg_status qg_fail_prefix(qg_err *err, qg_status rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns from the calling function when call does not give QG_OK. */
#define QG_TRY(call)                                                                               \
    do {                                                                                           \
        qg_status rc_ = (call);                                                                    \
        if (rc_ != QG_OK)                                                                          \
            return rc_;                                                                            \
    } while (0)

#define QG_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
