/* SPDX-License-Identifier: MIT
 *
 * driver: starts the peers of other languages, sends them commands, detects their end.
 *
 * PICTURE    bench --command line--> stdin  [ peer: times its own window ]  stdout --JSON line-->
 *            bench
 * WALK       start: fork, limits, exec -> hello -> open W.wl T.bin -> warm where a compiler has to
 *            run the code first -> windows in turn with all other subjects -> quit.
 * INVARIANTS One command is in progress at a time; an answer is one line. A driver that was silent
 *            past its patience is ended: its next line would answer another command.
 * LIMITS     A child may have 60 % of the memory in data (RLIMIT_DATA) and ends with the bench
 *            (PDEATHSIG); answers up to 1 MiB.
 * TRIED      A window measured here, pipe included: 0.2-0.6 ms of 40; hence the peer's own clock.
 */
#include "bench/harness/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness/host.h"
#include "bench/harness/json.h"

#define DRIVER_ANSWER_MAX ((size_t)1 << 20)
#define DRIVER_START_MS 20000
#define DRIVER_OPEN_MS 120000
#define DRIVER_WINDOW_MS 20000 /* beyond the window itself */
#define DRIVER_SILENT HOST_SILENT

struct bench_driver {
    char name[32], version[48], trouble[256];
    pid_t pid;     /* 0: gone */
    int to, from;  /* pipes */
    char *answer;  /* the last line, without its end; owned */
    size_t used;
};

static const char *driver_dir = "build/bench/peers";
static uint32_t driver_window_ms = DRIVER_WINDOW_MS;

void driver_folder(const char *path) { driver_dir = path; }
void driver_patience(uint32_t ms) { driver_window_ms = ms; }
uint32_t driver_most(uint32_t ms) { return ms < host_patience_now() ? ms : host_patience_now(); }

void driver_heap_grows(void) { setenv("BENCH_HEAP", "-Xmx3g", 1); } /* peers/build.sh */

const char *driver_kind(const char *trouble)
{
    return strncmp(trouble, DRIVER_SILENT, sizeof DRIVER_SILENT - 1) == 0 ? "hang" : "crash";
}

static void driver_path(const char *name, const char *ending, char *out, size_t cap)
{
    snprintf(out, cap, "%s/%s%s", driver_dir, name, ending);
}

const char *driver_missing(const char *name)
{
    static char text[256];
    char path[400];
    driver_path(name, "", path, sizeof path);
    if (access(path, X_OK) == 0) {
        return NULL;
    }
    snprintf(text, sizeof text, "not built: make bench-peers");
    driver_path(name, ".skip", path, sizeof path);
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        if (fgets(text, sizeof text, f) != NULL) {
            text[strcspn(text, "\r\n")] = '\0';
        }
        fclose(f);
    }
    return text;
}

/* The process has ended or must end: state why, once. */
static void driver_gone(bench_driver *d, const char *why)
{
    int status = 0;
    if (d->pid == 0) {
        return;
    }
    snprintf(d->trouble, sizeof d->trouble, "%s", why);
    for (int i = 0; i < 20 && waitpid(d->pid, &status, WNOHANG) == 0; i++) {
        const struct timespec ms = { 0, 10000000 };
        if (i == 19) {
            kill(d->pid, SIGKILL);
            waitpid(d->pid, &status, 0);
            d->pid = 0;
            return;
        }
        nanosleep(&ms, NULL);
    }
    if (WIFSIGNALED(status)) {
        snprintf(d->trouble, sizeof d->trouble, "signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    } else {
        snprintf(d->trouble, sizeof d->trouble, "ended with exit status %d", WEXITSTATUS(status));
    }
    d->pid = 0;
}

static void driver_child(const char *path, const char *name, int in, int out)
{
    const rlim_t most = (rlim_t)(host_total_bytes() / 10 * 6);
    const struct rlimit data = { most, most }, core = { 0, 0 };
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_DFL);
    setrlimit(RLIMIT_DATA, &data);
    setrlimit(RLIMIT_CORE, &core);
    host_unpin();
    dup2(in, 0);
    dup2(out, 1);
    execl(path, name, (char *)NULL);
    _exit(127);
}

bench_driver *driver_start(const char *name, char *why, size_t why_cap)
{
    char path[400];
    int to[2] = { -1, -1 }, from[2] = { -1, -1 };
    const char *missing = driver_missing(name);
    bench_driver *d = missing == NULL ? calloc(1, sizeof *d) : NULL;
    if (d == NULL || (d->answer = malloc(DRIVER_ANSWER_MAX)) == NULL || pipe2(to, O_CLOEXEC) != 0 ||
        pipe2(from, O_CLOEXEC) != 0) {
        snprintf(why, why_cap, "%s", missing != NULL ? missing : "out of memory or pipes");
        if (to[0] >= 0) { close(to[0]); close(to[1]); }
        if (d != NULL) { free(d->answer); free(d); }
        return NULL;
    }
    snprintf(d->name, sizeof d->name, "%s", name);
    driver_path(name, "", path, sizeof path);
    signal(SIGPIPE, SIG_IGN); /* a dead peer is an answer of EPIPE and does not end this process */
    fflush(NULL);
    d->pid = fork();
    if (d->pid == 0) {
        driver_child(path, name, to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    d->to = to[1];
    d->from = from[0];
    if (d->pid < 0 || !driver_ask(d, DRIVER_START_MS, "hello")) {
        snprintf(why, why_cap, "%s", d->pid < 0 ? "cannot be started" : d->trouble);
        d->pid = d->pid < 0 ? 0 : d->pid;
        driver_stop(d);
        return NULL;
    }
    const char *at = strstr(d->answer, "\"version\":\"");
    if (at != NULL) {
        snprintf(d->version, sizeof d->version, "%.*s", (int)strcspn(at + 11, "\""), at + 11);
    }
    return d;
}

void driver_stop(bench_driver *d)
{
    if (d == NULL) {
        return;
    }
    close(d->to); /* the end of its input counts as quit */
    for (int i = 0; d->pid != 0 && waitpid(d->pid, NULL, WNOHANG) == 0; i++) {
        const struct timespec ms = { 0, 10000000 };
        if (i == 200) {
            kill(d->pid, SIGKILL);
            waitpid(d->pid, NULL, 0);
            break;
        }
        nanosleep(&ms, NULL);
    }
    close(d->from);
    free(d->answer);
    free(d);
}

/* Read one line into d->answer. Return false at the end of the file, or after the time. */
static bool driver_read(bench_driver *d, uint32_t patience_ms)
{
    const uint64_t until = host_wall_ns() + patience_ms * UINT64_C(1000000);
    d->used = 0;
    for (;;) {
        struct pollfd p = { d->from, POLLIN, 0 };
        const uint64_t now = host_wall_ns();
        const int left = now < until ? (int)((until - now) / 1000000) + 1 : 0;
        const int ready = poll(&p, 1, left);
        if (ready < 0 && errno == EINTR) {
            continue;
        }
        if (ready <= 0 || d->used + 1 >= DRIVER_ANSWER_MAX) {
            if (d->pid != 0) {
                kill(d->pid, SIGKILL);
                waitpid(d->pid, NULL, 0);
                d->pid = 0;
            }
            snprintf(d->trouble, sizeof d->trouble, DRIVER_SILENT "%u ms", patience_ms);
            return false;
        }
        const ssize_t got = read(d->from, d->answer + d->used, DRIVER_ANSWER_MAX - 1 - d->used);
        if (got <= 0) {
            driver_gone(d, "closed its output");
            return false;
        }
        d->used += (size_t)got;
        if (d->answer[d->used - 1] == '\n') {
            d->answer[--d->used] = '\0';
            return true;
        }
    }
}

bool driver_tell(bench_driver *d, const char *command)
{
    char line[1200];
    const int n = snprintf(line, sizeof line, "%s\n", command);
    if (d->pid == 0) {
        return false;
    }
    d->answer[0] = '\0';
    if (n <= 0 || (size_t)n >= sizeof line || write(d->to, line, (size_t)n) != n) {
        driver_gone(d, "does not read its input");
        return false;
    }
    return true;
}

bool driver_ready(const bench_driver *d, uint32_t wait_ms)
{
    struct pollfd p = { d->from, POLLIN, 0 };
    return poll(&p, 1, (int)wait_ms) > 0;
}

bool driver_hear(bench_driver *d, uint32_t patience_ms)
{
    if (!driver_read(d, patience_ms)) {
        return false;
    }
    const char *error = strstr(d->answer, "\"error\":\"");
    if (error != NULL) {
        snprintf(d->trouble, sizeof d->trouble, "%.*s", (int)strcspn(error + 9, "\""), error + 9);
    } else if (d->answer[0] != '{') {
        snprintf(d->trouble, sizeof d->trouble, "not an answer: %.60s", d->answer);
    }
    return error == NULL && d->answer[0] == '{';
}

bool driver_ask(bench_driver *d, uint32_t patience_ms, const char *command)
{
    return driver_tell(d, command) && driver_hear(d, patience_ms);
}

const char *driver_trouble(const bench_driver *d) { return d->trouble; }
bool driver_alive(const bench_driver *d) { return d->pid != 0; }
const char *driver_version(const bench_driver *d) { return d->version; }
pid_t driver_pid(const bench_driver *d) { return d->pid; }

static const char *driver_value(const bench_driver *d, const char *key)
{
    char quoted[40];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(d->answer, quoted);
    return at != NULL ? at + strlen(quoted) : NULL;
}

double driver_number(const bench_driver *d, const char *key)
{
    const char *at = driver_value(d, key);
    char *end;
    const double v = at != NULL ? strtod(at, &end) : NAN;
    return at != NULL && end != at ? v : NAN;
}

uint32_t driver_list(const bench_driver *d, const char *key, double *out, uint32_t cap)
{
    const char *at = driver_value(d, key);
    uint32_t n = 0;
    if (at == NULL || *at != '[') {
        return 0;
    }
    for (at++; *at != ']' && *at != '\0'; n++) {
        char *end;
        const double v = strtod(at, &end);
        if (end == at) {
            break;
        }
        if (n < cap) {
            out[n] = v;
        }
        at = *end == ',' ? end + 1 : end;
    }
    return n;
}

uint64_t driver_cpu_ns(const bench_driver *d)
{
    clockid_t clock;
    struct timespec t;
    if (d->pid == 0 || clock_getcpuclockid(d->pid, &clock) != 0 || clock_gettime(clock, &t) != 0) {
        return 0;
    }
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t driver_held_bytes(bench_driver *d)
{
    if (!driver_ask(d, DRIVER_OPEN_MS, "settle") || !driver_ask(d, DRIVER_OPEN_MS, "mem")) {
        return 0;
    }
    const double used = driver_number(d, "used");
    return used > 0 ? (uint64_t)used : host_rss_of(d->pid);
}

/* Check that the driver reads the same keys and set bits from the files as the other subjects. */
static bool driver_agrees(bench_driver *d, uint64_t digest)
{
    char text[40];
    snprintf(text, sizeof text, "digest %u", BENCH_DIGEST);
    if (!driver_ask(d, DRIVER_START_MS, text)) {
        return false;
    }
    snprintf(text, sizeof text, "\"digest\":\"%016" PRIx64 "\"", digest);
    if (strstr(d->answer, text) == NULL) {
        snprintf(d->trouble, sizeof d->trouble, "reads another trace: %.60s, not %s",
                 d->answer, text);
        return false;
    }
    return true;
}

/* Return NULL if it cannot be opened; it has stated why. */
void *driver_open(const bench_cfg *cfg)
{
    char text[1100], why[256];
    const bench_subject *s = cfg->self;
    bench_driver *d = driver_start(s->driver, why, sizeof why);
    if (d == NULL) {
        json_say(cfg->bench, s->name, cfg->workload, "skip", why);
        return NULL;
    }
    snprintf(text, sizeof text, "open %s %s", cfg->workload_path, cfg->trace_path);
    bool ok = driver_ask(d, DRIVER_OPEN_MS, text) && driver_agrees(d, cfg->digest);
    if (ok && (s->caps & BENCH_JIT)) {
        snprintf(text, sizeof text, "warm %u", cfg->warm_ms);
        ok = driver_ask(d, cfg->warm_ms + DRIVER_OPEN_MS, text);
    }
    if (!ok) {
        json_say(cfg->bench, s->name, cfg->workload,
                 driver_alive(d) ? "skip" : driver_kind(d->trouble), d->trouble);
        driver_stop(d);
        return NULL;
    }
    return d;
}

void driver_close(void *store) { driver_stop(store); }

static uint64_t driver_count(const bench_driver *d, const char *key)
{
    const double v = driver_number(d, key);
    return v > 0 ? (uint64_t)v : 0; /* false for NAN */
}

static void driver_take_hist(const bench_driver *d, hist *into)
{
    static double pair[2 * HIST_SLOTS];
    const uint32_t n = driver_list(d, "hist", pair, 2 * HIST_SLOTS);
    hist_clear(into);
    for (uint32_t i = 0; i + 1 < n && i + 1 < 2 * HIST_SLOTS; i += 2) {
        if (pair[i] >= 0 && pair[i] < HIST_SLOTS && pair[i + 1] > 0) {
            into->slot[(uint32_t)pair[i]] += (uint64_t)pair[i + 1];
            into->count += (uint64_t)pair[i + 1];
            into->max = UINT64_MAX; /* unknown: percentiles are middles of their slots */
        }
    }
}

bool driver_window(bench_driver *d, const char *metric, const window_job *job, hist *latency,
                   window_result *r)
{
    char text[128];
    memset(r, 0, sizeof *r);
    snprintf(text, sizeof text, "%s %s %u %u %" PRIu64, latency != NULL ? "lat" : "window", metric,
             job->threads, job->window_ms, job->position);
    const uint64_t cpu = driver_cpu_ns(d);
    const host_steal steal = host_steal_now();
    if (!driver_ask(d, job->window_ms + driver_window_ms, text)) {
        return false;
    }
    const uint64_t all = driver_cpu_ns(d) - cpu;
    r->ops = driver_count(d, "ops");
    r->gets = driver_count(d, "gets");
    r->hits = driver_count(d, "hits");
    r->sets = job->op == WORKLOAD_READTHROUGH ? r->gets - r->hits : r->ops - r->gets;
    r->bad = driver_count(d, "bad");
    r->errors = driver_count(d, "errors");
    r->wall_ns = driver_count(d, "wall_ns");
    r->cpu_ns = driver_count(d, "cpu_ns");
    r->bg_cpu_ns = all > r->cpu_ns ? all - r->cpu_ns : 0;
    if (latency != NULL) {
        driver_take_hist(d, latency);
        window_percentiles(latency, 1, r);
    }
    window_judge_noise(&steal, job, r);
    return true;
}
