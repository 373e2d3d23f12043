/* SPDX-License-Identifier: MIT
 *
 * tsc_clock: CLOCK_MONOTONIC in nanoseconds at a third of its cost, from the CPU's counter.
 *
 * PICTURE    ns |        . clock       a line through (counter, clock); the first caller after
 *               |    .-'line           50 ms lays the next stretch
 *               |.-'______ counter
 * INVARIANTS The line meets the clock again at the end of the next stretch: it neither jumps nor
 *            drifts. It is about 20 us off the clock in the first stretch, 2 us later.
 *            A counter that restarted (suspend) is far off the line and lays it again immediately.
 *            A counter that jumped or changed its rate (migrated virtual machine) is off until the
 *            stretch ends and is then measured again. A counter that lost its trust (clock.c) is
 *            not used again.
 * LOCKING    `seq` is odd while a thread lays the line. A reader reads it twice; if it moved, or if
 *            another thread lays the line, the reader uses the clock. No thread waits.
 * LIMITS     Two threads may read values a few microseconds apart, also backwards: for limiters,
 *            where an older reading is only stricter. Without a trusted counter: the clock itself.
 * SEE ALSO   README.md in this folder: figures. */
#include "base/atomic.h"
#include "base/clock.h"

#define BASE_LINE_COUNTS ((uint64_t)1 << 27) /* longest stretch of the line; 50 ms if shorter */
#define BASE_LINE_NS ((uint64_t)50000000)

static struct base_line {
    _Atomic uint32_t seq BASE_ALIGNED(BASE_PAD); /* odd: a thread lays the line; seqlock order */
    _Atomic uint64_t count, ns; /* where the line starts */
    _Atomic uint64_t slope;     /* ns per count, times 2^32; 0: not laid yet */
    _Atomic uint64_t span;      /* counts of a stretch */
    uint64_t far_count, far_ns; /* an earlier pair, for the slope; guarded by seq being odd */
} base_line;

BASE_SIZE_BEGIN

/* Read counter and clock of one moment: the closest pair of four tries. */
static void base_line_pair(uint64_t *count, uint64_t *ns)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 4; i++) {
        const uint64_t before = BASE_COUNTER();
        const uint64_t now = base_now_ns();
        const uint64_t width = BASE_COUNTER() - before;
        if (width < best) {
            best = width;
            *count = before + width / 2;
            *ns = now;
        }
    }
}

/* Return whether the earlier pair belongs to this line. False if the counter went back, jumped or
 * changed its rate. */
static bool base_line_same(uint64_t count, uint64_t ns)
{
    const struct base_line *l = &base_line;
    const uint64_t old = base_load_rlx(&l->slope);
    if (old == 0 || count <= l->far_count || ns <= l->far_ns ||
        count < base_load_rlx(&l->count)) {
        return false;
    }
    const double slope = (double)(ns - l->far_ns) / (double)(count - l->far_count) * 4294967296.0;
    const double off = slope - (double)old;
    return off < (double)(old / 128) && -off < (double)(old / 128);
}

/* Lay the next stretch and return the time. The caller has made seq odd. */
static uint64_t base_line_lay(void)
{
    struct base_line *l = &base_line;
    uint64_t count, ns;
    base_line_pair(&count, &ns);
    if (!base_line_same(count, ns)) {
        l->far_count = count;
        l->far_ns = ns;
        do { base_line_pair(&count, &ns); } while (ns - l->far_ns < 100000);
        base_store_rlx(&l->slope, (uint64_t)0);
        if (count <= l->far_count) { return ns; } /* the counter moved again: try next time */
    }
    double slope = (double)(ns - l->far_ns) / (double)(count - l->far_count);
    const double stretch = slope > 0 ? (double)BASE_LINE_NS / slope : 0;
    const uint64_t span = stretch < (double)BASE_LINE_COUNTS ? (uint64_t)stretch : BASE_LINE_COUNTS;
    uint64_t start = ns;
    const uint64_t gone = count - base_load_rlx(&l->count);
    if (base_load_rlx(&l->slope) != 0 && span != 0 && gone < 8 * span) {
        const uint64_t line = base_load_rlx(&l->ns) + (gone * base_load_rlx(&l->slope) >> 32);
        const int64_t ahead = (int64_t)(line - ns);
        if (ahead < 100000 && ahead > -100000) { /* bend it back instead of jumping */
            start = line;
            slope -= (double)ahead / (double)span;
        }
    }
    if (ns - l->far_ns > 1000000000) {
        l->far_count = base_load_rlx(&l->count);
        l->far_ns = base_load_rlx(&l->ns);
    }
    base_store_rlx(&l->count, count);
    base_store_rlx(&l->ns, start);
    base_store_rlx(&l->span, span);
    /* A stretch times the slope stays below 2^63. */
    base_store_rlx(&l->slope, slope > 0 && slope < 100 ? (uint64_t)(slope * 4294967296.0) : 0);
    return start;
}

BASE_COLD static uint64_t base_line_slow(void)
{
    struct base_line *l = &base_line;
    if (!base_counter_trusted()) { return base_now_ns(); }
    const uint32_t seq = base_load_acq(&l->seq);
    if ((seq & 1) != 0 || !base_cas_ar(&l->seq, seq, seq + 1)) { return base_now_ns(); }
    base_fence_rel();
    const uint64_t now = base_line_lay();
    base_store_rel(&l->seq, seq + 2);
    return now;
}

BASE_SIZE_END

CELLAR_PRIVATE uint64_t base_tsc_ns(void)
{
    struct base_line *l = &base_line;
    const uint32_t seq = base_load_acq(&l->seq);
    const uint64_t slope = base_load_acq(&l->slope);
    const uint64_t ns = base_load_acq(&l->ns);
    const uint64_t gone = BASE_COUNTER() - base_load_acq(&l->count);
    const uint64_t span = base_load_acq(&l->span);
    base_fence_acq();
    if (BASE_UNLIKELY(gone >= span || slope == 0 || (seq & 1) != 0 ||
                      base_load_rlx(&l->seq) != seq)) {
        return base_line_slow();
    }
    return ns + (gone * slope >> 32);
}
