/* SPDX-License-Identifier: MIT
 *
 * port: compiler and platform facts, and the macros that every other file uses.
 *
 * LINKAGE    CELLAR_PRIVATE precedes each name that files share: hidden visibility in the split
 *            build, `static` in the two-file build. BASE_INLINE is for functions in headers.
 * SWITCHES   BASE_DEBUG 1: asserts, lock ranks, step counters. BASE_SIM 1: every seam calls the
 *            simulation driver (base/sim_hooks.h). BASE_SEQ_ATOMIC 1: record bytes move as atomic
 *            words, for ThreadSanitizer, MemorySanitizer and the simulation. */
#ifndef BASE_PORT_H
#define BASE_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
#error "cellar.c is C11: compile it with a C compiler and link the object into the C++ program"
#endif
#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 201112L || defined(__STDC_NO_ATOMICS__)
#error "cellar needs C11 with atomics: gcc >= 9 or clang >= 11 with -std=c11 or later"
#endif
#if !defined(__GNUC__)
#error "cellar needs gcc or clang (GNU builtins are used in base/)"
#endif
#if !defined(__linux__)
#error "cellar runs on Linux (futex, madvise, getrandom); other systems are not ported yet"
#endif
#if !defined(__x86_64__) && !defined(__i386__) && !defined(__aarch64__)
#error "cellar runs on x86-64, aarch64 and i386; the fences of other processors are not tried yet"
#endif
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "cellar needs a little-endian machine: index words and disk formats are little-endian"
#endif

#ifndef CELLAR_PRIVATE
#define CELLAR_PRIVATE __attribute__((visibility("hidden")))
#endif

#ifndef BASE_DEBUG
#define BASE_DEBUG 0
#endif
#ifndef BASE_SIM
#define BASE_SIM 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define BASE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BASE_ASAN 1
#endif
#endif
#ifndef BASE_ASAN
#define BASE_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__)
#define BASE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BASE_TSAN 1
#endif
#if __has_feature(memory_sanitizer)
#define BASE_MSAN 1
#endif
#endif
#ifndef BASE_TSAN
#define BASE_TSAN 0
#endif
#ifndef BASE_MSAN
#define BASE_MSAN 0
#endif
#define BASE_SEQ_ATOMIC (BASE_TSAN || BASE_MSAN || BASE_SIM)

#if defined(__SSE2__) && !BASE_SEQ_ATOMIC
#define BASE_HAVE_SSE2 1
#else
#define BASE_HAVE_SSE2 0
#endif

#define BASE_INLINE static inline __attribute__((unused))
#define BASE_ALWAYS_INLINE static inline __attribute__((unused, always_inline))
/* Mark a declaration that this build may not call (a later part or a test does). The two-file
 * build makes the function static, and the compiler would warn. */
#define BASE_SPARE __attribute__((unused))
#define BASE_NOINLINE __attribute__((noinline))
#define BASE_COLD __attribute__((noinline, cold))
#define BASE_AT_LOAD __attribute__((constructor(101))) /* before constructors of the program */
/* Between these two lines, below the includes of a file, the compiler optimizes for size: functions
 * that open, close, count, explain or repair, where bytes matter more than time. Never around the
 * path of a get or a set. Has no effect in a build at -O0. */
#if defined(__clang__) && defined(__OPTIMIZE__)
#define BASE_SIZE_BEGIN \
    _Pragma("clang attribute push(__attribute__((minsize)), apply_to = function)")
#define BASE_SIZE_END _Pragma("clang attribute pop")
#elif defined(__GNUC__) && defined(__OPTIMIZE__)
#define BASE_SIZE_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"Os\")")
#define BASE_SIZE_END _Pragma("GCC pop_options")
#else
#define BASE_SIZE_BEGIN
#define BASE_SIZE_END
#endif
#define BASE_LIKELY(x) __builtin_expect(!!(x), 1)
#define BASE_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define BASE_PREFETCH(p) __builtin_prefetch((p), 0, 3)
#define BASE_PREFETCH_W(p) __builtin_prefetch((p), 1, 3)
#define BASE_ALIGNED(n) __attribute__((aligned(n)))
#define BASE_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* BASE_PAD is two lines: on x86-64 adjacent-line prefetch makes 128 bytes the unit of false
 * sharing. */
#define BASE_LINE 64
#define BASE_PAD 128
#define BASE_PAGE 4096

/* Most tags of one entry: one of its namespace and CELLAR_TAGS_MAX of the user. */
#define BASE_TAGS_MAX 17

/* BASE_THREAD_DECLARE in a header and BASE_THREAD_DEFINE in one .c make a per-thread object that
 * files share. initial-exec keeps a read at one instruction in the shared library and takes a few
 * bytes of the reserve of libc. Not on musl, which refuses it after dlopen. */
#if defined(__GLIBC__) && defined(__PIC__)
#define BASE_THREAD_MODEL __attribute__((tls_model("initial-exec")))
#else
#define BASE_THREAD_MODEL
#endif
#if defined(CELLAR_AMALGAMATION)
#define BASE_THREAD_DECLARE(type, name) static _Thread_local type name BASE_THREAD_MODEL
#define BASE_THREAD_DEFINE(type, name) struct name##_is_defined_in_the_header
#else
#define BASE_THREAD_DECLARE(type, name) \
    extern _Thread_local type name BASE_THREAD_MODEL __attribute__((visibility("hidden")))
#define BASE_THREAD_DEFINE(type, name) \
    _Thread_local type name BASE_THREAD_MODEL __attribute__((visibility("hidden")))
#endif

#endif
