/* SPDX-License-Identifier: MIT
 *
 * recent_items: a list of the newest items, bounded in length, as one entry of the cache.
 *
 * The value of the entry is one record for each item, the newest first: its length, its bytes.
 * cellar_update changes the value atomically against every other writer. Its function runs again
 * if another writer was faster, so it only reads what the caller asks for.
 *
 *     cc -O2 recent_items.c -lcellar -pthread
 *     drop-in: cc recent_items.c dist/cellar.c -Idist -Idist/include -pthread */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_entry.h"

/* ---- what an application writes ---- */

#define LIST_BAD ((size_t)-1)

/* Return the length of the first `most` records; *count, their number, is less at the end of the
 * value. LIST_BAD: the value is no list. */
static size_t list_bytes(const unsigned char *value, size_t len, size_t most, size_t *count)
{
    size_t at = 0;
    for (*count = 0; *count < most && at < len; (*count)++) {
        uint32_t n;
        if (len - at < sizeof n) { return LIST_BAD; }
        memcpy(&n, value + at, sizeof n);
        if (len - at - sizeof n < n) { return LIST_BAD; }
        at += sizeof n + n;
    }
    return at;
}

typedef struct list_change {
    const cellar_bytes *items; /* the newest last */
    size_t item_count;         /* 0: only shorten the list */
    size_t most;               /* items of the list, without the oldest ones beyond */
    size_t count;              /* out: items afterwards */
} list_change;

static cellar_err list_update(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    list_change *ch = ctx;
    const size_t added = ch->item_count < ch->most ? ch->item_count : ch->most;
    size_t kept, whole;
    if (list_bytes(old, old_len, LIST_BAD, &whole) == LIST_BAD) { return CELLAR_E_TYPE; }
    const size_t kept_len = list_bytes(old, old_len, ch->most - added, &kept);
    ch->count = added + kept;
    if (ch->count == 0) { return CELLAR_REMOVED; }
    for (size_t i = 0; i < added; i++) { /* the first failure of an append stays */
        const cellar_bytes *item = &ch->items[ch->item_count - 1 - i];
        const uint32_t n = (uint32_t)item->len;
        cellar_buf_append(out, &n, sizeof n);
        cellar_buf_append(out, item->data, item->len);
    }
    return cellar_buf_append(out, old, kept_len);
}

static cellar_err list_run(cellar *c, const char *key, list_change *ch)
{
    cellar_err err;
    do { /* BUSY: other writers won 64 rounds, each with a change of its own */
        err = cellar_update(c, key, strlen(key), NULL, list_update, ch);
    } while (err == CELLAR_E_BUSY);
    return err;
}

/* Add items to a list; the last one given is the newest. The oldest items beyond `most` leave.
 * *count: items afterwards; optional. */
static cellar_err list_push(cellar *c, const char *key, const cellar_bytes *items,
                            size_t item_count, size_t most, size_t *count)
{
    list_change ch = { items, item_count, most, 0 };
    if (item_count == 0 || most == 0) { return CELLAR_E_INVAL; }
    for (size_t i = 0; i < item_count; i++) {
        if (items[i].len > CELLAR_VALUE_MAX) { return CELLAR_E_TOOBIG; }
    }
    const cellar_err err = list_run(c, key, &ch);
    if (count != NULL) { *count = err == CELLAR_OK ? ch.count : 0; }
    return err;
}

/* Keep the newest items; 0 removes the entry. Return MISS if there is no list. */
static cellar_err list_trim(cellar *c, const char *key, size_t most)
{
    list_change ch = { NULL, 0, most, 0 };
    const cellar_err err = list_run(c, key, &ch);
    return err == CELLAR_REMOVED ? CELLAR_OK : err;
}

/* Read up to `most` items, the newest first. They are valid until the caller frees *block with
 * cellar_free. */
static cellar_err list_get(cellar *c, const char *key, cellar_bytes *out, size_t most,
                           size_t *count, void **block)
{
    size_t len = 0, at = 0;
    *count = 0;
    const cellar_err err = cellar_get_alloc(c, key, strlen(key), block, &len);
    if (err != CELLAR_OK) { return err; }
    const unsigned char *value = *block;
    if (list_bytes(value, len, most, count) == LIST_BAD) {
        cellar_free(*block);
        *block = NULL;
        *count = 0;
        return CELLAR_E_TYPE;
    }
    for (size_t i = 0; i < *count; i++) {
        uint32_t n;
        memcpy(&n, value + at, sizeof n);
        out[i] = (cellar_bytes){ value + at + sizeof n, n };
        at += sizeof n + n;
    }
    return CELLAR_OK;
}

/* ---- the example checks itself ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    printf("%s - %s\n", ok ? "ok" : "not ok", what);
    *(ok ? &passed : &failed) += 1;
}

static cellar_err push_text(cellar *c, const char *key, const char *text, size_t most)
{
    const cellar_bytes item = { text, strlen(text) };
    return list_push(c, key, &item, 1, most, NULL);
}

/* Return whether a list has these items from the newest on, each in front of a ';'. */
static int stands(cellar *c, const char *key, const char *items)
{
    cellar_bytes got[64];
    char text[512] = "";
    size_t count, n = 0;
    void *block = NULL;
    (void)list_get(c, key, got, 64, &count, &block);
    for (size_t i = 0; i < count; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%.*s;", (int)got[i].len,
                              (const char *)got[i].data);
    }
    cellar_free(block);
    return strcmp(text, items) == 0;
}

static void newest_items_stay(cellar *c)
{
    const cellar_bytes many[4] = { { "a", 1 }, { "", 0 }, { "c", 1 }, { "d", 1 } };
    char text[16];
    size_t count = 0;
    for (int i = 0; i <= 20; i++) {
        snprintf(text, sizeof text, "%d", i);
        (void)push_text(c, "news", text, 20);
    }
    check(stands(c, "news", "20;19;18;17;16;15;14;13;12;11;10;9;8;7;6;5;4;3;2;1;"),
          "of twenty-one items the oldest leaves");
    check(list_push(c, "news", many, 4, 6, &count) == CELLAR_OK && count == 6 &&
              stands(c, "news", "d;c;;a;20;19;"),
          "the last of several items is the newest");
    check(list_push(c, "news", many, 4, 2, &count) == CELLAR_OK && count == 2 &&
              stands(c, "news", "d;c;"),
          "more items than the list holds leave the newest ones");
    check(list_trim(c, "news", 5) == CELLAR_OK && stands(c, "news", "d;c;") &&
              list_trim(c, "news", 1) == CELLAR_OK && stands(c, "news", "d;"),
          "a trim keeps the newest item");
    check(list_trim(c, "news", 0) == CELLAR_OK && cellar_contains(c, "news", 4) == CELLAR_MISS &&
              list_trim(c, "news", 1) == CELLAR_MISS,
          "a trim to none removes the entry");
    check(list_push(c, "news", many, 0, 2, NULL) == CELLAR_E_INVAL &&
              list_push(c, "news", many, 1, 0, NULL) == CELLAR_E_INVAL,
          "no items, and a list without places, are refused");
}

static void value_that_is_no_list_stays(cellar *c)
{
    unsigned char value[64], now[64];
    size_t len = 0, n = 0;
    int right = 0;
    (void)push_text(c, "odd", "three", 9);
    (void)push_text(c, "odd", "two", 9);
    (void)cellar_get(c, "odd", 3, value, sizeof value, &len);
    for (size_t cut = 1; cut < len; cut++) {
        const int list = cut == sizeof(uint32_t) + 3; /* the newest item alone */
        (void)cellar_set(c, "odd", 3, value, cut, NULL);
        const cellar_err err = push_text(c, "odd", "one", 9);
        (void)cellar_get(c, "odd", 3, now, sizeof now, &n);
        right += list ? err == CELLAR_OK && stands(c, "odd", "one;two;")
                      : err == CELLAR_E_TYPE && n == cut && memcmp(now, value, cut) == 0;
    }
    check(len == 2 * sizeof(uint32_t) + 8 && right == (int)len - 1,
          "a value that is no list stays as it is");
    (void)cellar_set(c, "odd", 3, value, len - 1, NULL);
    check(list_trim(c, "odd", 1) == CELLAR_E_TYPE && list_trim(c, "odd", 0) == CELLAR_E_TYPE,
          "a trim checks the items that leave, too");
}

/* Another writer comes in the middle of the first round. */
typedef struct meeting {
    cellar *c;
    list_change mine;
    int rounds;
} meeting;

static cellar_err meet(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    meeting *m = ctx;
    const cellar_err err = list_update(old, old_len, out, &m->mine);
    if (m->rounds++ == 0) { (void)push_text(m->c, "two", "theirs", 3); }
    return err;
}

static void lost_round_leaves_nothing(cellar *c)
{
    const cellar_bytes items[2] = { { "one", 3 }, { "mine", 4 } };
    meeting m = { c, { items, 2, 3, 0 }, 0 };
    (void)push_text(c, "two", "old", 3);
    check(cellar_update(c, "two", 3, NULL, meet, &m) == CELLAR_OK && m.rounds == 2 &&
              m.mine.count == 3 && stands(c, "two", "mine;one;theirs;"),
          "a round that is lost pushes nothing");
}

#define PUSHES 500

typedef struct writer {
    cellar *c;
    uint32_t first; /* number of its first item */
} writer;

static void *push_numbers(void *arg)
{
    const writer *w = arg;
    for (uint32_t i = w->first; i < w->first + PUSHES; i++) {
        const cellar_bytes item = { &i, sizeof i };
        if (list_push(w->c, "all", &item, 1, 2 * PUSHES, NULL) != CELLAR_OK) { break; }
    }
    return NULL;
}

static void two_threads_lose_no_item(cellar *c)
{
    static cellar_bytes got[2 * PUSHES + 1];
    writer w[2] = { { c, 0 }, { c, PUSHES } };
    uint32_t next[2] = { PUSHES - 1, 2 * PUSHES - 1 }; /* the newest item of each */
    pthread_t t[2];
    size_t count = 0, right = 0;
    void *block = NULL;
    int started = 0;
    while (started < 2 &&
           pthread_create(&t[started], NULL, push_numbers, &w[started]) == 0) {
        started++;
    }
    for (int i = 0; i < started; i++) { pthread_join(t[i], NULL); }
    (void)list_get(c, "all", got, 2 * PUSHES + 1, &count, &block);
    for (size_t i = 0; i < count; i++) {
        uint32_t number;
        memcpy(&number, got[i].data, sizeof number);
        right += number == next[number >= PUSHES]--;
    }
    cellar_free(block);
    check(started == 2 && count == 2 * PUSHES && right == count,
          "two threads that push one item at a time lose none, each in its order");
}

static void random_changes_agree_with_an_array(cellar *c)
{
    enum { MOST = 7 };
    uint32_t all[MOST] = { 0 }, state = 1;
    size_t have = 0;
    int same = 0, rounds = 0;
    for (; rounds < 4000; rounds++) {
        uint32_t word[MOST + 3];
        cellar_bytes items[MOST + 3], got[MOST + 1];
        size_t count = 0;
        void *block = NULL;
        cellar_err err, want = CELLAR_OK;
        state = state * 1664525u + 1013904223u;
        const size_t n = 1 + (state >> 8) % (MOST + 3);
        if (state >> 28 < 4) {
            const size_t most = n % (MOST + 1);
            want = have == 0 ? CELLAR_MISS : CELLAR_OK;
            if (have > most) { have = most; }
            err = list_trim(c, "any", most);
        } else {
            for (size_t i = 0; i < n; i++) {
                word[i] = state + (uint32_t)i;
                items[i] = (cellar_bytes){ &word[i], sizeof word[i] };
                memmove(all + 1, all, (MOST - 1) * sizeof *all);
                all[0] = word[i];
                have += have < MOST;
            }
            err = list_push(c, "any", items, n, MOST, NULL);
        }
        (void)list_get(c, "any", got, MOST + 1, &count, &block);
        int agree = err == want && count == have;
        for (size_t i = 0; agree && i < count; i++) {
            agree = got[i].len == sizeof *all && memcmp(got[i].data, &all[i], sizeof *all) == 0;
        }
        same += agree;
        cellar_free(block);
    }
    check(same == rounds, "4,000 random changes agree with an array");
}

int main(void)
{
    cellar_config cfg = cellar_config_default();
    cellar *store;
    cfg.memory_bytes = 16u << 20;
    if (cellar_open(&cfg, &store) != CELLAR_OK) { return 1; }
    newest_items_stay(store);
    value_that_is_no_list_stays(store);
    lost_round_leaves_nothing(store);
    two_threads_lose_no_item(store);
    random_changes_agree_with_an_array(store);
    cellar_close(store);
    printf("recent_items: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
