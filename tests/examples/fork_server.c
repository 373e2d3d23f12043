/* SPDX-License-Identifier: MIT
 *
 * fork_server: a program that forks its workers first, each of which opens a cache of its own, as
 * prefork servers do.
 *
 * A child of a fork cannot use the cache of its parent: calls return CELLAR_E_FORKED. So a server
 * opens after the fork, and calls daemon() before it opens. A worker has its own memory budget, and
 * its own l2_path if it has a disk tier. Workers that share one cache: prefork.c.
 *
 * main opens a cache before the fork for one reason: the workers check that it refuses their calls.
 *
 *     cc -O2 fork_server.c -lcellar -pthread */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar.h"

enum { SERVER_KEYS = 1000, SERVER_WORKERS = 8 };

static int server_key(char *key, size_t cap, int n) { return snprintf(key, cap, "page:%d", n); }

static cellar_err server_store(cellar *c, int n, const char *text)
{
    char key[32];
    const int len = server_key(key, sizeof key, n);
    return cellar_set(c, key, (size_t)len, text, strlen(text), NULL);
}

/* Return 1 if the cached page is `text`. */
static int server_has(cellar *c, int n, const char *text)
{
    char key[32], page[64];
    size_t page_len = 0;
    const int len = server_key(key, sizeof key, n);
    return cellar_get(c, key, (size_t)len, page, sizeof page, &page_len) == CELLAR_OK &&
           page_len == strlen(text) && memcmp(page, text, page_len) == 0;
}

/* Serve in a worker. Return 0 if all is well; another number tells the parent the failed check. */
static int server_worker(cellar *parents, int worker)
{
    char text[32];
    cellar_config cfg = cellar_config_default();
    cellar *c;
    cfg.memory_bytes = 4u << 20;
    if (cellar_open(&cfg, &c) != CELLAR_OK) { return 1; }
    for (int n = 0; n < SERVER_KEYS; n++) {
        snprintf(text, sizeof text, "worker %d page %d", worker, n);
        if (server_store(c, n, text) != CELLAR_OK) { return 2; }
        if (!server_has(c, n, text)) { return 3; }
    }
    /* The cache of the parent refuses, at no risk: no lock of it is taken. */
    if (server_store(parents, 0, "mine") != CELLAR_E_FORKED) { return 4; }
    if (cellar_close(parents) != CELLAR_OK) { return 5; } /* allowed, and does nothing */
    return cellar_close(c) == CELLAR_OK ? 0 : 6;
}

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

int main(void)
{
    cellar *c;
    if (cellar_open(NULL, &c) != CELLAR_OK) { return 1; }
    check(server_store(c, 0, "page 0") == CELLAR_OK, "the parent has a cache, too");

    fflush(stdout); /* else each child would print it again */
    pid_t child[SERVER_WORKERS];
    for (int i = 0; i < SERVER_WORKERS; i++) {
        child[i] = fork();
        if (child[i] == 0) { _exit(server_worker(c, i)); }
    }
    for (int i = 0; i < SERVER_WORKERS; i++) {
        int status = 0;
        check(child[i] > 0 && waitpid(child[i], &status, 0) == child[i], "a worker ran");
        check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "and served from its own cache");
    }
    check(server_has(c, 0, "page 0"), "the parent's cache is as it was");
    cellar_close(c);
    printf("fork_server: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
