/* What a thread does in a spin loop: tells the core that it waits. */
#ifndef QG_BASE_RELAX_H
#define QG_BASE_RELAX_H

static inline void qg_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
