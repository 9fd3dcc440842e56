/* The built-in demonstration models, as files in memory. */
#ifndef QG_ENGINE_DEMO_H
#define QG_ENGINE_DEMO_H

#include "fmt/modeldir.h"

#define QG_DEMO_GEN    "qguard-demo"
#define QG_DEMO_STREAM "qguard-demo-stream"

enum { QG_DEMO_FILES = 7 };

typedef struct qg_demo {
    const char *name;
    qg_file files[QG_DEMO_FILES]; /* [n]; of the binary, never freed */
    size_t n;
} qg_demo;

/* The model of this name, NULL being QG_DEMO_GEN's.  false: none has it, demo is empty. */
bool qg_demo_find(qg_demo *demo, const char *model);

#endif
