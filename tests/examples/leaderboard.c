/* SPDX-License-Identifier: MIT
 *
 * leaderboard: keep the best games of a day in one entry, and change this entry in place.
 *
 * All games are in a database. The list of the best three is the result of a slow query, so the
 * program caches it. A new game could delete the list, but then each game costs a query. This
 * program changes the cached list instead. cellar_update gives the old value to a function and
 * stores what the function makes of it. If another thread changes the entry meanwhile, the library
 * runs the function again with the newer value, so no change is lost. The code of the function says
 * what to do: OK stores the new value, REMOVED removes the entry, and each other code, such as
 * EXISTS here, changes nothing and is the result of cellar_update.
 *
 * A list can be changed this way if the order of the changes does not matter: two threads may add
 * their games in any order, and a query may have read a game before it is added. top_list.h gives
 * the same list each time. Newest posts work alike: sort by the number of the post.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/leaderboard.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/leaderboard.c dist/cellar.c -Idist -Idist/include -pthread && ./a.out
 *
 * The program prints the list after each step; "query" says that the database was read. For your
 * program, change `game`, `game_is_before` and the query. A server answers 503 where this program
 * ends. With a disk tier, raise the version of the namespace each time the struct changes. */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include "cellar_entry.h"
#include "cellar_load.h"
#include "top_list.h"

static void die(cellar *store)
{
    cellar_error_info why = cellar_error_info_default();
    cellar_last_error(store, &why);
    errx(1, "%s", why.code != CELLAR_OK ? why.text : "the query failed");
}

/* SELECT score, number, player FROM game WHERE day = ? ORDER BY score DESC, number LIMIT 3 */
static cellar_err query(cellar_load *load, const void *day, size_t day_len, void *ctx)
{
    printf("query of %.*s: ", (int)day_len, (const char *)day);
    return cellar_load_value(load, ctx, sizeof(top_list));
}

static cellar_err add(const void *old, size_t old_len, cellar_buf *out, void *played)
{
    top_list list;
    if (old == NULL || old_len != sizeof list) { return CELLAR_REMOVED; } /* end it: query again */
    memcpy(&list, old, sizeof list);
    if (!top_list_add(&list, played)) { return CELLAR_EXISTS; } /* change nothing */
    return cellar_buf_append(out, &list, sizeof list);
}

static void game_ended(cellar *lists, const char *day, game played)
{
    cellar_set_opts keep = cellar_set_opts_default();
    keep.flags = CELLAR_KEEP_TTL; /* the query runs once a minute and mends what was missed */
    top_list_add(&database, &played); /* INSERT first, and commit */
    if (cellar_update(lists, day, strlen(day), &keep, add, &played) < 0) {
        cellar_delete(lists, day, strlen(day)); /* no memory, or 64 faster threads: query again */
    }
}

static void show(cellar *lists, const char *day)
{
    top_list list;
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(lists, day, strlen(day), NULL, query, &database, &r);
    if (err < 0 || r.value_len != sizeof list) { die(lists); }
    memcpy(&list, r.value, sizeof list);
    top_list_print(&list);
    cellar_result_free(&r);
}

int main(void)
{
    const char *const day = "2026-11-27"; /* of the game, not of this moment */
    cellar_config cfg = cellar_config_default();
    cellar *lists;
    cfg.default_ttl_ms = 60 * 1000;
    if (cellar_open(&cfg, &lists) != CELLAR_OK) { die(NULL); }
    show(lists, day);
    game_ended(lists, day, (game){ 85, 4, "cyd" });
    show(lists, day);
    cellar_delete(lists, day, strlen(day)); /* as an eviction does */
    show(lists, day);
    return cellar_close(lists) == CELLAR_OK ? 0 : 1;
}
