/* SPDX-License-Identifier: MIT
 *
 * disk_order: a user of the disk tier that writes to a file each begun and each acknowledged call,
 * so that a test that traces its system calls, or makes them fail, can judge them.
 *
 * USE        disk_order work FOLDER     lines "i KEY VERSION" before a call, "a .." after it
 *            disk_order verify FOLDER   opens the store of `work`: each key must have the version
 *            acknowledged last, the version of the call in progress, or be absent. Prints "hits N".
 * ENDS       with 0; 1: a check failed, printed on stdout. Without a usable disk tier the program
 *            works in memory. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_l2.h"
#include "cellar_admin.h"

#define KEYS 20u
#define OPS 60u

static char folder[512], store[600], said[600];
static int64_t now_ms = 1000000;

static int64_t read_clock(void *ctx) { (void)ctx; return now_ms; }

static cellar *open_it(void)
{
    cellar_config cfg = cellar_config_default();
    cellar_namespace_config namespace = cellar_namespace_config_default();
    cellar *c = NULL;
    namespace.l2_write = CELLAR_L2_WRITE_ON_SET;
    cfg.root = &namespace;
    cfg.memory_bytes = 8u << 20;
    cfg.l2_path = store;
    cfg.l2_bytes = CELLAR_L2_BYTES_MIN;
    cellar_host_config host = { .struct_size = sizeof host, .clock = read_clock, .no_threads = 1 };
    cfg.host = &host;
    cellar_l2_config l2 = cellar_l2_config_default();
    l2.optional = 1; /* a call that fails leaves the store in memory */
    cfg.l2 = &l2;
    if (cellar_open(&cfg, &c) != CELLAR_OK) { exit(1); }
    return c;
}

static int value_of(char *buf, size_t cap, unsigned key, unsigned version)
{
    return snprintf(buf, cap, "%u-%u-%0*d", key, version, 40 + (int)(key * 7 % 300), 0);
}

static void say(int fd, char what, unsigned key, unsigned version)
{
    char line[64];
    const int n = snprintf(line, sizeof line, "%c %u %u\n", what, key, version);
    if (write(fd, line, (size_t)n) != n) { exit(1); }
}

/* Return 0 if the key is absent or right, else another number. */
static int differs(cellar *c, unsigned key, unsigned version, unsigned *hits)
{
    char buf[512], want[512];
    size_t len = 0;
    const cellar_err err = cellar_get(c, &key, sizeof key, buf, sizeof buf, &len);
    if (err != CELLAR_OK) { return 0; }
    const int n = value_of(want, sizeof want, key, version);
    const int same = version != 0 && len == (size_t)n && memcmp(buf, want, len) == 0;
    *hits += (unsigned)same;
    return !same;
}

static int work(void)
{
    unsigned now[KEYS] = { 0 }, hits = 0;
    const int fd = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) { return 1; }
    cellar *c = open_it();
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    for (unsigned i = 1; i <= OPS; i++) {
        const unsigned key = i * 7 % KEYS, version = i % 5 == 4 ? 0 : i;
        char buf[512];
        say(fd, 'i', key, version);
        const int n = value_of(buf, sizeof buf, key, version);
        const cellar_err err = version == 0 ? cellar_delete(c, &key, sizeof key)
                                            : cellar_set(c, &key, sizeof key, buf, (size_t)n, NULL);
        if (err < 0) { return 1; }
        say(fd, 'a', key, version);
        now[key] = version;
        now_ms += 40;
        if (i % 7 == 0) { (void)cellar_tick(c, 1000, NULL); }
        if (i % 25 == 0) {
            say(fd, 's', 0, 0);
            say(fd, 'S', cellar_sync(c) == CELLAR_OK, 0);
        }
    }
    for (unsigned key = 0; key < KEYS; key++) {
        if (differs(c, key, now[key], &hits)) {
            printf("key %u is not version %u\n", key, now[key]);
            return 1;
        }
    }
    say(fd, 's', 1, 0);
    return cellar_close(c) != CELLAR_OK;
}

static int verify(void)
{
    unsigned now[KEYS] = { 0 }, next[KEYS] = { 0 }, key, version, hits = 0;
    char what;
    FILE *f = fopen(said, "r");
    while (f != NULL && fscanf(f, " %c %u %u", &what, &key, &version) == 3) {
        if (what == 'i' && key < KEYS) { next[key] = version; }
        if (what == 'a' && key < KEYS) { now[key] = version; }
    }
    if (f != NULL) { fclose(f); }
    cellar *c = open_it();
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    for (key = 0; key < KEYS; key++) {
        if (differs(c, key, now[key], &hits) && differs(c, key, next[key], &hits)) {
            printf("key %u is neither version %u nor %u\n", key, now[key], next[key]);
            return 1;
        }
    }
    printf("hits %u\n", hits);
    return cellar_close(c) != CELLAR_OK;
}

int main(int argc, char **argv)
{
    if (argc != 3) { return 2; }
    snprintf(folder, sizeof folder, "%s", argv[2]);
    snprintf(store, sizeof store, "%s/store", folder);
    snprintf(said, sizeof said, "%s/said", folder);
    return strcmp(argv[1], "work") == 0 ? work() : verify();
}
