/* SPDX-License-Identifier: MIT
 *
 * tour: acts that show what the library promises, and check it on this machine.
 *
 * PICTURE    options -> acts of one table -> figures of each, with bars
 *            --remote: four processes, each with a store and a link --> one server
 * INVARIANTS Each figure is counted here: what a call returned, the bytes of a value, the calls of
 *            a loader or a task, the clock readings of a limiter. A figure that breaks a promise is
 *            a line FINDING, and the exit code is 1.
 *            After the kill a value is the one that was set, or missing: a slow disk drops writes.
 * LIMITS     The five take some 3 s; each wait has a limit. 48 MiB below TMPDIR. Without a boot id
 *            (no /proc) the killed store starts empty: this is printed and is no finding. */
#include <arpa/inet.h>
#include <ftw.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_limit.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "cellar_remote.h"
#include "cellar_resp.h"
#include "cellar_task.h"
#include "cli/cli.h"

#define TOUR_MEMORY ((uint64_t)32 << 20)

typedef struct tour_report { /* of one act */
    cellar *c; /* a store of its own; NULL: the act needs none */
    const char *note; /* why the act cannot start */
    char folder[90];  /* below TMPDIR; of all acts */
    unsigned findings;
    bool color;
} tour_report;

typedef struct tour_act {
    int option;            /* that asks for the act; 0: one of the five */
    uint64_t memory_bytes; /* of its store; 0: none */
    const char *name;
    bool (*run)(tour_report *r); /* false: it cannot start */
    const char *sentences;
} tour_act;

/* Print a figure, with its bar unless `whole` is 0. A figure that does not hold is a finding. */
static void tour_figure(tour_report *r, const char *name, uint64_t value, uint64_t whole,
                        bool holds, const char *words)
{
    static const char full[] = "########################################";
    char text[CLI_TEXT];
    printf("%s ", holds ? " " : "FINDING");
    if (whole == 0) {
        printf("%s: ", name);
    } else {
        const uint64_t n = (value * 40 + whole - 1) / whole;
        printf("%-9s |%-40.*s| ", name, (int)(n < 40 ? n : 40), full);
    }
    printf("%s %s\n", cli_count(text, value), words);
    r->findings += !holds;
}

/* ---- what acts share ---- */

/* Run `fn` in `count` threads, 64 at most. Return false if one did not start. */
static bool tour_threads(void *(*fn)(void *), void *arg, uint32_t count)
{
    pthread_t thread[64];
    uint32_t started = 0;
    while (started < count && pthread_create(&thread[started], NULL, fn, arg) == 0) { started++; }
    for (uint32_t i = 0; i < started; i++) { (void)pthread_join(thread[i], NULL); }
    return started == count;
}

/* Open a store, on disk unless `folder` is NULL. Return NULL if it cannot be opened. */
static cellar *tour_open(uint64_t memory_bytes, const char *folder)
{
    cellar_config cfg = cellar_config_default();
    cellar_l2_config disk = cellar_l2_config_default();
    cellar *c;
    cfg.memory_bytes = memory_bytes;
    cfg.l2_path = folder;
    cfg.l2_bytes = folder != NULL ? (uint64_t)48 << 20 : 0;
    cfg.l2 = folder != NULL ? &disk : NULL;
    disk.write = CELLAR_L2_WRITE_ON_SET;
    return cellar_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

#define TOUR_WORDS 25u /* of a value, which has 100 bytes: the key, then zeros */

static cellar_err tour_set(cellar *c, uint32_t n)
{
    const uint32_t value[TOUR_WORDS] = { n };
    return cellar_set(c, &n, sizeof n, value, sizeof value, NULL);
}

/* Get key n, and raise *wrong if it has another value. */
static cellar_err tour_get(cellar *c, uint32_t n, uint64_t *wrong)
{
    const uint32_t set[TOUR_WORDS] = { n };
    uint32_t value[TOUR_WORDS];
    size_t len;
    const cellar_err err = cellar_get(c, &n, sizeof n, value, sizeof value, &len);
    *wrong += err == CELLAR_OK && (len != sizeof set || memcmp(value, set, sizeof set) != 0);
    return err;
}

/* ---- the five ---- */

#define TOUR_BUDGET ((uint64_t)2 << 20)
#define TOUR_ENTRIES 50000u

static bool tour_memory(tour_report *r)
{
    cellar_stats st = cellar_stats_default();
    uint64_t most = 0, hits = 0, wrong = 0;
    const uint64_t start = cli_clock_ns();
    for (uint32_t n = 0; n < TOUR_ENTRIES; n++) {
        wrong += tour_set(r->c, n) != CELLAR_OK;
        if (n % 256 == 0) { (void)cellar_stats_get(r->c, CELLAR_SCOPE_STORE, &st); }
        most = st.used_bytes > most ? st.used_bytes : most;
    }
    const uint64_t half = cli_clock_ns();
    for (uint32_t n = 0; n < TOUR_ENTRIES; n++) { hits += tour_get(r->c, n, &wrong) == CELLAR_OK; }
    const uint64_t end = cli_clock_ns();
    (void)cellar_stats_get(r->c, CELLAR_SCOPE_STORE, &st);
    const uint64_t evicted = st.ended[CELLAR_CAUSE_EVICTED];
    tour_figure(r, "held", most >> 10, TOUR_BUDGET >> 10, most <= TOUR_BUDGET, "KiB at most");
    tour_figure(r, "found", hits, TOUR_ENTRIES, hits > 0, "values: 2 MiB hold no more");
    tour_figure(r, "evicted", evicted, TOUR_ENTRIES, evicted + hits == TOUR_ENTRIES,
                "others, for their room");
    tour_figure(r, "wrong", wrong, TOUR_ENTRIES, wrong == 0, "values or calls");
    tour_figure(r, "counted", st.hits_l1, TOUR_ENTRIES,
                st.hits_l1 == hits && st.gets == TOUR_ENTRIES, "hits by the store itself");
    tour_figure(r, "set", (half - start) / TOUR_ENTRIES, 0, true, "ns each");
    tour_figure(r, "get", (end - half) / TOUR_ENTRIES, 0, true, "ns each");
    return true;
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

static bool tour_stampede(tour_report *r)
{
    tour_source s = { .c = r->c };
    const bool started = tour_threads(tour_ask, &s, TOUR_CROWD);
    tour_figure(r, "values", s.values, TOUR_CROWD, s.values == TOUR_CROWD, "returned");
    tour_figure(r, "loads", s.loads, TOUR_CROWD, s.loads == 1, "of the source");
    return started;
}

#define TOUR_WRITES 16000u

/* Set all keys, delete every fifth, and end by SIGKILL. */
static void tour_write(const char *folder)
{
    (void)alarm(20); /* a disk that hangs: this act is left out */
    cellar *const c = tour_open(TOUR_MEMORY, folder);
    for (uint32_t n = 0; n < TOUR_WRITES; n++) {
        const uint32_t old = n - 3;
        if (c == NULL || tour_set(c, n) < 0) { _exit(1); }
        if (n % 5 == 4 && cellar_delete(c, &old, sizeof old) < 0) { _exit(1); }
    }
    (void)raise(SIGKILL);
}

static bool tour_kill(tour_report *r)
{
    const bool no_boot_id = access("/proc/sys/kernel/random/boot_id", R_OK) != 0;
    const uint64_t whole = TOUR_WRITES / 5 * 4;
    uint64_t found = 0, wrong = 0, risen = 0;
    int status = 0;
    const pid_t child = fork();
    if (child == 0) { tour_write(r->folder); }
    (void)waitpid(child, &status, 0);
    r->note = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM
                  ? "the temporary folder took over 20 s for 2 MiB; set TMPDIR to another"
                  : "no temporary folder can be used; set TMPDIR to one with room for 48 MiB";
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) { return false; }
    cellar *const c = tour_open(TOUR_MEMORY, r->folder);
    for (uint32_t n = 0; c != NULL && n < TOUR_WRITES; n++) {
        *(n % 5 == 1 ? &risen : &found) += tour_get(c, n, &wrong) == CELLAR_OK;
    }
    (void)cellar_close(c);
    if (no_boot_id) { (void)puts("  no boot id without /proc: the store starts empty"); }
    tour_figure(r, "found", found, whole, found > 0 || no_boot_id, "of 12,800 values");
    if (found < whole && !no_boot_id) {
        (void)puts("  a slow disk dropped the others: THROUGH waits, ON_SET does not");
    }
    tour_figure(r, "wrong", wrong, whole, wrong == 0, "of them");
    tour_figure(r, "back", risen, TOUR_WRITES / 5, risen == 0, "of 3,200 deleted ones");
    return c != NULL;
}

#define TOUR_LIMIT 1000u
#define TOUR_BURST 100u
#define TOUR_STAMPS 4096u
#define TOUR_SLOT_NS (CELLAR_SECOND_NS / 10) /* a row of the picture, which has 12 */

typedef struct tour_gate {
    cellar_limiter *limiter;
    uint64_t until_ns;
    _Atomic uint64_t checks, denied, admitted;
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
        g->denied += err == CELLAR_LIMITED;
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

static bool tour_limiter(tour_report *r)
{
    const cellar_rule rule =
        cellar_rule_token_bucket_strict(TOUR_LIMIT, CELLAR_SECOND_NS, TOUR_BURST);
    tour_gate g = { .until_ns = cli_clock_ns() + 12 * TOUR_SLOT_NS };
    if (cellar_limiter_open(NULL, &rule, 1, &g.limiter) != CELLAR_OK) { return false; }
    const bool started = tour_threads(tour_pass, &g, 8);
    cellar_limiter_close(g.limiter);
    const size_t count = g.admitted < TOUR_STAMPS ? g.admitted : TOUR_STAMPS;
    for (unsigned i = 0; i < 12; i++) {
        char name[16];
        uint64_t n = 0;
        for (size_t k = 0; k < count; k++) { n += (g.stamp[k] - g.stamp[0]) / TOUR_SLOT_NS == i; }
        (void)snprintf(name, sizeof name, "%u.%u s", i / 10, i % 10);
        tour_figure(r, name, n, 2 * TOUR_BURST, true, "admitted");
    }
    const uint64_t most = tour_most(g.stamp, count);
    tour_figure(r, "admitted", g.admitted, 0, g.admitted >= TOUR_BURST, "by 8 threads");
    tour_figure(r, "denied", g.denied, 0, g.denied + g.admitted == g.checks, "all others");
    tour_figure(r, "most", most, 0, most <= TOUR_LIMIT, "in any second");
    return started;
}

/* Print what cellar_why says of a key, immediately after its end: a later end of another key may
 * take its place in the record of ends. */
static void tour_reason(tour_report *r, const char *name, const void *key, size_t key_len,
                        cellar_cause cause)
{
    cellar_reason why = cellar_reason_default();
    (void)cellar_why(r->c, key, key_len, &why);
    const bool right = why.answer == CELLAR_WHY_GONE && why.cause == cause;
    printf("%s %-9s --> %s\n", right ? " " : "FINDING", name,
           why.answer == CELLAR_WHY_GONE ? cellar_cause_name(why.cause) : "unknown");
    r->findings += !right;
}

static bool tour_why(tour_report *r)
{
    const cellar_bytes tag = { "user:17", 7 };
    cellar_reason why = cellar_reason_default();
    uint32_t old = 0;
    cellar_set_opts tagged = { .struct_size = sizeof tagged, .tags = &tag, .tag_count = 1 };
    for (uint32_t n = 0; n < 20000; n++) { (void)tour_set(r->c, n); }
    while (why.answer != CELLAR_WHY_GONE && ++old < 20000) { /* some evicted keys are remembered */
        (void)cellar_why(r->c, &old, sizeof old, &why);
    }
    tour_reason(r, "old", &old, sizeof old, CELLAR_CAUSE_EVICTED);
    (void)cellar_set_str(r->c, "brief", "v", 1);
    (void)poll(NULL, 0, 20); /* longer than the TTL of `brief` */
    tour_reason(r, "brief", "brief", 5, CELLAR_CAUSE_EXPIRED);
    (void)cellar_set(r->c, "tagged", 6, "v", 1, &tagged);
    (void)cellar_delete_by_tag(r->c, "user:17", 7, CELLAR_TAG_HARD);
    tour_reason(r, "tagged", "tagged", 6, CELLAR_CAUSE_TAG);
    (void)cellar_set_str(r->c, "deleted", "v", 0);
    (void)cellar_delete(r->c, "deleted", 7);
    tour_reason(r, "deleted", "deleted", 7, CELLAR_CAUSE_DELETED);
    return true;
}

/* ---- acts that need an option ---- */

#define TOUR_TASKS 20000u
#define TOUR_KEYS 1000u /* of --port and --remote */

static cellar_verdict tour_task(const cellar_task *t, void *ctx)
{
    uint32_t i;
    memcpy(&i, t->payload, sizeof i);
    if (i % 10 == 0 && t->attempt == 1) { return cellar_verdict_retry(); }
    ((_Atomic unsigned char *)ctx)[i]++;
    return cellar_verdict_ok();
}

static bool tour_work(tour_report *r)
{
    _Atomic unsigned char done[TOUR_TASKS] = { 0 };
    cellar_pool_stats st = cellar_pool_stats_default();
    cellar_pool *p;
    uint64_t once = 0;
    cellar_pool_config cfg = { .struct_size = sizeof cfg, .workers = 4, .queue_cap = TOUR_TASKS };
    cellar_task_opts o = { .struct_size = sizeof o, .base_ms = 5 };
    if (cellar_pool_open(&cfg, &p) != CELLAR_OK) { return false; }
    bool fine = cellar_task_register(p, "tour", tour_task, (void *)done, &o) == CELLAR_OK;
    for (uint32_t i = 0; fine && i < TOUR_TASKS; i++) {
        fine = cellar_task_submit(p, "tour", &i, sizeof i, NULL, NULL) == CELLAR_OK;
    }
    fine = fine && cellar_pool_drain(p, CELLAR_DRAIN_ALL, 20000, NULL) == CELLAR_OK &&
           cellar_pool_stats_get(p, NULL, &st) == CELLAR_OK;
    (void)cellar_pool_close(p);
    for (uint32_t i = 0; i < TOUR_TASKS; i++) { once += done[i] == 1; }
    tour_figure(r, "attempts", st.started, st.started, st.started == TOUR_TASKS / 10 * 11, "begun");
    tour_figure(r, "once", once, st.started, once == TOUR_TASKS, "tasks succeeded");
    return fine;
}

static bool tour_port(tour_report *r)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    cellar_resp_stats st = cellar_resp_stats_default();
    cellar_resp *port = NULL;
    uint64_t same = 0;
    cellar_resp_config o = { .struct_size = sizeof o, .listen = "127.0.0.1",
                             .port = CELLAR_RESP_PORT_ANY };
    o.namespaces = "0="; /* the root */
    bool fine = cellar_resp_open(r->c, &o, &port) == CELLAR_OK &&
                cellar_resp_stats_get(port, &st) == CELLAR_OK &&
                cellar_resp_start(port) == CELLAR_OK;
    at.sin_port = htons((uint16_t)st.port);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fine = fine && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0;
    FILE *const replies = fine ? fdopen(fd, "r") : NULL;
    for (unsigned n = 0, got = 0; replies != NULL && n < TOUR_KEYS; n++) {
        char text[41]; /* key and value */
        (void)snprintf(text, sizeof text, "%040u", n);
        (void)cellar_set(r->c, text, 40, text, 40, NULL);
        (void)dprintf(fd, "GET %s\r\n", text);
        same += fscanf(replies, " $40 %40u", &got) == 1 && got == n;
    }
    if (replies != NULL) { (void)fclose(replies); } else { (void)close(fd); }
    cellar_resp_close(port);
    tour_figure(r, "same", same, TOUR_KEYS, same == TOUR_KEYS, "replies have the bytes set");
    return replies != NULL;
}

#define TOUR_PROCESSES 4u /* three get and set; the last one sets nothing, so it reads the server */

typedef struct tour_page { /* of --remote, shared by its processes */
    _Atomic uint64_t ready, cut; /* ready: processes that change nothing more */
    uint64_t compared, stale, read[TOUR_PROCESSES][TOUR_KEYS]; /* read: 0 is a miss */
} tour_page;

/* Check and print what the processes saw. */
static void tour_remote_tell(tour_report *r, const tour_page *p)
{
    tour_figure(r, "compared", p->compared, 3 * TOUR_KEYS, p->compared > 0, "values in memory");
    tour_figure(r, "cut", p->cut, 0, p->cut > 0, "connections");
    tour_figure(r, "stale", p->stale, 0, p->stale == 0, "of them");
}

/* Wait until no write of this process is open and gets see all that the server acknowledged. */
static bool tour_fence(cellar_remote *r)
{
    for (int i = 0; i < 10000 && cellar_remote_state_get(r) != CELLAR_REMOTE_PROVEN; i++) {
        (void)poll(NULL, 0, 1);
    }
    return cellar_remote_fence(r, 5000) == CELLAR_OK;
}

/* Get and set keys, and cut the connections of this process each second. */
static void tour_change(cellar *ns, uint32_t number, tour_page *p)
{
    uint64_t state = 88172645463325252u + number, value;
    for (uint32_t i = 0; i < 33334; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        const uint32_t key = (uint32_t)(state >> 33) % TOUR_KEYS;
        if (state % 5 == 0) {
            value = (uint64_t)(number + 1) << 32 | i;
            (void)cellar_set(ns, &key, sizeof key, &value, sizeof value, NULL);
        } else {
            (void)cellar_get(ns, &key, sizeof key, &value, sizeof value, NULL);
        }
        if (i % 100 == 99) { (void)poll(NULL, 0, 9); }
        for (int fd = 3; i % 10000 == 5000 && fd < 256; fd++) { /* all sockets are of the link */
            p->cut += shutdown(fd, SHUT_RDWR) == 0;
        }
    }
}

/* Run process `number`: change keys, read all behind a fence, and end, within a minute. */
static void tour_process(tour_page *p, uint32_t number, const char *url)
{
    (void)alarm(60);
    cellar *const store = tour_open(TOUR_MEMORY, NULL), *ns = NULL;
    cellar_remote *r = NULL;
    bool fine = store != NULL && cellar_namespace_open(store, "tour", NULL, &ns) == CELLAR_OK &&
                cellar_remote_open(store, url, NULL, &r) == CELLAR_OK &&
                cellar_remote_attach(r, ns, NULL) == CELLAR_OK && tour_fence(r);
    if (fine && number < TOUR_PROCESSES - 1) { tour_change(ns, number, p); }
    fine = fine && tour_fence(r); /* else a key of its journal is deleted later */
    p->ready++;
    while (p->ready < TOUR_PROCESSES) { (void)poll(NULL, 0, 1); }
    for (int pass = 0; pass < 3; pass++) { /* a get misses if the server is slow */
        fine = fine && tour_fence(r);
        for (uint32_t i = 0; fine && i < TOUR_KEYS; i++) {
            uint64_t *const value = &p->read[number][i];
            fine = *value != 0 || cellar_get(ns, &i, sizeof i, value, sizeof *value, NULL) >= 0;
        }
    }
    _exit(fine ? 0 : 1);
}

/* Become a server with a socket file `s` in the folder. */
static void tour_server(const char *folder)
{
    static const char *const names[] = { "redis-server", "valkey-server", "redis-check-rdb" };
    (void)alarm(90); /* it lasts over the exec */
    for (size_t i = 0; freopen("/dev/null", "w", stdout) != NULL && i < 3; i++) {
        execlp(names[i], "redis-server", "--port", "0", "--dir", folder, "--unixsocket", "s",
               "--save", "", "--appendonly", "no", (char *)NULL);
    }
    _exit(127);
}

/* Run the processes. Return false if one failed. */
static bool tour_remote_run(tour_report *r, tour_page *p)
{
    char url[128];
    bool fine = true;
    pid_t pid[TOUR_PROCESSES];
    (void)snprintf(url, sizeof url, "unix://%s/s?prefix=tour", r->folder);
    const pid_t server = fork();
    if (server == 0) { tour_server(r->folder); }
    for (uint32_t i = 0; i < TOUR_PROCESSES; i++) {
        pid[i] = fork();
        if (pid[i] == 0) { tour_process(p, i, url); }
    }
    for (uint32_t i = 0; i < TOUR_PROCESSES; i++) {
        int status = 1;
        fine = waitpid(pid[i], &status, 0) == pid[i] && status == 0 && fine;
    }
    if (server > 0 && kill(server, SIGKILL) == 0) { (void)waitpid(server, NULL, 0); }
    r->note = "--remote: a process failed; is redis-server or valkey-server installed?";
    return fine;
}

static bool tour_remote(tour_report *r)
{
    tour_page *const p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                              -1, 0);
    const bool fine = p != MAP_FAILED && tour_remote_run(r, p);
    for (uint32_t i = 0; fine && i < (TOUR_PROCESSES - 1) * TOUR_KEYS; i++) {
        const uint64_t value = p->read[i / TOUR_KEYS][i % TOUR_KEYS];
        p->compared += value != 0;
        p->stale += value != 0 && value != p->read[TOUR_PROCESSES - 1][i % TOUR_KEYS];
    }
    if (fine) { tour_remote_tell(r, p); }
    return fine;
}

static const tour_act tour_acts[] = {
    { 0, TOUR_BUDGET, "memory and speed", tour_memory,
      "50,000 values of 100 bytes go into 2 MiB. Every value that is still there is the one set." },
    { 0, TOUR_MEMORY, "a stampede", tour_stampede,
      "64 threads request a missing key, and its source needs 50 ms. One thread asks the source." },
    { 0, 0, "kill -9", tour_kill,
      "A process sets 16,000 keys on disk, deletes a fifth, and is killed. Another reads all." },
    { 0, 0, "a limiter at its bound", tour_limiter,
      "8 threads check a strict token bucket: 1,000 a second, 100 at once. A row is 100 ms." },
    { 0, CELLAR_MEMORY_MIN, "why", tour_why,
      "Keys are evicted, expired and deleted. cellar_why says of each what became of it." },
    { 'w', 0, "work", tour_work,
      "Of 20,000 tasks on 4 threads every tenth fails the first time. All succeed once." },
    { 'p', TOUR_MEMORY, "port", tour_port,
      "A port on loopback serves 1,000 values of this process. A client of Redis gets each." },
    { 'r', 0, "remote", tour_remote,
      "Three processes change 1,000 keys through one server, and links are cut each second.\n"
      "Then what each has in memory is compared with the server." }
};

/* Run an act. Return CLI_DONE, CLI_FINDING, or CLI_NO_START after printing why. */
static int tour_play(const tour_act *act, tour_report *r)
{
    bool ran = false;
    r->findings = 0;
    r->note = "no memory, thread or socket is left; end other programs";
    r->c = act->memory_bytes != 0 ? tour_open(act->memory_bytes, NULL) : NULL;
    if (act->memory_bytes == 0 || r->c != NULL) {
        printf("%s%s%s\n%s\n\n", r->color ? "\033[1m" : "", act->name, r->color ? "\033[0m" : "",
               act->sentences);
        (void)fflush(stdout); /* else a child prints the buffer again */
        ran = act->run(r);
        (void)puts("");
    }
    (void)cellar_close(r->c);
    if (!ran) { cli_complain("tour", "%s", r->note); }
    return !ran ? CLI_NO_START : r->findings > 0 ? CLI_FINDING : CLI_DONE;
}

static int tour_remove(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static int tour_main(int argc, char **argv, const cli_terminal *term)
{
    tour_report r = { .color = term->color };
    int asked = 0;
    const struct option options[] = {
        { "work", no_argument, &asked, 'w' }, { "port", no_argument, &asked, 'p' },
        { "remote", no_argument, &asked, 'r' }, { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };
    const uint64_t start = cli_clock_ns();
    const char *const tmp = getenv("TMPDIR");
    char took[CLI_TEXT];
    int worst = cli_options(&cli_tour, argc, argv, options, NULL, NULL);
    if (worst == CLI_GO_ON) { worst = cli_no_arguments(&cli_tour, argc, argv); }
    if (worst != CLI_GO_ON) { return worst; }
    (void)snprintf(r.folder, sizeof r.folder, "%s/cellar-tour-XXXXXX",
                   tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    const bool folder = mkdtemp(r.folder) != NULL; /* false: an act on disk cannot start */
    for (size_t i = 0; i < sizeof tour_acts / sizeof tour_acts[0]; i++) {
        const int code = tour_acts[i].option == asked ? tour_play(&tour_acts[i], &r) : worst;
        worst = code > worst ? code : worst;
    }
    if (folder) { (void)nftw(r.folder, tour_remove, 8, FTW_DEPTH | FTW_PHYS); }
    printf("took %s; %s\n", cli_duration(took, cli_clock_ns() - start),
           worst == CLI_DONE ? "every figure holds" : "see the lines FINDING and the errors");
    return worst;
}

const cli_command cli_tour = {
    "tour", "demo", "show in five acts what the cache promises, and check it (alias: demo)",
    "Usage: cellar tour [OPTION]...\n"
    "\n"
    "Shows five acts: memory and speed, a stampede that loads once, a store found again after\n"
    "kill -9, a limiter at its bound, and what cellar_why says of a key. A figure that breaks a\n"
    "promise is a line FINDING. The store on disk lies in TMPDIR (default /tmp) and is removed.\n"
    "\n"
    "  --work    in place of the five: 20,000 tasks, every tenth fails once\n"
    "  --port    in place of the five: values of this process, read by a client of Redis\n"
    "  --remote  in place of the five: three processes share values by a redis-server that the\n"
    "            tour starts, and connections are cut\n"
    "  --help    print this text\n"
    "\n"
    "Exit codes: 0 every figure holds; 1 a finding; 2 wrong usage; 3 cannot start; 4 the output\n"
    "            cannot be written.\n",
    tour_main
};
