#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The shared library may be loaded, used, closed and unloaded repeatedly, while threads that
#         called it live on, and after their end.
# Method: A host without cellar in its link: 300 times dlopen, a store with its own thread, calls
#         from a thread that outlives dlclose and one that ends after it, close, dlclose. In
#         between some stores are never closed. Threads, descriptors and pthread keys are counted.
. tests/support/t.sh

cycles() {
    cat >"$t_tmp/dl.c" <<'END'
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cellar.h"

static const char *path;
static int entries(const char *folder)
{
    int n = 0;
    DIR *d = opendir(folder);
    while (d != NULL && readdir(d) != NULL) n++;
    if (d != NULL) closedir(d);
    return n;
}
static int free_keys(void)
{
    static pthread_key_t key[2000];
    int n = 0;
    while (n < 2000 && pthread_key_create(&key[n], NULL) == 0) n++;
    for (int i = 0; i < n; i++) pthread_key_delete(key[i]);
    return n;
}
typedef struct host {
    cellar *c;
    __typeof__(&cellar_set) set;
    __typeof__(&cellar_get) get;
    sem_t go, done, end;
    int bad;
} host;
static void use(host *h)
{
    char buf[8];
    for (int i = 0; i < 200; i++) {
        if (h->set(h->c, &i, sizeof i, "value", 5, NULL) != CELLAR_OK ||
            h->get(h->c, &i, sizeof i, buf, sizeof buf, NULL) != CELLAR_OK ||
            memcmp(buf, "value", 5) != 0) h->bad = 1;
    }
}
static void *lives_on(void *arg) /* one thread for all cycles */
{
    host *h = arg;
    for (;;) {
        sem_wait(&h->go);
        if (h->c == NULL) return NULL;
        use(h);
        sem_post(&h->done);
    }
}
static void *ends_after_dlclose(void *arg)
{
    host *h = arg;
    use(h);
    sem_post(&h->done);
    sem_wait(&h->end);
    return NULL;
}
static int cycle(host *h, int close_it)
{
    cellar_config cfg = cellar_config_default();
    pthread_t t;
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) { puts(dlerror()); return 2; }
    __typeof__(&cellar_open) open_store;
    __typeof__(&cellar_close) close_store;
    *(void **)&open_store = dlsym(lib, "cellar_open");
    *(void **)&close_store = dlsym(lib, "cellar_close");
    *(void **)&h->set = dlsym(lib, "cellar_set");
    *(void **)&h->get = dlsym(lib, "cellar_get");
    cfg.memory_bytes = 1 << 20;
    if (open_store(&cfg, &h->c) != CELLAR_OK) return 3;
    use(h);
    if (pthread_create(&t, NULL, ends_after_dlclose, h) != 0) return 4;
    sem_post(&h->go);
    sem_wait(&h->done);
    sem_wait(&h->done);
    if (close_it && close_store(h->c) != CELLAR_OK) return 5;
    if (dlclose(lib) != 0) return 6;
    sem_post(&h->end);
    pthread_join(t, NULL);
    return h->bad != 0 ? 7 : 0;
}
int main(int argc, char **argv)
{
    static host h;
    pthread_t t;
    path = argv[argc - 1];
    alarm(100);
    sem_init(&h.go, 0, 0);
    sem_init(&h.done, 0, 0);
    sem_init(&h.end, 0, 0);
    if (pthread_create(&t, NULL, lives_on, &h) != 0) return 1;
    int fds = 0, threads = 0, keys = 0;
    for (int i = 0; i < 300; i++) {
        int e = cycle(&h, 1);
        if (e != 0) { printf("cycle %d: %d\n", i, e); return e; }
        if (i == 0) {
            fds = entries("/proc/self/fd");
            threads = entries("/proc/self/task");
            keys = free_keys(); /* an allocator that was loaded along may have taken one */
        }
    }
    for (int i = 0; entries("/proc/self/task") > threads && i < 20000; i++) usleep(1000);
    printf("descriptors %d then %d, threads %d then %d, keys %d then %d\n", fds,
           entries("/proc/self/fd"), threads, entries("/proc/self/task"), keys, free_keys());
    if (entries("/proc/self/fd") != fds || entries("/proc/self/task") > threads) return 8;
    if (free_keys() != keys) return 9;
    for (int i = 0; i < 5; i++) { /* not closed: its memory stays, and nothing breaks */
        int e = cycle(&h, 0);
        if (e != 0) return e;
    }
    h.c = NULL;
    sem_post(&h.go);
    pthread_join(t, NULL);
    return 0;
}
END
    $CC -std=gnu11 -O1 -Wall -Wextra -Werror -Iinclude "$t_tmp/dl.c" -o "$t_tmp/dl" -pthread -ldl &&
        "$t_tmp/dl" "$t_root/$CELLAR_SO"
}

t_case three_hundred_dlopen_cycles_with_a_live_thread cycles
t_end packaging_dl
