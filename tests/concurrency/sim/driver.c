/* SPDX-License-Identifier: MIT
 *
 * driver: run the threads of the library as fibers of one OS thread and choose every interleaving.
 *
 * PICTURE    seam (load, store, cas, lock, event, point) -> base_sim_yield -> picker -> next fiber
 *            driver (base_sim_run) -> fiber 0 = scenario -> spawned fibers, threads of the library
 * PICKERS    Chosen by the seed: uniform, pct, few, named, burst (README.md in this folder).
 * STORES     In half of the runs relaxed and release stores wait in a FIFO buffer of the fiber,
 *            visible to that fiber only. They reach memory at random steps, or at the fiber's next
 *            read-modify-write, seq_cst store, fence or system call: the reordering of x86.
 * WAITS      A futex as in the kernel, with spurious wake-ups in half of the runs. A forgotten
 *            wake-up is therefore a deadlock.
 * TIME       Virtual: 20 ns per step. If no fiber can run, time moves to the next deadline.
 * INVARIANTS `ready` bit i == fiber i can run. At most one fiber runs. A waiting fiber has no
 *            unsettled store. A run follows from (scenario, seed, mutant) alone.
 * RESULT     Failures: deadlock (no fiber can run, no deadline), livelock (more than max_steps),
 *            a fiber alive after the scenario. Each prints the position of every fiber.
 * LIMITS     32 fibers with 256 KiB stacks and a guard page; 64 waiting stores per fiber. Fork is
 *            not simulated. Weaker memory than x86 (ARM) is not shown. An access that bypasses
 *            base/atomic.h and base/seqlock.h does not see the store buffer.
 * SOURCE     Burckhardt et al. 2010 (PCT); FoundationDB and TigerBeetle for the idea. Own code.
 * SEE ALSO   README.md in this folder: pickers, start times, replay, sources. */
#include "tests/concurrency/sim/driver.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "base/num.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define BASE_SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BASE_SIM_ASAN 1
#endif
#endif
#ifndef BASE_SIM_ASAN
#define BASE_SIM_ASAN 0
#endif
#if BASE_SIM_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#define BASE_SIM_STACK ((size_t)256 << 10)
#define BASE_SIM_STORES 64
#define BASE_SIM_KEPT 65536 /* switches remembered for --shrink */

typedef enum base_sim_state {
    BASE_SIM_FREE,
    BASE_SIM_READY,
    BASE_SIM_WAITING, /* on `word`, or asleep when word is NULL */
    BASE_SIM_JOINING, /* until fiber `joins` has ended; its own number: all spawned fibers */
    BASE_SIM_DONE     /* ended, not yet joined */
} base_sim_state;

typedef struct base_sim_store_entry {
    volatile void *p;
    uint64_t value;
    size_t size;
} base_sim_store_entry;

typedef struct base_sim_fiber {
    base_sim_state state;
    const char *name;       /* static text */
    const char *at;         /* last named point */
    const volatile void *word; /* WAITING: the futex */
    uint64_t deadline_ns;   /* WAITING: UINT64_MAX: none */
    uint32_t joins;         /* JOINING */
    bool timed_out, is_thread;
    int64_t priority;       /* pct: the highest ready one runs */
    uint64_t hold_in;       /* own steps until the fiber is held; 0: never */
    base_rng rng;           /* choices of the scenario */
    void (*fn)(void *);
    void *arg;
    base_thread *thread;    /* of the library, or NULL */
    size_t store_first, store_count; /* ring of waiting stores */
    base_sim_store_entry store[BASE_SIM_STORES];
    base_thread_record self;
    unsigned char *stack;   /* mapped once, kept for all runs; the guard page is below it */
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
    void *fake_stack;       /* AddressSanitizer's */
} base_sim_fiber;

static struct base_sim_driver {
    base_sim_fiber fiber[BASE_SIM_FIBERS];
    base_sim_fiber home;     /* the driver's own context; only the switch fields are used */
    base_sim_fiber *current; /* NULL: no run */
    uint32_t ready;          /* bit i: fiber i can run */
    uint32_t buffered;       /* bit i: fiber i has waiting stores */
    uint32_t held;           /* bit i: fiber i does not run while another one can */
    uint32_t timed;          /* bit i: fiber i waits with a deadline */
    uint32_t fiber_count;    /* high-water mark of this run */
    const base_sim_options *options;
    base_sim_result *result;
    bool no_rescue; /* base_sim_no_rescue */
    uint64_t step, max_steps, env_seed, now_ns, first_ms, digest;
    uint64_t next_deadline_ns; /* smallest deadline of the timed fibers */
    base_rng pick_rng, random_rng;
    base_sim_picker picker;
    bool stores_wait, spurious;
    bool calm;               /* the current fiber runs alone */
    unsigned burst_shift;    /* burst: a switch with probability 2^-shift per step */
    unsigned drain_shift;    /* a waiting store drains with probability 2^-shift per step */
    uint64_t change_step[3]; /* pct, few: steps of a new priority or a preemption; ascending */
    unsigned change_count, change_next;
    int64_t lowest;          /* pct: below every priority in use */
    size_t replay_next, switch_kept;
    uint64_t switch_count, mutant_hits;
    base_sim_switch switches[BASE_SIM_KEPT];
} base_sim;

/* ---- switching stacks ---- */

#if defined(__x86_64__)
void base_sim_swap_stacks(void **save_sp, void *load_sp) __attribute__((visibility("hidden")));
__asm__(".text\n"
        ".hidden base_sim_swap_stacks\n"
        ".globl base_sim_swap_stacks\n"
        ".type base_sim_swap_stacks, @function\n"
        "base_sim_swap_stacks:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size base_sim_swap_stacks, .-base_sim_swap_stacks\n");
#endif

static void base_sim_fiber_main(void);

static void base_sim_stack_make(base_sim_fiber *f)
{
    if (f->stack == NULL) {
        unsigned char *p = mmap(NULL, BASE_SIM_STACK + BASE_PAGE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect(p, BASE_PAGE, PROT_NONE) != 0) {
            fprintf(stderr, "sim: no memory for a stack\n");
            abort();
        }
        f->stack = p + BASE_PAGE;
    }
#if defined(__x86_64__)
    void **top = (void **)(void *)(f->stack + BASE_SIM_STACK);
    *--top = NULL; /* in place of a return address: aligns the stack as after a call */
    void (*entry)(void) = base_sim_fiber_main;
    memcpy(--top, &entry, sizeof entry);
    for (int i = 0; i < 6; i++) { *--top = NULL; }
    f->sp = top;
#else
    if (getcontext(&f->context) != 0) { abort(); }
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = BASE_SIM_STACK;
    f->context.uc_link = NULL;
    makecontext(&f->context, base_sim_fiber_main, 0);
#endif
}

#if BASE_SIM_ASAN
/* Stack of the driver, as the sanitizer reports it to the first fiber. */
static const void *base_sim_home_bottom;
static size_t base_sim_home_size;
#endif

/* Switch from one fiber to another. `last`: `from` never runs again. */
static void base_sim_jump(base_sim_fiber *from, base_sim_fiber *to, bool last)
{
    base_sim.current = to == &base_sim.home ? NULL : to;
#if BASE_SIM_ASAN
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack,
                                   to == &base_sim.home ? base_sim_home_bottom : to->stack,
                                   to == &base_sim.home ? base_sim_home_size : BASE_SIM_STACK);
#endif
    (void)last;
#if defined(__x86_64__)
    base_sim_swap_stacks(&from->sp, to->sp);
#else
    (void)swapcontext(&from->context, &to->context);
#endif
#if BASE_SIM_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(from->fake_stack, &bottom, &size);
#endif
}

/* ---- random decisions that depend on the step only ---- */

static uint64_t base_sim_env(uint64_t salt)
{
    return base_mix64(base_sim.env_seed ^ base_mix64(base_sim.step * 8 + salt));
}

static void base_sim_digest(uint64_t v)
{
    base_sim.digest = (base_sim.digest ^ v) * UINT64_C(0x100000001b3);
}

static uint32_t base_sim_bit(const base_sim_fiber *f)
{
    return (uint32_t)1 << (f - base_sim.fiber);
}

static uint32_t base_sim_index(const base_sim_fiber *f) { return (uint32_t)(f - base_sim.fiber); }

/* Return the position of the n-th set bit of `mask`; n < number of set bits. */
static uint32_t base_sim_nth_bit(uint32_t mask, uint64_t n)
{
    while (n-- > 0) { mask &= mask - 1; }
    return (uint32_t)__builtin_ctz(mask);
}

static uint32_t base_sim_any(uint32_t mask)
{
    uint64_t n = (uint64_t)__builtin_popcount(mask);
    return base_sim_nth_bit(mask, n == 1 ? 0 : base_rng_below(&base_sim.pick_rng, n));
}

/* ---- memory ---- */

static uint64_t base_sim_read(const volatile void *p, size_t size)
{
    switch (size) {
    case 1: return __atomic_load_n((const volatile uint8_t *)p, __ATOMIC_SEQ_CST);
    case 2: return __atomic_load_n((const volatile uint16_t *)p, __ATOMIC_SEQ_CST);
    case 4: return __atomic_load_n((const volatile uint32_t *)p, __ATOMIC_SEQ_CST);
    default: return __atomic_load_n((const volatile uint64_t *)p, __ATOMIC_SEQ_CST);
    }
}

static void base_sim_write(volatile void *p, size_t size, uint64_t v)
{
    switch (size) {
    case 1: __atomic_store_n((volatile uint8_t *)p, (uint8_t)v, __ATOMIC_SEQ_CST); break;
    case 2: __atomic_store_n((volatile uint16_t *)p, (uint16_t)v, __ATOMIC_SEQ_CST); break;
    case 4: __atomic_store_n((volatile uint32_t *)p, (uint32_t)v, __ATOMIC_SEQ_CST); break;
    default: __atomic_store_n((volatile uint64_t *)p, v, __ATOMIC_SEQ_CST); break;
    }
}

static void base_sim_drain(base_sim_fiber *f, size_t n)
{
    for (; n > 0 && f->store_count > 0; n--) {
        const base_sim_store_entry *e = &f->store[f->store_first];
        base_sim_write(e->p, e->size, e->value);
        f->store_first = (f->store_first + 1) % BASE_SIM_STORES;
        f->store_count--;
    }
    if (f->store_count == 0) { base_sim.buffered &= ~base_sim_bit(f); }
}

CELLAR_PRIVATE void base_sim_settle(void)
{
    if (base_sim.current != NULL) { base_sim_drain(base_sim.current, BASE_SIM_STORES); }
}

CELLAR_PRIVATE void base_sim_settle_all(void)
{
    for (uint32_t i = 0; i < base_sim.fiber_count; i++) {
        base_sim_drain(&base_sim.fiber[i], BASE_SIM_STORES);
    }
}

/* Return the newest waiting store of `f` that covers exactly [p, p + size). *mixed: a store
 * overlaps the range in part. */
static const base_sim_store_entry *base_sim_forward(const base_sim_fiber *f,
                                                    const volatile void *p, size_t size,
                                                    bool *mixed)
{
    uintptr_t a = (uintptr_t)p;
    *mixed = false;
    for (size_t i = f->store_count; i-- > 0;) {
        const base_sim_store_entry *e = &f->store[(f->store_first + i) % BASE_SIM_STORES];
        uintptr_t b = (uintptr_t)e->p;
        if (a >= b + e->size || b >= a + size) { continue; }
        if (a == b && size == e->size) { return e; }
        *mixed = true;
        return NULL;
    }
    return NULL;
}

/* ---- ending a run ---- */

CELLAR_PRIVATE const char *base_sim_where(char *out, size_t cap)
{
    static const char *const state[] = { "free", "ready", "waiting", "joining", "done" };
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < base_sim.fiber_count && at + 1 < cap; i++) {
        const base_sim_fiber *f = &base_sim.fiber[i];
        if (f->state == BASE_SIM_FREE) { continue; }
        int n = snprintf(out + at, cap - at, "  %s %-10s %-8s at %s\n",
                         f == base_sim.current ? "->" : "  ", f->name, state[f->state], f->at);
        if (n < 0 || (size_t)n >= cap - at) { break; }
        at += (size_t)n;
    }
    return out;
}

CELLAR_PRIVATE void base_sim_fail(const char *format, ...)
{
    va_list args;
    if (base_sim.current == NULL) {
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
        abort();
    }
    base_sim_result *r = base_sim.result;
    va_start(args, format);
    int n = vsnprintf(r->text, sizeof r->text / 2, format, args);
    va_end(args);
    size_t at = n < 0 ? 0 : BASE_MIN((size_t)n, sizeof r->text / 2 - 1);
    n = snprintf(r->text + at, sizeof r->text - at, "\n");
    at += n > 0 ? (size_t)n : 0;
    (void)base_sim_where(r->text + at, sizeof r->text - at);
    r->failed = true;
    base_sim_jump(base_sim.current, &base_sim.home, true);
    abort(); /* a failed run never continues */
}

CELLAR_PRIVATE void base_sim_note(const char *format, ...)
{
    if (base_sim.current == NULL || !base_sim.options->trace) { return; }
    va_list args;
    printf("%8llu %-10s ", (unsigned long long)base_sim.step, base_sim.current->name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* ---- time ---- */

static void base_sim_ready(base_sim_fiber *f)
{
    uint32_t bit = base_sim_bit(f);
    f->state = BASE_SIM_READY;
    f->word = NULL;
    base_sim.ready |= bit;
    base_sim.timed &= ~bit;
}

static void base_sim_deadlines(void)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t m = base_sim.timed; m != 0; m &= m - 1) {
        base_sim_fiber *f = &base_sim.fiber[__builtin_ctz(m)];
        if (f->deadline_ns <= base_sim.now_ns) {
            f->timed_out = true;
            base_sim_ready(f);
        } else {
            next = BASE_MIN(next, f->deadline_ns);
        }
    }
    base_sim.next_deadline_ns = next;
}

static void base_sim_time_to(uint64_t ns)
{
    base_sim.now_ns = BASE_MAX(base_sim.now_ns, ns);
    if (base_sim.now_ns >= base_sim.next_deadline_ns) { base_sim_deadlines(); }
}

CELLAR_PRIVATE uint64_t base_sim_now_ns(void) { return base_sim.now_ns; }
CELLAR_PRIVATE int64_t base_sim_now_ms(void)
{
    return (int64_t)(base_sim.first_ms + base_sim.now_ns / 1000000);
}
CELLAR_PRIVATE int64_t base_sim_wall_ms(void)
{
    return (int64_t)(UINT64_C(1800000000000) + base_sim.now_ns / 1000000);
}
CELLAR_PRIVATE void base_sim_no_rescue(void) { base_sim.no_rescue = true; }

CELLAR_PRIVATE void base_sim_advance_ms(int64_t ms)
{
    base_sim_point("clock.jump");
    base_sim_time_to(base_sim.now_ns + (uint64_t)ms * 1000000);
}

/* ---- picking ---- */

static void base_sim_record(uint32_t to)
{
    if (base_sim.switch_kept < BASE_SIM_KEPT) {
        base_sim.switches[base_sim.switch_kept++] = (base_sim_switch){ base_sim.step, to };
    }
    base_sim.switch_count++;
}

/* Return the ready fibers that are not held. If all ready fibers are held, free them first. */
static uint32_t base_sim_pickable(void)
{
    if ((base_sim.ready & ~base_sim.held) == 0) { base_sim.held = 0; }
    return base_sim.ready & ~base_sim.held;
}

CELLAR_PRIVATE void base_sim_hold(uint64_t steps) { base_sim.current->hold_in = steps + 1; }

/* Return the next ready fiber after the current one; the current one is last. */
static uint32_t base_sim_round_robin(void)
{
    uint32_t me = base_sim_index(base_sim.current);
    uint32_t mask = base_sim_pickable();
    uint32_t above = me == 31 ? 0 : mask >> (me + 1) << (me + 1);
    return (uint32_t)__builtin_ctz(above != 0 ? above : mask);
}

static uint32_t base_sim_pick_replay(bool must)
{
    const base_sim_options *o = base_sim.options;
    while (base_sim.replay_next < o->replay_count &&
           o->replay[base_sim.replay_next].step < base_sim.step) {
        base_sim.replay_next++;
    }
    if (base_sim.replay_next < o->replay_count &&
        o->replay[base_sim.replay_next].step == base_sim.step) {
        uint32_t to = o->replay[base_sim.replay_next++].to;
        if ((base_sim_pickable() >> to & 1) != 0) { return to; }
    }
    return must ? base_sim_round_robin() : base_sim_index(base_sim.current);
}

static bool base_sim_change_due(void)
{
    if (base_sim.change_next >= base_sim.change_count ||
        base_sim.step < base_sim.change_step[base_sim.change_next]) {
        return false;
    }
    base_sim.change_next++;
    return true;
}

static uint32_t base_sim_pick_pct(bool pause)
{
    if (base_sim_change_due() || pause) { base_sim.current->priority = --base_sim.lowest; }
    uint32_t best = (uint32_t)__builtin_ctz(base_sim_pickable());
    for (uint32_t m = base_sim_pickable(); m != 0; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(m);
        if (base_sim.fiber[i].priority > base_sim.fiber[best].priority) { best = i; }
    }
    return best;
}

/* Pick the next fiber. must: the current fiber cannot continue; pause: it waits for another fiber;
 * named: it stands at a named point. */
static uint32_t base_sim_pick(bool must, bool pause, bool named)
{
    const uint32_t me = base_sim_index(base_sim.current), mask = base_sim_pickable();
    const uint32_t others = mask & ~base_sim_bit(base_sim.current);
    must |= (mask >> me & 1) == 0;
    if (base_sim.options->replay != NULL) { return base_sim_pick_replay(must || pause); }
    switch (base_sim.picker) {
    case BASE_SIM_PCT: return base_sim_pick_pct(pause);
    case BASE_SIM_FEW:
        if (!must && !pause && !base_sim_change_due()) { return me; }
        return base_sim_any(others != 0 ? others : mask);
    case BASE_SIM_NAMED:
        if (!must && !named) { return me; }
        break;
    case BASE_SIM_BURST:
        if (!must && !pause &&
            (base_rng_next(&base_sim.pick_rng) >> (64 - base_sim.burst_shift)) != 0) {
            return me;
        }
        break;
    case BASE_SIM_UNIFORM:
    case BASE_SIM_PICKERS: break;
    }
    return base_sim_any(mask);
}

/* Advance what does not depend on fibers: stores drain, time passes. */
static void base_sim_environment(void)
{
    if (base_sim.buffered != 0) {
        uint64_t r = base_sim_env(1);
        if ((r & ((1u << base_sim.drain_shift) - 1)) == 0) {
            uint32_t n = (uint32_t)__builtin_popcount(base_sim.buffered);
            uint32_t i = base_sim_nth_bit(base_sim.buffered, (r >> 16) % n);
            base_sim_drain(&base_sim.fiber[i], 1 + (r >> 32) % 4);
        }
    }
    base_sim_time_to(base_sim.now_ns + 20);
    if (base_sim.timed != 0 && (base_sim_env(2) & 1023) == 0 && !base_sim.no_rescue) {
        base_sim_time_to(base_sim.next_deadline_ns);
    }
}

static void base_sim_nobody_ready(void)
{
    if (base_sim.timed == 0) { base_sim_fail("deadlock: no fiber can run"); }
    if (base_sim.no_rescue) { base_sim_fail("hang: no fiber can run before a time-out"); }
    base_sim_time_to(base_sim.next_deadline_ns);
}

/* Run one step: advance the environment, then continue a fiber. */
static void base_sim_yield(const char *name, bool must)
{
    base_sim_fiber *me = base_sim.current;
    if (base_sim.calm) {
        if (must) { base_sim_fail("a calm fiber would wait at %s", me->at); }
        return;
    }
    base_sim.step++;
    if (BASE_UNLIKELY(base_sim.step > base_sim.max_steps)) {
        base_sim_fail("livelock: more than %llu steps", (unsigned long long)base_sim.max_steps);
    }
    if (!must && base_sim.ready == base_sim_bit(me) && (base_sim.buffered | base_sim.timed) == 0) {
        base_sim.now_ns += 20;
        return;
    }
    if (me->hold_in != 0 && --me->hold_in == 0) { base_sim.held |= base_sim_bit(me); }
    base_sim_environment();
    while (base_sim.ready == 0) { base_sim_nobody_ready(); }
    bool pause = name != NULL && strcmp(name, "pause") == 0;
    uint32_t to = base_sim_pick(must, pause, name != NULL);
    base_sim_fiber *next = &base_sim.fiber[to];
    base_sim_digest(to + 1);
    if (next != me || must || pause) { base_sim_record(to); }
    if (next == me) { return; }
    if (base_sim.options->trace) { base_sim_note("-> %s", next->name); }
    base_sim_jump(me, next, false);
}

CELLAR_PRIVATE void base_sim_point(const char *name)
{
    base_sim_fiber *me = base_sim.current;
    if (me == NULL) { return; }
    if (base_sim.calm) {
        me->at = name;
        return;
    }
    if (strcmp(name, "pause") != 0) {
        me->at = name;
        for (const char *c = name; *c != '\0'; c++) { base_sim_digest((unsigned char)*c); }
        if (base_sim.options->trace) { base_sim_note("%s", name); }
    }
    base_sim_yield(name, false);
}

CELLAR_PRIVATE void base_sim_calm(bool on)
{
    base_sim_settle();
    base_sim.calm = on;
}

/* ---- shared words ---- */

CELLAR_PRIVATE uint64_t base_sim_load(const volatile void *p, size_t size)
{
    if (base_sim.current == NULL) { return base_sim_read(p, size); }
    base_sim_yield(NULL, false);
    base_sim_fiber *me = base_sim.current;
    if (me->store_count > 0) {
        bool mixed;
        const base_sim_store_entry *e = base_sim_forward(me, p, size, &mixed);
        if (e != NULL) { return e->value; }
        if (mixed) { base_sim_settle(); }
    }
    return base_sim_read(p, size);
}

static uint64_t base_sim_cut(uint64_t v, size_t size)
{
    return size >= 8 ? v : v & (((uint64_t)1 << (8 * size)) - 1);
}

CELLAR_PRIVATE void base_sim_store(volatile void *p, size_t size, uint64_t value, bool seq_cst)
{
    if (base_sim.current == NULL) {
        base_sim_write(p, size, value);
        return;
    }
    base_sim_yield(NULL, false);
    base_sim_fiber *me = base_sim.current;
    if (seq_cst || !base_sim.stores_wait || base_sim.calm) {
        base_sim_settle();
        base_sim_write(p, size, value);
        return;
    }
    if (me->store_count == BASE_SIM_STORES) { base_sim_drain(me, 1); }
    size_t at = (me->store_first + me->store_count++) % BASE_SIM_STORES;
    me->store[at] = (base_sim_store_entry){ p, base_sim_cut(value, size), size };
    base_sim.buffered |= base_sim_bit(me);
}

CELLAR_PRIVATE bool base_sim_cas(volatile void *p, size_t size, uint64_t expected,
                                 uint64_t desired)
{
    if (base_sim.current != NULL) {
        base_sim_yield(NULL, false);
        base_sim_settle();
    }
    if (base_sim_read(p, size) != base_sim_cut(expected, size)) { return false; }
    base_sim_write(p, size, desired);
    return true;
}

CELLAR_PRIVATE uint64_t base_sim_rmw(volatile void *p, size_t size, int op, uint64_t operand)
{
    if (base_sim.current != NULL) {
        base_sim_yield(NULL, false);
        base_sim_settle();
    }
    uint64_t old = base_sim_read(p, size);
    uint64_t v = old;
    switch (op) {
    case '+': v += operand; break;
    case '-': v -= operand; break;
    case '|': v |= operand; break;
    default: v = operand; break;
    }
    base_sim_write(p, size, v);
    return old;
}

CELLAR_PRIVATE void base_sim_fence(bool seq_cst)
{
    if (base_sim.current == NULL || !seq_cst) { return; } /* TSO keeps the other orders */
    base_sim_yield(NULL, false);
    base_sim_settle();
}

/* ---- waiting ---- */

/* Block the current fiber until base_sim_ready makes it runnable. */
static void base_sim_block(base_sim_state state, const char *point)
{
    base_sim_fiber *me = base_sim.current;
    base_sim_settle();
    me->state = state;
    me->at = point;
    me->timed_out = false;
    base_sim.ready &= ~base_sim_bit(me);
    if (state == BASE_SIM_WAITING && me->deadline_ns != UINT64_MAX) {
        base_sim.timed |= base_sim_bit(me);
        base_sim.next_deadline_ns = BASE_MIN(base_sim.next_deadline_ns, me->deadline_ns);
        if (me->deadline_ns <= base_sim.now_ns) { base_sim_deadlines(); }
    }
    base_sim_yield(point, true);
}

CELLAR_PRIVATE bool base_sim_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns,
                                  const char *point)
{
    base_sim_fiber *me = base_sim.current;
    BASE_REQUIRE(me != NULL);
    base_sim_point(point);
    base_sim_settle();
    if (base_sim_read(word, 4) != expected) { return true; }
    if (base_sim.spurious && (base_sim_env(3) & 15) == 0) {
        base_sim_point("spurious");
        return true;
    }
    me->word = word;
    me->deadline_ns = deadline_ns;
    base_sim_block(BASE_SIM_WAITING, point);
    return !me->timed_out;
}

CELLAR_PRIVATE void base_sim_wake(_Atomic uint32_t *word, int count)
{
    if (base_sim.current == NULL) { return; }
    base_sim_point("sync.wake");
    base_sim_settle();
    uint32_t mask = 0;
    for (uint32_t i = 0; i < base_sim.fiber_count; i++) {
        const base_sim_fiber *f = &base_sim.fiber[i];
        if (f->state == BASE_SIM_WAITING && f->word == (const volatile void *)word) {
            mask |= (uint32_t)1 << i;
        }
    }
    for (uint64_t salt = 4; count > 0 && mask != 0; count--, salt += 8) {
        uint64_t n = (uint64_t)__builtin_popcount(mask);
        uint32_t i = base_sim_nth_bit(mask, base_sim_env(salt) % n);
        mask &= ~((uint32_t)1 << i);
        base_sim_ready(&base_sim.fiber[i]);
    }
}

CELLAR_PRIVATE void base_sim_sleep(uint64_t ns)
{
    base_sim_fiber *me = base_sim.current;
    BASE_REQUIRE(me != NULL);
    me->word = NULL;
    me->deadline_ns = base_sim.now_ns + BASE_MAX(ns, (uint64_t)1);
    base_sim_block(BASE_SIM_WAITING, "sleep");
}

/* ---- fibers ---- */

static uint64_t base_sim_priority(void) { return base_rng_next(&base_sim.pick_rng) >> 2; }

static base_sim_fiber *base_sim_make(const char *name, void (*fn)(void *), void *arg)
{
    uint32_t i = 0;
    while (i < BASE_SIM_FIBERS && base_sim.fiber[i].state != BASE_SIM_FREE) { i++; }
    if (i == BASE_SIM_FIBERS) { return NULL; }
    base_sim_fiber *f = &base_sim.fiber[i];
    f->name = name;
    f->at = "start";
    f->fn = fn;
    f->arg = arg;
    f->thread = NULL;
    f->is_thread = false;
    f->hold_in = 0;
    f->store_first = f->store_count = 0;
    f->priority = (int64_t)base_sim_priority();
    base_rng_seed(&f->rng, base_mix64(base_sim.options->seed) + i);
    memset(&f->self, 0, sizeof f->self);
    f->self.index = i + 1;
    f->self.tid = (int32_t)i + 1;
    f->self.far_ms = INT64_MAX;
    f->self.rng = f->rng;
    if (i >= base_sim.fiber_count) { base_sim.fiber_count = i + 1; }
    base_sim_stack_make(f);
    base_sim_ready(f);
    return f;
}

/* Make the fibers that wait for `f` runnable. */
static void base_sim_joined(base_sim_fiber *f)
{
    bool spawned_left = false;
    for (uint32_t i = 1; i < base_sim.fiber_count; i++) {
        const base_sim_fiber *g = &base_sim.fiber[i];
        spawned_left |= !g->is_thread && g->state != BASE_SIM_DONE && g->state != BASE_SIM_FREE;
    }
    for (uint32_t i = 0; i < base_sim.fiber_count; i++) {
        base_sim_fiber *g = &base_sim.fiber[i];
        if (g->state != BASE_SIM_JOINING) { continue; }
        if (g->joins == base_sim_index(f) || (g->joins == i && !spawned_left)) {
            base_sim_ready(g);
        }
    }
}

static void base_sim_fiber_main(void)
{
    base_sim_fiber *me = base_sim.current;
#if BASE_SIM_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(NULL, &bottom, &size);
    if (me == &base_sim.fiber[0]) { /* always entered from the driver */
        base_sim_home_bottom = bottom;
        base_sim_home_size = size;
    }
#endif
    me->fn(me->arg);
    base_sim_point("end"); /* waiting stores may reach memory after the end of fn */
    base_sim_settle();
    if (me->self.held_count != 0) { base_sim_fail("a fiber ended while it held a lock"); }
    if (me == &base_sim.fiber[0]) {
        for (uint32_t i = 1; i < base_sim.fiber_count; i++) {
            if (base_sim.fiber[i].state != BASE_SIM_FREE) {
                base_sim_fail("the scenario ended before %s was joined", base_sim.fiber[i].name);
            }
        }
        base_sim_jump(me, &base_sim.home, true);
    }
    if (me->thread != NULL) { base_sim_write(&me->thread->running, 4, 0); }
    me->state = BASE_SIM_DONE;
    base_sim.ready &= ~base_sim_bit(me);
    base_sim_joined(me);
    base_sim_yield("ended", true);
    abort(); /* an ended fiber is never picked */
}

CELLAR_PRIVATE void base_sim_spawn(const char *name, void (*fn)(void *), void *arg)
{
    if (base_sim_make(name, fn, arg) == NULL) { base_sim_fail("too many fibers"); }
}

CELLAR_PRIVATE void base_sim_spawn_many(uint64_t count, const char *name, void (*fn)(void *),
                                        void *arg)
{
    while (count-- > 0) { base_sim_spawn(name, fn, arg); }
}

CELLAR_PRIVATE void base_sim_join_all(void)
{
    base_sim_fiber *me = base_sim.current;
    for (uint32_t i = 1; i < base_sim.fiber_count; i++) {
        const base_sim_fiber *f = &base_sim.fiber[i];
        if (!f->is_thread && f->state != BASE_SIM_DONE && f->state != BASE_SIM_FREE) {
            me->joins = base_sim_index(me);
            base_sim_block(BASE_SIM_JOINING, "join");
            break;
        }
    }
    for (uint32_t i = 1; i < base_sim.fiber_count; i++) {
        base_sim_fiber *f = &base_sim.fiber[i];
        if (!f->is_thread && f->state == BASE_SIM_DONE) { f->state = BASE_SIM_FREE; }
    }
}

CELLAR_PRIVATE int base_sim_thread_start(base_thread *t, const char *name)
{
    BASE_REQUIRE(base_sim.current != NULL);
    base_sim_point("thread.start");
    base_sim_settle();
    snprintf(t->name, sizeof t->name, "%s", name);
    base_sim_fiber *f = base_sim_make(t->name, t->fn, t->arg);
    if (f == NULL) { return EAGAIN; }
    f->thread = t;
    f->is_thread = true;
    base_sim_write(&t->running, 4, 1);
    t->handle = base_sim_index(f);
    return 0;
}

CELLAR_PRIVATE void base_sim_thread_join(base_thread *t)
{
    if (t->handle == 0) { return; } /* fiber 0 is the scenario */
    base_sim_point("thread.join");
    base_sim_fiber *f = &base_sim.fiber[t->handle];
    BASE_REQUIRE(f->thread == t);
    if (f->state != BASE_SIM_DONE) {
        base_sim.current->joins = (uint32_t)t->handle;
        base_sim_block(BASE_SIM_JOINING, "thread.join");
    }
    f->state = BASE_SIM_FREE;
    f->thread = NULL;
    t->handle = 0;
}

CELLAR_PRIVATE bool base_sim_thread_gone(int32_t tid)
{
    if (tid < 1 || tid > BASE_SIM_FIBERS) { return true; }
    const base_sim_fiber *f = &base_sim.fiber[tid - 1];
    return f->state == BASE_SIM_FREE || f->state == BASE_SIM_DONE;
}

CELLAR_PRIVATE base_thread_record *base_sim_thread(void)
{
    return base_sim.current != NULL ? &base_sim.current->self : &base_sim.home.self;
}

CELLAR_PRIVATE uint32_t base_thread_count(void) { return BASE_SIM_FIBERS + 1; }

CELLAR_PRIVATE uint64_t base_sim_below(uint64_t n)
{
    return base_rng_below(&base_sim.current->rng, n);
}
CELLAR_PRIVATE uint64_t base_sim_step(void) { return base_sim.step; }
CELLAR_PRIVATE uint64_t base_sim_random(void) { return base_rng_next(&base_sim.random_rng); }

CELLAR_PRIVATE bool base_sim_mutant(const char *name)
{
    const char *m = base_sim.options != NULL ? base_sim.options->mutant : NULL;
    if (m == NULL || strcmp(m, name) != 0) { return false; }
    base_sim.mutant_hits++;
    return true;
}

/* ---- a run ---- */

CELLAR_PRIVATE const char *base_sim_picker_name(base_sim_picker p)
{
    static const char *const name[] = { "uniform", "pct", "few", "named", "burst" };
    return p < BASE_SIM_PICKERS ? name[p] : "?";
}

static void base_sim_main_fiber(void *arg) { const base_sim_scenario *s = arg; s->run(); }

/* Choose everything that the seed decides before the first step. */
static void base_sim_choose(uint64_t seed)
{
    static const uint64_t first_ms[] = { 1000, (UINT64_C(1) << 31) - 1000,
                                         (UINT64_C(1) << 32) - 1000, (UINT64_C(1) << 41) - 1000 };
    base_rng r;
    base_rng_seed(&r, seed);
    base_sim.env_seed = base_rng_next(&r);
    base_sim.picker = (base_sim_picker)base_rng_below(&r, BASE_SIM_PICKERS);
    base_sim.stores_wait = base_rng_below(&r, 2) == 0;
    base_sim.spurious = base_rng_below(&r, 2) == 0;
    base_sim.burst_shift = 1 + (unsigned)base_rng_below(&r, 8);
    base_sim.drain_shift = 1 + 2 * (unsigned)base_rng_below(&r, 4);
    base_sim.first_ms = first_ms[base_rng_below(&r, 4)];
    base_sim.change_count =
        base_sim.picker == BASE_SIM_PCT ? 2 : (unsigned)base_rng_below(&r, 4);
    base_sim.change_next = 0;
    for (unsigned i = 0; i < base_sim.change_count; i++) { /* log-uniform, kept ascending */
        uint64_t range = (uint64_t)1 << (4 + base_rng_below(&r, 12));
        uint64_t step = 1 + base_rng_below(&r, range);
        unsigned at = i;
        for (; at > 0 && base_sim.change_step[at - 1] > step; at--) {
            base_sim.change_step[at] = base_sim.change_step[at - 1];
        }
        base_sim.change_step[at] = step;
    }
    base_rng_seed(&base_sim.pick_rng, base_rng_next(&r));
    base_rng_seed(&base_sim.random_rng, base_rng_next(&r));
}

CELLAR_PRIVATE bool base_sim_run(const base_sim_scenario *s, const base_sim_options *o,
                                 base_sim_result *out)
{
    uint64_t live = base_live_blocks();
    memset(out, 0, sizeof *out);
    base_sim.options = o;
    base_sim.result = out;
    base_sim.ready = base_sim.buffered = base_sim.timed = base_sim.held = 0;
    for (uint32_t i = 0; i < BASE_SIM_FIBERS; i++) { base_sim.fiber[i].state = BASE_SIM_FREE; }
    base_sim.fiber_count = 0;
    base_sim.calm = false;
    base_sim.no_rescue = false;
    base_sim.step = base_sim.now_ns = 0;
    base_sim.digest = UINT64_C(0xcbf29ce484222325);
    base_sim.next_deadline_ns = UINT64_MAX;
    base_sim.max_steps = s->max_steps != 0 ? s->max_steps : 200000;
    base_sim.lowest = 0;
    base_sim.replay_next = base_sim.switch_kept = 0;
    base_sim.switch_count = base_sim.mutant_hits = 0;
    base_sim_choose(o->seed);
    union { const base_sim_scenario *in; void *out; } arg = { s };
    base_sim_fiber *first = base_sim_make("main", base_sim_main_fiber, arg.out);
    base_sim_jump(&base_sim.home, first, false);
    base_sim.current = NULL;
    (void)base_fault_alloc_arm(0, false);
    if (!out->failed && base_live_blocks() != live) {
        out->failed = true;
        snprintf(out->text, sizeof out->text, "leak: %lld blocks or regions\n",
                 (long long)(base_live_blocks() - live));
    }
    out->steps = base_sim.step;
    out->digest = base_sim.digest;
    out->mutant_hits = base_sim.mutant_hits;
    out->switch_count = base_sim.switch_count;
    out->picker = base_sim.picker;
    out->buffered = base_sim.stores_wait;
    out->switches = base_sim.switches;
    out->switch_kept = base_sim.switch_kept;
    base_sim.options = NULL;
    return !out->failed;
}
