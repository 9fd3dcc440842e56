/* Files of a page that is built into the binary (tools/embed). */
#ifndef QG_SVC_PAGE_H
#define QG_SVC_PAGE_H

#include "http/http.h"

/* Answers req with the file [begin, end) of media type `type`, and with headers that let the page
 * take nothing from elsewhere and run nothing but its own script.  False: out of memory, and req is
 * still to be answered.  On the server's thread. */
bool qg_page_reply(qg_http_req *req, const char *type, const char *begin, const char *end);

#endif
