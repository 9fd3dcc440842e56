/* Detection on 64-bit Arm: the kernel's HWCAP words. */
#include "base/cpu.h"

#include <sys/auxv.h>

/* Kernel ABI numbers (asm/hwcap.h); written out so that old headers do. */
enum { CAP_ASIMD = 1u << 1, CAP_ASIMDDP = 1u << 20, CAP2_I8MM = 1u << 13, CAP2_BF16 = 1u << 14 };

uint32_t qg_cpu_detect(void)
{
    const unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
    uint32_t f = 0;

    if (!(cap & CAP_ASIMD))
        return 0;
    f |= QG_CPU_NEON;
    if (cap & CAP_ASIMDDP)
        f |= QG_CPU_ARM_DOTPROD;
    if (cap2 & CAP2_I8MM)
        f |= QG_CPU_ARM_I8MM;
    if (cap2 & CAP2_BF16)
        f |= QG_CPU_ARM_BF16;
    return f;
}
