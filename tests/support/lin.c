/* SPDX-License-Identifier: MIT
 *
 * lin: the zone checker of recorded register histories (lin.h). Tests include this file.
 *
 * PICTURE    the operations of one value form a cluster: f = earliest end in it, s = latest start.
 *              f < s   forward zone  [f, s]: the value was certainly current throughout
 *              f >= s  backward zone [s, f]: it was current at some moment in there
 *                time --->   |w(1)-----|  |r(1)--|        f = end of w, s = start of r: forward
 *                            |w(2)--------|
 *                               |r(2)------------|        s = start of r, f = end of w: backward
 * INVARIANTS linearizable iff no read ends before its write starts, no two forward zones overlap,
 *            and no backward zone lies inside a forward one (Gibbons and Korach, for unique
 *            values).
 * WALK       sort by key and id -> clusters -> per key: forward zones sorted by f, one sweep for
 *            overlaps; each backward zone looks for the last forward zone that begins before it.
 * LIMITS     O(n log n) time, one zone of 32 B per value. Times that are equal count as overlapping
 *            operations: never a false alarm, at most a missed one a clock tick long.
 * NOT HERE   the value before the first write: a read of it is a miss and not recorded.
 * SOURCE     Gibbons and Korach 1997, testing shared memories. */
#include "tests/support/lin.h"

#include <stdlib.h>
#include <string.h>

#define LIN_ID(op) ((op)->kind_id & ~LIN_WRITE_BIT)
#define LIN_IS_WRITE(op) (((op)->kind_id & LIN_WRITE_BIT) != 0)

typedef struct lin_zone {
    uint64_t low, high; /* times; forward: f..s, backward: s..f */
    uint64_t id;
    bool forward;
} lin_zone;

bool lin_open(lin_log *l, size_t cap)
{
    memset(l, 0, sizeof *l);
    l->op = malloc(cap * sizeof *l->op);
    l->cap = l->op != NULL ? cap : 0;
    return l->op != NULL;
}

void lin_close(lin_log *l)
{
    free(l->op);
    memset(l, 0, sizeof *l);
}

static int lin_by_key_id(const void *a, const void *b)
{
    const lin_op *x = a, *y = b;
    if (x->key != y->key) { return x->key < y->key ? -1 : 1; }
    if (LIN_ID(x) != LIN_ID(y)) { return LIN_ID(x) < LIN_ID(y) ? -1 : 1; }
    return LIN_IS_WRITE(y) - LIN_IS_WRITE(x);
}

/* Forward zones first, by their begin. */
static int lin_by_begin(const void *a, const void *b)
{
    const lin_zone *x = a, *y = b;
    if (x->forward != y->forward) { return x->forward ? -1 : 1; }
    return x->low < y->low ? -1 : x->low > y->low;
}

static void lin_blame(lin_report *r, lin_fault fault, uint64_t key, uint64_t id, uint64_t other)
{
    if (r->violations++ == 0) {
        r->fault = fault;
        r->key = key;
        r->id = id;
        r->other_id = other;
    }
}

/* Build the zone of the cluster op[0..n): same key, same id, the write first. Return false if it
 * has none: the cluster is at fault. */
static bool lin_cluster(const lin_op *op, size_t n, lin_zone *z, lin_report *r)
{
    if (!LIN_IS_WRITE(&op[0])) {
        lin_blame(r, LIN_UNKNOWN, op->key, LIN_ID(op), 0);
        return false;
    }
    uint64_t first_end = op[0].end, last_start = op[0].start;
    for (size_t i = 1; i < n; i++) {
        if (LIN_IS_WRITE(&op[i])) { lin_blame(r, LIN_TWICE, op->key, LIN_ID(op), 0); }
        if (op[i].end < op[0].start) { lin_blame(r, LIN_EARLY, op->key, LIN_ID(op), 0); }
        if (op[i].end < first_end) { first_end = op[i].end; }
        if (op[i].start > last_start) { last_start = op[i].start; }
    }
    z->id = LIN_ID(op);
    z->forward = first_end < last_start;
    z->low = z->forward ? first_end : last_start;
    z->high = z->forward ? last_start : first_end;
    return true;
}

/* Judge all zones of one key. */
static void lin_zones(lin_zone *z, size_t n, uint64_t key, lin_report *r)
{
    qsort(z, n, sizeof *z, lin_by_begin);
    size_t forward = 0;
    while (forward < n && z[forward].forward) { forward++; }
    size_t reach = 0; /* the forward zone that ends last among those begun */
    for (size_t i = 1; i < forward; i++) {
        if (z[i].low < z[reach].high) { lin_blame(r, LIN_OVERLAP, key, z[i].id, z[reach].id); }
        if (z[i].high > z[reach].high) { reach = i; }
    }
    size_t at = 0;
    reach = 0;
    for (size_t i = forward; i < n; i++) {
        while (at < forward && z[at].low < z[i].low) {
            if (z[at].high > z[reach].high) { reach = at; }
            at++;
        }
        if (at > 0 && z[reach].low < z[i].low && z[i].high < z[reach].high) {
            lin_blame(r, LIN_OVERWRITTEN, key, z[i].id, z[reach].id);
        }
    }
}

bool lin_check(lin_op *op, size_t count, lin_report *out)
{
    memset(out, 0, sizeof *out);
    qsort(op, count, sizeof *op, lin_by_key_id);
    lin_zone *zone = malloc((count + 1) * sizeof *zone);
    if (zone == NULL) {
        out->fault = LIN_NO_MEMORY;
        return false;
    }
    for (size_t i = 0; i < count;) {
        const uint64_t key = op[i].key;
        size_t zones = 0;
        while (i < count && op[i].key == key) {
            size_t end = i + 1;
            while (end < count && op[end].key == key && LIN_ID(&op[end]) == LIN_ID(&op[i])) {
                end++;
            }
            zones += lin_cluster(&op[i], end - i, &zone[zones], out);
            out->values++;
            i = end;
        }
        lin_zones(zone, zones, key, out);
        out->keys++;
    }
    free(zone);
    return out->violations == 0;
}

bool lin_check_logs(const lin_log *logs, size_t n, lin_report *out)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) { count += logs[i].count; }
    lin_op *all = malloc((count + 1) * sizeof *all);
    if (all == NULL) {
        *out = (lin_report){.fault = LIN_NO_MEMORY};
        return false;
    }
    count = 0;
    for (size_t i = 0; i < n; i++) {
        if (logs[i].count != 0) { memcpy(all + count, logs[i].op, logs[i].count * sizeof *all); }
        count += logs[i].count;
    }
    bool fine = lin_check(all, count, out);
    free(all);
    return fine;
}

const char *lin_fault_text(lin_fault f)
{
    switch (f) {
    case LIN_FINE: return "fine";
    case LIN_UNKNOWN: return "a read of a value that was never written";
    case LIN_TWICE: return "a value written twice";
    case LIN_EARLY: return "a read ended before its write started";
    case LIN_OVERLAP: return "two values certainly current at one moment";
    case LIN_OVERWRITTEN: return "a value seen inside another one's certain time";
    case LIN_NO_MEMORY: return "no memory for the check";
    }
    return "?";
}
