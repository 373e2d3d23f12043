/* SPDX-License-Identifier: MIT
 *
 * read_through: read the cache first, else the database, and store the answer of the database, also
 * the answer "no such row".
 *
 *     cc -O2 read_through.c -lcellar -pthread       (or: cc read_through.c cellar.c -pthread) */
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_observe.h"

/* ---- the slow database behind the cache ---- */

static int database_calls;

/* Write the name of user `id` to buf. Return its length, or -1 if there is no such user. */
static int database_user_name(int id, char *buf, size_t cap)
{
    static const char *const name[] = { "ada", "grace", "barbara" };
    database_calls++;
    if (id < 0 || id >= (int)(sizeof name / sizeof name[0])) { return -1; }
    return snprintf(buf, cap, "%s", name[id]);
}

/* ---- what an application writes ---- */

/* Return the answer of the database, from the cache if it is stored there. */
static int user_name(cellar *users, int id, char *buf, size_t cap)
{
    size_t len;
    switch (cellar_get(users, &id, sizeof id, buf, cap - 1, &len)) {
    case CELLAR_OK:
        buf[len] = '\0';
        return (int)len;
    case CELLAR_ABSENT:
        return -1; /* known not to exist: the database is not asked again */
    default:
        break; /* a miss, or a cache that cannot help: never an error for the caller */
    }

    const int found = database_user_name(id, buf, cap);
    cellar_set_opts o = cellar_set_opts_default();
    if (found < 0) {
        o.flags = CELLAR_NEGATIVE; /* lives for the namespace's negative_ttl_ms */
        cellar_set(users, &id, sizeof id, NULL, 0, &o);
    } else {
        o.jitter_pct = 10; /* entries stored together do not expire together */
        cellar_set(users, &id, sizeof id, buf, (size_t)found, &o);
    }
    return found;
}

/* Write to the database first, then delete the old entry. */
static void user_renamed(cellar *users, int id) { cellar_delete(users, &id, sizeof id); }

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

    cellar_namespace_opts defaults = cellar_namespace_opts_default();
    defaults.default_ttl_ms = 5 * 60 * 1000;
    defaults.negative_ttl_ms = 10 * 1000;
    cellar *users;
    if (cellar_namespace_open(store, "users", &defaults, &users) != CELLAR_OK) { return 1; }

    char name[64];
    check(user_name(users, 1, name, sizeof name) == 5, "first call asks the database");
    check(user_name(users, 1, name, sizeof name) == 5, "second call is answered");
    check(strcmp(name, "grace") == 0 && database_calls == 1, "by the cache");
    check(user_name(users, 99, name, sizeof name) == -1, "unknown user");
    check(user_name(users, 99, name, sizeof name) == -1 && database_calls == 2,
          "is remembered as unknown");
    user_renamed(users, 1);
    check(user_name(users, 1, name, sizeof name) == 5 && database_calls == 3,
          "after a delete the database is asked again");

    cellar_stats st = cellar_stats_default();
    check(cellar_stats_get(users, CELLAR_SCOPE_NAMESPACE, &st) == CELLAR_OK, "statistics");
    check(st.gets == 5 && st.hits_l1 == 1 && st.negative_hits == 1 && st.misses == 3,
          "five gets: one hit, one known absence, three misses");

    cellar_close(users);
    cellar_close(store);
    printf("read_through: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
