/* The tile layer against the manual's words written out once more, and the processor's row against
 * the emulated one.  Where the processor has no tiles, each of the row's tile instructions traps
 * and is done here in software: the machine code that ships is what runs, its configuration block,
 * addresses, strides and the order of its stores included. */
#define _GNU_SOURCE
#include "kerncheck.h"

#include "base/cpu.h"
#include "base/status.h"
#include "kern/kern.h"
#include "kern/x86/amx_tile.h"

#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

/* ---- the emulation ---- */

/* Any bit pattern, but exponents mostly where sums mix; infinities, NaN and denormals now and then.
 */
static qg_bf16 any_bf16(rng *r)
{
    const uint32_t v = rng_next(r);
    if (v >> 28 == 0)
        return (qg_bf16)v;
    return (qg_bf16)((v & 0x807f) | (uint32_t)(120 + rng_below(r, 12)) << 7);
}

static float daz(float v)
{
    return fpclassify(v) == FP_SUBNORMAL ? copysignf(0, v) : v;
}

static void fill_tile(rng *r, qg_amx_soft *s, int t, bool bf16)
{
    for (int i = 0; i < s->config.rows[t]; i++)
        for (int j = 0; j < s->config.row_bytes[t]; j += 2) {
            const qg_bf16 v = bf16 ? any_bf16(r) : (qg_bf16)rng_next(r);
            memcpy(&s->tile[t][i][j], &v, sizeof v);
        }
}

/* c: m rows of n words, a: m rows of k words, b: k rows of n words. */
static void shape(qg_amx_soft *s, int m, int n, int k)
{
    const qg_amx_config c = {
        .palette = 1,
        .rows = {[1] = (uint8_t)m, [3] = (uint8_t)m, [6] = (uint8_t)k},
        .row_bytes = {[1] = (uint16_t)(n * 4), [3] = (uint16_t)(k * 4), [6] = (uint16_t)(n * 4)}};
    qg_amx_soft_config(s, &c);
}

static float bf16_of(const qg_amx_soft *s, int t, int row, int i)
{
    qg_bf16 v;
    memcpy(&v, &s->tile[t][row][i * 2], sizeof v);
    return daz(qg_bf16_to_f32(v));
}

static float expected_bf16(const qg_amx_soft *s, int m, int n, int n_pairs)
{
    float c, even = 0, odd = 0;
    memcpy(&c, &s->tile[1][m][n * 4], sizeof c);
    for (int k = 0; k < n_pairs; k++) {
        even = daz(fmaf(bf16_of(s, 3, m, 2 * k), bf16_of(s, 6, k, 2 * n), even));
        odd = daz(fmaf(bf16_of(s, 3, m, 2 * k + 1), bf16_of(s, 6, k, 2 * n + 1), odd));
    }
    return daz(daz(c) + daz(even + odd));
}

static void dpbf16ps_is_as_documented(void **state)
{
    (void)state;
    rng r = {11};
    for (int i = 0; i < 400; i++) {
        const int m = 1 + rng_below(&r, 16), n = 1 + rng_below(&r, 16), k = 1 + rng_below(&r, 16);
        qg_amx_soft s, before;
        shape(&s, m, n, k);
        fill_tile(&r, &s, 1, true);
        fill_tile(&r, &s, 3, true);
        fill_tile(&r, &s, 6, true);
        before = s;
        qg_amx_soft_dpbf16ps(&s, 1, 3, 6);
        for (int y = 0; y < m; y++)
            for (int x = 0; x < n; x++) {
                const float want = expected_bf16(&before, y, x, k);
                float got;
                memcpy(&got, &s.tile[1][y][x * 4], sizeof got);
                assert_bits(&got, &want, 1, "dpbf16ps");
            }
        memcpy(before.tile[1], s.tile[1], sizeof s.tile[1]);
        assert_memory_equal(&s, &before, sizeof s);
    }
}

static void dpb_is_as_documented(void **state)
{
    (void)state;
    rng r = {12};
    for (int i = 0; i < 400; i++) {
        const int m = 1 + rng_below(&r, 16), n = 1 + rng_below(&r, 16), k = 1 + rng_below(&r, 16);
        const bool is_signed = i % 2;
        qg_amx_soft s, before;
        shape(&s, m, n, k);
        fill_tile(&r, &s, 1, false);
        fill_tile(&r, &s, 3, false);
        fill_tile(&r, &s, 6, false);
        before = s;
        (is_signed ? qg_amx_soft_dpbssd : qg_amx_soft_dpbsud)(&s, 1, 3, 6);
        for (int y = 0; y < m; y++)
            for (int x = 0; x < n; x++) {
                int32_t c, got;
                memcpy(&c, &before.tile[1][y][x * 4], sizeof c);
                memcpy(&got, &s.tile[1][y][x * 4], sizeof got);
                int64_t want = c;
                for (int j = 0; j < 4 * k; j++) {
                    const uint8_t b = s.tile[6][j / 4][4 * x + j % 4];
                    want += (int8_t)s.tile[3][y][j] * (is_signed ? (int8_t)b : b);
                }
                assert_int_equal((uint32_t)got, (uint32_t)want);
            }
    }
}

/* Only the configured rows and bytes of memory are touched; the rest of a tile becomes zero. */
static void loads_and_stores_stay_inside(void **state)
{
    (void)state;
    rng r = {13};
    for (int i = 0; i < 200; i++) {
        const int rows = 1 + rng_below(&r, 16), words = 1 + rng_below(&r, 16);
        const size_t row_bytes = (size_t)words * 4, stride = row_bytes + (size_t)rng_below(&r, 70);
        const size_t bytes = (size_t)(rows - 1) * stride + row_bytes;
        uint8_t *from = guard_alloc(bytes), *to = guard_alloc(bytes);
        qg_amx_soft s;
        shape(&s, rows, words, 1);
        memset(s.tile[1], 0xee, sizeof s.tile[1]);
        for (size_t j = 0; j < bytes; j++)
            from[j] = (uint8_t)rng_next(&r);
        memset(to, 0x55, bytes);
        qg_amx_soft_load(&s, 1, from, stride);
        for (int y = 0; y < 16; y++)
            for (size_t x = 0; x < 64; x++)
                assert_int_equal(s.tile[1][y][x],
                                 y < rows && x < row_bytes ? from[(size_t)y * stride + x] : 0);
        qg_amx_soft_store(&s, 1, to, stride);
        for (size_t j = 0; j < bytes; j++)
            assert_int_equal(to[j], j % stride < row_bytes ? from[j] : 0x55);
        guard_free(from, bytes);
        guard_free(to, bytes);
    }
}

static bool all_are(const uint8_t *p, size_t n, uint8_t v)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != v)
            return false;
    return true;
}

/* What a processor refuses shows in the result. */
static void wrong_use_shows(void **state)
{
    (void)state;
    static const qg_amx_config bad[] = {
        {.palette = 0, .rows = {1}, .row_bytes = {4}},
        {.palette = 2, .rows = {1}, .row_bytes = {4}},
        {.palette = 1, .rows = {17}, .row_bytes = {4}},
        {.palette = 1, .rows = {1}, .row_bytes = {68}},
        {.palette = 1, .rows = {1}, .row_bytes = {0}},
        {.palette = 1, .rows = {[0] = 1, [8] = 1}, .row_bytes = {[0] = 4, [8] = 4}},
        {.palette = 1, .zero = {[13] = 1}, .rows = {1}, .row_bytes = {4}},
    };
    qg_amx_soft s;
    for (size_t i = 0; i < QG_COUNT(bad); i++) {
        qg_amx_soft_config(&s, &bad[i]);
        qg_amx_soft_zero(&s, 0);
        assert_true(all_are(s.tile[0][0], sizeof s.tile[0], QG_AMX_FAULT));
    }
    static const int operands[][3] = {{1, 1, 6}, {1, 3, 3}, {1, 6, 3}, {1, 3, 2}, {1, 2, 6}};
    for (size_t i = 0; i < QG_COUNT(operands); i++) {
        shape(&s, 5, 7, 9);
        qg_amx_soft_dpbf16ps(&s, operands[i][0], operands[i][1], operands[i][2]);
        assert_true(all_are(s.tile[1][0], sizeof s.tile[1], QG_AMX_FAULT));
    }
    shape(&s, 5, 7, 9);
    qg_amx_soft_release(&s);
    qg_amx_soft_zero(&s, 1);
    assert_true(all_are(s.tile[1][0], sizeof s.tile[1], QG_AMX_FAULT));
}

/* ---- tile instructions that trap ---- */

static qg_amx_soft trapped; /* one thread */
static int64_t n_trapped;

static uint64_t reg(const ucontext_t *u, unsigned number)
{
    static const int at[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                               REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                               REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)u->uc_mcontext.gregs[at[number]];
}

/* The parts of an instruction with a three-byte VEX prefix in opcode map 0F38. */
typedef struct insn {
    const uint8_t *modrm;
    unsigned opcode, prefix, vvvv, mod, r, rm, base_high, index_high;
    uint64_t address, stride; /* of a memory operand; stride: the index register */
    size_t length;
} insn;

enum { NP, P66, PF3, PF2 };

static void decode_memory(insn *i, const ucontext_t *u)
{
    const uint8_t *at = i->modrm + 1;
    unsigned base = i->rm;
    bool has_base = true;
    if (i->rm == 4) {
        const unsigned sib = *at++, index = (sib >> 3 & 7) | i->index_high;
        base = sib & 7;
        has_base = i->mod || base != 5;
        i->stride = index == 4 ? 0 : reg(u, index) << (sib >> 6);
    } else {
        has_base = i->mod || base != 5; /* 5: relative to the next instruction */
    }
    int32_t offset = 0;
    if (i->mod == 1) {
        offset = (int8_t)*at++;
    } else if (i->mod == 2 || !has_base) {
        memcpy(&offset, at, 4);
        at += 4;
    }
    i->length += (size_t)(at - i->modrm - 1);
    if (has_base)
        i->address = reg(u, base | i->base_high);
    else if (i->rm == 5)
        i->address = (uint64_t)u->uc_mcontext.gregs[REG_RIP] + i->length;
    i->address += (uint64_t)(int64_t)offset;
}

static bool decode(insn *i, const ucontext_t *u)
{
    const uint8_t *p = (const uint8_t *)(uintptr_t)u->uc_mcontext.gregs[REG_RIP];
    if (p[0] != 0xc4 || (p[1] & 0x1f) != 2 || (p[2] & 0x84)) /* map 0F38, W0, 128 bits */
        return false;
    *i = (insn){.modrm = p + 4,
                .opcode = p[3],
                .prefix = p[2] & 3,
                .vvvv = ~(unsigned)p[2] >> 3 & 15,
                .mod = p[4] >> 6,
                .r = p[4] >> 3 & 7,
                .rm = p[4] & 7,
                .base_high = p[1] & 0x20 ? 0 : 8,
                .index_high = p[1] & 0x40 ? 0 : 8,
                .length = 5};
    if (i->mod != 3)
        decode_memory(i, u);
    return true;
}

static bool in_memory(const insn *i)
{
    void *at = (void *)(uintptr_t)i->address;
    const size_t stride = (size_t)i->stride;
    if (i->opcode == 0x49 && i->prefix == NP && i->r == 0) {
        qg_amx_config c;
        memcpy(&c, at, sizeof c);
        qg_amx_soft_config(&trapped, &c);
    } else if (i->opcode == 0x4b && i->prefix == PF2) {
        qg_amx_soft_load(&trapped, (int)i->r, at, stride);
    } else if (i->opcode == 0x4b && i->prefix == PF3) {
        qg_amx_soft_store(&trapped, (int)i->r, at, stride);
    } else {
        return false;
    }
    return true;
}

static bool in_registers(const insn *i)
{
    const int c = (int)i->r, a = (int)i->rm, b = (int)i->vvvv;
    if (i->opcode == 0x49 && i->prefix == NP && i->modrm[0] == 0xc0)
        qg_amx_soft_release(&trapped);
    else if (i->opcode == 0x49 && i->prefix == PF2)
        qg_amx_soft_zero(&trapped, c);
    else if (i->opcode == 0x5c && i->prefix == PF3 && b < QG_AMX_TILES)
        qg_amx_soft_dpbf16ps(&trapped, c, a, b);
    else if (i->opcode == 0x5e && i->prefix == PF2 && b < QG_AMX_TILES)
        qg_amx_soft_dpbssd(&trapped, c, a, b);
    else if (i->opcode == 0x5e && i->prefix == PF3 && b < QG_AMX_TILES)
        qg_amx_soft_dpbsud(&trapped, c, a, b);
    else
        return false;
    return true;
}

static void on_illegal(int number, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    insn i;
    (void)info;
    if (!decode(&i, u) || !(i.mod == 3 ? in_registers(&i) : in_memory(&i))) {
        signal(number, SIG_DFL); /* not a tile instruction: again, and die of it */
        return;
    }
    n_trapped++;
    u->uc_mcontext.gregs[REG_RIP] += (greg_t)i.length;
}

/* ---- the processor's row ---- */

static const struct {
    int64_t m, n, k;
} shapes[] = {
    {1, 1, 1},     {1, 64, 64},   {2, 31, 33},   {15, 65, 100}, {16, 128, 31}, {17, 97, 64},
    {31, 33, 257}, {32, 96, 128}, {33, 130, 96}, {48, 40, 65},  {129, 70, 40}, {65, 200, 4500},
};

/* Weights as the row packs them: bf16, or float for I8.  Random x and w; y in canaries. */
static void run_row(const qg_gemm *g, float *y, int64_t ldy, int64_t m, int64_t n, int64_t k)
{
    rng r = {(uint64_t)(m * 1000003 + n * 1009 + k)};
    const size_t w_bytes = (size_t)(n * k) * 4, x_bytes = (size_t)(m * k) * 4;
    const size_t wp_bytes = g->packed_bytes(n, k), xp_bytes = g->x_bytes(k) * (size_t)m;
    const int64_t panels = (n + g->nr - 1) / g->nr;
    float *w = guard_alloc(w_bytes), *x = guard_alloc(x_bytes);
    uint8_t *wp = guard_alloc(wp_bytes), *xp = guard_alloc(xp_bytes);
    rng_fill(&r, w, (size_t)(n * k));
    rng_fill(&r, x, (size_t)(m * k));
    for (int64_t i = 0; g->format == QG_W_BF16 && i < n * k; i++)
        ((qg_bf16 *)(void *)w)[i] = qg_f32_to_bf16(w[i]);
    for (int64_t i = 0; i < m * ldy; i++)
        y[i] = i % ldy < n ? NAN : CANARY;
    g->pack(wp, w, n, k, 0, panels);
    g->prep(xp, x, k, m, k, 0, k);
    g->run(y, ldy, xp, wp, m, n, k, 0, panels / 2);
    g->run(y, ldy, xp, wp, m, n, k, panels / 2, panels);
    guard_free(w, w_bytes);
    guard_free(x, x_bytes);
    guard_free(wp, wp_bytes);
    guard_free(xp, xp_bytes);
}

static void compare_rows(const qg_gemm *real, const qg_gemm *soft)
{
    for (size_t i = 0; i < QG_COUNT(shapes); i++) {
        const int64_t m = shapes[i].m, n = shapes[i].n, k = shapes[i].k, ldy = n + 3;
        const size_t bytes = (size_t)(m * ldy) * sizeof(float);
        float *got = guard_alloc(bytes), *want = guard_alloc(bytes);
        char what[120];
        snprintf(what, sizeof what, "%s m=%d n=%d k=%d", real->name, (int)m, (int)n, (int)k);
        run_row(real, got, ldy, m, n, k);
        run_row(soft, want, ldy, m, n, k);
        if (n_trapped || real->format == QG_W_I8)
            assert_bits(got, want, (size_t)(m * ldy), what);
        else if (memcmp(got, want, bytes) != 0)
            printf("%s: the processor's bits are not the manual's\n", what);
        guard_free(got, bytes);
        guard_free(want, bytes);
    }
}

/* "bf16_amx_emulated" is the emulation of "bf16_amx". */
static const qg_gemm *real_row(const qg_gemm *soft)
{
    const qg_gemm *const *g = qg_gemm_rows();
    const size_t n = strlen(soft->name) - strlen("_emulated");
    while (*g && (strlen((*g)->name) != n || memcmp((*g)->name, soft->name, n) != 0))
        g++;
    return *g;
}

static void machine_code_does_what_the_emulation_does(void **state)
{
    const qg_gemm *soft = *state, *real = real_row(soft);
    const uint32_t amx = QG_CPU_AMX_BF16 | QG_CPU_AMX_INT8, has = qg_cpu_detect();
    const struct sigaction trap = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
    struct sigaction before;
    assert_non_null(real);
    need_features(real->name, real->need & ~amx);
    n_trapped = 0;
    assert_int_equal(sigaction(SIGILL, &trap, &before), 0);
    compare_rows(real, soft);
    if (soft->format == QG_W_I8) /* integer sums are exact: all rows of the format agree */
        compare_rows(real, qg_gemm_pick(QG_W_I8, 0));
    assert_int_equal(sigaction(SIGILL, &before, NULL), 0);
    printf("%s: %s\n", real->name,
           has & amx ? "on the processor's tiles" : "NO AMX HERE: tile instructions trapped");
    assert_true((has & amx) != 0 || n_trapped > 0);
}

int main(void)
{
    enum { MAX_TESTS = 16 };
    struct CMUnitTest tests[MAX_TESTS] = {
        cmocka_unit_test(dpbf16ps_is_as_documented),
        cmocka_unit_test(dpb_is_as_documented),
        cmocka_unit_test(loads_and_stores_stay_inside),
        cmocka_unit_test(wrong_use_shows),
    };
    size_t n = 4;
    for (const qg_gemm *const *g = qg_gemm_emulated_rows(); *g && n < MAX_TESTS; g++)
        tests[n++] = (struct CMUnitTest){.name = (*g)->name,
                                         .test_func = machine_code_does_what_the_emulation_does,
                                         .initial_state = (void *)(uintptr_t)*g};
    return _cmocka_run_group_tests("amx", tests, n, NULL, NULL);
}
