/* A thread that mostly sleeps and should run at once when woken, beside others that compute. */
#ifndef QG_BASE_PROMPT_THREAD_H
#define QG_BASE_PROMPT_THREAD_H

/* Asks the system for slices of 0.7 ms for the calling thread, which needs no privilege: on two
 * processors that both compute, a woken thread with 0.3 ms to do is then done 0.1 ms late at the
 * 90th percentile instead of 2.7 (Linux 6.18); with shorter slices it is interrupted, with longer
 * ones it begins later.  Before 6.12 and elsewhere nothing happens. */
void qg_thread_prompt(void);

#endif
