/* SPDX-License-Identifier: MIT
 *
 * read_through: ask the cache; on a miss one caller asks the database, and the answer is stored,
 * also the answer "no such row". A tag deletes all users of a team in one call.
 *
 *     cc -O2 read_through.c -lcellar -pthread
 *     drop-in: cc read_through.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_observe.h"

/* ---- the slow database behind the cache ---- */

static int database_calls;

static struct user {
    const char *name, *team;
} user[] = { { "ada", "team:1" }, { "grace", "team:2" }, { "barbara", "team:2" } };

/* ---- what an application writes ---- */

/* Bring the name of one user, with the tag of the team. */
static cellar_err load_name(cellar_load *load, const void *key, size_t key_len, void *database)
{
    int id;
    (void)database;
    if (key_len != sizeof id) { return CELLAR_E_INVAL; }
    memcpy(&id, key, sizeof id);
    database_calls++;
    if (id < 0 || id >= (int)(sizeof user / sizeof user[0])) {
        return cellar_load_absent(load); /* remembered for the negative_ttl_ms of the namespace */
    }
    const cellar_bytes team = { user[id].team, strlen(user[id].team) };
    cellar_set_opts o = cellar_set_opts_default();
    o.tags = &team;
    o.tag_count = 1;
    const cellar_err err = cellar_load_opts_set(load, &o);
    if (err != CELLAR_OK) { return err; }
    return cellar_load_value(load, user[id].name, strlen(user[id].name));
}

/* Write the name of a user to `out`. Return 1, 0: no such user, or -1: the database failed. */
static int name_of(cellar *users, int id, char *out, size_t cap)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(users, &id, sizeof id, NULL, load_name, NULL, &r);
    if (err == CELLAR_OK) { snprintf(out, cap, "%.*s", (int)r.value_len, (const char *)r.value); }
    cellar_result_free(&r);
    return err == CELLAR_OK ? 1 : err == CELLAR_ABSENT ? 0 : -1;
}

/* Write to the database first, then delete the old entry. */
static void rename_user(cellar *users, int id, const char *name)
{
    user[id].name = name;
    cellar_delete(users, &id, sizeof id);
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

int main(void)
{
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 16u << 20;
    cellar *store;
    if (cellar_open(&cfg, &store) != CELLAR_OK) { return 1; }

    cellar_namespace_config defaults = cellar_namespace_config_default();
    defaults.default_ttl_ms = 5 * 60 * 1000;
    defaults.negative_ttl_ms = 10 * 1000;
    cellar *users;
    if (cellar_namespace_open(store, "users", &defaults, &users) != CELLAR_OK) { return 1; }

    char name[64];
    check(name_of(users, 1, name, sizeof name) == 1, "first call asks the database");
    check(name_of(users, 1, name, sizeof name) == 1, "second call is answered");
    check(strcmp(name, "grace") == 0 && database_calls == 1, "by the cache");
    check(name_of(users, 99, name, sizeof name) == 0, "unknown user");
    check(name_of(users, 99, name, sizeof name) == 0 && database_calls == 2,
          "is remembered as unknown");
    rename_user(users, 1, "hopper");
    check(name_of(users, 1, name, sizeof name) == 1 && strcmp(name, "hopper") == 0,
          "after a delete the database is asked again");
    check(name_of(users, 0, name, sizeof name) == 1 && database_calls == 4, "another team");
    check(cellar_delete_by_tag(users, "team:2", 6, CELLAR_TAG_HARD) == CELLAR_OK, "delete a team");
    check(name_of(users, 1, name, sizeof name) == 1 && database_calls == 5, "its users are loaded");
    check(name_of(users, 0, name, sizeof name) == 1 && database_calls == 5, "others are not");

    cellar_stats st = cellar_stats_default();
    check(cellar_stats_get(users, CELLAR_SCOPE_NAMESPACE, &st) == CELLAR_OK, "statistics");
    check(st.gets == 8 && st.hits_l1 == 2 && st.negative_hits == 1 && st.misses == 5,
          "eight gets: two hits, one known absence, five misses");

    cellar_namespace_close(users);
    cellar_close(store);
    printf("read_through: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
