/* SPDX-License-Identifier: MIT
 *
 * cache_calls: the everyday calls of a cache, as a program that used a cache server calls them: set,
 * get, exists, delete, set_many, get_many, delete_pattern.
 *
 *     cc -O2 cache_calls.c -lcellar -pthread
 *     drop-in: cc cache_calls.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_entry.h"
#include "cellar_invalidate.h"

#define USERS 3

static int64_t clock_ms; /* the clock of this example: half an hour need not pass */
static int64_t clock_read(void *ctx)
{
    (void)ctx;
    return clock_ms;
}

/* ---- what an application writes ---- */

/* Open a cache of 16 MiB. A program gives NULL: the clock and the threads of the library. */
static cellar *users_open(const cellar_host_config *host)
{
    cellar_config cfg = cellar_config_default();
    cellar *c;
    cfg.memory_bytes = 16u << 20;
    cfg.host = host;
    return cellar_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

/* Store the users for half an hour. Return how many were stored. */
static size_t users_set(cellar *c, const char *const *keys, const char *const *values)
{
    cellar_set_opts half_an_hour = cellar_set_opts_default();
    cellar_set_item items[USERS];
    size_t stored = 0;
    half_an_hour.ttl_ms = 1800 * 1000;
    for (size_t i = 0; i < USERS; i++) {
        items[i] = (cellar_set_item){ .key = keys[i], .key_len = strlen(keys[i]),
                                      .value = values[i], .value_len = strlen(values[i]) };
    }
    return cellar_set_many(c, items, USERS, &half_an_hour, &stored) == CELLAR_OK ? stored : 0;
}

/* Read the users into `out`, "" for each that is not there or too long. Return how many are read. */
static size_t users_get(cellar *c, const char *const *keys, char (*out)[64])
{
    cellar_get_item items[USERS];
    size_t hits = 0;
    for (size_t i = 0; i < USERS; i++) {
        items[i] = (cellar_get_item){ .key = keys[i], .key_len = strlen(keys[i]),
                                      .buf = out[i], .buf_cap = 63 };
    }
    if (cellar_get_many(c, items, USERS, &hits) != CELLAR_OK) { return 0; }
    for (size_t i = 0; i < USERS; i++) {
        out[i][items[i].status == CELLAR_OK ? items[i].value_len : 0] = '\0';
    }
    return hits;
}

/* ---- copy down to here; the example checks itself ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    printf("%s - %s\n", ok ? "ok" : "not ok", what);
    *(ok ? &passed : &failed) += 1;
}

static void one_user(cellar *c)
{
    static const char john[] = "{\"name\": \"John\", \"age\": 30}";
    char text[64];
    cellar_set_str(c, "user:1", john, 3600 * 1000);
    check(cellar_get_str(c, "user:1", text, sizeof text) == CELLAR_OK && strcmp(text, john) == 0,
          "get returns the text that was set");
    check(cellar_contains(c, "user:1", 6) == CELLAR_OK, "contains finds the key");
    check(cellar_delete(c, "user:1", 6) == CELLAR_OK, "delete removes the key");
    check(cellar_contains(c, "user:1", 6) == CELLAR_MISS &&
              cellar_get_str(c, "user:1", text, sizeof text) == CELLAR_MISS,
          "then it is gone");
}

static void many_users(cellar *c)
{
    static const char *const keys[USERS] = { "user:1", "user:2", "user:3" };
    static const char *const values[USERS] = { "{\"name\": \"John\"}", "{\"name\": \"Jane\"}",
                                               "{\"name\": \"Bob\"}" };
    char got[USERS][64];
    size_t same = 0;
    uint64_t deleted = 0;
    check(users_set(c, keys, values) == USERS, "set_many stores three users");
    clock_ms += 1800 * 1000 - 1;
    const size_t hits = users_get(c, keys, got);
    for (size_t i = 0; i < USERS; i++) { same += strcmp(got[i], values[i]) == 0; }
    check(hits == USERS && same == USERS, "get_many returns John, Jane and Bob, in this order");
    cellar_set_str(c, "users", "3", 0);
    check(cellar_delete_by_pattern(c, "user:*", 6, &deleted) == CELLAR_OK && deleted == USERS,
          "delete_pattern user:* deletes three keys");
    check(users_get(c, keys, got) == 0, "no user is left");
    check(cellar_contains(c, "users", 5) == CELLAR_OK, "a key that does not match stays");
    users_set(c, keys, values);
    clock_ms += 1800 * 1000;
    check(users_get(c, keys, got) == 0, "after half an hour they expire");
}

int main(void)
{
    cellar_host_config host = cellar_host_config_default();
    host.clock = clock_read;
    host.no_threads = 1;
    cellar *store = users_open(&host);
    if (store == NULL) { return 1; }
    one_user(store);
    many_users(store);
    cellar_close(store);
    printf("cache_calls: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
