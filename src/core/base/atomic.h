/* SPDX-License-Identifier: MIT
 *
 * atomic: atomic operations on protocol words; under BASE_SIM each one is a yield point.
 *
 * NAMES      The suffix is the order: rlx, acq, rel, ar (acquire and release), sc.
 *            `p` points to an _Atomic object of at most 8 bytes.
 *            base_cas_* are strong, take the expected VALUE and return whether they exchanged it.
 * SIMULATION Relaxed and release stores may wait in a store buffer (base/sim_hooks.h).
 * LIMITS     Under ThreadSanitizer the fences are empty, because gcc 12 refuses them there. Record
 *            bytes then move by acquire loads and release stores (base/seqlock.h). */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

#include <stdatomic.h>

#include "base/check.h"

#if BASE_SIM
CELLAR_PRIVATE uint64_t base_sim_load(const volatile void *p, size_t size);
CELLAR_PRIVATE void base_sim_store(volatile void *p, size_t size, uint64_t value, bool seq_cst);
CELLAR_PRIVATE bool base_sim_cas(volatile void *p, size_t size, uint64_t expected,
                                 uint64_t desired);
CELLAR_PRIVATE uint64_t base_sim_rmw(volatile void *p, size_t size, int op, uint64_t operand);
CELLAR_PRIVATE void base_sim_fence(bool seq_cst);

#define BASE_SIM_T(p) __typeof__(((void)0, *(p)))
#define BASE_SIM_LOAD(p) ((BASE_SIM_T(p))base_sim_load((p), sizeof *(p)))
/* A statement expression: compilers warn about a cast with an unused result. */
#define BASE_SIM_RMW(p, op, v) \
    __extension__({ (BASE_SIM_T(p))base_sim_rmw((p), sizeof *(p), (op), (uint64_t)(v)); })
#define base_load_rlx(p) BASE_SIM_LOAD(p)
#define base_load_acq(p) BASE_SIM_LOAD(p)
#define base_load_sc(p) BASE_SIM_LOAD(p)
#define base_store_rlx(p, v) base_sim_store((p), sizeof *(p), (uint64_t)(v), false)
#define base_store_rel(p, v) base_sim_store((p), sizeof *(p), (uint64_t)(v), false)
#define base_store_sc(p, v) base_sim_store((p), sizeof *(p), (uint64_t)(v), true)
#define base_cas_ar(p, e, d) base_sim_cas((p), sizeof *(p), (uint64_t)(e), (uint64_t)(d))
#define base_cas_sc(p, e, d) base_sim_cas((p), sizeof *(p), (uint64_t)(e), (uint64_t)(d))
#define base_add_rlx(p, v) BASE_SIM_RMW(p, '+', v)
#define base_add_ar(p, v) base_add_rlx(p, v)
#define base_add_sc(p, v) base_add_rlx(p, v)
#define base_sub_rlx(p, v) BASE_SIM_RMW(p, '-', v)
#define base_sub_ar(p, v) base_sub_rlx(p, v)
#define base_or_sc(p, v) BASE_SIM_RMW(p, '|', v)
#define base_xchg_ar(p, v) BASE_SIM_RMW(p, '=', v)
#define base_fence_acq() base_sim_fence(false)
#define base_fence_rel() base_sim_fence(false)
#define base_fence_sc() base_sim_fence(true)

#else

#define base_load_rlx(p) atomic_load_explicit((p), memory_order_relaxed)
#define base_load_acq(p) atomic_load_explicit((p), memory_order_acquire)
#define base_load_sc(p) atomic_load_explicit((p), memory_order_seq_cst)
#define base_store_rlx(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define base_store_rel(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define base_store_sc(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)
/* The comma expression drops _Atomic from the type of the expected value. */
#define base_cas_ar(p, e, d) \
    atomic_compare_exchange_strong_explicit((p), &(__typeof__(((void)0, *(p)))){(e)}, (d), \
                                            memory_order_acq_rel, memory_order_relaxed)
#define base_cas_sc(p, e, d) \
    atomic_compare_exchange_strong_explicit((p), &(__typeof__(((void)0, *(p)))){(e)}, (d), \
                                            memory_order_seq_cst, memory_order_relaxed)
#define base_add_rlx(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define base_add_ar(p, v) atomic_fetch_add_explicit((p), (v), memory_order_acq_rel)
#define base_add_sc(p, v) atomic_fetch_add_explicit((p), (v), memory_order_seq_cst)
#define base_sub_rlx(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
#define base_sub_ar(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)
#define base_or_sc(p, v) atomic_fetch_or_explicit((p), (v), memory_order_seq_cst)
#define base_xchg_ar(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)
#if BASE_TSAN
#define base_fence_acq() ((void)0)
#define base_fence_rel() ((void)0)
#define base_fence_sc() ((void)0)
#else
#define base_fence_acq() atomic_thread_fence(memory_order_acquire)
#define base_fence_rel() atomic_thread_fence(memory_order_release)
#define base_fence_sc() atomic_thread_fence(memory_order_seq_cst)
#endif
#endif

/* Wait for one short round. Under simulation: yield to the driver. */
#if BASE_SIM
#define base_pause() base_sim_point("pause")
#elif defined(__x86_64__) || defined(__i386__)
#define base_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define base_pause() __asm__ volatile("yield" ::: "memory")
#else
#define base_pause() ((void)0)
#endif

#endif
