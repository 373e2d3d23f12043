/* SPDX-License-Identifier: MIT
 *
 * user_list: a list of five users, with at most one query. cellar_get_or_load_many finds the users
 * that are in the cache. If any are missing, it calls the loader once, with the keys of all missing
 * users. Each user of the list gets a result of its own: a user that does not exist, or a query
 * that fails, does not hide the other users. In a namespace with stale_ms the status CELLAR_STALE
 * comes with a value, too: an old one.
 *
 *     cc -O2 user_list.c -lcellar -pthread
 *     drop-in: cc -O2 user_list.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdio.h>
#include <string.h>

#include "cellar_load.h"

enum { list_size = 5 };

/* The table of the database: the name of each id. There is no user 4. */
static const char *const names[] = { NULL, "Ada", "Bob", "Cleo", NULL, "Eve", "Fay", "Gus" };
static int database_works = 1;

/* The loader. `keys` has only the users that the cache lacks. A key here is the bytes of an id. */
static cellar_err load_users(cellar_load *load, const cellar_bytes *keys, size_t count, void *ctx)
{
    int ids[list_size]; /* a loader gets no more keys than its call has */
    (void)ctx;          /* the last argument of the call: a real program passes its connection */
    printf("SELECT id, name FROM user WHERE id IN (");
    for (size_t i = 0; i < count; i++) {
        memcpy(&ids[i], keys[i].data, sizeof ids[i]);
        printf(i == 0 ? "%d" : ", %d", ids[i]);
    }
    puts(")");
    if (!database_works) { return CELLAR_E_IO; } /* the query failed, for all of these keys */
    for (size_t i = 0; i < count; i++) {
        /* A real query returns its rows in any order: find the row that has the id of this key. */
        const char *name = names[ids[i]];
        cellar_load_select(load, i); /* the next call gives the result of keys[i] */
        if (name != NULL) { cellar_load_value(load, name, strlen(name) + 1); }
        else { cellar_load_absent(load); } /* there is no row */
    }
    return CELLAR_OK;
}

static void show_list(cellar *users, const int *ids)
{
    cellar_load_item items[list_size];
    cellar_result results[list_size];
    for (int i = 0; i < list_size; i++) {
        results[i] = cellar_result_default();
        items[i] = (cellar_load_item){ &ids[i], sizeof ids[i], &results[i], CELLAR_MISS, 0 };
    }
    cellar_get_or_load_many(users, items, list_size, NULL, load_users, NULL);
    for (int i = 0; i < list_size; i++) {
        printf("  user %d: ", ids[i]);
        if (items[i].status == CELLAR_OK) { puts(results[i].value); } /* has its 0 byte */
        else if (items[i].status == CELLAR_ABSENT) { puts("no such user"); }
        else { puts(cellar_strerror(items[i].status)); }
        cellar_result_free(&results[i]);
    }
}

int main(void)
{
    const int red_team[] = { 1, 2, 3, 4, 5 };
    const int blue_team[] = { 2, 3, 4, 6, 7 };
    cellar *users;
    if (cellar_open(NULL, &users) != CELLAR_OK) { return 1; } /* no memory for the store */
    show_list(users, red_team); /* nothing is cached: one query for all five */
    database_works = 0;
    show_list(users, blue_team); /* 2 and 3 are cached, 4 is known to be absent; 6 and 7 fail */
    database_works = 1;
    show_list(users, blue_team); /* a failure is not remembered: one query for 6 and 7 */
    return cellar_close(users) == CELLAR_OK ? 0 : 1;
}
