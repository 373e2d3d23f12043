/* SPDX-License-Identifier: MIT
 *
 * fork_server: a program that fills a cache and then forks one process a request, as classic
 * servers do.
 *
 * A child has its own copy of the parent's cache and may use it immediately. It has no maintenance
 * thread (threads do not survive a fork), so a long-lived child calls cellar_tick. Entries that it
 * stores stay in the child; the parent and the other children do not see them.
 *
 *     cc -O2 fork_server.c -lcellar -pthread */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_admin.h"

enum { SERVER_KEYS = 1000, SERVER_CHILDREN = 8 };

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

/* Serve one request in a child. Return 0 if all is well; another number tells the parent the failed
 * check. */
static int server_child(cellar *c, int request)
{
    char text[32];
    for (int n = 0; n < SERVER_KEYS; n++) {
        snprintf(text, sizeof text, "page %d", n);
        if (!server_has(c, n, text)) { return 1; } /* the child has all of the parent's cache */
    }
    snprintf(text, sizeof text, "child %d", request);
    if (server_store(c, request, text) != CELLAR_OK) { return 2; }
    if (!server_has(c, request, text)) { return 3; }
    const cellar_err err = cellar_tick(c, 1000, NULL);
    if (err != CELLAR_OK && err != CELLAR_PENDING) { return 4; }
    cellar *own; /* a store of the child's own */
    if (cellar_open(NULL, &own) != CELLAR_OK) { return 5; }
    if (server_store(own, 0, "mine") != CELLAR_OK || !server_has(own, 0, "mine")) { return 6; }
    if (cellar_close(own) != CELLAR_OK) { return 7; }
    /* allowed in a child, and not needed before _exit */
    return cellar_close(c) == CELLAR_OK ? 0 : 8;
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
    cellar_config cfg = cellar_config_default();
    cellar *c;
    cfg.memory_bytes = 16u << 20;
    if (cellar_open(&cfg, &c) != CELLAR_OK) { return 1; }

    char text[32];
    int stored = 0;
    for (int n = 0; n < SERVER_KEYS; n++) {
        snprintf(text, sizeof text, "page %d", n);
        stored += server_store(c, n, text) == CELLAR_OK;
    }
    check(stored == SERVER_KEYS, "the parent fills the cache");

    fflush(stdout); /* else each child would print it again */
    pid_t child[SERVER_CHILDREN];
    for (int i = 0; i < SERVER_CHILDREN; i++) {
        child[i] = fork();
        if (child[i] == 0) { _exit(server_child(c, i)); }
    }
    for (int i = 0; i < SERVER_CHILDREN; i++) {
        int status = 0;
        check(child[i] > 0 && waitpid(child[i], &status, 0) == child[i], "a child ran");
        check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "and served from its copy");
    }

    int kept = 0;
    for (int n = 0; n < SERVER_KEYS; n++) {
        snprintf(text, sizeof text, "page %d", n);
        kept += server_has(c, n, text);
    }
    check(kept == SERVER_KEYS, "the parent's cache is as it was");
    cellar_close(c);
    printf("fork_server: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
