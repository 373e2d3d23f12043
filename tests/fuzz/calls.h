/* SPDX-License-Identifier: MIT
 *
 * calls: a random program over all public calls; what its parts share.
 *
 * PICTURE    test_calls_fuzz.c draws rows of calls_rows; a row is a family of calls in one of
 *                calls_store.c    store, namespaces, options, policies, figures, port
 *                calls_entry.c    reads, writes, invalidations, scans, listeners
 *                calls_load.c     loads, leases, warm, memoize, answers, embeddings
 *                calls_guard.c    bloom, breaker, limiters, locks; calls_batch.c: batcher, behind
 *                calls_work.c     bus, tasks, schedules, refreshes
 *                calls_kit.c      keys, templates, typed values, boards, lists, status, settings
 *            A world is the life of one store, on disk of several stores in one directory.
 * MODEL      A value names its namespace, its key and a number that rises with each change of the
 *            key, and fills the rest with bytes made of that number. A slot has the least number
 *            that a read may still find. One thread owns a key and alone writes it; every thread
 *            reads, loads and invalidates it. An invalidation notes before its call which numbers
 *            have been stored, and declares these dead after it. So an old value is found with any
 *            number of threads. One thread also knows deadlines and refused values.
 * DUE        A value is due after its set until something may have ended it: a number drawn for its
 *            key, an invalidation, the earliest end of its options, its eviction (a listener hears
 *            it, or a counter rises). A miss of a due key is a fault. On disk it outlives evictions
 *            and closes. Strict worlds have no rules, filters, failing disks.
 * LIVES      A life on disk ends by a close or a kill at some read of the clock, maybe with a power
 *            cut: the next open reads no boot id. Due is then what mode and level promised.
 * NESTED     Each callback may draw rows itself, to a depth of 3.
 * SEED       A world begins with a seed of SEED, its cell and its number; WORLD=n begins with that
 *            one. With one thread it mostly repeats. TRACE=1 prints each call. */
#ifndef CELLAR_FUZZ_CALLS_H
#define CELLAR_FUZZ_CALLS_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/support/folder.h"
#include "tests/support/t.h"

#include "base/fault.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_batch.h"
#include "cellar_bloom.h"
#include "cellar_breaker.h"
#include "cellar_bus.h"
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_kit.h"
#include "cellar_l2.h"
#include "cellar_limit.h"
#include "cellar_load.h"
#include "cellar_lock.h"
#include "cellar_memo.h"
#include "cellar_observe.h"
#include "cellar_refresh.h"
#include "cellar_resp.h"
#include "cellar_schedule.h"
#include "cellar_task.h"
#include "cellar_object.h"
#include "cellar_tier.h"
#include "cellar_warm.h"

enum {
    CALLS_SPACES = 5, /* namespaces of the model; the last one writes behind */
    CALLS_BEHIND = 4,
    CALLS_KEYS = 32,  /* keys of a namespace with values of the model */
    CALLS_COUNTERS = 8,
    CALLS_TAGS = 6,
    CALLS_THREADS = 4,
    CALLS_REFUSED = 16,
    CALLS_DEADLINES = 64,
    CALLS_HEAD = 40,  /* bytes of a value before its filling */
    CALLS_BUFFER = 1 << 17,
    CALLS_OFF_MS = 60000, /* longest time between a close and the next open; least min_ttl_ms */
    CALLS_LONG = 260 << 10, /* a value with a block of its own, not in the log */
    CALLS_PAGE = 1 << 16    /* multiple of a page: what processes share is alone on its pages */
};

/* ---- Drawing --------------------------------------------------------------------------------- */

typedef struct calls_actor {   /* a thread; those of the library have one as well */
    uint64_t state;            /* of the random numbers */
    unsigned number;           /* which keys it owns; CALLS_THREADS: none */
    unsigned depth;            /* callbacks that are running */
    const char *last[64];      /* calls made, a ring */
    uint64_t made;
    unsigned char buffer[4][CALLS_BUFFER]; /* by depth */
} calls_actor;

static _Thread_local calls_actor *calls_me;

static struct calls_run {
    unsigned threads;          /* of this cell */
    bool disk;
    uint64_t seed, world;      /* seed of this world; its number in the cell */
    _Atomic uint64_t step;
    _Atomic int64_t now_ms;    /* the virtual clock */
    _Atomic int64_t fail_alloc; /* the allocation that fails, counted down; 0: none */
    _Atomic int64_t bytes;     /* allocated from the host */
    _Atomic bool closing;      /* objects close: threads of the library draw no rows */
    _Atomic unsigned drawing;  /* threads of the library in a callback that may draw rows */
    bool trace;
    bool searching;            /* CALLS_SECONDS or WORLD: several threads judge due values as well */
    _Atomic uint64_t due, kept; /* reads that found a due value; values due after an open */
    bool dies;                 /* this life ends by a kill */
    _Atomic int64_t moments;   /* reads of the clock until it dies */
} __attribute__((aligned(CALLS_PAGE))) calls; /* by all processes */

static bool calls_exact(void) { return calls.threads == 1; }

static calls_actor *calls_actor_of_thread(void)
{
    static calls_actor spare[64]; /* threads of the library */
    static _Atomic unsigned used;
    if (calls_me == NULL) {
        calls_me = &spare[atomic_fetch_add(&used, 1) % 64];
        calls_me->number = CALLS_THREADS;
        calls_me->state = calls.seed ^ (uint64_t)(uintptr_t)calls_me;
    }
    return calls_me;
}

static unsigned char *calls_buffer(void)
{
    calls_actor *me = calls_actor_of_thread();
    return me->buffer[me->depth & 3];
}

static uint64_t calls_mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static uint64_t draw64(void)
{
    return calls_mix(calls_actor_of_thread()->state += UINT64_C(0x9E3779B97F4A7C15));
}
static unsigned draw(unsigned n) { return (unsigned)(draw64() % n); }
static bool chance(unsigned pct) { return draw(100) < pct; }

static int64_t calls_one_of(const int64_t *list, size_t count)
{
    return list[draw((unsigned)count)];
}
#define ONE_OF(...) \
    calls_one_of((const int64_t[]){ __VA_ARGS__ }, \
                 sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))
/* Set a field in one of two draws, to one of the values. */
#define MAYBE(field, ...) \
    do { \
        if (chance(50)) { (field) = (__typeof__(field))ONE_OF(__VA_ARGS__); } \
    } while (0)
/* An option of times in ms, mostly valid. */
#define SOME_MS 0, 0, 1, 50, 1000, 60000, 3600000, CELLAR_TTL_NONE
#define CALLS_LASTS 0, 3600000, CELLAR_TTL_NONE /* values stay as long as their world */
#define BAD_MS SOME_MS, SOME_MS, SOME_MS, SOME_MS, -1, INT64_MIN

/* Draw the budget of a tick: with one thread one that no clock of the system ends. */
static uint64_t tick_us(uint64_t all) { return !calls_exact() ? draw(2000) : chance(50) ? 0 : all; }

/* ---- Failing --------------------------------------------------------------------------------- */

static void __attribute__((format(printf, 1, 2), noreturn)) calls_fault(const char *form, ...)
{
    const calls_actor *me = calls_actor_of_thread();
    va_list list;
    va_start(list, form);
    flockfile(stderr);
    fprintf(stderr, "calls: %s, %u threads, SEED=%" PRIu64 " WORLD=%" PRIu64 ", step %" PRIu64 ": ",
            calls.disk ? "disk" : "memory", calls.threads, t_.seed, calls.world,
            atomic_load(&calls.step));
    vfprintf(stderr, form, list);
    fprintf(stderr, "\nlast calls of the thread, the newest first:\n");
    for (uint64_t i = 0; i < 64 && i < me->made; i++) {
        fprintf(stderr, " %s", me->last[(me->made - 1 - i) % 64]);
    }
    fprintf(stderr, "\n");
    funlockfile(stderr);
    va_end(list);
    abort();
}
#define MUST(fact) \
    do { \
        if (!(fact)) { calls_fault("%s:%d: %s", __FILE__, __LINE__, #fact); } \
    } while (0)

/* ---- Calls made ------------------------------------------------------------------------------ */

static struct calls_seen { /* by address of the name: a name may have several */
    const char *_Atomic name;
    _Atomic uint64_t count;
} calls_seen[4096];

static void calls_note(const char *name)
{
    calls_actor *me = calls_actor_of_thread();
    size_t at = (size_t)calls_mix((uint64_t)(uintptr_t)name) % 4096;
    for (;; at = (at + 1) % 4096) {
        const char *there = atomic_load(&calls_seen[at].name);
        if (there == NULL && atomic_compare_exchange_strong(&calls_seen[at].name, &there, name)) {
            there = name;
        }
        if (there == name) { break; }
    }
    atomic_fetch_add_explicit(&calls_seen[at].count, 1, memory_order_relaxed);
    me->last[me->made++ % 64] = name;
    if (calls.trace) {
        printf("# %" PRIu64 " %u %*s%s\n", atomic_load(&calls.step), me->number,
               (int)me->depth * 2, "", name);
        fflush(stdout);
    }
}
/* Print a detail of the model behind the calls of a trace. */
#define TRACE(...) \
    do { \
        if (calls.trace) { printf("#    " __VA_ARGS__), printf("\n"), fflush(stdout); } \
    } while (0)
/* Every public call is written as CALL(cellar_get)(c, ..), so the list of calls is complete. */
#define CALL(fn) (calls_note(#fn), fn)

static uint64_t calls_count(const char *name)
{
    uint64_t n = 0;
    for (size_t i = 0; i < 4096; i++) {
        const char *there = atomic_load(&calls_seen[i].name);
        if (there != NULL && strcmp(there, name) == 0) { n += atomic_load(&calls_seen[i].count); }
    }
    return n;
}

/* Judge the code of any call. The error of a refusal has a text. */
static cellar_err told(cellar *c, cellar_err err)
{
    MUST(strcmp(CALL(cellar_code_name)(err), "?") != 0);
    MUST(CALL(cellar_strerror)(err)[0] != '\0');
    MUST(err != CELLAR_E_CORRUPT);
    if (calls_exact() && (err == CELLAR_E_INVAL || err == CELLAR_E_UNSUPPORTED)) {
        cellar_error_info e = cellar_error_info_default();
        MUST(CALL(cellar_last_error)(c, &e) == CELLAR_OK);
        if (e.code != err || e.text[0] == '\0') {
            calls_fault("%s without a text: last error is %s \"%s\"", cellar_code_name(err),
                        cellar_code_name(e.code), e.text);
        }
    }
    return err;
}
/* The same for calls without a text for refusals. */
static cellar_err plain(cellar_err err)
{
    MUST(strcmp(cellar_code_name(err), "?") != 0);
    MUST(err != CELLAR_E_CORRUPT);
    return err;
}

/* Make an options struct invalid in one of 40 draws: the call must refuse it and do nothing. */
static bool spoil(void *o, size_t size)
{
    if (!chance(2)) { return false; }
    const size_t bad[] = { 0, 4097, size + 1, 5 };
    memcpy(o, &bad[draw(2)], sizeof *bad);
    return true;
}

static void refused(bool spoilt, cellar_err err)
{
    if (spoilt && err != CELLAR_E_INVAL && err != CELLAR_E_CLOSED) {
        calls_fault("a struct of a wrong size: %s", cellar_code_name(err));
    }
}

/* ---- Callbacks ------------------------------------------------------------------------------- */

static void calls_nest(void);

/* At the begin of each callback that may call the library. */
static void calls_back(void)
{
    calls_actor *me = calls_actor_of_thread();
    const bool outside = me->number == CALLS_THREADS;
    if (me->depth >= 3 || !chance(25)) { return; }
    atomic_fetch_add(&calls.drawing, outside);
    if (!outside || !atomic_load(&calls.closing)) {
        me->depth++;
        calls_nest();
        me->depth--;
    }
    atomic_fetch_sub(&calls.drawing, outside);
}

/* ---- The model ------------------------------------------------------------------------------- */

typedef struct calls_due {
    _Atomic uint64_t touched;   /* raised by all that may end the value, but a loader */
    _Atomic uint64_t loads;     /* raised by a loader of the key */
    _Atomic uint32_t tags;      /* that the value may have */
    /* Written by the owner: */
    uint64_t number;            /* the value; 0: none is due */
    uint64_t seen, loads_seen;  /* `touched` and `loads` when it became due */
    uint64_t room;              /* due_room() then */
    int64_t end_ms;             /* least deadline */
    bool memory_only;           /* the set said so */
    _Atomic bool disk;          /* it left memory, and the disk has to have it */
    uint64_t left_step;         /* the step in which it did */
    _Atomic unsigned sure;      /* 1: a call promised that a kill leaves it; 2: also a power cut */
    _Atomic bool plain;         /* only a close promised it: a full index may drop it later */
    uint64_t kept;              /* the value that the disk must have at the next open; 0: none */
    int64_t left_ms;            /* its least life then */
} calls_due;

typedef struct calls_slot {
    calls_due due;
    _Atomic uint64_t next;      /* numbers given out */
    _Atomic uint64_t done;      /* number of the last set that has returned */
    _Atomic uint64_t least[2];  /* of sets, of loads: smaller numbers are dead */
    _Atomic uint64_t tag[CALLS_TAGS][2]; /* the same of values with a tag */
    _Atomic uint64_t soft[CALLS_TAGS];   /* numbers below are stale */
    _Atomic int64_t until;      /* latest deadline by touches and confirmed values */
    int64_t deadline[CALLS_DEADLINES];   /* by number; one thread */
    uint64_t refused[CALLS_REFUSED];     /* numbers that were never stored; one thread */
    unsigned refused_count;
    bool busy;                  /* its owner is inside a change of it */
    unsigned leased;            /* leases of it; one thread */
} calls_slot;

/* What a thread knows of an entry that it alone changes. */
typedef struct calls_owned {
    uint64_t changes;           /* begun by the thread, callbacks included */
    bool known;
    union {
        int64_t i64;
        double f64;
        float f32s[3];
    } is;
} calls_owned;

/* Around a change: the value before it, and whether no callback changed the entry meanwhile. If one
 * did, the value is not known: the change around it may have ended before or after it.
 * Around a read: whether the value is known from its begin to its end. A read may evict entries, and
 * the listener of one may change the entry that is read. */
static calls_owned own_begin(calls_owned *x)
{
    const calls_owned was = *x;
    x->changes++;
    x->known = false;
    return was;
}
static bool own_alone(const calls_owned *x, const calls_owned *was)
{
    return x->changes == was->changes + 1;
}
static bool own_still(const calls_owned *x, const calls_owned *was)
{
    return was->known && x->changes == was->changes;
}

typedef struct calls_space {
    cellar *_Atomic c;          /* NULL: not open */
    calls_slot slot[CALLS_KEYS];
    _Atomic bool volatile_only; /* its entries end with the store */
    bool named;                 /* the store has it; world.opening */
    _Atomic int64_t least_ms;   /* least lifetime that its options gave a value */
    _Atomic bool vague;         /* no value is due: rules, filters, a queue of writes */
    bool memory_only;           /* its values never go to disk */
    bool through;               /* its values go there before a set returns */
    _Atomic bool versioned;     /* its version changed: another one is set at the next open */
    calls_owned counter[CALLS_COUNTERS];
} calls_space;

static struct calls_world {
    cellar *store;
    calls_space space[CALLS_SPACES];
    _Atomic bool policies;      /* rules may have replaced TTLs */
    _Atomic unsigned killing;   /* invalidations that are running */
    bool heard;                 /* a listener hears each eviction */
    bool strict;                /* no rules, no filters: most values are due */
    bool roomy;                 /* its keys cannot reach the budget */
    uint64_t refusals;          /* due_refusals() of the last eviction */
    uint64_t refused_step;      /* the last step in which the disk refused an eviction */
    uint64_t written_step;      /* what left memory before this step is in the file of the disk */
    cellar_l2_sync sync;        /* level of this life */
    bool opened;                /* the open is complete */
    bool clean;                 /* nothing changed since a close, not even to SYNC_MANUAL */
    bool manual;                /* since the last close, a life at SYNC_MANUAL may have changed it */
    bool rooted;                /* the root of the last life was on disk */
    _Atomic bool sized;         /* the disk may have another size than an open asks for */
    bool blind;                 /* the last open read no boot id */
    bool cut;                   /* the next one does not */
    _Atomic bool crowded;       /* the index of the disk may have no place for ordinary entries */
    bool idle;                  /* this life opens the store alone, and dies */
    bool writes;                /* the disk of this life takes each entry at a close */
    _Atomic bool failed;        /* calls of the disk have failed in this life */
    _Atomic bool opening;       /* a thread opens or drops a namespace */
    cellar *closed[256];        /* handles of dropped namespaces, closed at the end */
    _Atomic unsigned closed_count;
} __attribute__((aligned(CALLS_PAGE))) world;

static const char *const calls_names[CALLS_SPACES] = { "", "a", "b", "c", "behind" };
static const char *const calls_tags[CALLS_TAGS] = { "t0", "t1", "tag:2", "t3", "t4", "t5" };

typedef struct calls_key {
    unsigned space, index;
    char bytes[320];
    size_t len;
} calls_key;

static void calls_name_key(calls_key *k, unsigned space, unsigned index)
{
    k->space = space;
    k->index = index;
    k->len = (size_t)snprintf(k->bytes, sizeof k->bytes, "k%02u", index);
    if (index % 8 == 7) { /* a long key */
        memset(k->bytes + k->len, 'x', 280);
        k->len += 280;
        k->bytes[k->len] = '\0';
    }
}

/* Draw a key; `own`: one that this thread may write. Return false if there is none. */
static bool draw_key(calls_key *k, bool own)
{
    const unsigned mine = calls_actor_of_thread()->number;
    unsigned index = chance(50) ? draw(8) : draw(CALLS_KEYS);
    if (own) {
        if (mine >= calls.threads) { return false; }
        index = index / calls.threads * calls.threads + mine;
    }
    calls_name_key(k, draw(CALLS_SPACES), index);
    return atomic_load(&world.space[k->space].c) != NULL &&
           !(own && world.space[k->space].slot[index].busy);
}

static cellar *space_of(const calls_key *k) { return atomic_load(&world.space[k->space].c); }
static calls_slot *slot_of(const calls_key *k) { return &world.space[k->space].slot[k->index]; }

static void raise_to(_Atomic uint64_t *x, uint64_t least)
{
    uint64_t is = atomic_load(x);
    while (is < least && !atomic_compare_exchange_weak(x, &is, least)) {}
}

/* ---- Due values ------------------------------------------------------------------------------ */

static void due_touch(calls_slot *s) { atomic_fetch_add(&s->due.touched, 1); }

/* Something may end values of a namespace (CALLS_SPACES: of all), with one of the tags (0: any). */
static void due_end(unsigned space, uint32_t tags)
{
    for (unsigned i = 0; i < CALLS_SPACES; i++) {
        for (unsigned j = 0; j < CALLS_KEYS && (space == CALLS_SPACES || space == i); j++) {
            calls_slot *s = &world.space[i].slot[j];
            if (tags == 0 || (atomic_load(&s->due.tags) & tags) != 0) { due_touch(s); }
        }
    }
}

/* Note an option that gives values of a namespace this lifetime at most. */
static void due_bound(unsigned space, int64_t ms)
{
    for (unsigned i = 0; ms > 0 && i < CALLS_SPACES; i++) {
        _Atomic int64_t *least = &world.space[i].least_ms;
        if ((space == i || space == 0) && ms < atomic_load(least)) { atomic_store(least, ms); }
    }
}

/* Return what rises with each eviction that the model does not hear of. */
static uint64_t due_room(void)
{
    cellar_stats s = cellar_stats_default();
    if (cellar_stats_get(world.store, CELLAR_SCOPE_STORE, &s) != CELLAR_OK) { return 0; }
    return world.heard ? s.events_skipped
                       : s.ended[CELLAR_CAUSE_EVICTED] + s.ended[CELLAR_CAUSE_REJECTED];
}

/* Return the number of the value that is due now; 0: none, or the thread does not own the key. */
static uint64_t due_now(const calls_key *k)
{
    const calls_slot *s = slot_of(k);
    const unsigned mine = calls_actor_of_thread()->number;
    if (mine >= calls.threads || k->index % calls.threads != mine || s->busy) { return 0; }
    if (calls.disk && atomic_load(&calls.fail_alloc) != 0) { return 0; } /* no read of the disk */
    return s->due.seen == atomic_load(&s->due.touched) &&
           s->due.loads_seen == atomic_load(&s->due.loads) ? s->due.number : 0;
}

typedef struct calls_begun { /* of a key at the begin of a set, and due_room() */
    uint64_t touched, loads, room;
} calls_begun;

static calls_begun due_begin(const calls_key *k)
{
    const calls_due *d = &slot_of(k)->due;
    return (calls_begun){ atomic_load(&d->touched), atomic_load(&d->loads), due_room() };
}

/* The set of a value returned OK. `was`: at its begin. */
static void due_stored(const calls_key *k, uint64_t number, const calls_begun *was, uint32_t tags,
                       int64_t end_ms, bool memory_only)
{
    calls_due *d = &slot_of(k)->due;
    d->memory_only = memory_only;
    atomic_store(&d->disk, false);
    atomic_store(&d->tags, tags);
    d->number = 0;
    if (atomic_load(&world.space[k->space].vague) || atomic_load(&world.policies) ||
        atomic_load(&world.killing) != 0 || atomic_load(&d->touched) != was->touched ||
        atomic_load(&d->loads) != was->loads) {
        return;
    }
    d->loads_seen = was->loads;
    d->room = was->room;
    d->end_ms = end_ms;
    d->seen = was->touched;
    d->number = number;
}

/* Note what a set promised that returned OK. */
static void due_promised(const calls_key *k, uint64_t number, bool durable)
{
    calls_due *d = &slot_of(k)->due;
    const bool writes = durable || world.space[k->space].through;
    const bool kept_out = d->memory_only || world.space[k->space].memory_only ||
                          d->end_ms - CALLS_OFF_MS <= atomic_load(&calls.now_ms); /* min_ttl_ms */
    if (!calls.disk || d->number != number || !writes || kept_out || atomic_load(&world.failed)) {
        return;
    }
    atomic_store(&d->sure, durable || world.sync == CELLAR_L2_SYNC_ALWAYS ? 2 : 1);
}

/* Return how many entries the disk has refused or dropped in this life, other than for their TTL or
 * their size. Parts of long values that were replaced count as alive until a pass finds them, so a
 * value may need a use. */
static uint64_t due_refusals(void)
{
    static const char *const names[] = { "cellar_l2_dropped_total", "cellar_l2_stalled_total",
                                         "cellar_l2_off", "cellar_l2_rejected_changed_total",
                                         "cellar_l2_rejected_unused_total" };
    const size_t cap = 1 << 18;
    char *text = malloc(cap), line[48];
    size_t len = 0, more = 0;
    uint64_t count = 0;
    MUST(text != NULL);
    if (cellar_metrics_write(world.store, text, cap, &len) != CELLAR_OK ||
        cellar_dump_write(world.store, text + len, cap - len, &more) != CELLAR_OK) {
        count = world.refusals + 1; /* no memory */
        text[0] = '\0';
    }
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(line, sizeof line, "\n%s ", names[i]);
        const char *at = strstr(text, line);
        count += at != NULL ? strtoull(at + strlen(line), NULL, 10) : 0;
    }
    free(text);
    return count;
}

/* Return whether the disk may have refused an entry that leaves memory now. With one thread it is
 * one of those that leave in this step: all of them go to the disk before the first event. */
static bool due_refused(void)
{
    const uint64_t count = due_refusals();
    const bool more = count != world.refusals;
    if (!calls_exact()) { return more; }
    if (more) { world.refused_step = atomic_load(&calls.step); }
    world.refusals = count;
    return world.refused_step == atomic_load(&calls.step);
}

/* A call wrote the buffer of the disk in this step. With one thread only such calls write it. */
static void due_written(void)
{
    const bool alone = calls_exact() && calls_actor_of_thread()->depth == 0;
    if (alone) { world.written_step = atomic_load(&calls.step); }
}

/* Return whether the disk keeps the value, whatever else it takes. */
static bool due_sure(const calls_due *d)
{
    return atomic_load(&d->sure) != 0 && !(atomic_load(&d->plain) && atomic_load(&world.crowded));
}

/* Return whether something may have ended the value that was due at a touch. */
static bool due_ended(const calls_key *k, uint64_t due, uint64_t touched)
{
    const calls_due *d = &slot_of(k)->due;
    const bool sure = due_sure(d);
    return due == 0 || (!sure && atomic_load(&world.crowded)) ||
           (!sure && atomic_load(&d->disk) && !calls_exact() && due_refused()) ||
           atomic_load(&d->touched) != touched || d->number != due ||
           atomic_load(&world.killing) != 0 || atomic_load(&world.space[k->space].vague) ||
           atomic_load(&calls.now_ms) >= d->end_ms || (!sure && due_room() != d->room);
}

/* A call found nothing of a key. `due`, `touched`: at its begin. */
static void due_missed(const calls_key *k, uint64_t due, uint64_t touched, const char *by)
{
    const calls_due *d = &slot_of(k)->due;
    /* A callback may run before the event of an eviction, and a thread may stop before it counts
     * one. */
    if (calls_actor_of_thread()->depth != 0 || (!calls_exact() && !calls.searching)) { return; }
    for (unsigned i = 0; i < (calls_exact() ? 1u : 500u); i++) {
        if (due_ended(k, due, touched)) { return; }
        if (!calls_exact()) { (void)usleep(1000); }
    }
    /* A read of the disk misses while the thread of the store gets no processor (READ). With one
     * thread that is judged after an open alone. */
    const bool again = !calls_exact() || d->kept == due;
    for (unsigned i = 0; again && i < (calls.disk ? 20u : 1u); i++) {
        if (calls.disk) { (void)usleep(500000); }
        if (cellar_contains(space_of(k), k->bytes, k->len) == CELLAR_OK) { return; }
    }
    cellar_reason r = cellar_reason_default();
    (void)cellar_why(space_of(k), k->bytes, k->len, &r);
    calls_fault("%s: value %" PRIu64 " of key %u in namespace %u is gone at %" PRId64
                ", due until %" PRId64 ": answer %d, %s %" PRId64 " ms ago%s%s%s, sure %u", by, due,
                k->index, k->space, atomic_load(&calls.now_ms), d->end_ms, (int)r.answer,
                cellar_cause_name(r.cause), r.ago_ms, world.heard ? ", heard" : "",
                world.roomy ? ", roomy" : "", atomic_load(&d->disk) ? ", on disk" : "",
                atomic_load(&d->sure));
}

/* ---- Values ---------------------------------------------------------------------------------- */

#define CALLS_LOADED (UINT64_C(1) << 63) /* bit of the number of a loaded value */
#define CALLS_DEFAULT (UINT32_C(1) << 31) /* bit of the tags of a default value */

typedef struct calls_value {
    uint64_t number;
    uint32_t space, index, tags, len;
    uint64_t check;
    uint64_t reserved0;
} calls_value;

static unsigned char calls_filling(uint64_t number, size_t at)
{
    return (unsigned char)(number * 31 + at * 7 + (at >> 8));
}

static size_t draw_len(void)
{
    const unsigned how = draw(100);
    return CALLS_HEAD + (how < 60 ? draw(200) : how < 90 ? draw(3000) : how < 99 ? draw(20000)
                                                                                 : draw(100000));
}

static uint64_t slot_number(const calls_key *k)
{
    const uint64_t number = atomic_fetch_add(&slot_of(k)->next, 1) + 1;
    due_touch(slot_of(k));
    atomic_store(&slot_of(k)->due.sure, 0);
    atomic_store(&slot_of(k)->due.plain, false);
    slot_of(k)->deadline[number % CALLS_DEADLINES] = INT64_MAX;
    return number;
}

/* The same for the value of a loader. */
static uint64_t load_number(const calls_key *k)
{
    atomic_fetch_add(&slot_of(k)->due.loads, 1);
    const uint64_t number = atomic_fetch_add(&slot_of(k)->next, 1) + 1;
    slot_of(k)->deadline[number % CALLS_DEADLINES] = INT64_MAX;
    return number;
}

/* Write the value with this number into `out`, which has room for `len` bytes. */
static void calls_fill(const calls_key *k, uint64_t number, bool loaded, uint32_t tags, void *out,
                       size_t len)
{
    calls_value v = { number | (loaded ? CALLS_LOADED : 0), k->space, k->index, tags,
                      (uint32_t)len, 0, 0 };
    v.check = calls_mix(v.number ^ v.space << 8 ^ v.index ^ (uint64_t)tags << 40 ^ v.len);
    memcpy(out, &v, CALLS_HEAD);
    for (size_t i = CALLS_HEAD; i < len; i++) {
        ((unsigned char *)out)[i] = calls_filling(number, i);
    }
}

/* Read a value back; a fault if it is no value of this key. */
static calls_value calls_parse(const calls_key *k, const void *bytes, size_t len, const char *by)
{
    calls_value v = { 0, 0, 0, 0, 0, 0, 0 };
    if (len >= CALLS_HEAD) { memcpy(&v, bytes, CALLS_HEAD); }
    if (v.len != len || v.space != k->space || v.index != k->index ||
        v.check != calls_mix(v.number ^ v.space << 8 ^ v.index ^ (uint64_t)v.tags << 40 ^ v.len)) {
        calls_fault("%s: a foreign or torn value of %zu bytes for key %u of namespace %u: %" PRIx64
                    " key %u of %u, %u bytes", by, len, k->index, k->space, v.number, v.index,
                    v.space, v.len);
    }
    const uint64_t number = v.number & ~CALLS_LOADED;
    for (size_t i = CALLS_HEAD; i < len; i++) {
        if (((const unsigned char *)bytes)[i] != calls_filling(number, i)) {
            calls_fault("%s: a torn value, byte %zu of %zu", by, i, len);
        }
    }
    return v;
}

/* ---- Reads ----------------------------------------------------------------------------------- */

typedef struct calls_look { /* what a read that begins now may find */
    calls_key key;
    uint64_t least[2], tag[CALLS_TAGS][2], soft[CALLS_TAGS];
    int64_t now_ms, until;
    uint64_t due, touched;
} calls_look;

static void look_begin_at(calls_look *l)
{
    const calls_slot *s = slot_of(&l->key);
    for (unsigned kind = 0; kind < 2; kind++) {
        l->least[kind] = atomic_load(&s->least[kind]);
        for (unsigned i = 0; i < CALLS_TAGS; i++) {
            l->tag[i][kind] = atomic_load(&s->tag[i][kind]);
        }
    }
    for (unsigned i = 0; i < CALLS_TAGS; i++) { l->soft[i] = atomic_load(&s->soft[i]); }
    l->until = atomic_load(&s->until);
    l->now_ms = atomic_load(&calls.now_ms);
    l->touched = atomic_load(&s->due.touched);
    l->due = due_now(&l->key);
}
/* Judge the code of a read. */
static void look_found(const calls_look *l, cellar_err err, const char *by)
{
    atomic_fetch_add(&calls.due, l->due != 0 && err == CELLAR_OK);
    if (err == CELLAR_MISS || err == CELLAR_ABSENT) { due_missed(&l->key, l->due, l->touched, by); }
}
static bool look_begin(calls_look *l)
{
    if (!draw_key(&l->key, false)) { return false; }
    look_begin_at(l);
    return true;
}

/* Judge a value that a read returned. `fresh`: with OK, not STALE. */
static void look_judge(const calls_look *l, const void *bytes, size_t len, bool fresh,
                       const char *by)
{
    const calls_slot *s = slot_of(&l->key);
    const calls_value v = calls_parse(&l->key, bytes, len, by);
    const unsigned kind = (v.number & CALLS_LOADED) != 0;
    const uint64_t number = v.number & ~CALLS_LOADED;
    if (number > atomic_load(&s->next)) { calls_fault("%s: a number not given out", by); }
    /* A default value is as old as its call, but a load that begins later stores it. */
    if (!calls_exact() && (v.tags & CALLS_DEFAULT) != 0) { return; }
    if (number < l->least[kind]) {
        calls_fault("%s: old value %" PRIu64 " of key %u in namespace %u, least %" PRIu64 "%s", by,
                    number, l->key.index, l->key.space, l->least[kind],
                    kind != 0 ? ", loaded" : "");
    }
    for (unsigned i = 0; i < CALLS_TAGS; i++) {
        if ((v.tags >> i & 1) == 0) { continue; }
        if (number < l->tag[i][kind]) {
            calls_fault("%s: value %" PRIu64 " of key %u in namespace %u with a deleted tag, least "
                        "%" PRIu64 "%s", by, number, l->key.index, l->key.space, l->tag[i][kind],
                        kind != 0 ? ", loaded" : "");
        }
        if (fresh && calls_exact() && number < l->soft[i]) {
            calls_fault("%s: fresh value of a tag that was deleted softly", by);
        }
    }
    if (!calls_exact()) { return; }
    if (number + CALLS_DEADLINES > atomic_load(&s->next) && fresh && l->now_ms >= l->until &&
        l->now_ms >= s->deadline[number % CALLS_DEADLINES]) {
        calls_fault("%s: value %" PRIu64 " at %" PRId64 ", deadline %" PRId64, by, number,
                    l->now_ms, s->deadline[number % CALLS_DEADLINES]);
    }
    for (unsigned i = 0; i < CALLS_REFUSED; i++) {
        if (s->refused[i] == number) { calls_fault("%s: a value that was refused", by); }
    }
}

/* ---- Writes ---------------------------------------------------------------------------------- */

static void slot_refuse(calls_slot *s, uint64_t number)
{
    if (calls_exact()) { s->refused[s->refused_count++ % CALLS_REFUSED] = number; }
}

/* Declare all values of a key dead that are older than `number`. */
static void slot_older_end(calls_slot *s, uint64_t number)
{
    TRACE("slot %u: older than %" PRIu64 " end", (unsigned)((char *)s - (char *)&world), number);
    raise_to(&s->least[0], number);
    raise_to(&s->least[1], number);
}

static void slot_stored(calls_slot *s, uint64_t number, int64_t deadline)
{
    slot_older_end(s, number);
    s->deadline[number % CALLS_DEADLINES] = deadline;
    atomic_store(&s->done, number);
    atomic_store(&s->until, 0);
}

/* The codes of a call that did nothing. */
static bool did_nothing(cellar_err err)
{
    switch ((int)err) {
    case CELLAR_EXISTS: case CELLAR_CONFLICT: case CELLAR_DISABLED: case CELLAR_E_INVAL:
    case CELLAR_E_UNSUPPORTED: case CELLAR_E_RANGE: case CELLAR_E_ABI: case CELLAR_E_CLOSED:
    case CELLAR_E_LIMIT: return true;
    default: return false;
    }
}

/* Apply the result of a set to the model. `kept`: the old value stays when the set fails. */
static void slot_set_ended(const calls_key *k, cellar_err err, uint64_t number, int64_t deadline,
                           bool kept)
{
    calls_slot *s = slot_of(k);
    TRACE("set %u/%u number %" PRIu64 ": %s", k->space, k->index, number, cellar_code_name(err));
    if (err == CELLAR_OK) {
        slot_stored(s, number, deadline);
    } else if (did_nothing(err) || err == CELLAR_MISS) {
        slot_refuse(s, number);
    } else if (err == CELLAR_E_TOOBIG || err == CELLAR_E_SPACE || err == CELLAR_E_NOMEM ||
               err == CELLAR_E_DENIED) {
        slot_refuse(s, number);
        if (!kept && k->space != CALLS_BEHIND) { slot_older_end(s, number); }
    } else if (err == CELLAR_E_IO && k->space != CALLS_BEHIND) { /* done in memory */
        slot_stored(s, number, deadline);
    }
}

/* A delete that returned: values below its number are dead. */
static void slot_delete_ended(const calls_key *k, cellar_err err, uint64_t number)
{
    TRACE("delete %u/%u number %" PRIu64 ": %s", k->space, k->index, number, cellar_code_name(err));
    if (err == CELLAR_OK || err == CELLAR_MISS ||
        (err == CELLAR_E_IO && k->space != CALLS_BEHIND)) {
        slot_older_end(slot_of(k), number);
    }
}

/* ---- Invalidations --------------------------------------------------------------------------- */

typedef struct calls_kill { /* what has been stored before an invalidation */
    uint64_t done[CALLS_SPACES][CALLS_KEYS], next[CALLS_SPACES][CALLS_KEYS];
} calls_kill;

/* An invalidation begins: of a namespace (CALLS_SPACES: of all), of a tag (mask; 0: any). */
static void kill_begin(calls_kill *x, unsigned space, uint32_t tags)
{
    atomic_fetch_add(&world.killing, 1);
    due_end(space, tags);
    for (unsigned i = 0; i < CALLS_SPACES; i++) {
        for (unsigned j = 0; j < CALLS_KEYS; j++) {
            x->done[i][j] = atomic_load(&world.space[i].slot[j].done);
            x->next[i][j] = atomic_load(&world.space[i].slot[j].next);
        }
    }
}
/* It has returned. */
static void kill_end(unsigned space, uint32_t tags)
{
    due_end(space, tags);
    atomic_fetch_sub(&world.killing, 1);
}
static void kill_key(const calls_kill *x, unsigned space, unsigned index)
{
    calls_slot *s = &world.space[space].slot[index];
    TRACE("end %u/%u to %" PRIu64 ", loaded to %" PRIu64, space, index, x->done[space][index],
          x->next[space][index]);
    if (space == CALLS_BEHIND) { return; } /* a write that waits is found after a clear */
    raise_to(&s->least[0], x->done[space][index] + 1);
    raise_to(&s->least[1], x->next[space][index] + 1);
}
static void kill_space(const calls_kill *x, unsigned space)
{
    for (unsigned j = 0; j < CALLS_KEYS; j++) { kill_key(x, space, j); }
}
static void kill_tag(const calls_kill *x, unsigned tag, bool soft)
{
    for (unsigned i = 0; i < CALLS_SPACES; i++) {
        for (unsigned j = 0; j < CALLS_KEYS && i != CALLS_BEHIND; j++) {
            calls_slot *s = &world.space[i].slot[j];
            if (soft) {
                raise_to(&s->soft[tag], x->done[i][j] + 1);
            } else {
                raise_to(&s->tag[tag][0], x->done[i][j] + 1);
                raise_to(&s->tag[tag][1], x->next[i][j] + 1);
            }
        }
    }
}

/* ---- The host -------------------------------------------------------------------------------- */

static int64_t calls_clock(void *ctx)
{
    (void)ctx;
    if (calls.dies && atomic_fetch_sub(&calls.moments, 1) == 1) { (void)kill(getpid(), SIGKILL); }
    return atomic_load(&calls.now_ms);
}
static int64_t calls_wall(void *ctx)
{
    (void)ctx;
    return INT64_C(1700000000000) + atomic_load(&calls.now_ms);
}

static void *calls_alloc(size_t size, void *ctx)
{
    (void)ctx;
    if (atomic_load(&calls.fail_alloc) > 0 && atomic_fetch_sub(&calls.fail_alloc, 1) == 1) {
        return NULL;
    }
    void *p = malloc(size);
    if (p != NULL) { atomic_fetch_add(&calls.bytes, (int64_t)size); }
    return p;
}
static void calls_free(void *block, size_t size, void *ctx)
{
    (void)ctx;
    atomic_fetch_sub(&calls.bytes, (int64_t)size);
    free(block);
}
static void calls_log(cellar_log_level level, const char *module, cellar_err code,
                      const char *text, void *ctx)
{
    (void)ctx;
    MUST(level >= CELLAR_LOG_ERROR && module[0] != '\0' && text[0] != '\0');
    (void)code;
}

static cellar_host_config draw_host(const char *name)
{
    cellar_host_config h = { .struct_size = sizeof h, .name = name, .clock = calls_clock,
                             .alloc = calls_alloc, .free = calls_free, .log = calls_log,
                             .log_level = (cellar_log_level)ONE_OF(0, 1, 2, 3, 4, 5),
                             .log_keys = (cellar_log_keys)ONE_OF(0, 1, 2, 3, 4),
                             .no_threads = calls_exact() || chance(30),
                             .load_threads = (uint32_t)ONE_OF(0, 1, 3) };
    MAYBE(h.stack_bytes, 0, 1 << 20);
    h.load_queue = (uint32_t)ONE_OF(0, 1, 16);
    return h;
}

/* Write a text by a call of the shape of cellar_metrics_write into any buffer. */
#define WRITE_TEXT(fn, ...) \
    do { \
        char *text_ = (char *)calls_buffer(); \
        const size_t cap_ = (size_t)ONE_OF(0, 1, 100, CALLS_BUFFER); \
        size_t len_ = 0; \
        const cellar_err err_ = \
            plain(CALL(fn)(__VA_ARGS__, cap_ != 0 ? text_ : NULL, cap_, &len_)); \
        if (err_ == CELLAR_OK && cap_ != 0) { MUST(strlen(text_) == len_ && len_ < cap_); } \
    } while (0)

/* Read the figures of an object by a call of the shape of cellar_locks_stats_get. */
#define READ_FIGURES(type, fn, ...) \
    do { \
        type it_ = type##_default(); \
        plain(CALL(fn)(__VA_ARGS__, &it_)); \
    } while (0)

/* ---- Rows ------------------------------------------------------------------------------------ */

#define CALLS_TOP 1u   /* not in a callback */
#define CALLS_ALONE 2u /* with one thread only: ends or replaces what other threads use */

typedef struct calls_row {
    const char *name;
    void (*run)(void);
    unsigned weight;
    unsigned flags;
} calls_row;

#endif
