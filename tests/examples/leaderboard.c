/* SPDX-License-Identifier: MIT
 *
 * leaderboard: the best players by score, as one entry of the cache.
 *
 * The value of the entry is an array of rows, the best first. cellar_update changes the value
 * atomically against every other writer. Its function runs again if another writer was faster, so
 * it only reads what the caller asks for, and writes results to fields of their own.
 *
 *     cc -O2 leaderboard.c -lcellar -pthread
 *     drop-in: cc leaderboard.c dist/cellar.c -Idist -Idist/include -pthread */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_entry.h"

/* ---- what an application writes ---- */

#define PLACES   100
#define NAME_MAX 23 /* bytes of a name */

typedef struct board_row {
    double score;
    char name[NAME_MAX + 1]; /* zero behind the name */
} board_row;

typedef struct board {
    board_row row[PLACES + 1]; /* a new player stands here before the last one leaves */
    size_t count;
} board;

/* Return whether `a` stands before `b`: by score, equal scores by name. */
static int board_before(const board_row *a, const board_row *b)
{
    return a->score != b->score ? a->score > b->score : strcmp(a->name, b->name) < 0;
}

/* Check the rows of a value of `len` bytes and set their number. */
static cellar_err board_check(board *b, size_t len)
{
    b->count = len / sizeof(board_row);
    if (len % sizeof(board_row) != 0 || b->count > PLACES) { return CELLAR_E_TYPE; }
    for (size_t i = 0; i < b->count; i++) {
        const board_row *r = &b->row[i];
        if (isnan(r->score) || r->name[0] == '\0' || r->name[NAME_MAX] != '\0' ||
            (i > 0 && !board_before(r - 1, r))) {
            return CELLAR_E_TYPE;
        }
    }
    return CELLAR_OK;
}

/* Return the place of a player from 0; b->count: not on the board. */
static size_t board_find(const board *b, const char *name)
{
    size_t i = 0;
    while (i < b->count && strcmp(b->row[i].name, name) != 0) { i++; }
    return i;
}

typedef enum board_act { BOARD_PUT, BOARD_ADD, BOARD_REMOVE } board_act;

typedef struct board_change {
    board_act act;
    const char *name;
    double score; /* new score, or what is added: each round reads it, none writes it */
    double now;   /* out: the new score of the player */
    int dropped;  /* out: the player stands behind the last place */
} board_change;

static cellar_err board_update(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    board_change *ch = ctx;
    board b;
    board_row row = { ch->score, "" };
    if (old_len > sizeof b.row) { return CELLAR_E_TYPE; }
    if (old_len != 0) { memcpy(b.row, old, old_len); }
    const cellar_err err = board_check(&b, old_len);
    if (err != CELLAR_OK) { return err; }
    size_t at = board_find(&b, ch->name);
    if (at < b.count) {
        if (ch->act == BOARD_ADD) { row.score += b.row[at].score; }
        b.count--;
        memmove(&b.row[at], &b.row[at + 1], (b.count - at) * sizeof(board_row));
    } else if (ch->act == BOARD_REMOVE) {
        return CELLAR_MISS;
    }
    if (ch->act != BOARD_REMOVE) {
        if (isnan(row.score)) { return CELLAR_E_RANGE; } /* infinity less infinity */
        memcpy(row.name, ch->name, strlen(ch->name));
        for (at = b.count; at > 0 && board_before(&row, &b.row[at - 1]); at--) {
            b.row[at] = b.row[at - 1];
        }
        b.row[at] = row;
        if (b.count < PLACES) { b.count++; }
        ch->now = row.score;
        ch->dropped = at == PLACES;
    }
    if (b.count == 0) { return CELLAR_REMOVED; }
    return cellar_buf_append(out, b.row, b.count * sizeof(board_row));
}

/* Change a board. Return MISS if the player to remove is not on it, DROPPED if the player stands
 * behind the last place, E_TYPE if the value of the key is no board. */
static cellar_err board_run(cellar *c, const char *key, board_change *ch)
{
    const size_t len = strlen(ch->name);
    if (len == 0 || len > NAME_MAX || isnan(ch->score)) { return CELLAR_E_INVAL; }
    cellar_err err;
    do { /* BUSY: other writers won 64 rounds, each with a change of its own */
        err = cellar_update(c, key, strlen(key), NULL, board_update, ch);
    } while (err == CELLAR_E_BUSY);
    if (err == CELLAR_REMOVED) { return CELLAR_OK; } /* no player is left, and no entry */
    return err == CELLAR_OK && ch->dropped ? CELLAR_DROPPED : err;
}

static cellar_err board_put(cellar *c, const char *key, const char *name, double score)
{
    board_change ch = { BOARD_PUT, name, score, 0, 0 };
    return board_run(c, key, &ch);
}

/* Add to the score of a player; a new one begins at 0. *now: the new score, with OK and DROPPED. */
static cellar_err board_add(cellar *c, const char *key, const char *name, double points,
                            double *now)
{
    board_change ch = { BOARD_ADD, name, points, 0, 0 };
    const cellar_err err = board_run(c, key, &ch);
    if (now != NULL) { *now = ch.now; }
    return err;
}

static cellar_err board_remove(cellar *c, const char *key, const char *name)
{
    board_change ch = { BOARD_REMOVE, name, 0, 0, 0 };
    return board_run(c, key, &ch);
}

/* Read a board. Without OK it has no rows. */
static cellar_err board_get(cellar *c, const char *key, board *out)
{
    size_t len = 0;
    cellar_err err = cellar_get(c, key, strlen(key), out->row, sizeof out->row, &len);
    if (err == CELLAR_E_BUFFER) { err = CELLAR_E_TYPE; }
    if (err == CELLAR_OK) { err = board_check(out, len); }
    if (err != CELLAR_OK) { out->count = 0; }
    return err;
}

/* ---- the example checks itself ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    printf("%s - %s\n", ok ? "ok" : "not ok", what);
    *(ok ? &passed : &failed) += 1;
}

/* Return whether a board has these names from the first place on, separated by blanks. */
static int stands(cellar *c, const char *key, const char *names)
{
    board b;
    char text[(PLACES + 1) * (NAME_MAX + 1)] = "";
    size_t n = 0;
    (void)board_get(c, key, &b);
    for (size_t i = 0; i < b.count; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, i == 0 ? "%s" : " %s", b.row[i].name);
    }
    return strcmp(text, names) == 0;
}

static void players_come_and_go(cellar *c)
{
    double now = 0;
    check(board_put(c, "day", "ada", 3) == CELLAR_OK && board_put(c, "day", "cyd", 5) == CELLAR_OK &&
              board_put(c, "day", "bob", 5) == CELLAR_OK && stands(c, "day", "bob cyd ada"),
          "the best is first, equal scores stand by name");
    check(board_add(c, "day", "ada", 4, &now) == CELLAR_OK && now == 7 &&
              stands(c, "day", "ada bob cyd"),
          "four points more make ada the first");
    check(board_add(c, "day", "dan", 6, &now) == CELLAR_OK && now == 6 &&
              stands(c, "day", "ada dan bob cyd"),
          "a new player begins at 0");
    check(board_remove(c, "day", "dan") == CELLAR_OK && board_remove(c, "day", "dan") == CELLAR_MISS &&
              stands(c, "day", "ada bob cyd"),
          "a player leaves once");
    board_remove(c, "day", "ada");
    board_remove(c, "day", "cyd");
    check(board_remove(c, "day", "bob") == CELLAR_OK && cellar_contains(c, "day", 3) == CELLAR_MISS &&
              board_remove(c, "day", "bob") == CELLAR_MISS,
          "the last player takes the entry along");
}

static void bound_holds(cellar *c)
{
    board b;
    char name[NAME_MAX + 1];
    for (int i = 0; i <= PLACES; i++) {
        snprintf(name, sizeof name, "user %d", i);
        (void)board_put(c, "full", name, i);
    }
    check(board_get(c, "full", &b) == CELLAR_OK && b.count == PLACES &&
              board_find(&b, "user 0") == PLACES && board_find(&b, "user 100") == 0,
          "the player behind the last place leaves the board");
    check(board_put(c, "full", "user 0", 0.5) == CELLAR_DROPPED &&
              board_get(c, "full", &b) == CELLAR_OK && board_find(&b, "user 1") == PLACES - 1,
          "a score below the last place changes nothing");
    check(board_put(c, "full", "user 1", 0) == CELLAR_OK &&
              board_put(c, "full", "user 0", 0.5) == CELLAR_OK &&
              board_get(c, "full", &b) == CELLAR_OK && board_find(&b, "user 1") == PLACES,
          "a player may fall from the board");
}

static void refused_change_keeps_the_value(cellar *c)
{
    board b;
    double now = 9;
    int kept = 0, tries = 0;
    check(board_put(c, "odd", "ada", NAN) == CELLAR_E_INVAL &&
              board_put(c, "odd", "", 1) == CELLAR_E_INVAL &&
              board_put(c, "odd", "a name of more bytes than fit", 1) == CELLAR_E_INVAL &&
              cellar_contains(c, "odd", 3) == CELLAR_MISS,
          "a score that is no number and a wrong name are refused");
    check(board_put(c, "odd", "ada", INFINITY) == CELLAR_OK &&
              board_add(c, "odd", "ada", -INFINITY, &now) == CELLAR_E_RANGE && now == 0 &&
              board_get(c, "odd", &b) == CELLAR_OK && isinf(b.row[0].score),
          "infinity less infinity is refused");
    (void)board_put(c, "odd", "bob", 2);
    (void)board_get(c, "odd", &b);
    for (size_t len = 1; len < 2 * sizeof(board_row); len++) {
        char now_there[2 * sizeof(board_row)];
        size_t n = 0;
        if (len == sizeof(board_row)) { continue; } /* a board with one player */
        (void)cellar_set(c, "odd", 3, b.row, len, NULL);
        tries++;
        kept += board_put(c, "odd", "cyd", 1) == CELLAR_E_TYPE &&
                cellar_get(c, "odd", 3, now_there, sizeof now_there, &n) == CELLAR_OK &&
                n == len && memcmp(now_there, b.row, n) == 0;
    }
    check(kept == tries, "a value that is no board stays as it is");
    const board_row wrong[2] = { b.row[1], b.row[0] };
    (void)cellar_set(c, "odd", 3, wrong, sizeof wrong, NULL);
    check(board_put(c, "odd", "cyd", 1) == CELLAR_E_TYPE &&
              board_get(c, "odd", &b) == CELLAR_E_TYPE && b.count == 0,
          "rows in a wrong order are no board");
}

/* Another writer comes in the middle of the first round. */
typedef struct meeting {
    cellar *c;
    board_change mine;
    int rounds;
} meeting;

static cellar_err meet(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    meeting *m = ctx;
    const cellar_err err = board_update(old, old_len, out, &m->mine);
    if (m->rounds++ == 0) { (void)board_add(m->c, "two", "ada", 10, NULL); }
    return err;
}

static void lost_round_leaves_nothing(cellar *c)
{
    board b;
    meeting m = { c, { BOARD_ADD, "ada", 5, 0, 0 }, 0 };
    (void)board_put(c, "two", "ada", 1);
    check(cellar_update(c, "two", 3, NULL, meet, &m) == CELLAR_OK && m.rounds == 2 &&
              m.mine.now == 16 && board_get(c, "two", &b) == CELLAR_OK && b.row[0].score == 16,
          "a round that is lost adds nothing");
}

#define ADDS 2000

static void *add_ones(void *c)
{
    for (int i = 0; i < ADDS; i++) {
        if (board_add(c, "sum", "ada", 1, NULL) != CELLAR_OK) { break; }
    }
    return NULL;
}

static void two_threads_make_their_sum(cellar *c)
{
    pthread_t t[2];
    board b;
    int started = 0;
    while (started < 2 && pthread_create(&t[started], NULL, add_ones, c) == 0) { started++; }
    for (int i = 0; i < started; i++) { pthread_join(t[i], NULL); }
    check(started == 2 && board_get(c, "sum", &b) == CELLAR_OK && b.row[0].score == 2 * ADDS,
          "two threads that add one point at a time make their sum");
}

/* Random changes of 120 players. An array without an order holds the same players. */
#define PLAYERS 120

static double score_of[PLAYERS];
static int plays[PLAYERS];

/* Give a player of the array a score. Return whether the player is the one over PLACES. */
static int model_puts(int player, double score)
{
    int count = 0, last = -1;
    plays[player] = 1;
    score_of[player] = score;
    for (int i = 0; i < PLAYERS; i++) { /* names have three digits: their order is that of i */
        if (!plays[i]) { continue; }
        count++;
        if (last < 0 || score_of[i] <= score_of[last]) { last = i; }
    }
    if (count > PLACES) { plays[last] = 0; }
    return count > PLACES && last == player;
}

/* Return whether board and array have the same players, scores and order. */
static int model_agrees(const board *b)
{
    size_t count = 0;
    int before = -1;
    for (int i = 0; i < PLAYERS; i++) { count += (size_t)plays[i]; }
    for (size_t i = 0; i < b->count; i++) {
        int player = 0;
        if (sscanf(b->row[i].name, "p%d", &player) != 1 || !plays[player] ||
            b->row[i].score != score_of[player] ||
            (before >= 0 && (score_of[before] < score_of[player] ||
                             (score_of[before] == score_of[player] && before >= player)))) {
            return 0;
        }
        before = player;
    }
    return count == b->count;
}

static void random_changes_agree_with_an_array(cellar *c)
{
    uint32_t state = 1;
    int same = 0, rounds = 0;
    board b;
    for (; rounds < 4000; rounds++) {
        char name[NAME_MAX + 1];
        state = state * 1664525u + 1013904223u;
        const int player = (int)((state >> 8) % PLAYERS), what = (int)(state >> 28);
        const double points = (double)((state >> 16) % 9) - 4;
        cellar_err err, want;
        snprintf(name, sizeof name, "p%03d", player);
        if (what == 0) {
            want = plays[player] ? CELLAR_OK : CELLAR_MISS;
            plays[player] = 0;
            err = board_remove(c, "any", name);
        } else if (what < 8) {
            want = model_puts(player, points) ? CELLAR_DROPPED : CELLAR_OK;
            err = board_put(c, "any", name, points);
        } else {
            const double sum = (plays[player] ? score_of[player] : 0) + points;
            want = model_puts(player, sum) ? CELLAR_DROPPED : CELLAR_OK;
            err = board_add(c, "any", name, points, NULL);
        }
        (void)board_get(c, "any", &b);
        same += err == want && model_agrees(&b);
    }
    check(same == rounds, "4,000 random changes agree with an array");
}

int main(void)
{
    cellar_config cfg = cellar_config_default();
    cellar *store;
    cfg.memory_bytes = 16u << 20;
    if (cellar_open(&cfg, &store) != CELLAR_OK) { return 1; }
    players_come_and_go(store);
    bound_holds(store);
    refused_change_keeps_the_value(store);
    lost_round_leaves_nothing(store);
    two_threads_make_their_sum(store);
    random_changes_agree_with_an_array(store);
    cellar_close(store);
    printf("leaderboard: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
