/* SPDX-License-Identifier: MIT
 *
 * c2c: the time that one cache line now takes from one core to the other.
 *
 * PICTURE    thread A (CPU 0)  waits for even, writes odd  --line-->  thread B (CPU 1) the reverse
 * WALK       500 hand-overs, six times, the best counts: interrupts only ever make it longer.
 * WHY        on virtual machines this latency is bimodal, 20-32 or 145-190 ns, and flips within
 *            seconds; it moves lock-bound subjects by a factor of two. So it is measured before
 *            each round, and rounds of different states are never mixed. */
#include "bench/harness/host.h"

#include <pthread.h>
#include <stdatomic.h>

#define C2C_HANDOVERS 500
#define C2C_TRIALS 6
#define C2C_DISTURBED_NS 2000000 /* of one trial: a partner was preempted all along, try again */

typedef struct c2c_pair {
    _Alignas(128) _Atomic uint32_t turn; /* A waits for even, B for odd; release / acquire */
    _Alignas(128) _Atomic uint32_t ready;
    uint64_t best_ns; /* written by A */
} c2c_pair;

static void *c2c_second(void *arg)
{
    c2c_pair *p = arg;
    host_pin(1);
    atomic_fetch_add(&p->ready, 1);
    for (uint32_t i = 0; i < C2C_HANDOVERS * C2C_TRIALS / 2; i++) {
        while (atomic_load_explicit(&p->turn, memory_order_acquire) != 2 * i + 1) {
        }
        atomic_store_explicit(&p->turn, 2 * i + 2, memory_order_release);
    }
    return NULL;
}

static void *c2c_first(void *arg)
{
    c2c_pair *p = arg;
    host_pin(0);
    atomic_fetch_add(&p->ready, 1);
    while (atomic_load(&p->ready) != 2) {
    }
    uint32_t i = 0;
    for (int trial = 0; trial < C2C_TRIALS; trial++) {
        const uint64_t start = host_wall_ns();
        for (int k = 0; k < C2C_HANDOVERS / 2; k++, i++) {
            atomic_store_explicit(&p->turn, 2 * i + 1, memory_order_release);
            while (atomic_load_explicit(&p->turn, memory_order_acquire) != 2 * i + 2) {
            }
        }
        const uint64_t ns = host_wall_ns() - start;
        if (ns < p->best_ns) {
            p->best_ns = ns;
        }
    }
    return NULL;
}

uint64_t host_c2c_ns(void)
{
    if (host_cpu_count() < 2) {
        return 0;
    }
    uint64_t best = UINT64_MAX;
    for (int attempt = 0; attempt < 3 && best > C2C_DISTURBED_NS; attempt++) {
        c2c_pair pair = { .best_ns = UINT64_MAX };
        pthread_t a, b;
        if (pthread_create(&b, NULL, c2c_second, &pair) != 0) {
            return 0;
        }
        if (pthread_create(&a, NULL, c2c_first, &pair) != 0) {
            c2c_first(&pair); /* B waits for a partner in any case */
            host_unpin();
        } else {
            pthread_join(a, NULL);
        }
        pthread_join(b, NULL);
        best = pair.best_ns;
    }
    return best / C2C_HANDOVERS;
}
