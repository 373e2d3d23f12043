/* SPDX-License-Identifier: MIT
 *
 * storm_and_kill: 100 threads request the same missing key; the loader runs once. Then SIGKILL ends
 * the process, and the next process reads the value from disk without a load.
 *
 *     cc -O2 storm_and_kill.c -lcellar -pthread
 *     drop-in: cc storm_and_kill.c dist/cellar.c -Idist -Idist/include -pthread */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_load.h"

#define THREADS 100

static char folder[] = "/tmp/cellar_storm.XXXXXX";
static cellar *store, *users;
static atomic_int queries, answers;

/* ---- what an application writes ---- */

/* Take 100 ms for one row; the other threads wait for this load. */
static cellar_err query_database(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    atomic_fetch_add(&queries, 1);
    usleep(100 * 1000);
    return cellar_load_value(load, "Ada", 3);
}

static void *request_user(void *unused)
{
    cellar_result r = cellar_result_default();
    if (cellar_get_or_load(users, "user:7", 6, NULL, query_database, NULL, &r) == CELLAR_OK &&
        r.value_len == 3 && memcmp(r.value, "Ada", 3) == 0) {
        atomic_fetch_add(&answers, 1);
    }
    cellar_result_free(&r);
    return unused;
}

static bool open_store(void)
{
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 16u << 20;
    cfg.l2_path = folder;
    cfg.l2_bytes = 16u << 20;
    cellar_namespace_config opts = cellar_namespace_config_default();
    opts.default_ttl_ms = 5 * 60 * 1000;
    opts.l2_write = CELLAR_L2_WRITE_THROUGH; /* each load is in the log before it returns */
    return cellar_open(&cfg, &store) == CELLAR_OK &&
           cellar_namespace_open(store, "users", &opts, &users) == CELLAR_OK;
}

/* ---- the example checks itself ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    if (ok) {
        passed++;
    } else {
        failed++;
        printf("not ok: %s\n", what);
    }
}

/* Run the first process: a storm of requests, then SIGKILL without close and without sync. Exit
 * with 1 if a check fails. */
static void storm_then_kill(void)
{
    pthread_t thread[THREADS];
    int started = 0;
    if (!open_store()) { _exit(1); }
    while (started < THREADS && pthread_create(&thread[started], NULL, request_user, NULL) == 0) {
        started++;
    }
    for (int i = 0; i < started; i++) { pthread_join(thread[i], NULL); }
    if (started != THREADS || answers != THREADS || queries != 1) { _exit(1); }
    kill(getpid(), SIGKILL);
}

static void remove_folder(void)
{
    char command[sizeof folder + 16];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    check(system(command) == 0, "the folder of the disk tier is removed");
}

int main(void)
{
    if (mkdtemp(folder) == NULL) { return 1; }
    const pid_t child = fork();
    if (child == 0) { storm_then_kill(); }
    int status = 0;
    check(child > 0 && waitpid(child, &status, 0) == child, "the first process ends");
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
          "100 threads, 100 answers, 1 query; then SIGKILL");

    check(open_store(), "the store opens after the kill");
    if (failed == 0) {
        /* After a kill the index is read back in the background: some milliseconds. */
        for (int ms = 0; ms < 10000 && cellar_contains(users, "user:7", 6) != CELLAR_OK; ms++) {
            usleep(1000);
        }
        request_user(NULL);
        check(answers == 1 && queries == 0, "the value comes from disk without a query");
        check(cellar_namespace_close(users) == CELLAR_OK && cellar_close(store) == CELLAR_OK,
              "close");
    }
    remove_folder();
    printf("storm_and_kill: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
