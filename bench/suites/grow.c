/* SPDX-License-Identifier: MIT
 *
 * grow: the longest insert while a store grows from empty, without any hint of its size.
 *
 * WALK       fork -> open -> 2 M inserts, thread CPU time of each -> close; then 3 M inserts by the
 *            wall clock. Subjects alternate, several repetitions each; a fresh process each time.
 *            After a minute (FULL=1: never) no further repetition begins; every subject has a first
 *            one. A subject that dies or hangs does not repeat. These rows come before the peers of
 *            other languages, which follow one by one.
 * WHY        Wall-clock maxima show the scheduler (a "10 ms pause of growth" was 371 us of CPU), so
 *            the longest insert is given in CPU time. Each insert includes one reading of that
 *            clock, a system call, and the first touches of pages, which no insert can split. On a
 *            virtual machine of two busy CPUs, 2 M steps of a loop that touches 128 new bytes each
 *            took up to 490 and 634 us of CPU time without a store, and up to 137 without memory.
 *            The longest inserts (550 and 823 us, two runs) were a first touch and an mprotect of
 *            2 MiB. A peer in another language runs the same by `grow`, once (its compiler meets a
 *            small store first); Node has no clock of a thread and reports wall time.
 * NOT HERE   raw: it is sized when opened and does not grow. Pauses of a thread by a collector in
 *            another thread: they are in grow_wall, not in grow_max. */
#include "bench/suites/suite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/harness/driver.h"
#include "bench/harness/hist.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/harness/verify.h"

#define GROW_SUBJECTS 40
#define GROW_REPEATS 7
#define GROW_KEYS 2000000
#define GROW_WALL_KEYS 3000000
#define GROW_VALUE 100
#define GROW_PATIENCE_MS 120000

/* Filled by the child, in memory shared with the parent. */
typedef struct grow_result {
    uint64_t max_ns, p9999_ns, over_1ms, wall_ns, refused;
    uint32_t done;
} grow_result;

static uint64_t grow_insert(const bench_subject *s, void *store, uint64_t id, unsigned char *value)
{
    unsigned char key[VERIFY_KEY_MAX];
    verify_make_key(key, id, 16);
    verify_stamp(value, GROW_VALUE, id);
    return s->set(store, key, 16, value, GROW_VALUE, 0) < 0;
}

static void *grow_open(const bench_subject *s, uint64_t keys)
{
    const bench_cfg cfg = { .key_count = keys,
                            .payload_bytes = keys * (16 + GROW_VALUE),
                            .key_len = 16,
                            .value_len = GROW_VALUE,
                            .threads = 1,
                            .seed = 7 };
    return s->open(&cfg);
}

static void grow_child(const bench_subject *s, grow_result *out)
{
    static hist h;
    unsigned char value[GROW_VALUE];
    verify_fill(value, sizeof value);
    host_pin(0);
    void *store = grow_open(s, GROW_KEYS);
    if (store == NULL) {
        return;
    }
    uint64_t before = host_thread_cpu_ns();
    for (uint64_t id = 0; id < GROW_KEYS; id++) {
        out->refused += grow_insert(s, store, id, value);
        const uint64_t now = host_thread_cpu_ns();
        hist_add(&h, now - before);
        out->over_1ms += now - before > 1000000;
        before = now;
    }
    out->max_ns = h.max;
    out->p9999_ns = hist_percentile(&h, 999900);
    s->close(store);
    store = grow_open(s, GROW_WALL_KEYS);
    if (store == NULL) {
        return;
    }
    const uint64_t start = host_wall_ns();
    for (uint64_t id = 0; id < GROW_WALL_KEYS; id++) {
        out->refused += grow_insert(s, store, id, value);
    }
    out->wall_ns = host_wall_ns() - start;
    s->close(store);
    out->done = 1;
}

/* The same in a process. Return false with the reason in `why`. */
static bool grow_there(const bench_subject *s, grow_result *out, char *why, size_t why_cap)
{
    char command[64];
    bench_driver *d = driver_start(s->driver, why, why_cap);
    if (d == NULL) {
        return false;
    }
    snprintf(command, sizeof command, "grow %d %d", GROW_KEYS, GROW_WALL_KEYS);
    if (driver_ask(d, driver_most(GROW_PATIENCE_MS), command)) {
        out->max_ns = (uint64_t)driver_number(d, "max_ns");
        out->p9999_ns = (uint64_t)driver_number(d, "p9999_ns");
        out->over_1ms = (uint64_t)driver_number(d, "over_1ms");
        out->wall_ns = (uint64_t)driver_number(d, "wall_ns");
        out->refused = (uint64_t)driver_number(d, "refused");
        out->done = out->wall_ns > 0;
    }
    snprintf(why, why_cap, "%s", out->done ? "" : driver_trouble(d));
    driver_stop(d);
    return out->done;
}

static void grow_report(const bench_subject *s, const grow_result *r, uint32_t count)
{
    double max_us[GROW_REPEATS], p_us[GROW_REPEATS], wall[GROW_REPEATS], over = 0;
    uint64_t refused = 0;
    for (uint32_t i = 0; i < count; i++) {
        max_us[i] = (double)r[i].max_ns / 1e3;
        p_us[i] = (double)r[i].p9999_ns / 1e3;
        wall[i] = (double)r[i].wall_ns / GROW_WALL_KEYS;
        over = fmax(over, (double)r[i].over_1ms);
        refused += r[i].refused;
    }
    const char *note = refused > 0 ? "sets refused" : NULL;
    suite_say("grow", s->name, "grow2m_16_100", "grow_max", max_us, count, "cpu", note);
    suite_say("grow", s->name, "grow2m_16_100", "grow_p9999", p_us, count, "cpu", note);
    suite_say("grow", s->name, "grow2m_16_100", "grow_over_1ms", &over, 1, "cpu", note);
    suite_say("grow", s->name, "grow3m_16_100", "grow_wall", wall, count, "wall", note);
}

/* A repetition of a subject of this program. */
static bool grow_here(const bench_subject *s, grow_result *out, char *why, size_t why_cap)
{
    const pid_t pid = host_fork();
    if (pid == 0) {
        grow_child(s, out);
        _exit(0);
    }
    return host_wait(pid, why, why_cap) && out->done;
}

/* Return true if there is a result. Return false after a row with the reason. */
static bool grow_once(const bench_subject *s, grow_result *out, int *status)
{
    char why[256] = "did not finish";
    if (s->driver != NULL ? grow_there(s, out, why, sizeof why)
                          : grow_here(s, out, why, sizeof why)) {
        return true;
    }
    const bool missing = s->driver != NULL && driver_missing(s->driver) != NULL;
    json_say("grow", s->name, "grow2m_16_100", missing ? "skip" : driver_kind(why), why);
    *status = missing ? *status : CELL_WRONG;
    return false;
}

/* Subjects take turns; after the first turn only within the time limit of the suite. */
static void grow_turns(const cell_options *o, const bench_subject *const *list, uint32_t count,
                       grow_result *room, int *status)
{
    const uint32_t repeats = o->quick || o->all_subjects ? 3 : o->full ? GROW_REPEATS : 5;
    const uint64_t start = host_wall_ns(), most_ns = o->block_s * UINT64_C(1000000000);
    uint32_t done[GROW_SUBJECTS] = { 0 };
    for (uint32_t k = 0; k < repeats; k++) {
        for (uint32_t i = 0; i < count; i++) {
            const bool late = most_ns != 0 && host_wall_ns() - start > most_ns;
            if (done[i] == k && (k == 0 || !late)) {
                done[i] += grow_once(list[i], &room[i * GROW_REPEATS + k], status);
            }
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (done[i] > 0) {
            grow_report(list[i], &room[i * GROW_REPEATS], done[i]);
        }
    }
}

static int grow_run(const cell_options *o)
{
    const bench_subject *ours[GROW_SUBJECTS], *apart[GROW_SUBJECTS];
    uint32_t count = 0, apart_count = 0;
    int status = CELL_OK;
    grow_result *shared = mmap(NULL, GROW_SUBJECTS * GROW_REPEATS * sizeof *shared,
                               PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        json_say("grow", NULL, NULL, "skip", "no shared memory");
        return CELL_OK;
    }
    for (size_t i = 0; i < bench_registry_count && count + apart_count < GROW_SUBJECTS; i++) {
        const bench_subject *s = bench_registry[i].subject;
        if (s != NULL && strcmp(s->name, "raw") != 0 && !(s->caps & BENCH_SLOW) &&
            cell_chosen(o, NULL, s->name) &&
            (o->full || o->peers != NULL || strcmp(s->name, "uthash64t") != 0)) {
            if (s->driver != NULL) {
                apart[apart_count++] = s;
            } else {
                ours[count++] = s;
            }
        }
    }
    printf("\ngrow  (from empty, no hint; median [p25 p75] over the processes of each)\n");
    fflush(stdout);
    grow_turns(o, ours, count, shared, &status);
    for (uint32_t i = 0; i < apart_count; i++) {
        grow_result one = { .done = 0 };
        if (grow_once(apart[i], &one, &status)) {
            grow_report(apart[i], &one, 1);
        }
        fflush(stdout);
    }
    munmap(shared, GROW_SUBJECTS * GROW_REPEATS * sizeof *shared);
    return status;
}

const bench_suite suite_grow = { "grow", "longest insert while growing from empty", grow_run, NULL,
                                 NULL, false, false, 60 };
