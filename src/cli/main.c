#include "qguard.h"
#include "version.h"

#include <stdio.h>

int main(void)
{
    printf("qguard %s (%s)\n", QG_VERSION, QG_COMMIT);
    return 0;
}
