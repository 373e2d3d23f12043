/* SPDX-License-Identifier: MIT
 *
 * settings_reload: settings are parsed once, and replaced while threads read them. A reader holds
 * the settings that it began with, so it never sees half of the old and half of the new ones. The
 * last reader of replaced settings frees them. The cache may evict the settings at any time; then the
 * loader parses their source again. So a replacement writes the source first.
 *
 *     cc -O2 settings_reload.c -lcellar -pthread */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar.h"
#include "cellar_load.h"
#include "cellar_object.h"

/* ---- what an application writes ---- */

typedef struct settings {
    int workers, queue;
    char motd[64];
} settings;

static atomic_int parsed, freed;
static pthread_mutex_t replacing = PTHREAD_MUTEX_INITIALIZER; /* locked while source is used */
static char source[128] = "workers=4 queue=40 motd=hello";    /* in a program: a file */

static settings *parse_settings(const char *text)
{
    settings *s = calloc(1, sizeof *s);
    if (s != NULL && sscanf(text, "workers=%d queue=%d motd=%63[^\n]", &s->workers, &s->queue,
                            s->motd) != 3) {
        free(s);
        s = NULL;
    }
    if (s != NULL) { parsed++; }
    return s;
}

static void free_settings(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)charge, (void)why, (void)ctx;
    free(object);
    freed++;
}

static cellar_err load_settings(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    pthread_mutex_lock(&replacing);
    settings *s = parse_settings(source);
    pthread_mutex_unlock(&replacing);
    return s != NULL ? cellar_load_object(load, s, sizeof *s) : CELLAR_E_LOADER;
}

/* Hold the settings in force. Pair each OK with one cellar_object_release. */
static cellar_err settings_hold(cellar *c, cellar_held *held)
{
    return cellar_object_get_or_load(c, "settings", 8, NULL, load_settings, NULL, held);
}

/* Put new settings in force. Return -1, with the old ones in force, if the text is wrong. */
static int settings_replace(cellar *c, const char *text)
{
    settings *s = strlen(text) < sizeof source ? parse_settings(text) : NULL;
    if (s == NULL) { return -1; }
    pthread_mutex_lock(&replacing);
    strcpy(source, text);
    if (cellar_object_set(c, "settings", 8, s, sizeof *s, NULL) != CELLAR_OK) {
        free_settings(s, sizeof *s, CELLAR_CAUSE_NONE, NULL);
        cellar_delete(c, "settings", 8); /* the next reader parses the source */
    }
    pthread_mutex_unlock(&replacing);
    return 0;
}

static cellar *open_settings(cellar *store)
{
    cellar_object_config of = cellar_object_config_default();
    of.free_fn = free_settings;
    cellar_namespace_config o = cellar_namespace_config_default();
    o.object = &of;
    cellar *c;
    return cellar_namespace_open(store, "settings", &o, &c) == CELLAR_OK ? c : NULL;
}

/* ---- copy down to here; the example checks itself ---- */

static int passed, failed;
static atomic_int stop, reads, torn;

static void check(int ok, const char *what)
{
    if (ok) {
        passed++;
    } else {
        failed++;
        printf("not ok: %s\n", what);
    }
}

static void *read_all_the_time(void *c)
{
    while (!stop) {
        cellar_held held;
        if (settings_hold(c, &held) != CELLAR_OK) {
            torn++;
            continue;
        }
        const settings *s = held.object;
        torn += s->queue != 10 * s->workers;
        reads++;
        cellar_object_release(&held);
    }
    return NULL;
}

int main(void)
{
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 4u << 20;
    cellar *store;
    cellar_held held, newer;
    if (cellar_open(&cfg, &store) != CELLAR_OK) { return 1; }
    cellar *c = open_settings(store);
    if (c == NULL) { return 1; }

    check(settings_hold(c, &held) == CELLAR_OK && settings_hold(c, &newer) == CELLAR_OK &&
              held.object == newer.object && parsed == 1, "two readers, parsed once");
    cellar_object_release(&newer);
    check(settings_replace(c, "workers=8 queue=80 motd=welcome") == 0, "new settings");
    check(settings_hold(c, &newer) == CELLAR_OK && ((const settings *)newer.object)->workers == 8,
          "are in force for the next reader");
    check(((const settings *)held.object)->workers == 4 && freed == 0,
          "the reader before keeps the old ones");
    cellar_object_release(&held);
    cellar_object_release(&newer);
    check(freed == 1, "and frees them");
    check(settings_replace(c, "workers=none") == -1 && settings_hold(c, &held) == CELLAR_OK &&
              ((const settings *)held.object)->workers == 8, "a wrong text changes nothing");
    cellar_object_release(&held);
    cellar_delete(c, "settings", 8); /* as an eviction does */
    check(settings_hold(c, &held) == CELLAR_OK && ((const settings *)held.object)->workers == 8,
          "the new ones are loaded after an eviction");
    cellar_object_release(&held);

    pthread_t thread[2];
    for (int i = 0; i < 2; i++) {
        if (pthread_create(&thread[i], NULL, read_all_the_time, c) != 0) { return 1; }
    }
    for (int i = 1; i <= 1000 || reads < 1000; i++) {
        char text[64];
        snprintf(text, sizeof text, "workers=%d queue=%d motd=%d", i, 10 * i, i);
        if (settings_replace(c, text) != 0) { torn++; }
    }
    stop = 1;
    for (int i = 0; i < 2; i++) { pthread_join(thread[i], NULL); }
    check(torn == 0, "1,000 times replaced, no reader sees a mixture");
    cellar_namespace_close(c);
    cellar_close(store);
    check(freed == parsed, "each is freed once");
    printf("settings_reload: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
