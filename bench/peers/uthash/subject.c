/* SPDX-License-Identifier: MIT
 *
 * uthash: uthash and a doubly linked LRU under 1, 16 or 64 mutexes; the usual way in C, and the
 * reference of all L1 ratios. As good as we can make it.
 *
 * PICTURE    key -> our keyed hash -> top bits: stripe [mutex | table | LRU list] -> item
 *            item  uthash handle | list links | deadline | lengths | key | value    (one block)
 * INVARIANTS an item is in its stripe's table and list, or in neither; the list is in order of last
 *            use, newest first; entries <= the stripe's share, charged bytes <= its share.
 * LOCKING    one mutex a stripe, 128 bytes apart, held for the whole operation, copy included.
 * WHAT MAKES IT FAST
 *            our keyed hash, computed before the lock, through the BYHASHVALUE forms; key and
 *            value in the item's own block; a set that fits overwrites in place; at the bound the
 *            victim's block is used again; an item that is already newest is not moved; deadlines
 *            are read by the coarse clock, and no clock is read where no deadline is set.
 * TUNED      uthash64t is uthash64 with two things its users rarely know: an adaptive mutex (glibc:
 *            spins before it sleeps) and a table that doubles at chains of 6 instead of 10, which
 *            buys speed with memory. Shown beside it; the published ratios are to uthash64, plain
 *            pthread mutexes, uthash as it comes.
 * LIMITS     shares are fixed: capacity / stripes each, as such caches are built. uthash's own
 *            doubling rehashes a stripe in one insert. */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(keyptr, keylen, hashv) \
    _Static_assert(0, "use the _BYHASHVALUE forms with the keyed hash")
#include <uthash.h>
/* How long a chain may be before a table doubles; uthash's own is 10. For uthash_insert only. */
#undef HASH_BKT_CAPACITY_THRESH
#define HASH_BKT_CAPACITY_THRESH (s->chain_max)

#include "base/hash.h" /* the library's keyed hash: the same function, not a copy of it */
#include "bench/harness/verify.h"
#include "bench/peers/peers.h"

typedef struct uthash_item {
    UT_hash_handle hh;
    struct uthash_item *newer, *older; /* LRU list of the stripe */
    int64_t deadline_ms;               /* 0: none */
    uint32_t value_len, value_room;    /* room >= len: what the block can hold */
    unsigned char bytes[];             /* key, value */
} uthash_item;

typedef struct uthash_stripe {
    _Alignas(128) pthread_mutex_t lock; /* guards all below */
    uthash_item *table;
    uthash_item *newest, *oldest;
    uint64_t entries, bytes;            /* bytes: blocks as asked for, plus malloc's 16 */
} uthash_stripe;

typedef struct uthash_store {
    uthash_stripe *stripe;
    uint32_t stripes, shift;       /* stripe = hash >> shift */
    uint32_t chain_max;            /* of a bucket before its table doubles */
    uint32_t reserved;
    uint64_t max_entries, max_bytes; /* of one stripe; 0: unbounded */
    base_hash_key key;
} uthash_store;

static int64_t uthash_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *uthash_open(const bench_cfg *cfg, uint32_t stripes, bool tuned)
{
    uthash_store *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->stripe = aligned_alloc(128, stripes * sizeof s->stripe[0]);
    if (s->stripe == NULL) {
        free(s);
        return NULL;
    }
    memset(s->stripe, 0, stripes * sizeof s->stripe[0]);
    s->stripes = stripes;
    s->shift = stripes == 1 ? 63 : 64 - (uint32_t)__builtin_ctz(stripes);
    s->max_entries = (cfg->capacity_entries + stripes - 1) / stripes;
    s->max_bytes = cfg->capacity_bytes / stripes;
    unsigned char secret[32];
    for (size_t i = 0; i < 4; i++) {
        const uint64_t word = verify_mix64(cfg->seed + i + 1);
        memcpy(secret + 8 * i, &word, 8);
    }
    base_hash_key_init(&s->key, BASE_HASH_FOLD, secret);
    s->chain_max = tuned ? 6 : 10;
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
#if defined(__GLIBC__)
    if (tuned) {
        pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
    }
#endif
    for (uint32_t i = 0; i < stripes; i++) {
        pthread_mutex_init(&s->stripe[i].lock, &kind);
    }
    pthread_mutexattr_destroy(&kind);
    return s;
}

static void *uthash_open1(const bench_cfg *cfg) { return uthash_open(cfg, 1, false); }
static void *uthash_open16(const bench_cfg *cfg) { return uthash_open(cfg, 16, false); }
static void *uthash_open64(const bench_cfg *cfg) { return uthash_open(cfg, 64, false); }
static void *uthash_open64t(const bench_cfg *cfg) { return uthash_open(cfg, 64, true); }

static void uthash_close(void *store)
{
    uthash_store *s = store;
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->stripes; i++) {
        uthash_stripe *t = &s->stripe[i];
        uthash_item *older;
        HASH_CLEAR(hh, t->table);
        for (uthash_item *item = t->newest; item != NULL; item = older) {
            older = item->older;
            free(item);
        }
        pthread_mutex_destroy(&t->lock);
    }
    free(s->stripe);
    free(s);
}

static uthash_stripe *uthash_pick(const uthash_store *s, uint64_t hash)
{
    return &s->stripe[s->stripes == 1 ? 0 : hash >> s->shift];
}

static void uthash_list_remove(uthash_stripe *t, uthash_item *item)
{
    *(item->newer != NULL ? &item->newer->older : &t->newest) = item->older;
    *(item->older != NULL ? &item->older->newer : &t->oldest) = item->newer;
}

static void uthash_list_push(uthash_stripe *t, uthash_item *item)
{
    item->newer = NULL;
    item->older = t->newest;
    *(t->newest != NULL ? &t->newest->newer : &t->oldest) = item;
    t->newest = item;
}

static void uthash_use(uthash_stripe *t, uthash_item *item)
{
    if (t->newest != item) {
        uthash_list_remove(t, item);
        uthash_list_push(t, item);
    }
}

static uthash_item *uthash_find(uthash_stripe *t, const void *key, size_t key_len, unsigned hash)
{
    uthash_item *item;
    HASH_FIND_BYHASHVALUE(hh, t->table, key, (unsigned)key_len, hash, item);
    return item;
}

static uint64_t uthash_charge(const uthash_item *item)
{
    return sizeof *item + item->hh.keylen + item->value_room + 16;
}

/* Out of table and list; the block stays. */
static void uthash_take_out(uthash_stripe *t, uthash_item *item)
{
    HASH_DELETE(hh, t->table, item);
    uthash_list_remove(t, item);
    t->entries--;
    t->bytes -= uthash_charge(item);
}

static int uthash_get(void *store, const void *key, size_t key_len, void *buf, size_t buf_cap,
                      size_t *value_len)
{
    uthash_store *s = store;
    const uint64_t hash = base_hash(&s->key, 0, key, key_len);
    uthash_stripe *t = uthash_pick(s, hash);
    int answer = 0;
    pthread_mutex_lock(&t->lock);
    uthash_item *item = uthash_find(t, key, key_len, (unsigned)hash);
    if (item != NULL && item->deadline_ms != 0 && item->deadline_ms <= uthash_now_ms()) {
        uthash_take_out(t, item);
        free(item);
        item = NULL;
    }
    if (item != NULL) {
        uthash_use(t, item);
        answer = item->value_len <= buf_cap ? 1 : -1;
        *value_len = item->value_len;
        if (answer == 1) {
            memcpy(buf, item->bytes + key_len, item->value_len);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return answer;
}

/* Victims of the bound leave; the last one's block is handed back if `need` bytes of value fit. */
static uthash_item *uthash_make_room(uthash_store *s, uthash_stripe *t, size_t key_len, size_t need)
{
    const uint64_t more = sizeof(uthash_item) + key_len + need + 16;
    uthash_item *block = NULL;
    while (t->oldest != NULL && ((s->max_entries != 0 && t->entries >= s->max_entries) ||
                                 (s->max_bytes != 0 && t->bytes + more > s->max_bytes))) {
        uthash_item *victim = t->oldest;
        uthash_take_out(t, victim);
        free(block);
        block = victim;
    }
    if (block != NULL && (block->hh.keylen != key_len || block->value_room < need ||
                          block->value_room / 2 > need)) {
        free(block);
        block = NULL;
    }
    return block;
}

static int uthash_insert(uthash_store *s, uthash_stripe *t, const void *key, size_t key_len,
                         uint64_t hash, const void *value, size_t value_len, int64_t deadline_ms)
{
    uthash_item *item = uthash_make_room(s, t, key_len, value_len);
    if (item == NULL) {
        item = malloc(sizeof *item + key_len + value_len);
        if (item == NULL) {
            return -1;
        }
        item->value_room = (uint32_t)value_len;
    }
    item->deadline_ms = deadline_ms;
    item->value_len = (uint32_t)value_len;
    memcpy(item->bytes, key, key_len);
    memcpy(item->bytes + key_len, value, value_len);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, t->table, item->bytes, (unsigned)key_len, (unsigned)hash, item);
    if (item->hh.tbl == NULL) { /* uthash found no memory and took it out again */
        free(item);
        return -1;
    }
    uthash_list_push(t, item);
    t->entries++;
    t->bytes += uthash_charge(item);
    return 0;
}

static int uthash_set(void *store, const void *key, size_t key_len, const void *value,
                      size_t value_len, int64_t ttl_ms)
{
    uthash_store *s = store;
    const uint64_t hash = base_hash(&s->key, 0, key, key_len);
    const int64_t deadline_ms = ttl_ms > 0 ? uthash_now_ms() + ttl_ms : 0;
    uthash_stripe *t = uthash_pick(s, hash);
    int answer = 0;
    pthread_mutex_lock(&t->lock);
    uthash_item *item = uthash_find(t, key, key_len, (unsigned)hash);
    if (item != NULL && value_len <= item->value_room && value_len >= item->value_room / 2) {
        memcpy(item->bytes + key_len, value, value_len);
        item->value_len = (uint32_t)value_len;
        item->deadline_ms = deadline_ms;
        uthash_use(t, item);
    } else {
        if (item != NULL) {
            uthash_take_out(t, item);
            free(item);
        }
        answer = uthash_insert(s, t, key, key_len, hash, value, value_len, deadline_ms);
    }
    pthread_mutex_unlock(&t->lock);
    return answer;
}

static int uthash_del(void *store, const void *key, size_t key_len)
{
    uthash_store *s = store;
    const uint64_t hash = base_hash(&s->key, 0, key, key_len);
    uthash_stripe *t = uthash_pick(s, hash);
    pthread_mutex_lock(&t->lock);
    uthash_item *item = uthash_find(t, key, key_len, (unsigned)hash);
    if (item != NULL) {
        uthash_take_out(t, item);
    }
    pthread_mutex_unlock(&t->lock);
    free(item);
    return item != NULL;
}

static uint64_t uthash_sum(uthash_store *s, bool bytes)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->stripes; i++) {
        uthash_stripe *t = &s->stripe[i];
        pthread_mutex_lock(&t->lock);
        sum += bytes ? t->bytes : t->entries;
        pthread_mutex_unlock(&t->lock);
    }
    return sum;
}

static uint64_t uthash_count(void *store) { return uthash_sum(store, false); }
static uint64_t uthash_accounted(void *store) { return uthash_sum(store, true); }

#define UTHASH_TEXT2(x) #x
#define UTHASH_TEXT(x) UTHASH_TEXT2(x)
#define UTHASH_SUBJECT(id, text, opener)                                                   \
    const bench_subject id = {                                                             \
        .name = text, .version = UTHASH_TEXT(UTHASH_VERSION), .semantics = "copy",         \
        .caps = BENCH_BOUNDED | BENCH_TTL | BENCH_DEL,                                     \
        .open = opener, .close = uthash_close, .get = uthash_get, .set = uthash_set,       \
        .del = uthash_del, .count = uthash_count, .accounted_bytes = uthash_accounted,     \
    }
UTHASH_SUBJECT(uthash1_subject, "uthash1", uthash_open1);
UTHASH_SUBJECT(uthash16_subject, "uthash16", uthash_open16);
UTHASH_SUBJECT(uthash64_subject, "uthash64", uthash_open64);
UTHASH_SUBJECT(uthash64t_subject, "uthash64t", uthash_open64t);
