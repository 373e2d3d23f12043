/* SPDX-License-Identifier: MIT
 *
 * memory: bytes of an entry beyond its key and value, everything included.
 *
 * WALK       For each subject and size: this program starts again (fork and exec, so that it has no
 *            freed heap) -> RSS -> open, fill -> RSS -> one line back. A peer in another language
 *            fills itself (`fill`); RSS is read from outside.
 * CODE       Pages of the program that first run between the two readings would count as bytes of
 *            entries (760 KB for ours, 0.76 B each of a million): all are touched before, for all
 *            subjects in C. The code of a process, a few hundred KB too, is in its figure.
 * FIGURES    meta_bytes      (RSS growth - payload) / entries: the machine's real loss
 *            meta_accounted  (bytes held, as reported by the store - payload) / entries; 0 for a
 *                            peer with a bound on keys and values alone, whatever they cost
 *            Subjects in C then set every key once more: growth by over half of the written bytes
 *            is a line `leak`. (Suite peers checks this for processes.)
 * LIMITS     from 1 M entries on: huge pages and allocator slack round small runs (55 B an entry at
 *            100 k against 31 at 1 M for the same code). */
#include "bench/suites/suite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/harness/driver.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/harness/verify.h"

#define MEMORY_KEY 16
#define MEMORY_VALUE 100
#define MEMORY_REPEATS 3

/* Set every key once; finish deferred work. */
static bool memory_fill(const bench_subject *s, void *store, uint64_t entries)
{
    unsigned char key[VERIFY_KEY_MAX], value[MEMORY_VALUE];
    verify_fill(value, sizeof value);
    for (uint64_t id = 0; id < entries; id++) {
        verify_make_key(key, id, MEMORY_KEY);
        verify_stamp(value, MEMORY_VALUE, id);
        if (s->set(store, key, MEMORY_KEY, value, MEMORY_VALUE, 0) < 0) {
            return false;
        }
    }
    if (s->settle != NULL) {
        s->settle(store);
    }
    return true;
}

int suite_memory_child(const char *subject, uint64_t entries)
{
    const bench_subject *s = bench_subject_find(subject);
    const bench_cfg cfg = { .key_count = entries,
                            .hint_entries = entries,
                            .payload_bytes = entries * (MEMORY_KEY + MEMORY_VALUE),
                            .key_len = MEMORY_KEY,
                            .value_len = MEMORY_VALUE,
                            .threads = 1,
                            .seed = 7 };
    host_touch_program();
    const uint64_t before = host_rss_bytes();
    void *store = s != NULL ? s->open(&cfg) : NULL;
    if (store == NULL || !memory_fill(s, store, entries)) {
        return CELL_WRONG;
    }
    const uint64_t after = host_rss_bytes();
    const uint64_t count = s->count(store);
    const uint64_t accounted = s->accounted_bytes != NULL ? s->accounted_bytes(store) : 0;
    memory_fill(s, store, entries); /* over existing entries: it should keep nothing more */
    const uint64_t over = host_rss_bytes();
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", after - before, count, accounted,
           over > after ? over - after : 0);
    s->close(store);
    return CELL_OK;
}

/* Run the child; its line goes to out[0..3]. The line fits into the pipe: it is read afterwards. */
static bool memory_ask(const char *subject, uint64_t entries, uint64_t out[4], char *why,
                       size_t why_cap)
{
    char number[24];
    int fd[2];
    snprintf(number, sizeof number, "%" PRIu64, entries);
    if (pipe(fd) != 0) {
        return false;
    }
    const pid_t pid = host_fork();
    if (pid == 0) {
        dup2(fd[1], 1);
        close(fd[0]);
        close(fd[1]);
        execl("/proc/self/exe", "cellar-bench", "--memory-child", subject, number, (char *)NULL);
        _exit(127);
    }
    close(fd[1]);
    const bool ended = host_wait(pid, why, why_cap);
    FILE *f = fdopen(fd[0], "r");
    const bool read = f != NULL && fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &out[0],
                                          &out[1], &out[2], &out[3]) == 4;
    if (f != NULL) {
        fclose(f);
    } else {
        close(fd[0]);
    }
    return ended && read;
}

/* Return the bytes that a process with a bound in bytes reports for a tenth of a million entries,
 * in a store with room for four times as many, scaled to `entries`. 0: it reports none. */
static uint64_t memory_accounted(bench_driver *d, const bench_subject *s, uint64_t entries)
{
    const uint64_t count = 100000;
    char command[96];
    snprintf(command, sizeof command, "fill %" PRIu64 " %d %d %" PRIu64, count, MEMORY_KEY,
             MEMORY_VALUE, 4 * count * (MEMORY_KEY + MEMORY_VALUE));
    if (!(s->caps & BENCH_BYTES) || !driver_ask(d, 60000, command) ||
        !driver_ask(d, 60000, "settle") || !driver_ask(d, 60000, "mem")) {
        return 0;
    }
    const double bytes = driver_number(d, "accounted");
    return bytes > 0 ? (uint64_t)(bytes * (double)entries / (double)count) : 0;
}

/* The same for a process: its memory after the greeting, and with the entries. */
static bool memory_ask_driver(const bench_subject *s, uint64_t entries, uint64_t out[4], char *why,
                              size_t why_cap)
{
    char command[64];
    bench_driver *d = driver_start(s->driver, why, why_cap);
    if (d == NULL) {
        return false;
    }
    const uint64_t before = host_rss_of(driver_pid(d));
    snprintf(command, sizeof command, "fill %" PRIu64 " %d %d", entries, MEMORY_KEY, MEMORY_VALUE);
    const bool ok = driver_ask(d, driver_most(300000), command) && driver_ask(d, 60000, "settle") &&
                    driver_ask(d, 60000, "mem");
    out[0] = host_rss_of(driver_pid(d)) - before;
    out[1] = ok ? (uint64_t)driver_number(d, "entries") : 0;
    snprintf(why, why_cap, "%s", driver_trouble(d));
    out[2] = ok ? memory_accounted(d, s, entries) : 0;
    driver_stop(d);
    return ok;
}

static int memory_one(const char *subject, uint64_t entries, uint32_t repeats)
{
    double rss[MEMORY_REPEATS], accounted[MEMORY_REPEATS];
    char name[64];
    snprintf(name, sizeof name, "fill%" PRIu64 "m_16_100", entries / 1000000);
    for (uint32_t i = 0; i < repeats; i++) {
        uint64_t got[4] = { 0, 0, 0, 0 };
        char why[256] = "child failed";
        const bench_subject *s = bench_subject_find(subject);
        const char *missing = s->driver != NULL ? driver_missing(s->driver) : NULL;
        if (missing != NULL) {
            json_say("memory", subject, name, "skip", missing);
            return CELL_OK;
        }
        const bool ok = s->driver != NULL ? memory_ask_driver(s, entries, got, why, sizeof why)
                                          : memory_ask(subject, entries, got, why, sizeof why);
        if (!ok || got[1] < entries - entries / 100) {
            json_say("memory", subject, name, ok ? "crash" : driver_kind(why),
                     ok ? "over 1 % of the entries are missing" : why);
            return CELL_WRONG;
        }
        if (i == 0 && got[3] > entries * (MEMORY_KEY + MEMORY_VALUE) / 2) {
            char text[80];
            snprintf(text, sizeof text, "grew by %" PRIu64 " B an entry when all were set again",
                     got[3] / entries);
            json_say("memory", subject, name, "leak", text);
        }
        if (got[1] != entries) {
            printf("memory: %s holds %" PRIu64 " of %" PRIu64 "\n", subject, got[1], entries);
        }
        const double payload = (double)(entries * (MEMORY_KEY + MEMORY_VALUE));
        rss[i] = ((double)got[0] - payload) / (double)entries;
        accounted[i] = got[2] != 0 ? ((double)got[2] - payload) / (double)entries : NAN;
    }
    suite_say("memory", subject, name, "meta_bytes", rss, repeats, NULL, NULL);
    if (isfinite(accounted[0])) {
        suite_say("memory", subject, name, "meta_accounted", accounted, repeats, NULL, NULL);
    }
    return CELL_OK;
}

static int memory_run(const cell_options *o)
{
    driver_heap_grows();
    static const uint64_t sizes[] = { 1000000, 3000000 };
    const uint32_t repeats = o->quick || o->all_subjects ? 1 : MEMORY_REPEATS;
    int worst = CELL_OK;
    printf("\nmemory  (bytes an entry beyond key and value, 16/100; a fresh process each)\n");
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        if (host_available_bytes() < sizes[k] * 400) {
            json_say("memory", NULL, NULL, "skip", "too little memory free");
            continue;
        }
        for (size_t i = 0; i < bench_registry_count; i++) {
            const bench_entry *e = &bench_registry[i];
            if (e->subject != NULL && cell_chosen(o, NULL, e->name) &&
                !(e->subject->caps & BENCH_SLOW) &&
                strcmp(e->subject->semantics, "remote") != 0) {
                /* A process's own memory hardly differs between runs, and it costs most time. */
                const int status = memory_one(e->name, sizes[k],
                                              e->subject->driver != NULL ? 1 : repeats);
                worst = status > worst ? status : worst;
            }
        }
    }
    return worst;
}

const bench_suite suite_memory = { "memory", "bytes an entry beyond key and value", memory_run,
                                   NULL, NULL, false, false, 0 };
