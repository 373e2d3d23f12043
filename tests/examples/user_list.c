/* SPDX-License-Identifier: MIT
 *
 * user_list: show a list of users with at most one query.
 *
 * The list has five ids. To call cellar_get_or_load for each of them sends up to five queries. This
 * program calls cellar_get_or_load_many, which finds the users that are cached. If any are missing,
 * it calls the loader once, with the keys of all missing users. Each user has a status of its own:
 * a user that does not exist, or a query that fails, does not hide the other users.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/user_list.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/user_list.c dist/cellar.c -Idist -Idist/include -pthread && ./a.out
 *
 * The program prints each query and each list. The first list costs a query for all five users.
 * Of the second list, 2 and 3 are cached, and 4 is known not to exist: the query asks for
 * the last two. It fails, and the list shows the others. A failure is not remembered, so the third
 * list queries these two again. In your program, replace the body of load_users by your query. In a
 * namespace with `stale_ms` the status STALE comes with a value, too: an old one. */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include "cellar_load.h"

enum { list_size = 5 };

/* The table of the database: the name of each id. There is no user 4. */
static const char *const names[] = { NULL, "Ada", "Bob", "Cleo", NULL, "Eve", "Fay", "Gus" };
static int database_works = 1;

/* Load the users that the cache lacks. A key is the bytes of an id. */
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
        const char *name = names[ids[i]]; /* a real program finds the row that has this id */
        cellar_load_select(load, i);      /* the next call gives the result of keys[i] */
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
        if (items[i].status == CELLAR_OK) { puts(results[i].value); } /* it ends with a 0 byte */
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
    const cellar_err err = cellar_open(NULL, &users);
    if (err != CELLAR_OK) { errx(1, "no store: %s", cellar_strerror(err)); }
    show_list(users, red_team);
    database_works = 0; /* the next query fails */
    show_list(users, blue_team);
    database_works = 1;
    show_list(users, blue_team);
    return cellar_close(users) == CELLAR_OK ? 0 : 1;
}
