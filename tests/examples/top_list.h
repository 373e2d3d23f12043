/* SPDX-License-Identifier: MIT
 *
 * top_list: a sorted list of the best games, for leaderboard.c.
 *
 * It is plain C and knows no cache. The games of a day stand for a table in a database. */
#ifndef TOP_LIST_H
#define TOP_LIST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { PLACES = 3 };

typedef struct game {
    int64_t score;  /* from 1 */
    int64_t number; /* of the row in the database, from 1 */
    char player[16];
} game;

typedef struct top_list {
    game place[PLACES]; /* the best first; zeros: no game yet */
} top_list;

static top_list database = { { { 90, 1, "bob" }, { 80, 2, "dan" }, { 70, 3, "ada" } } };

/* Return whether one game is before another one: ORDER BY score DESC, number. */
static inline bool game_is_before(const game *a, const game *b)
{
    return a->score != b->score ? a->score > b->score : a->number < b->number;
}

/* Put a game into its place; the games behind it move down, and the last one is dropped. Return
 * false if the list has the game already, or is full of better ones. The order of the calls does
 * not matter: the same games make the same list. */
static inline bool top_list_add(top_list *list, const game *played)
{
    game moving = *played;
    for (int i = 0; i < PLACES; i++) {
        const game there = list->place[i];
        if (there.number == played->number) { return false; }
        if (game_is_before(&moving, &there)) {
            list->place[i] = moving;
            moving = there;
        }
    }
    return moving.number != played->number;
}

static inline void top_list_print(const top_list *list)
{
    for (int i = 0; i < PLACES; i++) {
        printf("%s %d%s", list->place[i].player, (int)list->place[i].score,
               i + 1 < PLACES ? ", " : "\n");
    }
}

#endif
