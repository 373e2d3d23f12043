/* SPDX-License-Identifier: MIT
 *
 * leaderboard: the best players of a day, as one entry. The key is the date of the scores, so each
 * day begins an empty board. The cache may evict a board: keep scores in a database, and rebuild on
 * MISS by cellar_get_or_load. A new score changes the cached board in place, without a query.
 * Scores only rise, so changes give the same board in any order, also a change that a rebuild has
 * seen already.
 *
 *     cc -O2 leaderboard.c -lcellar -pthread
 *     drop-in: cc leaderboard.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_entry.h"
#include "cellar_load.h"

enum { PLACES = 3, PLAYERS = 5 };

typedef struct row {
    int64_t best;
    char name[24];
} row;

static row table[PLAYERS] = { /* the database, with the rows of one day */
    { 70, "ada" }, { 90, "bob" }, { 50, "cyd" }, { 80, "dan" }, { 80, "eve" }
};
static cellar *boards;
static int queries;

static void die(const char *what)
{
    cellar_error_info e = cellar_error_info_default();
    cellar_last_error(boards, &e);
    fprintf(stderr, "%s: %s\n", what, e.text);
    exit(1);
}

static int by_score(const void *a, const void *b)
{
    const row *const x = a, *const y = b;
    return x->best == y->best ? strcmp(x->name, y->name) : x->best < y->best ? 1 : -1;
}

/* SELECT best, name FROM player WHERE day = :day ORDER BY best DESC, name LIMIT 3 */
static cellar_err query(cellar_load *load, const void *day, size_t day_len, void *ctx)
{
    row all[PLAYERS];
    (void)day, (void)day_len, (void)ctx, queries++;
    memcpy(all, table, sizeof all);
    qsort(all, PLAYERS, sizeof *all, by_score);
    return cellar_load_value(load, all, PLACES * sizeof *all);
}

/* Put the row of a player into the board. This runs again if another writer was faster. */
static cellar_err put(const void *old, size_t old_len, cellar_buf *out, void *player)
{
    const row *const mine = player;
    row b[PLACES + 1];
    size_t count = old_len / sizeof *b, i = 0;
    if (old == NULL) { return CELLAR_REMOVED; } /* no board; a load that runs now is not stored */
    if (old_len % sizeof *b != 0 || count > PLACES) { return CELLAR_E_TYPE; }
    memcpy(b, old, old_len);
    while (i < count && strcmp(b[i].name, mine->name) != 0) { i++; }
    if (i == count || b[i].best < mine->best) { b[i] = *mine; }
    count += i == count;
    qsort(b, count, sizeof *b, by_score);
    return cellar_buf_append(out, b, (count < PLACES ? count : PLACES) * sizeof *b);
}

static void scored(const char *day, row *player, int64_t score)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.flags = CELLAR_KEEP_TTL; /* so the board is rebuilt once a minute, whatever was missed */
    if (score > player->best) { player->best = score; } /* UPDATE .. SET best = .., commit */
    if (cellar_update(boards, day, strlen(day), &o, put, player) < 0) {
        cellar_delete(boards, day, strlen(day)); /* E_BUSY after 64 lost rounds: rebuild it */
    }
}

static void show(const char *day)
{
    row b[PLACES];
    cellar_result r = cellar_result_default();
    r.buf = b, r.buf_cap = sizeof b; /* only a value that fits is copied there */
    if (cellar_get_or_load(boards, day, strlen(day), NULL, query, NULL, &r) < 0) { die("load"); }
    const int fits = r.value_len % sizeof *b == 0 && r.value_len <= sizeof b;
    /* Else it is of another program, as an older one with more places: the next call loads. */
    if (!fits) { cellar_value_damaged(boards, day, strlen(day), r.value, r.value_len); }
    for (size_t i = 0; fits && i < r.value_len / sizeof *b; i++) {
        printf("%s %d, ", b[i].name, (int)b[i].best);
    }
    printf("%s%d queries\n", fits ? "" : "removed, ", queries);
    cellar_result_free(&r);
}

int main(void)
{
    cellar_config cfg = cellar_config_default();
    const char *const day = "2026-11-27"; /* of the score, not of the moment of this call */
    cfg.default_ttl_ms = 60000;
    if (cellar_open(&cfg, &boards) != CELLAR_OK) { die("cellar_open"); }
    show(day);
    scored(day, &table[2], 85);
    show(day);
    scored(day, &table[2], 60); /* below the best of that player */
    scored(day, &table[0], 95);
    show(day);
    cellar_delete(boards, day, strlen(day)); /* as an eviction does */
    show(day);
    cellar_set(boards, day, strlen(day), table, sizeof table, NULL); /* a board of five places */
    show(day);
    show(day);
    return cellar_close(boards) == CELLAR_OK ? 0 : 1;
}
