/* SPDX-License-Identifier: MIT
 *
 * Aim:    The zone checker of tests/support/lin.c accepts exactly the linearizable histories.
 * Method: 50 histories judged by hand. All histories of up to 5 operations (and a share of those of
 *         6) against a brute-force search for an order, random ones with equal times too.
 *         Violations planted in histories recorded from real threads, each of which must be
 *         detected. */
#include "tests/support/l1_kit.h"
#include "tests/support/lin.c"

/* ---- 50 by hand. "w1@0-2": value 1 written between times 0 and 2;
    "-" instead of the end: pending. */
static const struct { const char *text; bool fine; } by_hand[] = {
    {"", true},
    {"w1@0-1", true},
    {"w1@0-1 r1@2-3", true},
    {"w1@0-9 r1@1-2", true},
    {"w1@0-9 r1@1-2 r1@3-4", true},
    {"w1@5-6 r1@0-9", true},
    {"w1@5-6 r1@0-4", false},               /* read before it was written */
    {"w1@5-9 r1@0-5", true},                /* touching times overlap */
    {"r1@0-1", false},                      /* never written */
    {"w1@0-1 w1@2-3", false},               /* no history at all */
    {"w1@0-1 w2@2-3 r2@4-5", true},
    {"w1@0-1 w2@2-3 r1@4-5", false},        /* stale */
    {"w1@0-1 w2@2-5 r1@3-4", true},         /* the write may take effect late */
    {"w1@0-1 w2@2-5 r2@3-4 r1@6-7", false},
    {"w1@0-1 w2@2-9 r2@3-4 r1@5-6", false}, /* a new value, then the old one */
    {"w1@0-1 w2@2-9 r1@3-4 r2@5-6", true},
    {"w1@0-1 w2@2-9 r1@3-6 r2@4-5", true},  /* overlapping reads, any order */
    {"w1@0-9 w2@0-9 r1@1-2 r2@3-4", true},
    {"w1@0-9 w2@0-9 r1@1-2 r2@3-4 r1@5-6", false},
    {"w1@0-9 w2@0-9 r1@1-4 r2@3-6 r1@5-8", true}, /* 1 1 2: the last two overlap */
    {"w1@0-9 w2@0-9 r2@1-4 r1@3-6 r2@5-8", true},
    {"w1@0-3 w2@0-3 r1@4-5 r2@6-7", false}, /* both written before both reads */
    {"w1@0-3 w2@0-3 r1@4-7 r2@5-6", false},
    {"w1@0-3 w2@0-3 r1@4-7 r1@5-6", true},
    {"w1@0-3 w2@2-5 r1@4-6", true},         /* overlapping writes: 2 may be the earlier one */
    {"w1@0-3 w2@2-5 r2@4-6 r1@7-8", false},
    {"w1@0-3 w2@2-5 r1@6-7 r1@8-9", true},
    {"w1@0-1 w2@2-3 w3@4-5 r3@6-7", true},
    {"w1@0-1 w2@2-3 w3@4-5 r2@6-7", false},
    {"w1@0-1 w2@2-3 w3@4-7 r2@5-6", true},
    {"w1@0-1 w2@2-9 w3@3-8 r1@4-5 r3@6-7", true},
    {"w1@0-1 w2@2-9 w3@3-8 r3@4-5 r1@6-7", false},
    {"w1@0-1 w2@2-9 w3@3-8 r3@4-5 r2@6-7 r3@10-11", false},
    {"w1@0-1 w2@2-3 r1@0-9", true},         /* a long read may take any of its moments */
    {"w1@0-1 w2@2-3 w3@4-5 r1@0-9 r2@0-9 r3@0-9", true},
    {"w1@0-1 w2@3-4 r1@2-9 r2@5-6", true},
    {"w1@0-1 w2@3-4 r2@5-6 r1@7-8", false},
    {"w1@0-1 w2@3-4 r1@5-6 r2@7-8", false}, /* 2 was in between: 1 spans it */
    {"w1@0-- r1@5-6", true},                /* a pending write took effect */
    {"w1@0-- r1@5-6 w2@7-8 r2@9-10", true},
    {"w1@0-- w2@1-2 r2@3-4 r1@5-6", true},  /* ... late */
    {"w1@0-- w2@1-2 r1@3-4 r2@5-6", false},
    {"w1@7-- r1@5-6", false},
    {"w1@0-- w2@0-- r1@1-2 r2@3-4", true},
    {"w1@0-- w2@0-- r1@1-2 r2@3-4 r1@5-6", false},
    {"w1@0-1 w2@2-3 w9@4-5 r2@6-7", false}, /* 9: a delete; the removed value came back */
    {"w1@0-1 w2@2-3 w9@4-7 r2@5-6", true},
    {"w1@0-1 w9@2-3 w2@4-5 r2@6-7 r2@8-9", true},
    {"w1@0-4 w2@1-5 w3@2-6 r1@7-8 r1@9-10", true},
    {"w1@0-4 w2@1-5 w3@2-6 r1@7-8 r3@9-10", false},
};
_Static_assert(sizeof by_hand / sizeof by_hand[0] == 50, "fifty of them");

static size_t parse(const char *text, lin_op *op)
{
    size_t n = 0;
    while (*text != '\0') {
        char kind = *text++, *next;
        uint64_t id = strtoull(text, &next, 10);
        uint64_t start = strtoull(next + 1, &next, 10);
        uint64_t end = LIN_PENDING;
        next++;
        if (*next == '-') { next++; } else { end = strtoull(next, &next, 10); }
        op[n++] = lin_make(kind == 'w' ? LIN_WRITE : LIN_READ, 7, id, start, end);
        while (*next == ' ') { next++; }
        text = next;
    }
    return n;
}

T_CASE(hand_written_histories_are_judged_right)
{
    for (size_t i = 0; i < sizeof by_hand / sizeof by_hand[0]; i++) {
        lin_op op[8];
        lin_report r;
        size_t n = parse(by_hand[i].text, op);
        bool fine = lin_check(op, n, &r);
        if (fine != by_hand[i].fine) {
            printf("# history \"%s\": %s\n", by_hand[i].text, lin_fault_text(r.fault));
        }
        T_EQ_U64(fine, by_hand[i].fine);
        T_EQ_U64(r.violations != 0, r.fault != LIN_FINE);
    }
}

/* ---- brute force: does an order exist? ------------------------------------------------------ */
static bool order_exists(const lin_op *op, size_t n, unsigned done, uint64_t now)
{
    if (done == (1u << n) - 1) { return true; }
    uint64_t first_end = UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        if ((done >> i & 1u) == 0 && op[i].end < first_end) { first_end = op[i].end; }
    }
    for (size_t i = 0; i < n; i++) {
        /* An operation can be next if it started before every other remaining one ended. */
        if ((done >> i & 1u) != 0 || op[i].start > first_end) { continue; }
        if (!LIN_IS_WRITE(&op[i]) && LIN_ID(&op[i]) != now) { continue; }
        if (order_exists(op, n, done | 1u << i, LIN_ID(&op[i]))) { return true; }
    }
    return false;
}

static bool agree(const lin_op *op, size_t n)
{
    lin_op copy[8];
    lin_report r;
    memcpy(copy, op, n * sizeof *op);
    bool zone = lin_check(copy, n, &r), brute = order_exists(op, n, 0, 0);
    if (zone == brute) { return true; }
    for (size_t i = 0; i < n; i++) {
        printf("# %c%" PRIu64 "@%" PRIu64 "-%" PRIu64 "\n", LIN_IS_WRITE(&op[i]) ? 'w' : 'r',
               LIN_ID(&op[i]),
               op[i].start, op[i].end);
    }
    return T_CHECK(zone == brute);
}

/* All ways to write or read with `n` operations of given times. */
static uint64_t all_values(lin_op *op, size_t n)
{
    uint64_t judged = 0;
    for (unsigned writes = 1; writes < 1u << n; writes++) {
        unsigned w = 0;
        for (size_t i = 0; i < n; i++) {
            if ((writes >> i & 1u) != 0) { op[i].kind_id = ++w | LIN_WRITE_BIT; }
        }
        uint64_t reads = 1;
        for (unsigned i = w; i < n; i++) { reads *= w; }
        for (uint64_t choice = 0; choice < reads; choice++) {
            uint64_t c = choice;
            for (size_t i = 0; i < n; i++) {
                if ((writes >> i & 1u) != 0) { continue; }
                op[i].kind_id = 1 + c % w;
                c /= w;
            }
            if (!agree(op, n)) { return judged; }
            judged++;
        }
    }
    return judged;
}

static struct { size_t n; uint64_t turn, stride, judged; } every;

/* All ways to pair 2n moments into n intervals: the first free moment begins an interval. */
static void all_intervals(lin_op *op, size_t made, unsigned used)
{
    const size_t n = every.n;
    if (made == n) {
        if (every.turn++ % every.stride == 0) { every.judged += all_values(op, n); }
        return;
    }
    unsigned first = 0;
    while ((used >> first & 1u) != 0) { first++; }
    for (unsigned end = first + 1; end < 2 * n; end++) {
        if ((used >> end & 1u) != 0) { continue; }
        op[made] = (lin_op){.key = 1, .start = first, .end = end};
        all_intervals(op, made + 1, used | 1u << first | 1u << end);
    }
}

T_CASE(brute_force_agrees_on_all_small_histories)
{
    static const uint64_t count[] = {0, 1, 9, 150, 4305, 185220};
    lin_op op[8];
    for (size_t n = 1; n <= 6; n++) {
        every.n = n;
        every.stride = n < 6 ? 1 : BASE_MAX(5 * KIT_SLOW / t_env_u64("T_SCALE", 1), 1);
        every.turn = n < 6 ? 0 : t_seed() % every.stride;
        every.judged = 0;
        all_intervals(op, 0, 0);
        if (n < 6) { T_EQ_U64(every.judged, count[n]); } else { T_CHECK(every.judged > 10000); }
    }
}

T_CASE(brute_force_agrees_on_equal_times)
{
    kit_rng r = {t_seed()};
    for (uint64_t round = 0; round < kit_scale(300000); round++) {
        lin_op op[8];
        size_t n = 1 + kit_below(&r, 7);
        unsigned w = 0;
        for (size_t i = 0; i < n; i++) {
            uint64_t start = kit_below(&r, 8);
            bool write = i == 0 || kit_one_in(&r, 2);
            op[i] = lin_make(write ? LIN_WRITE : LIN_READ, 1, write ? ++w : 0, start,
                             kit_one_in(&r, 20) ? LIN_PENDING : start + kit_below(&r, 5));
        }
        for (size_t i = 0; i < n; i++) {
            if (!LIN_IS_WRITE(&op[i])) {
                op[i].kind_id = 1 + kit_below(&r, w + (kit_one_in(&r, 16) ? 1 : 0));
            }
        }
        if (!agree(op, n)) { return; }
    }
}

/* ---- recorded from threads on a real register, then spoiled ---------------------------------- */
enum { KEYS = 3, WRITERS = 3, OPS = 400 };
static struct {
    _Atomic uint64_t cell[KEYS];
    _Atomic uint64_t next_id, tick;
    lin_log log[WRITERS];
    _Atomic uint32_t turn;
} reg;

/* A step number shared by all threads: finer than any clock, so that most operations follow one
 * another. */
static uint64_t moment(void) { return atomic_fetch_add(&reg.tick, 1); }

static void use_register(void *arg)
{
    lin_log *log = &reg.log[(size_t)(uintptr_t)arg];
    kit_rng r = {t_seed() * 31 + (uint64_t)(uintptr_t)arg + atomic_load(&reg.turn)};
    for (unsigned i = 0; i < OPS; i++) {
        uint64_t key = kit_below(&r, KEYS), start = moment(), id;
        bool write = kit_one_in(&r, 3);
        if (write) {
            id = atomic_fetch_add(&reg.next_id, 1);
            atomic_store(&reg.cell[key], id);
        } else {
            id = atomic_load(&reg.cell[key]);
        }
        uint64_t end = moment();
        if (write || id != 0) {
            lin_note(log, lin_make(write ? LIN_WRITE : LIN_READ, key, id, start, end));
        }
        if (kit_one_in(&r, 8)) { base_yield(); }
    }
}

static size_t record(lin_op *all)
{
    kit_team team = {.n = 0};
    for (size_t i = 0; i < KEYS; i++) { atomic_store(&reg.cell[i], 0); }
    atomic_store(&reg.next_id, 1);
    atomic_fetch_add(&reg.turn, WRITERS);
    for (size_t i = 0; i < WRITERS; i++) {
        T_REQUIRE(lin_open(&reg.log[i], OPS));
        kit_start(&team, use_register, (void *)i);
    }
    kit_join(&team);
    lin_report report;
    T_CHECK(lin_check_logs(reg.log, WRITERS, &report));
    T_EQ_U64(report.keys, KEYS);
    size_t n = 0;
    for (size_t i = 0; i < WRITERS; i++) {
        memcpy(all + n, reg.log[i].op, reg.log[i].count * sizeof *all);
        n += reg.log[i].count;
        T_EQ_U64(reg.log[i].dropped, 0);
        lin_close(&reg.log[i]);
    }
    return n;
}

/* Spoil one read so that no order explains it; return false if this read cannot be spoiled. */
static bool plant(lin_op *op, size_t n, size_t at, unsigned kind)
{
    lin_op *read = &op[at];
    if (LIN_IS_WRITE(read)) { return false; }
    for (size_t i = 0; i < n; i++) {
        const lin_op *w1 = &op[i];
        if (!LIN_IS_WRITE(w1) || w1->key != read->key) { continue; }
        if (kind == 0 && w1->start > read->end) { /* a read from the future */
            read->kind_id = LIN_ID(w1);
            return true;
        }
        for (size_t j = 0; kind == 1 && j < n; j++) { /* overwritten before the read began */
            const lin_op *w2 = &op[j];
            if (LIN_IS_WRITE(w2) && w2->key == read->key && w1->end < w2->start &&
                w2->end < read->start) {
                read->kind_id = LIN_ID(w1);
                return true;
            }
        }
    }
    if (kind == 2) { read->kind_id = UINT32_MAX; }
    return kind == 2;
}

T_CASE(planted_violations_are_all_found)
{
    static lin_op all[WRITERS * OPS], spoiled[WRITERS * OPS];
    kit_rng r = {t_seed()};
    uint64_t planted = 0, found = 0;
    for (unsigned round = 0; round < 10; round++) {
        size_t n = record(all);
        for (uint64_t i = 0; i < kit_scale(120); i++) {
            lin_report report;
            memcpy(spoiled, all, n * sizeof *all);
            if (!plant(spoiled, n, kit_below(&r, n), (unsigned)(i % 3))) { continue; }
            planted++;
            found += !lin_check(spoiled, n, &report);
        }
    }
    T_EQ_U64(found, planted);
    T_CHECK(planted > kit_scale(120));
}

T_MAIN("lin_checker")
