/* SPDX-License-Identifier: MIT
 *
 * tour: acts that show what the library promises, and check it on this machine.
 *
 * PICTURE    options -> acts -> of each: name, two sentences, picture with the figures
 *                               --json: one object
 * INVARIANTS Each figure is counted here, beside the library: what a call returned, the bytes of a
 *            value, the calls of a loader or a task, the clock readings of a limiter. A figure that
 *            breaks a promise is a line FINDING, and the exit code is 1.
 *            After the kill a value is the one that was set, or missing: a disk that is slower than
 *            the writer drops writes. A delete that returned is a miss.
 * LIMITS     The five take some 3 s; each wait has a limit. 48 MiB below TMPDIR. Without a boot id
 *            (no /proc) the killed store starts empty: this is printed and is no finding. */
#include <arpa/inet.h>
#include <dirent.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_limit.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "cellar_resp.h"
#include "cellar_task.h"
#include "cli/cli.h"
#include "cli/tour_remote.h"

#define TOUR_VALUE 100u /* bytes of a value */
#define TOUR_SHORT "no memory, thread or socket is left; end other programs"

typedef struct tour_report { /* of one act */
    bool json, color;           /* json: print no text */
    const struct tour_act *act; /* its name and sentences wait for the first text; then NULL */
    unsigned findings;
    char figures[800];          /* for --json: ,"name":value of each */
    const char *skipped;        /* why the act cannot run here; NULL: it ran */
    const char *url;            /* of --remote; NULL: a server of the tour */
} tour_report;

typedef struct tour_act {
    const char *name, *sentences;
    const char *(*run)(tour_report *r); /* NULL, or why it cannot start */
} tour_act;

static void tour_say(tour_report *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Print text unless the report is JSON. */
static void tour_say(tour_report *r, const char *format, ...)
{
    va_list args;
    if (r->json) { return; }
    if (r->act != NULL) {
        printf("%s%s%s\n%s\n\n", r->color ? "\033[1m" : "", r->act->name,
               r->color ? "\033[0m" : "", r->act->sentences);
    }
    r->act = NULL;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

/* Keep a figure, and print it with a bar of `whole` (0: no bar), `words`, and FINDING unless it
 * holds. The end of `name` decides the unit: _bytes, _ns, or a count. */
static void tour_figure(tour_report *r, const char *name, uint64_t value, uint64_t whole,
                        bool holds, const char *words)
{
    static const char full[] = "########################################";
    const uint64_t most = sizeof full - 1, n = whole == 0 ? 0 : (value * most + whole - 1) / whole;
    const size_t used = strlen(r->figures);
    char text[CLI_TEXT], bar[sizeof full + 4] = ":";
    r->findings += !holds;
    (void)snprintf(r->figures + used, sizeof r->figures - used, ",\"%s\":%llu", name,
                   (unsigned long long)value);
    if (whole != 0) {
        (void)snprintf(bar, sizeof bar, " |%-40.*s|", (int)(n < most ? n : most), full);
    }
    tour_say(r, "%s %-*.*s%s %s %s\n", holds ? " " : "FINDING", whole != 0 ? 9 : 0,
             (int)strcspn(name, "_"), name, bar,
             strstr(name, "_bytes") != NULL ? cli_bytes(text, value)
             : strstr(name, "_ns") != NULL  ? cli_duration(text, value)
                                            : cli_count(text, value), words);
}

/* Run `fn` in `count` threads, 64 at most. Return false if one did not start. */
static bool tour_threads(void *(*fn)(void *), void *arg, uint32_t count)
{
    pthread_t thread[64];
    uint32_t started = 0;
    while (started < count && pthread_create(&thread[started], NULL, fn, arg) == 0) { started++; }
    for (uint32_t i = 0; i < started; i++) { (void)pthread_join(thread[i], NULL); }
    return started == count;
}

/* Make a folder below TMPDIR. Return false and set r->skipped if there is none. */
static bool tour_folder_make(tour_report *r, char *folder, size_t cap)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(folder, cap, "%s/cellar-tour-XXXXXX",
                   tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (mkdtemp(folder) != NULL) { return true; } /* a path that was cut has no XXXXXX */
    r->skipped = "no temporary folder can be made; set TMPDIR";
    return false;
}

static void tour_folder_remove(const char *folder)
{
    char path[600];
    DIR *d = opendir(folder);
    for (const struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.') { (void)unlink(path); }
    }
    if (d != NULL) { (void)closedir(d); }
    (void)rmdir(folder);
}

/* Write the value of key n. */
static void tour_fill(char value[TOUR_VALUE], uint32_t n)
{
    memset(value, (int)(n * 31 & 255), TOUR_VALUE);
    memcpy(value, &n, sizeof n);
}

static cellar_err tour_set(cellar *c, uint32_t n)
{
    char value[TOUR_VALUE];
    tour_fill(value, n);
    return cellar_set(c, &n, sizeof n, value, sizeof value, NULL);
}

/* Get key n, and raise *wrong if it has another value. */
static cellar_err tour_get(cellar *c, uint32_t n, uint64_t *wrong)
{
    char value[TOUR_VALUE], want[TOUR_VALUE];
    size_t len;
    const cellar_err err = cellar_get(c, &n, sizeof n, value, sizeof value, &len);
    tour_fill(want, n);
    *wrong += err == CELLAR_OK && (len != sizeof want || memcmp(value, want, sizeof want) != 0);
    return err;
}

#define TOUR_BUDGET ((uint64_t)2 << 20)
#define TOUR_ENTRIES 50000u

static const char *tour_memory(tour_report *r)
{
    cellar_config cfg = cellar_config_default();
    cellar_stats st = cellar_stats_default();
    uint64_t most = 0, hits = 0, wrong = 0, failed = 0;
    cellar *c;
    cfg.memory_bytes = TOUR_BUDGET;
    if (cellar_open(&cfg, &c) != CELLAR_OK) { return TOUR_SHORT; }
    const uint64_t start = cli_clock_ns();
    for (uint32_t n = 0; n < TOUR_ENTRIES; n++) {
        failed += tour_set(c, n) != CELLAR_OK;
        if (n % 256 != 0) { continue; }
        failed += cellar_stats_get(c, CELLAR_SCOPE_STORE, &st) != CELLAR_OK;
        most = st.used_bytes > most ? st.used_bytes : most;
    }
    const uint64_t half = cli_clock_ns();
    for (uint32_t n = 0; n < TOUR_ENTRIES; n++) {
        const cellar_err err = tour_get(c, n, &wrong);
        hits += err == CELLAR_OK;
        failed += err != CELLAR_OK && err != CELLAR_MISS;
    }
    const uint64_t end = cli_clock_ns();
    failed += cellar_stats_get(c, CELLAR_SCOPE_STORE, &st) != CELLAR_OK;
    (void)cellar_close(c);
    const uint64_t evicted = st.ended[CELLAR_CAUSE_EVICTED];
    tour_figure(r, "budget_bytes", TOUR_BUDGET, TOUR_BUDGET, true, "allowed");
    tour_figure(r, "held_bytes", most, TOUR_BUDGET, most <= TOUR_BUDGET, "at most");
    tour_figure(r, "found", hits, TOUR_ENTRIES, hits > 0, "values");
    tour_figure(r, "evicted", evicted, TOUR_ENTRIES, evicted + hits == TOUR_ENTRIES,
                "values, all others");
    tour_figure(r, "wrong", wrong, TOUR_ENTRIES, wrong == 0, "values");
    tour_figure(r, "failed", failed, TOUR_ENTRIES, failed == 0, "calls");
    tour_figure(r, "counted", st.hits_l1, TOUR_ENTRIES, st.hits_l1 == hits &&
                st.gets == TOUR_ENTRIES && st.misses == st.gets - hits, "hits by the store itself");
    tour_figure(r, "set_ns", (half - start) / TOUR_ENTRIES, 0, true, "each");
    tour_figure(r, "get_ns", (end - half) / TOUR_ENTRIES, 0, true, "each");
    return NULL;
}

#define TOUR_CROWD 64u

typedef struct tour_source {
    cellar *c;
    _Atomic uint64_t loads, values;
} tour_source;

static cellar_err tour_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    ((tour_source *)ctx)->loads++;
    (void)poll(NULL, 0, 50);
    return cellar_load_value(load, "value", 5);
}

static void *tour_ask(void *arg)
{
    tour_source *s = arg;
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(s->c, "cold", 4, NULL, tour_load, s, &r);
    s->values += err == CELLAR_OK && r.value_len == 5 && memcmp(r.value, "value", 5) == 0;
    cellar_result_free(&r);
    return NULL;
}

static const char *tour_stampede(tour_report *r)
{
    tour_source s = { 0 };
    if (cellar_open(NULL, &s.c) != CELLAR_OK) { return TOUR_SHORT; }
    const uint64_t start = cli_clock_ns();
    const bool started = tour_threads(tour_ask, &s, TOUR_CROWD);
    const uint64_t took_ns = cli_clock_ns() - start;
    (void)cellar_close(s.c);
    if (!started) { return TOUR_SHORT; }
    tour_figure(r, "threads", TOUR_CROWD, TOUR_CROWD, true, "request the key");
    tour_figure(r, "loads", s.loads, TOUR_CROWD, s.loads == 1, "of the source");
    tour_figure(r, "values", s.values, TOUR_CROWD, s.values == TOUR_CROWD, "returned");
    tour_figure(r, "took_ns", took_ns, 0, true, "for all");
    return NULL;
}

#define TOUR_WRITES 16000u

/* Open a store on disk. Return NULL if the folder cannot be used. */
static cellar *tour_disk_open(const char *folder)
{
    cellar_config cfg = cellar_config_default();
    cellar_l2_opts disk = cellar_l2_opts_default();
    cellar *c;
    disk.required = 1;
    disk.write = CELLAR_L2_WRITE_ON_SET;
    cfg.memory_bytes = (uint64_t)32 << 20;
    cfg.l2_path = folder;
    cfg.l2_bytes = (uint64_t)48 << 20;
    cfg.l2 = &disk;
    return cellar_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

/* Set all keys, delete every fifth, and end by SIGKILL. */
static void tour_write(const char *folder)
{
    (void)alarm(20); /* a disk that hangs: this act is left out */
    cellar *const c = tour_disk_open(folder);
    for (uint32_t n = 0; n < TOUR_WRITES; n++) {
        const uint32_t old = n - 3;
        if (c == NULL || tour_set(c, n) < 0) { _exit(1); }
        if (n % 5 == 4 && cellar_delete(c, &old, sizeof old) < 0) { _exit(1); }
    }
    (void)raise(SIGKILL);
}

static void tour_verify(cellar *c, tour_report *r)
{
    const bool no_boot_id = access("/proc/sys/kernel/random/boot_id", R_OK) != 0;
    const uint64_t whole = TOUR_WRITES - TOUR_WRITES / 5;
    uint64_t found = 0, wrong = 0, risen = 0;
    for (int i = 0; i < 200 && tour_get(c, 0, &wrong) != CELLAR_OK; i++) {
        (void)poll(NULL, 0, 5); /* a get misses until the index has read the oldest key */
    }
    for (uint32_t n = 0; n < TOUR_WRITES; n++) {
        *(n % 5 == 1 ? &risen : &found) += tour_get(c, n, &wrong) == CELLAR_OK;
    }
    if (no_boot_id) { tour_say(r, "  no boot id without /proc: the store starts empty\n"); }
    tour_figure(r, "set", whole, whole, true, "values");
    tour_figure(r, "found", found, whole, found > 0 || no_boot_id, "again");
    tour_figure(r, "wrong", wrong, whole, wrong == 0, "of them");
    tour_figure(r, "deleted", TOUR_WRITES / 5, whole, true, "values");
    tour_figure(r, "back", risen, whole, risen == 0, "of the deleted ones");
}

static const char *tour_kill(tour_report *r)
{
    char folder[300];
    int status = 0;
    if (!tour_folder_make(r, folder, sizeof folder)) { return NULL; }
    (void)fflush(stdout); /* else the child prints the buffer again */
    const pid_t child = fork();
    if (child == 0) { tour_write(folder); }
    const bool killed = child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
                        WTERMSIG(status) == SIGKILL;
    cellar *const c = killed ? tour_disk_open(folder) : NULL;
    if (c != NULL) { tour_verify(c, r); }
    else { r->skipped = "the temporary folder has no room; set TMPDIR"; }
    if (c != NULL) { (void)cellar_close(c); }
    tour_folder_remove(folder);
    return NULL;
}

#define TOUR_LIMIT 1000u
#define TOUR_BURST 100u
#define TOUR_STAMPS 4096u
#define TOUR_SLOTS 12u /* of the picture, 100 ms each */

typedef struct tour_gate {
    cellar_limiter *limiter;
    uint64_t until_ns;
    _Atomic uint64_t checks, wrong, admitted;
    uint64_t stamp[TOUR_STAMPS]; /* clock reading of each admission */
} tour_gate;

static void *tour_pass(void *arg)
{
    tour_gate *g = arg;
    for (uint64_t i = 0; i % 64 != 0 || cli_clock_ns() < g->until_ns; i++) {
        cellar_limiter_result r;
        const cellar_err err = cellar_limiter_check(g->limiter, "one key", 7, 1, &r);
        const uint64_t at = err == CELLAR_OK ? g->admitted++ : TOUR_STAMPS;
        if (at < TOUR_STAMPS) { g->stamp[at] = r.now_ns; }
        g->wrong += err != CELLAR_OK && err != CELLAR_LIMITED;
        g->checks++;
    }
    return NULL;
}

/* Return the most stamps in (t - 1 s, t] for any t: half open, as in the limiters. */
static uint64_t tour_most(const uint64_t *stamp, size_t count)
{
    uint64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t n = 0; /* a later stamp makes the difference wrap: it is not counted */
        for (size_t j = 0; j < count; j++) { n += stamp[i] - stamp[j] < CELLAR_SECOND_NS; }
        most = n > most ? n : most;
    }
    return most;
}

static const char *tour_limiter(tour_report *r)
{
    const cellar_rule rule =
        cellar_rule_token_bucket_strict(TOUR_LIMIT, CELLAR_SECOND_NS, TOUR_BURST);
    tour_gate g = { .until_ns = cli_clock_ns() + TOUR_SLOTS * CELLAR_SECOND_NS / 10 };
    uint64_t slot[TOUR_SLOTS] = { 0 };
    char name[16];
    if (cellar_limiter_open(NULL, &rule, 1, &g.limiter) != CELLAR_OK) { return TOUR_SHORT; }
    const bool started = tour_threads(tour_pass, &g, 8);
    cellar_limiter_close(g.limiter);
    if (!started) { return TOUR_SHORT; }
    const size_t count = g.admitted < TOUR_STAMPS ? g.admitted : TOUR_STAMPS;
    for (size_t i = 0; i < count; i++) {
        const uint64_t at = (g.stamp[i] - g.stamp[0]) / (CELLAR_SECOND_NS / 10);
        if (at < TOUR_SLOTS) { slot[at]++; }
    }
    for (unsigned i = 0; i < TOUR_SLOTS; i++) {
        (void)snprintf(name, sizeof name, "%u.%u s", i / 10, i % 10);
        tour_figure(r, name, slot[i], 2 * TOUR_BURST, true, "admitted");
    }
    const uint64_t most = tour_most(g.stamp, count);
    tour_figure(r, "checks", g.checks, 0, g.checks > g.admitted, "by 8 threads");
    tour_figure(r, "admitted", g.admitted, 0, g.admitted >= TOUR_BURST, "of them");
    tour_figure(r, "most", most, 0, most <= TOUR_LIMIT, "in any second");
    tour_figure(r, "wrong", g.wrong, 0, g.wrong == 0, "results");
    return NULL;
}

static const char *const tour_why_rows[][2] = { /* a key, and what cellar_why has to say of it */
    { "old", "evicted" }, { "live", "live" }, { "brief", "expired" }, { "tagged", "tag" },
    { "deleted", "deleted" }, { "never set", "unknown" }
};

/* Make what the rows say. Return what is said of an old entry: the first one that is remembered. */
static cellar_reason tour_why_set(cellar *c)
{
    cellar_set_opts brief = cellar_set_opts_default(), tagged = cellar_set_opts_default();
    const cellar_bytes tag = { "user:17", 7 };
    cellar_reason why = cellar_reason_default();
    brief.ttl_ms = 1;
    tagged.tags = &tag;
    tagged.tag_count = 1;
    for (uint32_t n = 0; n < 20000; n++) { (void)tour_set(c, n); }
    for (uint32_t n = 0; n < 20000 && why.answer != CELLAR_WHY_GONE; n++) {
        (void)cellar_why(c, &n, sizeof n, &why);
    }
    (void)cellar_set(c, "live", 4, "v", 1, NULL);
    (void)cellar_set(c, "brief", 5, "v", 1, &brief);
    (void)cellar_set(c, "tagged", 6, "v", 1, &tagged);
    (void)cellar_set(c, "deleted", 7, "v", 1, NULL);
    (void)cellar_delete(c, "deleted", 7);
    (void)cellar_delete_by_tag(c, "user:17", 7, CELLAR_TAG_HARD);
    (void)poll(NULL, 0, 20); /* longer than the time to live of `brief` */
    return why;
}

static const char *tour_why(tour_report *r)
{
    cellar_config cfg = cellar_config_default();
    const size_t rows = sizeof tour_why_rows / sizeof tour_why_rows[0];
    uint64_t right = 0;
    cellar *c;
    cfg.memory_bytes = CELLAR_MEMORY_MIN;
    if (cellar_open(&cfg, &c) != CELLAR_OK) { return TOUR_SHORT; }
    cellar_reason why = tour_why_set(c);
    for (size_t i = 0; i < rows; i++) {
        const char *const key = tour_why_rows[i][0];
        if (i > 0) { (void)cellar_why(c, key, strlen(key), &why); }
        const char *text = why.answer == CELLAR_WHY_GONE   ? cellar_cause_name(why.cause)
                           : why.answer == CELLAR_WHY_LIVE ? "live" : "unknown";
        right += strcmp(text, tour_why_rows[i][1]) == 0;
        tour_say(r, "  %-9s --> %s\n", key, text);
    }
    (void)cellar_close(c);
    tour_figure(r, "right", right, 0, right == rows, "answers of 6");
    return NULL;
}

#define TOUR_TASKS 20000u

static cellar_verdict tour_task(const cellar_task *t, void *ctx)
{
    uint32_t i;
    memcpy(&i, t->payload, sizeof i);
    if (i % 10 == 0 && t->attempt == 1) { return cellar_verdict_retry(); }
    ((_Atomic unsigned char *)ctx)[i]++;
    return cellar_verdict_ok();
}

static const char *tour_work_run(tour_report *r)
{
    _Atomic unsigned char done[TOUR_TASKS] = { 0 };
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar_pool_stats st = cellar_pool_stats_default();
    cellar_task_opts o = cellar_task_opts_default();
    cellar_pool *p;
    uint64_t once = 0;
    cfg.workers = 4;
    cfg.queue_cap = TOUR_TASKS;
    o.base_ms = 5;
    const uint64_t start = cli_clock_ns();
    if (cellar_pool_open(&cfg, &p) != CELLAR_OK) { return TOUR_SHORT; }
    bool fine = cellar_task_register(p, "tour", tour_task, (void *)done, &o) == CELLAR_OK;
    for (uint32_t i = 0; fine && i < TOUR_TASKS; i++) {
        fine = cellar_task_submit(p, "tour", &i, sizeof i, NULL, NULL) == CELLAR_OK;
    }
    fine = fine && cellar_pool_drain(p, CELLAR_DRAIN_ALL, 20000, NULL) == CELLAR_OK &&
           cellar_pool_stats_get(p, NULL, &st) == CELLAR_OK;
    (void)cellar_pool_close(p);
    for (uint32_t i = 0; i < TOUR_TASKS; i++) { once += done[i] == 1; }
    if (!fine) { return TOUR_SHORT; }
    tour_figure(r, "attempts", st.started, st.started, st.started == TOUR_TASKS + TOUR_TASKS / 10,
                "with 2,000 that fail");
    tour_figure(r, "once", once, st.started, once == TOUR_TASKS, "tasks succeeded");
    tour_figure(r, "counted", st.ok, st.started, st.ok == TOUR_TASKS, "by the pool itself");
    tour_figure(r, "took_ns", cli_clock_ns() - start, 0, true, "for all");
    return NULL;
}

#define TOUR_GETS 1000u

static const char *tour_port_run(tour_report *r)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    cellar_resp_opts o = cellar_resp_opts_default();
    cellar_resp_stats st = cellar_resp_stats_default();
    cellar_resp *port = NULL;
    cellar *c;
    uint64_t same = 0;
    char key[16], value[41];
    o.listen = "127.0.0.1";
    o.port = CELLAR_RESP_PORT_ANY;
    o.namespaces = "0="; /* the root */
    if (cellar_open(NULL, &c) != CELLAR_OK) { return TOUR_SHORT; }
    for (unsigned n = 0; n < TOUR_GETS; n++) {
        const int key_len = snprintf(key, sizeof key, "%u", n);
        (void)snprintf(value, sizeof value, "%040u", n);
        (void)cellar_set(c, key, (size_t)key_len, value, 40, NULL);
    }
    bool fine = cellar_resp_open(c, &o, &port) == CELLAR_OK &&
                cellar_resp_stats_get(port, &st) == CELLAR_OK &&
                cellar_resp_start(port) == CELLAR_OK;
    at.sin_port = htons((uint16_t)st.port);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fine = fine && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0;
    FILE *const replies = fine ? fdopen(fd, "r") : NULL;
    const uint64_t start = cli_clock_ns();
    for (unsigned n = 0, got = 0; replies != NULL && n < TOUR_GETS; n++) {
        (void)dprintf(fd, "GET %u\r\n", n);
        same += fscanf(replies, " $40 %40u", &got) == 1 && got == n;
    }
    const uint64_t took_ns = cli_clock_ns() - start;
    if (replies != NULL) { (void)fclose(replies); } else { (void)close(fd); }
    cellar_resp_close(port);
    (void)cellar_close(c);
    if (replies == NULL) { return TOUR_SHORT; }
    tour_figure(r, "gets", TOUR_GETS, TOUR_GETS, true, "by a client");
    tour_figure(r, "same", same, TOUR_GETS, same == TOUR_GETS, "replies have the bytes set");
    tour_figure(r, "reply_ns", took_ns / TOUR_GETS, 0, true, "each");
    return NULL;
}

/* Print and check what the processes of --remote saw. */
static void tour_remote_tell(tour_report *r, const tour_remote_seen *s)
{
    const uint64_t compared = TOUR_PROCESSES * TOUR_KEYS;
    tour_figure(r, "gets", s->gets, s->gets, s->gets > 0, "by 3 processes");
    tour_figure(r, "hits", s->hits, s->gets, s->hits > 0 && s->hits <= s->gets, "of them");
    tour_figure(r, "server_hits", s->server_hits, s->gets, true, "from the server");
    tour_figure(r, "cut", s->cut, 0, s->cut > 0, "connections");
    tour_figure(r, "loads", s->loads, TOUR_PROCESSES, s->loads == 1, "for a key that all request");
    tour_figure(r, "compared", compared, compared, true, "values with the server");
    tour_figure(r, "stale", s->stale, 0, s->stale == 0, "of 3,000 values in memory");
}

static const char *tour_remote_act(tour_report *r)
{
    char folder[90];
    tour_remote_seen seen = { 0 };
    if (!tour_folder_make(r, folder, sizeof folder)) { return NULL; }
    const char *why = tour_remote_run(r->url, folder, &seen);
    tour_folder_remove(folder);
    if (why == NULL) { tour_remote_tell(r, &seen); }
    return why;
}

static const tour_act tour_acts[] = {
    { "memory and speed",
      "A store of 2 MiB takes 50,000 values of 100 bytes. It evicts, and every value that it\n"
      "still has is the one that was set.", tour_memory },
    { "a stampede",
      "64 threads request a missing key, and its source needs 50 ms. One thread asks the source,\n"
      "and all get its value.", tour_stampede },
    { "kill -9",
      "A process sets 16,000 keys on disk, deletes every fifth, and is killed. Another process\n"
      "opens the store and reads each key.", tour_kill },
    { "a limiter at its bound",
      "8 threads check one key of a strict token bucket: 1,000 a second, 100 at once. Each row\n"
      "counts the admissions of 100 ms.", tour_limiter },
    { "why",
      "Keys are evicted, expired and deleted. cellar_why says of each what became of it.",
      tour_why },
}, tour_work = {
    "work",
    "20,000 tasks run on 4 threads, and every tenth fails the first time. Each is tried again\n"
    "and succeeds once.", tour_work_run
}, tour_port = {
    "port",
    "A port on loopback serves 1,000 values of this process. A client of Redis gets each of\n"
    "them.", tour_port_run
}, tour_remote = {
    "remote",
    "Three processes get and set 1,000 keys through one server, and connections are cut each\n"
    "second. Then they request one key that no process has.", tour_remote_act
};

/* Run an act. Return CLI_DONE, CLI_FINDING, or CLI_NO_START after printing why. */
static int tour_play(const tour_act *act, tour_report *r)
{
    r->act = act;
    r->findings = 0;
    r->figures[0] = '\0';
    r->skipped = NULL;
    const char *why = act->run(r);
    if (why != NULL) {
        cli_complain("tour", "%s", why);
        return CLI_NO_START;
    }
    if (r->skipped != NULL) { tour_say(r, "  left out: %s\n", r->skipped); }
    tour_say(r, "\n");
    if (r->json) {
        printf("{\"act\":\"%s\",\"shown\":%s,\"findings\":%u%s}\n", act->name,
               r->skipped == NULL ? "true" : "false", r->findings, r->figures);
    }
    return r->findings == 0 ? CLI_DONE : CLI_FINDING;
}

static int tour_main(int argc, char **argv, const cli_terminal *term)
{
    static const struct option options[] = {
        { "json", no_argument, NULL, 'j' }, { "work", no_argument, NULL, 'w' },
        { "port", no_argument, NULL, 'p' }, { "remote", optional_argument, NULL, 'r' },
        { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 }
    };
    const tour_act *first = tour_acts, *end = first + sizeof tour_acts / sizeof tour_acts[0];
    tour_report r = { .color = term->color };
    char took[CLI_TEXT];
    int worst = CLI_DONE;
    optind = 0;
    for (int c; (c = cli_option("tour", argc, argv, options)) != -1;) {
        switch (c) {
        case 'j': r.json = true; break;
        case 'w': first = &tour_work, end = first + 1; break;
        case 'p': first = &tour_port, end = first + 1; break;
        case 'r': first = &tour_remote, end = first + 1, r.url = optarg; break;
        case 'h': fputs(cli_tour.help, stdout); return CLI_DONE;
        default: return CLI_USAGE; /* cli_option has printed why */
        }
    }
    if (optind < argc) {
        cli_complain("tour", "takes no arguments (got \"%s\"); write options alone", argv[optind]);
        return CLI_USAGE;
    }
    const uint64_t start = cli_clock_ns();
    for (; first < end && worst != CLI_NO_START; first++) {
        const int code = tour_play(first, &r);
        worst = code > worst ? code : worst;
    }
    if (worst == CLI_NO_START) { return worst; }
    tour_say(&r, "took %s; %s\n", cli_duration(took, cli_clock_ns() - start),
             worst == CLI_DONE ? "every figure holds" : "see the lines FINDING");
    return worst;
}

const cli_command cli_tour = {
    "tour", "demo", "show in five acts what the cache promises, and check it (alias: demo)",
    "Usage: cellar tour [OPTION]...\n"
    "\n"
    "Shows five acts: memory and speed, a stampede that loads once, a store found again after\n"
    "kill -9, a limiter at its bound, and what cellar_why says of a key. Each act counts and\n"
    "checks its own figures. A figure that breaks a promise is a line FINDING.\n"
    "The store on disk lies in TMPDIR (default /tmp) and is removed.\n"
    "\n"
    "  --json          print the figures as JSON, one object an act\n"
    "  --work          in place of the five: 20,000 tasks, every tenth fails once\n"
    "  --port          in place of the five: values of this process, read by a client of Redis\n"
    "  --remote[=URL]  in place of the five: three processes share values and a load by the Redis\n"
    "                  or Valkey at URL, or by a redis-server that the tour starts; connections\n"
    "                  are cut each second. Needs a program built with REMOTE=1\n"
    "  --help          print this text\n"
    "\n"
    "Exit codes: 0 every figure holds; 1 a finding; 2 wrong usage; 3 cannot start; 4 the output\n"
    "            cannot be written.\n",
    tour_main
};
