/* SPDX-License-Identifier: MIT
 *
 * prefork: a server that forks its workers, which share one cache through the port of their master:
 * one load for all, tags, a limiter, a lock. No Redis.
 *
 *     cc -D_GNU_SOURCE -O2 prefork.c -lcellar-remote -lhiredis -pthread
 *
 * The workers open after the fork. A worker that dies is started again; a master that dies leaves
 * no worker, and the next master begins with an empty cache. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_remote.h"
#include "cellar_resp.h"

enum { WORKERS = 4, PAGES = 1000, LIMIT = 100, IMPORTS = 25, WAIT_S = 60 };

static char folder[] = "/tmp/prefork.XXXXXX", socket_path[64], url[96];

/* What the example counts, in memory of all processes. */
typedef struct counts {
    _Atomic int stage, ready, done;       /* of the workers: see work() */
    _Atomic int loads, wrong, inside, overlaps, imports;
    _Atomic int alone;                    /* loads that a worker on a busy machine made for itself */
    _Atomic int admitted, unanswered;     /* by the limiter */
    _Atomic int slow_loads, slow_leader;  /* pid */
    _Atomic uint64_t newest_fence;
} counts;

static counts *all;

static void pause_ms(long ms)
{
    const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    nanosleep(&t, NULL);
}

/* ---- what an application writes: a worker ---- */

typedef struct worker {
    cellar *store, *pages;
    cellar_remote *remote;
    cellar_remote_limiter *limiter;
} worker;

/* Bring a page from the database. */
static cellar_err load_page(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const cellar_bytes tag = { "site:1", 6 };
    cellar_set_opts o = cellar_set_opts_default();
    (void)ctx;
    atomic_fetch_add(&all->loads, 1);
    pause_ms(1);
    o.tags = &tag;
    o.tag_count = 1;
    const cellar_err err = cellar_load_opts_set(load, &o);
    return err != CELLAR_OK ? err : cellar_load_value(load, key, key_len);
}

/* The first process that loads this page never comes back. */
static cellar_err load_slow_page(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    if (atomic_fetch_add(&all->slow_loads, 1) == 0) {
        atomic_store(&all->slow_leader, (int)getpid());
        for (;;) { pause(); }
    }
    return cellar_load_value(load, key, key_len);
}

static int serve_page(worker *w, const char *page, cellar_loader_fn load)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(w->pages, page, strlen(page), NULL, load, NULL, &r);
    const int right = err == CELLAR_OK && r.value_len == strlen(page) &&
                      memcmp(r.value, page, r.value_len) == 0;
    if ((r.flags & (CELLAR_RESULT_NOT_SHARED | CELLAR_RESULT_INVALIDATED)) != 0) {
        atomic_fetch_add(&all->alone, 1);
    }
    cellar_result_free(&r);
    return right;
}

/* Run the import of which there is one at a time; the fence protects what it writes. */
static void import(worker *w)
{
    cellar_remote_lock lk;
    if (cellar_remote_lock_acquire(w->remote, "import", 6, NULL, &lk) != CELLAR_OK) { return; }
    if (atomic_fetch_add(&all->inside, 1) != 0 || lk.fence <= atomic_load(&all->newest_fence)) {
        atomic_fetch_add(&all->overlaps, 1);
    }
    atomic_store(&all->newest_fence, lk.fence);
    atomic_fetch_sub(&all->inside, 1);
    if (cellar_remote_lock_release(w->remote, "import", 6, &lk) == CELLAR_OK) {
        atomic_fetch_add(&all->imports, 1);
    }
}

/* Open what a worker needs, and wait for the link: until then a worker loads for itself. */
static int worker_open(worker *w)
{
    cellar_config cfg = cellar_config_default();
    cellar_remote_config link = cellar_remote_config_default();
    cellar_remote_limiter_config limit = cellar_remote_limiter_config_default();
    link.io_ms = 10000; /* this one would rather wait for a busy machine than load twice */
    limit.hold_ms = 10000;
    limit.offline = CELLAR_REMOTE_LIMITER_DENY;
    const cellar_rule rule = cellar_rule_sliding_log(LIMIT, CELLAR_DAY_NS);
    cfg.memory_bytes = 8u << 20;
    if (cellar_open(&cfg, &w->store) != CELLAR_OK ||
        cellar_namespace_open(w->store, "pages", NULL, &w->pages) != CELLAR_OK ||
        cellar_remote_open(w->store, url, &link, &w->remote) != CELLAR_OK ||
        cellar_remote_attach(w->remote, w->pages, NULL) != CELLAR_OK ||
        cellar_remote_limiter_open(w->remote, &rule, &limit, &w->limiter) != CELLAR_OK) {
        return 0;
    }
    for (int ms = 0; cellar_remote_state_get(w->remote) != CELLAR_REMOTE_PROVEN; ms++) {
        if (ms == WAIT_S * 1000) { return 0; }
        pause_ms(1);
    }
    return 1;
}

static void worker_close(worker *w)
{
    cellar_remote_limiter_close(w->limiter);
    cellar_remote_close(w->remote);
    cellar_close(w->store);
}

static volatile sig_atomic_t ending;
static void on_term(int number) { (void)number, ending = 1; }

/* Do the work of a stage. */
static void work(worker *w, int stage)
{
    char page[32];
    cellar_remote_limiter_stats asked = cellar_remote_limiter_stats_default();
    switch (stage) {
    case 2: (void)cellar_remote_fence(w->remote, 10000); /* see the delete of another worker now */
        /* fall through */
    case 1: /* all pages */
        for (int n = 0; n < PAGES; n++) {
            snprintf(page, sizeof page, "page:%d", n);
            if (!serve_page(w, page, load_page)) { atomic_fetch_add(&all->wrong, 1); }
        }
        break;
    case 3: /* a limiter, a lock */
        for (int n = 0; n < LIMIT; n++) {
            const cellar_err err = cellar_remote_limiter_check(w->limiter, "user:7", 6, 1, NULL);
            atomic_fetch_add(&all->admitted, err == CELLAR_OK);
        }
        if (cellar_remote_limiter_stats_get(w->limiter, &asked) == CELLAR_OK) {
            atomic_fetch_add(&all->unanswered, (int)asked.offline);
        }
        for (int n = 0; n < IMPORTS; n++) { import(w); }
        break;
    case 4: /* the first loader of this page dies */
        if (!serve_page(w, "page:slow", load_slow_page)) { atomic_fetch_add(&all->wrong, 1); }
        break;
    default: break;
    }
}

static int worker_run(void)
{
    worker w = { .store = NULL };
    struct sigaction end = { .sa_handler = on_term };
    sigaction(SIGTERM, &end, NULL);
    if (!worker_open(&w)) { return 1; }
    atomic_fetch_add(&all->ready, 1);
    for (int stage = atomic_load(&all->stage); !ending; pause_ms(1)) {
        if (atomic_load(&all->stage) == stage) { continue; }
        work(&w, ++stage);
        if (stage == 1 && atomic_fetch_add(&all->done, 1) == WORKERS - 1) {
            cellar_delete_by_tag(w.store, "site:1", 6, CELLAR_TAG_HARD); /* for all */
            atomic_fetch_add(&all->done, 1);
        } else if (stage != 1) {
            atomic_fetch_add(&all->done, 1);
        }
    }
    worker_close(&w);
    return 0;
}

/* ---- what an application writes: the master ---- */

static pid_t worker_fork(void)
{
    const pid_t master = getpid(), pid = fork();
    if (pid != 0) { return pid; }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* no worker outlives its master */
    if (getppid() != master) { _exit(0); }
    _exit(worker_run());
}

/* Open the port and keep the workers running until SIGTERM. */
static int master_run(void)
{
    cellar *store;
    cellar_resp *port;
    cellar_resp_config o = cellar_resp_config_default();
    sigset_t heard;
    pid_t child[WORKERS];
    int worst = 0;
    sigemptyset(&heard);
    sigaddset(&heard, SIGTERM);
    sigaddset(&heard, SIGCHLD);
    sigprocmask(SIG_BLOCK, &heard, NULL);
    o.unix_path = socket_path;
    o.shared_bytes = 64u << 20;
    if (cellar_open(NULL, &store) != CELLAR_OK || cellar_resp_open(store, &o, &port) != CELLAR_OK ||
        cellar_resp_start(port) != CELLAR_OK) {
        return 1;
    }
    for (int i = 0; i < WORKERS; i++) { child[i] = worker_fork(); }
    for (int number = 0; number != SIGTERM;) {
        sigwait(&heard, &number);
        for (pid_t pid; number == SIGCHLD && (pid = waitpid(-1, NULL, WNOHANG)) > 0;) {
            for (int i = 0; i < WORKERS; i++) {
                if (child[i] == pid) { child[i] = worker_fork(); }
            }
        }
    }
    for (int i = 0; i < WORKERS; i++) { kill(child[i], SIGTERM); }
    for (int i = 0, status; i < WORKERS; i++) {
        if (waitpid(child[i], &status, 0) != child[i] || status != 0) { worst = 2; }
    }
    cellar_resp_close(port);
    cellar_close(store);
    return worst;
}

/* ---- the example checks itself ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    printf("%s - %s\n", ok ? "ok" : "not ok", what);
    *(ok ? &passed : &failed) += 1;
}

static int reaches(_Atomic int *what, int least)
{
    for (int ms = 0; ms < WAIT_S * 1000; ms++) {
        if (atomic_load(what) >= least) { return 1; }
        pause_ms(1);
    }
    return 0;
}

static int stage(int n, int finished)
{
    atomic_store(&all->done, 0);
    atomic_store(&all->stage, n);
    return reaches(&all->done, finished);
}

static pid_t master_start(void)
{
    memset(all, 0, sizeof *all);
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) { _exit(master_run()); }
    check(reaches(&all->ready, WORKERS), "four workers are linked to the port of their master");
    return pid;
}

/* Return whether n loads brought the pages once for all. */
static int shared(int n, int pages)
{
    return n >= pages && n <= pages + atomic_load(&all->alone);
}

static void workers_share(void)
{
    check(stage(1, WORKERS + 1), "each worker serves each page");
    check(shared(atomic_load(&all->loads), PAGES), "and each page was loaded once");
    check(stage(2, WORKERS), "after a delete by tag they serve them again");
    check(shared(atomic_load(&all->loads), 2 * PAGES), "and each page was loaded once more");
    check(stage(3, WORKERS), "they ask one limiter, and import under one lock");
    const int admitted = atomic_load(&all->admitted);
    check(admitted == LIMIT || (admitted < LIMIT && atomic_load(&all->unanswered) > 0), "the limiter admits what its rule allows for all");
    check(atomic_load(&all->imports) == WORKERS * IMPORTS, "each import runs");
    check(atomic_load(&all->overlaps) == 0, "never two at once, with rising fences");
}

static void worker_dies(void)
{
    const int ready = atomic_load(&all->ready);
    atomic_store(&all->done, 0);
    atomic_store(&all->stage, 4);
    check(reaches(&all->slow_leader, 1), "a worker loads a page, and hangs");
    kill((pid_t)atomic_load(&all->slow_leader), SIGKILL);
    check(reaches(&all->done, WORKERS - 1), "it is killed: the others get the page");
    check(atomic_load(&all->slow_loads) == 2, "and one of them loads it");
    check(reaches(&all->ready, ready + 1), "the master starts another worker");
    check(atomic_load(&all->wrong) == 0, "no page was wrong");
}

int main(void)
{
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mkdtemp(folder) == NULL) { return 1; }
    snprintf(socket_path, sizeof socket_path, "%s/app.sock", folder);
    snprintf(url, sizeof url, "unix://%s?prefix=app", socket_path);

    pid_t master = master_start();
    workers_share();
    worker_dies();
    kill(master, SIGKILL);
    waitpid(master, NULL, 0);

    int status = -1;
    master = master_start();
    check(stage(1, WORKERS + 1) && shared(atomic_load(&all->loads), PAGES),
          "the next master begins empty, and its workers load each page once");
    kill(master, SIGTERM);
    check(waitpid(master, &status, 0) == master && status == 0, "SIGTERM ends master and workers");
    check(access(socket_path, F_OK) != 0 && rmdir(folder) == 0, "and their socket is gone");
    printf("prefork: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
