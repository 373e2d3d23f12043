/* SPDX-License-Identifier: MIT
 *
 * t: the whole test framework; one program per file, TAP lines, one closing line.
 *
 * PICTURE    T_CASE(name) { .. } lists a case before main
 *            T_MAIN -> t_run -> for each case: run, hooks of T_AFTER_EACH, leak count, "ok N - .."
 *                            -> "NAME: N passed, N failed, N skipped", exit status
 * INVARIANTS passed + failed + skipped == cases that ended. A case fails when any check in it
 *            failed, in any thread. A failed case is never counted as skipped.
 * LOCKING    the flags of the running case are atomics, so checks work in any thread. A thread
 *            that outlives its case reports into the next one: join what you start.
 * WALK       T_CHECK and T_EQ_* note the failure and go on (and yield true or false); T_REQUIRE
 *            notes it, prints the closing line and ends the process; T_SKIP notes a reason and
 *            does not return for you: write `T_SKIP("why"); return;`.
 * LEAKS      where the library's debug build is linked, a case that leaves more of its blocks alive
 *            than it found fails; a program that keeps a store over several cases opens it before
 *            the first one or says T_KEEPS_BLOCKS at file scope.
 * LIMITS     8 hooks. A forked child has its own flags: end it with `_exit(t_failed())`.
 * TSAN       Leaves out T_ONE_THREAD programs and T_ALONE cases. By name they run.
 * SECRETS    The library draws 32 bytes for the secret of a store and 8 for the generator of a
 *            thread from the kernel. Here both come from the seed (getrandom below): otherwise
 *            chance decides in every run which keys share a place of a table. Ids and nonces of a
 *            store have other lengths and stay the kernel's.
 * SHARE      t_share(n) is what this run does of n repetitions: all, or in `make test` a quarter.
 * USE        ./program [part of a case name]; SEED=n repeats a run, the seed of a failed one is
 *            printed with each failure; AUDIT=1 asks for a walk after every operation
 *            (t_audit_all() tells the test).
 */
#ifndef CELLAR_TESTS_T_H
#define CELLAR_TESTS_T_H

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define T_INLINE static inline __attribute__((unused))

/* Which sanitizer this is, and how many steps of a plain build one of its steps costs. A repetition
 * by one thread that only shows more of the same is divided by it. Threads that must meet need more
 * rounds: KIT_SLOW of load_kit.h. */
#if defined(__has_feature)
#define T_FEATURE(what) __has_feature(what)
#else
#define T_FEATURE(what) 0
#endif
#if defined(__SANITIZE_THREAD__) || T_FEATURE(thread_sanitizer)
#define T_TSAN 1
#else
#define T_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__) || T_FEATURE(address_sanitizer)
#define T_ASAN 1
#else
#define T_ASAN 0
#endif
/* ASan of LLVM 18 and gcc 15 keeps its own locks free over a fork. With an older one a child may
 * wait in free() for a lock of a thread that it does not have. */
#if defined(__clang__)
#define T_ASAN_FORKS (__clang_major__ >= 18)
#else
#define T_ASAN_FORKS (__GNUC__ >= 15)
#endif
#define T_MSAN T_FEATURE(memory_sanitizer)
#if T_TSAN || T_MSAN
#define T_COST 24
#elif T_ASAN
#define T_COST 8
#else
#define T_COST 1
#endif

typedef struct t_case {
    const char *name;
    void (*run)(void);
    bool alone; /* T_ALONE */
    int line;   /* of its definition: cases run in this order */
    struct t_case *next;
} t_case;

/* One program is one translation unit, so plain statics are enough. */
static struct t_state {
    const char *name;           /* of the program, for the closing line */
    uint64_t seed;              /* set before any other constructor, then constant */
    uint64_t share;             /* T_SHARE, at least 1; set with the seed */
    _Atomic uint64_t drawn[2];  /* words of secrets, words for generators: each its own sequence */
    t_case *cases;              /* filled before main by T_CASE */
    size_t passed, failed, skipped, total; /* cases; written by the main thread only */
    void (*after_each[8])(void); /* hooks, filled before main by T_AFTER_EACH */
    size_t after_each_count;
    const char *(*exempt)(const char *case_name); /* why a case does not run; NULL: it does */
    bool keeps_blocks;          /* T_KEEPS_BLOCKS: no leak count */
    atomic_int case_failed;     /* any thread sets it, t_run reads and clears it */
    const char *_Atomic skip_why; /* NULL unless the running case asked for a skip */
} t_;

#if defined(BASE_DEBUG) && BASE_DEBUG
uint64_t base_live_blocks(void) __attribute__((weak)); /* NULL when base/mem.o is not linked */
T_INLINE uint64_t t_live_blocks(void) { return base_live_blocks != NULL ? base_live_blocks() : 0; }
#else
T_INLINE uint64_t t_live_blocks(void) { return 0; }
#endif
#define T_KEEPS_BLOCKS                                                    \
    __attribute__((constructor)) static void t_keeps_blocks(void) { t_.keeps_blocks = true; } \
    struct t_eat_semicolon_keeps { int unused; }

/* At file scope: neither a case nor the library starts a second thread. ThreadSanitizer has nothing
 * to check in such a program and takes fifty times as long: the Makefile leaves it out of that
 * suite (ONE_THREAD). In a plain build, starting a second thread ends the program, unless it is
 * several tests in one (T_TOGETHER). */
#if T_COST > 1 || defined(T_TOGETHER)
#define T_ONE_THREAD struct t_eat_semicolon_thread { int unused; }
#else
#define T_ONE_THREAD                                                      \
    __attribute__((weak)) int pthread_create(pthread_t *thread, const pthread_attr_t *attr, \
                                             void *(*fn)(void *), void *arg) \
    {                                                                     \
        (void)thread, (void)attr, (void)fn, (void)arg;                    \
        t_require(false, __FILE__, __LINE__, "T_ONE_THREAD: no second thread"); \
        return EAGAIN;                                                    \
    }                                                                     \
    struct t_eat_semicolon_thread { int unused; }
#endif

/* Register a function that runs after each case and may use T_CHECK: the audit of a structure, a
 * count of live bytes. At file scope: T_AFTER_EACH(my_hook) */
#define T_AFTER_EACH(fn)                                                  \
    __attribute__((constructor)) static void t_register_##fn(void)        \
    {                                                                     \
        if (t_.after_each_count < 8) t_.after_each[t_.after_each_count++] = fn; \
    }                                                                     \
    struct t_eat_semicolon_##fn { int unused; }

T_INLINE uint64_t t_seed(void) { return t_.seed; }
/* Return a name with a number. The text lasts until the next call on the same thread. */
T_INLINE const char *t_numbered(const char *name, uint64_t number)
{
    static _Thread_local char text[64];
    snprintf(text, sizeof text, "%s%llu", name, (unsigned long long)number);
    return text;
}
T_INLINE int t_failed(void) { return atomic_load(&t_.case_failed); }

T_INLINE uint64_t t_env_u64(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : fallback;
}
/* Return the share of `n` repetitions that this run does: n / T_SHARE, at least 1. `make test` sets
 * T_SHARE=4. FULL=1, the other suites and a program started by hand do all. */
T_INLINE uint64_t t_share(uint64_t n)
{
    const uint64_t share = n / t_.share;
    return share != 0 ? share : 1;
}
/* Return whether this run does less than everything: a share, or the part that a sanitizer can
 * do. */
T_INLINE bool t_reduced(void) { return T_COST > 1 || t_share(2) == 1; }
T_INLINE uint64_t t_pick_seed(void)
{
    struct timespec now = { 0, 0 };
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t x = (uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec;
    x = (x ^ (uint64_t)getpid() << 40) * UINT64_C(0x9E3779B97F4A7C15);
    return t_env_u64("SEED", x >> 32);
}
__attribute__((constructor)) static void t_draw_seed(void)
{
    t_.seed = t_pick_seed();
    t_.share = t_env_u64("T_SHARE", 1);
    if (t_.share == 0) { t_.share = 1; }
}

/* Replaces the function of libc for the library linked below: weak as pthread_create above, unless
 * a sanitizer has a weak one of its own. Zeros first: MSan does not know the bytes of a raw system
 * call. */
#if T_COST == 1
__attribute__((weak))
#endif
ssize_t getrandom(void *to, size_t len, unsigned flags)
{
    memset(to, 0, len);
    if (len != 32 && len != 8) { return (ssize_t)syscall(SYS_getrandom, to, len, flags); }
    for (size_t at = 0; at < len; at += 8) { /* splitmix64 */
        uint64_t x = t_.seed ^ (uint64_t)(len == 32) << 63;
        x += (atomic_fetch_add(&t_.drawn[len == 32], 1) + 1) * UINT64_C(0x9E3779B97F4A7C15);
        x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
        x ^= x >> 31;
        memcpy((char *)to + at, &x, 8);
    }
    return (ssize_t)len;
}
/* Return how many times slower than a processor this program runs: under valgrind (T_WRAP names it)
 * and qemu (T_SLOW states it). Watchdogs wait longer by this factor; measurements of the process
 * are left out. */
T_INLINE unsigned t_patience(void)
{
    const char *wrap = getenv("T_WRAP");
    return wrap != NULL && strstr(wrap, "valgrind") != NULL ? 20u
                                                            : (unsigned)t_env_u64("T_SLOW", 1);
}
T_INLINE bool t_audit_all(void) { return t_env_u64("AUDIT", 0) != 0; }

T_INLINE void t_closing_line(void)
{
    printf("%s: %zu passed, %zu failed, %zu skipped\n", t_.name, t_.passed, t_.failed, t_.skipped);
    fflush(stdout);
}

T_INLINE bool t_note(bool ok, const char *file, int line, const char *text)
{
    if (ok) return true;
    atomic_store(&t_.case_failed, 1);
    printf("# %s:%d: %s   (SEED=%" PRIu64 ")\n", file, line, text, t_.seed);
    fflush(stdout);
    return false;
}

T_INLINE void t_require(bool ok, const char *file, int line, const char *text)
{
    if (t_note(ok, file, line, text)) return;
    t_.failed++;
    printf("# required: %zu of %zu cases did not run\n",
           t_.total - t_.passed - t_.failed - t_.skipped, t_.total);
    t_closing_line();
    _Exit(1);
}

T_INLINE bool t_eq_u64(uint64_t got, uint64_t want, const char *file, int line, const char *what)
{
    char text[400];
    if (got == want) return true;
    snprintf(text, sizeof text, "%s: got %" PRIu64 " (0x%" PRIx64 "), want %" PRIu64
             " (0x%" PRIx64 ")", what, got, got, want, want);
    return t_note(false, file, line, text);
}

T_INLINE bool t_eq_i64(int64_t got, int64_t want, const char *file, int line, const char *what)
{
    char text[400];
    if (got == want) return true;
    snprintf(text, sizeof text, "%s: got %" PRId64 ", want %" PRId64, what, got, want);
    return t_note(false, file, line, text);
}

T_INLINE bool t_eq_str(const char *got, const char *want, const char *file, int line,
                       const char *what)
{
    char text[900];
    if (got == want || (got != NULL && want != NULL && strcmp(got, want) == 0)) return true;
    snprintf(text, sizeof text, "%s: got \"%.300s\", want \"%.300s\"", what,
             got != NULL ? got : "(null)", want != NULL ? want : "(null)");
    return t_note(false, file, line, text);
}

T_INLINE bool t_eq_mem(const void *got, const void *want, size_t len, const char *file, int line,
                       const char *what)
{
    char text[400];
    const unsigned char *a = got, *b = want;
    size_t at = 0;
    while (at < len && a != NULL && b != NULL && a[at] == b[at]) at++;
    if (at == len) return true;
    if (a == NULL || b == NULL) return t_note(false, file, line, "T_EQ_MEM: null pointer");
    snprintf(text, sizeof text, "%s: differ at byte %zu of %zu: got 0x%02x, want 0x%02x", what, at,
             len, a[at], b[at]);
    return t_note(false, file, line, text);
}

#define T_CHECK(cond) t_note((cond) ? true : false, __FILE__, __LINE__, #cond)
#define T_REQUIRE(cond) t_require((cond) ? true : false, __FILE__, __LINE__, #cond)
#define T_EQ_U64(got, want) t_eq_u64((uint64_t)(got), (uint64_t)(want), __FILE__, __LINE__, #got)
#define T_EQ_I64(got, want) t_eq_i64((int64_t)(got), (int64_t)(want), __FILE__, __LINE__, #got)
#define T_EQ_STR(got, want) t_eq_str((got), (want), __FILE__, __LINE__, #got)
#define T_EQ_MEM(got, want, len) t_eq_mem((got), (want), (len), __FILE__, __LINE__, #got)
/* The same after a step: T_AFTER_STR(pass(5), ran, "ab") */
#define T_AFTER_U64(step, got, want) ((void)(step), T_EQ_U64(got, want))
#define T_AFTER_I64(step, got, want) ((void)(step), T_EQ_I64(got, want))
#define T_AFTER_STR(step, got, want) ((void)(step), T_EQ_STR(got, want))
/* Check up to five fields of a struct of counts: T_FIELDS(figures(), ok, 1, live, 0). `st` is
 * evaluated for each field. */
#define T_FIELDS(st, ...)                                                                 \
    T_FIELDS_OF(__VA_ARGS__, T_FIELDS_5, ~, T_FIELDS_4, ~, T_FIELDS_3, ~, T_FIELDS_2, ~,  \
                T_FIELDS_1, ~)(st, __VA_ARGS__)
#define T_FIELDS_OF(f1, v1, f2, v2, f3, v3, f4, v4, f5, v5, macro, ...) macro
#define T_FIELDS_1(st, field, want) T_EQ_U64((st).field, want)
#define T_FIELDS_2(st, field, want, ...) (T_FIELDS_1(st, field, want), T_FIELDS_1(st, __VA_ARGS__))
#define T_FIELDS_3(st, field, want, ...) (T_FIELDS_1(st, field, want), T_FIELDS_2(st, __VA_ARGS__))
#define T_FIELDS_4(st, field, want, ...) (T_FIELDS_1(st, field, want), T_FIELDS_3(st, __VA_ARGS__))
#define T_FIELDS_5(st, field, want, ...) (T_FIELDS_1(st, field, want), T_FIELDS_4(st, __VA_ARGS__))
#define T_SKIP(why) atomic_store(&t_.skip_why, (why))

/* Run a thread to its end, and return when the kernel knows of the end, too. After pthread_join
 * alone its number may be taken for a moment more, and base_thread_gone would find the thread. */
typedef struct t_life {
    void *(*fn)(void *);
    void *arg;
    _Atomic int32_t tid;
} t_life;

T_INLINE void *t_life_main(void *arg)
{
    t_life *l = arg;
    atomic_store(&l->tid, (int32_t)syscall(SYS_gettid));
    return l->fn(l->arg);
}

T_INLINE void t_live_and_end(void *(*fn)(void *), void *arg)
{
    t_life l = { fn, arg, 0 };
    pthread_t t;
    T_REQUIRE(pthread_create(&t, NULL, t_life_main, &l) == 0);
    T_REQUIRE(pthread_join(t, NULL) == 0);
    while (syscall(SYS_tgkill, getpid(), atomic_load(&l.tid), 0) == 0) { (void)sched_yield(); }
}

T_INLINE void t_list(t_case *c)
{
    t_case **at = &t_.cases;
    while (*at != NULL && (*at)->line < c->line) { at = &(*at)->next; }
    c->next = *at;
    *at = c;
}

/* Define a case: T_CASE(get_after_expiry_misses) { .. } */
#define T_CASE(fn) T_CASE_(fn, false)
/* A case without threads in a program with threads in other cases: T_ONE_THREAD of a case. */
#define T_ALONE(fn) T_CASE_(fn, true)
#define T_CASE_(fn, alone)                                                \
    static void fn(void);                                                 \
    __attribute__((constructor)) static void t_list_##fn(void)            \
    {                                                                     \
        static t_case t_this = { #fn, fn, alone, __LINE__, NULL };        \
        t_list(&t_this);                                                  \
    }                                                                     \
    static void fn(void)
/* A case with what it needs: T_CASE_ON(get_after_expiry_misses, STORE) { .. } uses the open `c`, if
 * the file has #define STORE(fn) T_WITH(fn, cellar *c, c, kit_open(4 << 20), kit_close(c));
 * #define STORE(fn) T_WITHIN(fn, begin(), end()) has no variable. */
#define T_CASE_ON(fn, kit) kit(fn)
#define T_WITH(fn, declared, name, open, close)                           \
    static void fn##_on(declared);                                        \
    T_CASE(fn)                                                            \
    {                                                                     \
        declared = open;                                                  \
        fn##_on(name);                                                    \
        close;                                                            \
    }                                                                     \
    static void fn##_on(declared)
#define T_WITHIN(fn, open, close) T_WITHIN_(T_CASE, fn, open, close)
#define T_ALONE_WITHIN(fn, open, close) T_WITHIN_(T_ALONE, fn, open, close)
#define T_WITHIN_(kind, fn, open, close)                                  \
    static void fn##_on(void);                                            \
    kind(fn)                                                              \
    {                                                                     \
        open;                                                             \
        fn##_on();                                                        \
        close;                                                            \
    }                                                                     \
    static void fn##_on(void)
#define T_MAIN(name) \
    int main(int argc, char **argv) { return t_run(name, argc, argv); }

T_INLINE void t_run_one(const t_case *c, size_t number, bool by_name)
{
    atomic_store(&t_.case_failed, 0);
    atomic_store(&t_.skip_why, (const char *)NULL);
    const uint64_t blocks_before = t_live_blocks();
    const char *exempt = t_.exempt != NULL ? t_.exempt(c->name) : NULL;
    if (exempt != NULL) {
        T_SKIP(exempt);
    } else if (T_TSAN && c->alone && !by_name) {
        T_SKIP("has one thread");
    } else {
        c->run();
    }
    for (size_t i = 0; i < t_.after_each_count; i++) t_.after_each[i]();
    if (!t_.keeps_blocks && t_live_blocks() > blocks_before) {
        t_eq_u64(t_live_blocks(), blocks_before, c->name, 0, "live blocks after the case");
    }
    const char *why = atomic_load(&t_.skip_why);
    if (t_failed()) {
        t_.failed++;
        printf("not ok %zu - %s\n", number, c->name);
    } else if (why != NULL) {
        t_.skipped++;
        printf("ok %zu - %s # SKIP %s\n", number, c->name, why);
    } else {
        t_.passed++;
        printf("ok %zu - %s\n", number, c->name);
    }
    fflush(stdout);
}

T_INLINE int t_run(const char *name, int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : "";
    size_t number = 0;
    t_.name = name;
    for (const t_case *c = t_.cases; c != NULL; c = c->next) {
        t_.total += strstr(c->name, only) != NULL;
    }
    printf("1..%zu\n", t_.total);
    fflush(stdout);
    for (const t_case *c = t_.cases; c != NULL; c = c->next) {
        if (strstr(c->name, only) != NULL) t_run_one(c, ++number, *only != '\0');
    }
    t_closing_line();
    return t_.failed == 0 && t_.total > 0 ? 0 : 1;
}

#endif
