/* SPDX-License-Identifier: MIT
 *
 * tour: acts that show what the library promises, and check it on this machine.
 *
 * PICTURE    options -> acts of one table -> rows of each -> text with bars; --json: one object
 *            --remote: four processes, each with a store and a link --> one server
 *                 \_ page in shared memory: where they meet, counters, values
 * INVARIANTS Each figure is counted here, beside the library: what a call returned, the bytes of a
 *            value, the calls of a loader or a task, the clock readings of a limiter. A figure that
 *            breaks a promise is a line FINDING, and the exit code is 1.
 *            After the kill a value is the one that was set, or missing: a disk that is slower than
 *            the writer drops writes. A delete that returned is a miss.
 *            An act that cannot start prints nothing on stdout.
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
#include <sys/prctl.h>
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

typedef struct tour_row {
    char name[16];         /* its end is the unit: _bytes, _ns, or a count */
    uint64_t value, whole; /* whole: of the bar; 0: no bar */
    bool text, holds;      /* text: `words` alone */
    const char *words;
} tour_row;

typedef struct tour_report { /* of one act */
    cellar *c; /* a store of its own; NULL: the act needs none */
    tour_row row[20];
    size_t rows; /* 0: the act cannot run here */
    unsigned findings;
    const char *note; /* a line before the rows, or why the act cannot start; NULL: none */
    const char *url;  /* of --remote; NULL: a server of the tour */
    int option, json; /* the option of the acts to run; 0 or 1 */
    bool color;
} tour_report;

typedef struct tour_act {
    int option;            /* that asks for the act; 0: one of the five */
    uint64_t memory_bytes; /* of its store; 0: none */
    const char *name;
    bool (*run)(tour_report *r); /* false: it cannot start */
    const char *sentences;
} tour_act;

/* Add a row. A figure that does not hold is a finding. */
static void tour_figure(tour_report *r, const char *name, uint64_t value, uint64_t whole,
                        bool holds, const char *words)
{
    tour_row *const row = &r->row[r->rows++];
    *row = (tour_row){ .value = value, .whole = whole, .holds = holds, .words = words };
    (void)snprintf(row->name, sizeof row->name, "%s", name);
    r->findings += !holds;
}

/* Print a row of the picture. */
static void tour_draw(const tour_row *row)
{
    static const char full[] = "########################################";
    const uint64_t most = sizeof full - 1;
    const int name_len = (int)strcspn(row->name, "_");
    char value[CLI_TEXT];
    (void)(strstr(row->name, "_bytes") != NULL ? cli_bytes(value, row->value)
           : strstr(row->name, "_ns") != NULL  ? cli_duration(value, row->value)
                                               : cli_count(value, row->value));
    printf("%s ", row->holds ? " " : "FINDING");
    if (row->text) {
        printf("%-9s --> %s\n", row->name, row->words);
    } else if (row->whole == 0) {
        printf("%.*s: %s %s\n", name_len, row->name, value, row->words);
    } else {
        const uint64_t n = (row->value * most + row->whole - 1) / row->whole;
        printf("%-9.*s |%-40.*s| %s %s\n", name_len, row->name, (int)(n < most ? n : most), full,
               value, row->words);
    }
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

/* Make a folder below TMPDIR. Return false with a note if there is none. */
static bool tour_folder(tour_report *r, char *folder, size_t cap)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(folder, cap, "%s/cellar-tour-XXXXXX",
                   tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (mkdtemp(folder) != NULL) { return true; } /* a path that was cut has no XXXXXX */
    r->note = "left out: no temporary folder can be made; set TMPDIR";
    return false;
}

static int tour_remove(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/* Open a store, on disk unless `folder` is NULL. Return NULL if it cannot be opened. */
static cellar *tour_open(uint64_t memory_bytes, const char *folder)
{
    cellar_config cfg = cellar_config_default();
    cellar_l2_opts disk = cellar_l2_opts_default();
    cellar *c;
    cfg.memory_bytes = memory_bytes;
    if (folder != NULL) {
        disk.required = 1;
        disk.write = CELLAR_L2_WRITE_ON_SET;
        cfg.l2_path = folder;
        cfg.l2_bytes = (uint64_t)48 << 20;
        cfg.l2 = &disk;
    }
    return cellar_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

#define TOUR_WORDS 25u /* of a value, which has 100 bytes: each word is the key */

static cellar_err tour_set(cellar *c, uint32_t n)
{
    uint32_t value[TOUR_WORDS];
    for (size_t i = 0; i < TOUR_WORDS; i++) { value[i] = n; }
    return cellar_set(c, &n, sizeof n, value, sizeof value, NULL);
}

/* Get key n, and raise *wrong if it has another value. */
static cellar_err tour_get(cellar *c, uint32_t n, uint64_t *wrong)
{
    uint32_t value[TOUR_WORDS], same = 0;
    size_t len;
    const cellar_err err = cellar_get(c, &n, sizeof n, value, sizeof value, &len);
    while (err == CELLAR_OK && same < TOUR_WORDS && value[same] == n) { same++; }
    *wrong += err == CELLAR_OK && (len != sizeof value || same != TOUR_WORDS);
    return err;
}

/* ---- the five ---- */

#define TOUR_BUDGET ((uint64_t)2 << 20)
#define TOUR_ENTRIES 50000u

static bool tour_memory(tour_report *r)
{
    cellar_stats st = cellar_stats_default();
    uint64_t most = 0, hits = 0, wrong = 0, failed = 0;
    const uint64_t start = cli_clock_ns();
    for (uint32_t n = 0; n < TOUR_ENTRIES; n++) {
        failed += tour_set(r->c, n) != CELLAR_OK ||
                  (n % 256 == 0 && cellar_stats_get(r->c, CELLAR_SCOPE_STORE, &st) != CELLAR_OK);
        most = st.used_bytes > most ? st.used_bytes : most;
    }
    const uint64_t half = cli_clock_ns();
    for (uint32_t n = 0; n < TOUR_ENTRIES; n++) {
        const cellar_err err = tour_get(r->c, n, &wrong);
        hits += err == CELLAR_OK;
        failed += err < 0;
    }
    const uint64_t end = cli_clock_ns();
    failed += cellar_stats_get(r->c, CELLAR_SCOPE_STORE, &st) != CELLAR_OK;
    const uint64_t evicted = st.ended[CELLAR_CAUSE_EVICTED];
    const bool counted =
        st.hits_l1 == hits && st.gets == TOUR_ENTRIES && st.misses == st.gets - hits;
    tour_figure(r, "budget_bytes", TOUR_BUDGET, TOUR_BUDGET, true, "allowed");
    tour_figure(r, "held_bytes", most, TOUR_BUDGET, most <= TOUR_BUDGET, "at most");
    tour_figure(r, "found", hits, TOUR_ENTRIES, hits > 0, "values");
    tour_figure(r, "evicted", evicted, TOUR_ENTRIES, evicted + hits == TOUR_ENTRIES,
                "values, all others");
    tour_figure(r, "wrong", wrong, TOUR_ENTRIES, wrong == 0, "values");
    tour_figure(r, "failed", failed, TOUR_ENTRIES, failed == 0, "calls");
    tour_figure(r, "counted", st.hits_l1, TOUR_ENTRIES, counted, "hits by the store itself");
    tour_figure(r, "set_ns", (half - start) / TOUR_ENTRIES, 0, true, "each");
    tour_figure(r, "get_ns", (end - half) / TOUR_ENTRIES, 0, true, "each");
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
    const uint64_t start = cli_clock_ns();
    const bool started = tour_threads(tour_ask, &s, TOUR_CROWD);
    tour_figure(r, "threads", TOUR_CROWD, TOUR_CROWD, true, "request the key");
    tour_figure(r, "loads", s.loads, TOUR_CROWD, s.loads == 1, "of the source");
    tour_figure(r, "values", s.values, TOUR_CROWD, s.values == TOUR_CROWD, "returned");
    tour_figure(r, "took_ns", cli_clock_ns() - start, 0, true, "for all");
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
    if (no_boot_id) { r->note = "no boot id without /proc: the store starts empty"; }
    tour_figure(r, "set", whole, whole, true, "values");
    tour_figure(r, "found", found, whole, found > 0 || no_boot_id, "again");
    tour_figure(r, "wrong", wrong, whole, wrong == 0, "of them");
    tour_figure(r, "deleted", TOUR_WRITES / 5, whole, true, "values");
    tour_figure(r, "back", risen, whole, risen == 0, "of the deleted ones");
}

static bool tour_kill(tour_report *r)
{
    char folder[300];
    int status = 0;
    if (!tour_folder(r, folder, sizeof folder)) { return true; }
    (void)fflush(stdout); /* else the child prints the buffer again */
    const pid_t child = fork();
    if (child == 0) { tour_write(folder); }
    const bool killed = child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
                        WTERMSIG(status) == SIGKILL;
    cellar *const c = killed ? tour_open(TOUR_MEMORY, folder) : NULL;
    r->note = "left out: the temporary folder has no room; set TMPDIR";
    if (c != NULL) {
        r->note = NULL;
        tour_verify(c, r);
        (void)cellar_close(c);
    }
    (void)nftw(folder, tour_remove, 8, FTW_DEPTH | FTW_PHYS);
    return true;
}

#define TOUR_LIMIT 1000u
#define TOUR_BURST 100u
#define TOUR_STAMPS 4096u
#define TOUR_SLOT_NS (CELLAR_SECOND_NS / 10) /* of the picture, which has 12 */

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
    tour_figure(r, "checks", g.checks, 0, g.checks > g.admitted, "by 8 threads");
    tour_figure(r, "admitted", g.admitted, 0, g.admitted >= TOUR_BURST, "of them");
    tour_figure(r, "most", most, 0, most <= TOUR_LIMIT, "in any second");
    tour_figure(r, "wrong", g.wrong, 0, g.wrong == 0, "results");
    return started;
}

/* Make what tour_why asks. Return what is said of the first old entry that is remembered. */
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

static bool tour_why(tour_report *r)
{
    static const char *const said[6][2] = { /* a key, and what cellar_why has to say of it */
        { "old", "evicted" }, { "live", "live" }, { "brief", "expired" }, { "tagged", "tag" },
        { "deleted", "deleted" }, { "never set", "unknown" }
    };
    cellar_reason why = tour_why_set(r->c);
    uint64_t right = 0;
    for (size_t i = 0; i < 6; i++) {
        const char *const key = said[i][0];
        if (i > 0) { (void)cellar_why(r->c, key, strlen(key), &why); }
        const char *text = why.answer == CELLAR_WHY_GONE   ? cellar_cause_name(why.cause)
                           : why.answer == CELLAR_WHY_LIVE ? "live" : "unknown";
        right += strcmp(text, said[i][1]) == 0;
        tour_figure(r, key, 0, 0, true, text);
        r->row[i].text = true;
    }
    tour_figure(r, "right", right, 0, right == 6, "answers of 6");
    return true;
}

/* ---- acts that need an option ---- */

#define TOUR_TASKS 20000u

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
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar_pool_stats st = cellar_pool_stats_default();
    cellar_task_opts o = cellar_task_opts_default();
    cellar_pool *p;
    uint64_t once = 0;
    cfg.workers = 4;
    cfg.queue_cap = TOUR_TASKS;
    o.base_ms = 5;
    const uint64_t start = cli_clock_ns();
    if (cellar_pool_open(&cfg, &p) != CELLAR_OK) { return false; }
    bool fine = cellar_task_register(p, "tour", tour_task, (void *)done, &o) == CELLAR_OK;
    for (uint32_t i = 0; fine && i < TOUR_TASKS; i++) {
        fine = cellar_task_submit(p, "tour", &i, sizeof i, NULL, NULL) == CELLAR_OK;
    }
    fine = fine && cellar_pool_drain(p, CELLAR_DRAIN_ALL, 20000, NULL) == CELLAR_OK &&
           cellar_pool_stats_get(p, NULL, &st) == CELLAR_OK;
    (void)cellar_pool_close(p);
    for (uint32_t i = 0; i < TOUR_TASKS; i++) { once += done[i] == 1; }
    tour_figure(r, "attempts", st.started, st.started, st.started == TOUR_TASKS + TOUR_TASKS / 10,
                "with 2,000 that fail");
    tour_figure(r, "once", once, st.started, once == TOUR_TASKS, "tasks succeeded");
    tour_figure(r, "counted", st.ok, st.started, st.ok == TOUR_TASKS, "by the pool itself");
    tour_figure(r, "took_ns", cli_clock_ns() - start, 0, true, "for all");
    return fine;
}

#define TOUR_GETS 1000u

static bool tour_port(tour_report *r)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    cellar_resp_opts o = cellar_resp_opts_default();
    cellar_resp_stats st = cellar_resp_stats_default();
    cellar_resp *port = NULL;
    uint64_t same = 0;
    o.listen = "127.0.0.1";
    o.port = CELLAR_RESP_PORT_ANY;
    o.namespaces = "0="; /* the root */
    bool fine = cellar_resp_open(r->c, &o, &port) == CELLAR_OK &&
                cellar_resp_stats_get(port, &st) == CELLAR_OK &&
                cellar_resp_start(port) == CELLAR_OK;
    at.sin_port = htons((uint16_t)st.port);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fine = fine && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0;
    FILE *const replies = fine ? fdopen(fd, "r") : NULL;
    const uint64_t start = cli_clock_ns();
    for (unsigned n = 0, got = 0; replies != NULL && n < TOUR_GETS; n++) {
        char text[41]; /* key and value */
        (void)snprintf(text, sizeof text, "%040u", n);
        (void)cellar_set(r->c, text, 40, text, 40, NULL);
        (void)dprintf(fd, "GET %s\r\n", text);
        same += fscanf(replies, " $40 %40u", &got) == 1 && got == n;
    }
    const uint64_t took_ns = cli_clock_ns() - start;
    if (replies != NULL) { (void)fclose(replies); } else { (void)close(fd); }
    cellar_resp_close(port);
    tour_figure(r, "gets", TOUR_GETS, TOUR_GETS, true, "by a client");
    tour_figure(r, "same", same, TOUR_GETS, same == TOUR_GETS, "replies have the bytes set");
    tour_figure(r, "reply_ns", took_ns / TOUR_GETS, 0, true, "each");
    return replies != NULL;
}

#define TOUR_KEYS 1000u
#define TOUR_PROCESSES 4u /* three get and set; the last one sets nothing, so it reads the server */

typedef struct tour_page { /* of --remote, shared by its processes */
    _Atomic uint32_t arrived, failed; /* failed: ends every wait */
    _Atomic uint64_t gets, hits, server_hits, cut, loads, stale;
    uint64_t read[TOUR_PROCESSES][TOUR_KEYS]; /* 0: absent */
    char why[900];                            /* of the process that failed */
} tour_page;

/* Check and print what the processes saw. */
static void tour_remote_tell(tour_report *r, const tour_page *p)
{
    const uint64_t compared = (TOUR_PROCESSES - 1) * TOUR_KEYS;
    tour_figure(r, "gets", p->gets, p->gets, p->gets > 0, "by 3 processes");
    tour_figure(r, "hits", p->hits, p->gets, p->hits > 0 && p->hits <= p->gets, "of them");
    tour_figure(r, "server_hits", p->server_hits, p->gets, true, "from the server");
    tour_figure(r, "cut", p->cut, 0, p->cut > 0, "connections");
    tour_figure(r, "loads", p->loads, 3, p->loads == 1, "for a key that all request");
    tour_figure(r, "compared", compared, compared, true, "values with the server");
    tour_figure(r, "stale", p->stale, 0, p->stale == 0, "of 3,000 values in memory");
}

#if defined(CELLAR_WITH_REMOTE)
/* Wait for all processes, a minute at most. Return false after a failure of one. */
static bool tour_meet(tour_page *p, bool fine)
{
    const uint32_t meeting = p->arrived++ / TOUR_PROCESSES;
    if (!fine) { p->failed = 1; }
    for (int ms = 0; p->arrived / TOUR_PROCESSES == meeting && p->failed == 0; ms++) {
        (void)poll(NULL, 0, 1);
        if (ms > 60000) { p->failed = 1; }
    }
    return p->failed == 0;
}

static bool tour_proven(const cellar_remote *r)
{
    for (int i = 0; i < 10000 && cellar_remote_state_get(r) != CELLAR_REMOTE_PROVEN; i++) {
        (void)poll(NULL, 0, 1);
    }
    return cellar_remote_state_get(r) == CELLAR_REMOTE_PROVEN;
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
            p->gets++;
            p->hits += cellar_get(ns, &key, sizeof key, &value, sizeof value, NULL) == CELLAR_OK;
        }
        if (i % 100 == 99) { (void)poll(NULL, 0, 9); }
        for (int fd = 3; i % 10000 == 5000 && fd < 256; fd++) { /* all sockets are of the link */
            p->cut += shutdown(fd, SHUT_RDWR) == 0;
        }
    }
}

/* Run process `number`: change keys, read all behind a fence, load, and end. */
static void tour_process(tour_page *p, uint32_t number, const char *url)
{
    const bool worker = number < TOUR_PROCESSES - 1;
    cellar_error_info error = cellar_error_info_default();
    cellar_remote_stats s = cellar_remote_stats_default();
    cellar *const store = tour_open(TOUR_MEMORY, NULL);
    tour_source source = { 0 };
    cellar_remote *r = NULL;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool fine = store != NULL &&
                cellar_namespace_open(store, "tour", NULL, &source.c) == CELLAR_OK &&
                cellar_remote_open(store, url, NULL, &r) == CELLAR_OK &&
                cellar_remote_attach(r, source.c, NULL) == CELLAR_OK && tour_proven(r);
    if (!fine && p->failed++ == 0 && cellar_remote_last_error(r, &error) == CELLAR_OK) {
        (void)snprintf(p->why, sizeof p->why, "the server at %s cannot be used: %s", url,
                       error.text);
    }
    fine = tour_meet(p, fine);
    if (fine && worker) {
        tour_change(source.c, number, p);
        fine = cellar_remote_stats_get(r, &s) == CELLAR_OK;
        p->server_hits += s.hits;
    }
    fine = tour_meet(p, fine) && tour_proven(r) && cellar_remote_fence(r, 5000) == CELLAR_OK;
    for (uint32_t i = 0; fine && i < TOUR_KEYS; i++) {
        fine = cellar_get(source.c, &i, sizeof i, &p->read[number][i], 8, NULL) >= 0;
    }
    fine = tour_meet(p, fine);
    if (fine && worker) {
        (void)tour_ask(&source);
        p->loads += source.loads;
        fine = source.values == 1;
    }
    (void)tour_meet(p, fine); /* no link ends before the others have loaded */
    _exit(0);
}

/* Start a server on the socket file `path`. Return its process, or -1 if none runs. */
static pid_t tour_server(const char *path)
{
    static const char *const names[] = { "redis-server", "valkey-server", "redis-check-rdb" };
    const pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (size_t i = 0; freopen("/dev/null", "w", stdout) != NULL && i < 3; i++) {
            execlp(names[i], "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                   "--appendonly", "no", (char *)NULL);
        }
        _exit(127);
    }
    for (int i = 0; pid > 0 && i < 5000 && waitpid(pid, NULL, WNOHANG) == 0; i++) {
        if (access(path, F_OK) == 0) { return pid; }
        (void)poll(NULL, 0, 1);
    }
    return -1;
}

/* Run the processes. Return false with a note if they cannot run. */
static bool tour_remote_run(tour_report *r, tour_page *p, const char *folder)
{
    char path[110], url[400];
    pid_t pid[TOUR_PROCESSES];
    (void)snprintf(path, sizeof path, "unix://%s/s", folder);
    const char *const at = r->url != NULL ? r->url : path;
    (void)snprintf(url, sizeof url, "%.340s%cprefix=tour-%ld", at,
                   strchr(at, '?') != NULL ? '&' : '?', (long)getpid());
    r->note = "--remote: no redis-server runs here; name a server by --remote=URL";
    const pid_t server = r->url == NULL ? tour_server(path + 7) : 0;
    if (server < 0) { return false; }
    for (uint32_t i = 0; i < TOUR_PROCESSES; i++) {
        pid[i] = fork();
        if (pid[i] == 0) { tour_process(p, i, url); }
    }
    for (uint32_t i = 0; i < TOUR_PROCESSES; i++) { (void)waitpid(pid[i], NULL, 0); }
    if (server > 0 && kill(server, SIGKILL) == 0) { (void)waitpid(server, NULL, 0); }
    const uint64_t *const truth = p->read[TOUR_PROCESSES - 1];
    for (uint32_t i = 0; i < (TOUR_PROCESSES - 1) * TOUR_KEYS; i++) {
        p->stale += p->read[i / TOUR_KEYS][i % TOUR_KEYS] != truth[i % TOUR_KEYS];
    }
    r->note = p->failed != 0 ? p->why : NULL;
    return p->failed == 0;
}
#else
static bool tour_remote_run(tour_report *r, tour_page *p, const char *folder)
{
    (void)p, (void)folder;
    r->note = "--remote: this program has no remote tier; build it with `make REMOTE=1`";
    return false;
}
#endif

static bool tour_remote(tour_report *r)
{
    tour_page *const p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                              -1, 0); /* until the program ends: the note may lie in it */
    char folder[90];
    if (p == MAP_FAILED) { return false; }
    if (!tour_folder(r, folder, sizeof folder)) { return true; }
    (void)snprintf(p->why, sizeof p->why, "--remote: a process failed; try again");
    const bool fine = tour_remote_run(r, p, folder);
    (void)nftw(folder, tour_remove, 8, FTW_DEPTH | FTW_PHYS);
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
      "Then they request one key that no process has." }
};

/* Run an act and print it. Return CLI_DONE, CLI_FINDING, or CLI_NO_START after printing why. */
static int tour_play(const tour_act *act, tour_report *r)
{
    r->rows = 0, r->findings = 0, r->note = NULL;
    r->c = act->memory_bytes != 0 ? tour_open(act->memory_bytes, NULL) : NULL;
    const bool ran = (act->memory_bytes == 0 || r->c != NULL) && act->run(r);
    if (r->c != NULL) { (void)cellar_close(r->c); }
    if (!ran) {
        cli_complain("tour", "%s", r->note != NULL ? r->note : "no memory, thread or socket is "
                                                               "left; end other programs");
        return CLI_NO_START;
    }
    if (r->json) {
        printf("{\"act\":\"%s\",\"shown\":%s,\"findings\":%u", act->name,
               r->rows > 0 ? "true" : "false", r->findings);
    } else {
        printf("%s%s%s\n%s\n\n", r->color ? "\033[1m" : "", act->name, r->color ? "\033[0m" : "",
               act->sentences);
        if (r->note != NULL) { printf("  %s\n", r->note); }
    }
    for (const tour_row *row = r->row; row < r->row + r->rows; row++) {
        if (!r->json) {
            tour_draw(row);
        } else if (!row->text) {
            printf(",\"%s\":%llu", row->name, (unsigned long long)row->value);
        }
    }
    (void)puts(r->json ? "}" : "");
    return r->findings == 0 ? CLI_DONE : CLI_FINDING;
}

static bool tour_option(int option, void *ctx)
{
    tour_report *const r = ctx;
    r->option = option;
    r->url = optarg;
    return true;
}

static int tour_main(int argc, char **argv, const cli_terminal *term)
{
    tour_report r = { .color = term->color };
    const struct option options[] = {
        { "json", no_argument, &r.json, 'j' }, { "work", no_argument, NULL, 'w' },
        { "port", no_argument, NULL, 'p' }, { "remote", optional_argument, NULL, 'r' },
        { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 }
    };
    const uint64_t start = cli_clock_ns();
    char took[CLI_TEXT];
    int worst = cli_options(&cli_tour, argc, argv, options, tour_option, &r);
    if (worst == CLI_GO_ON) { worst = cli_no_arguments(&cli_tour, argc, argv); }
    if (worst != CLI_GO_ON) { return worst; }
    for (size_t i = 0; i < sizeof tour_acts / sizeof tour_acts[0]; i++) {
        const int code = tour_acts[i].option == r.option ? tour_play(&tour_acts[i], &r) : worst;
        if (code == CLI_NO_START) { return code; }
        worst = code > worst ? code : worst;
    }
    if (r.json) { return worst; }
    printf("took %s; %s\n", cli_duration(took, cli_clock_ns() - start),
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
