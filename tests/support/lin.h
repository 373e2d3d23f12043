/* SPDX-License-Identifier: MIT
 *
 * lin: recorded histories of single keys and the zone checker that judges them.
 *
 * A history is what threads observed: for each operation on a register (a key), the id of the value
 * it wrote or read and two times, before the call and after the return. Written ids are unique
 * within a key. The promise: every hit is the latest write in some order consistent with real time.
 * A miss proves nothing, because a cache may evict. So misses are not recorded, and a delete is a
 * write of an id that is never read.
 *
 * Use: one lin_log for each thread, preallocated; lin_check over all of them once the threads have
 *      stopped. */
#ifndef CELLAR_TESTS_LIN_H
#define CELLAR_TESTS_LIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIN_PENDING UINT64_MAX /* end of an operation that never returned */

typedef enum lin_kind { LIN_READ = 0, LIN_WRITE = 1 } lin_kind;

typedef struct lin_op { /* 32 B */
    uint64_t key;
    uint64_t start, end; /* any clock all threads share; start <= end */
    uint64_t kind_id;    /* kind in bit 63, id below */
} lin_op;

#define LIN_WRITE_BIT (UINT64_C(1) << 63)

static inline lin_op lin_make(lin_kind kind, uint64_t key, uint64_t id, uint64_t start,
                              uint64_t end)
{
    return (lin_op){.key = key, .start = start, .end = end,
                    .kind_id = id | (kind == LIN_WRITE ? LIN_WRITE_BIT : 0)};
}

typedef struct lin_log { /* one writer */
    lin_op *op;
    size_t count, cap;
    /* operations that found it full: a history with lost writes is no proof */
    uint64_t dropped;
} lin_log;

bool lin_open(lin_log *l, size_t cap);
void lin_close(lin_log *l);
static inline void lin_note(lin_log *l, lin_op op)
{
    if (l->count < l->cap) { l->op[l->count++] = op; } else { l->dropped++; }
}

typedef enum lin_fault {
    LIN_FINE,
    LIN_UNKNOWN,    /* a read of an id that was never written */
    LIN_TWICE,      /* an id written twice: the history is no history */
    LIN_EARLY,      /* a read ended before its write started */
    LIN_OVERLAP,    /* two values, each certainly current at one same moment */
    LIN_OVERWRITTEN,/* a value read and written inside another one's certain time */
    LIN_NO_MEMORY
} lin_fault;

typedef struct lin_report {
    lin_fault fault; /* of the first violation */
    uint64_t violations;
    uint64_t key, id, other_id; /* of the first violation */
    uint64_t keys, values;      /* judged */
} lin_report;

/* Judge `count` operations; sort them. Return true if they are linearizable. */
bool lin_check(lin_op *op, size_t count, lin_report *out);
/* Judge several logs as one history. */
bool lin_check_logs(const lin_log *logs, size_t n, lin_report *out);
const char *lin_fault_text(lin_fault f);

#endif
