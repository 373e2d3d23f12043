/* SPDX-License-Identifier: MIT
 *
 * Aim:    l1_get_many answers exactly like single gets.
 * Method: 0, 1, 31, 32, 33 and 1000 keys in calls of at most 32: duplicate, absent, expired,
 *         negative, oversized, short buffers. Compare code, length and bytes of each item with a
 *         single get at the same time. Prefetching (a hint) changes nothing. */
#include "tests/support/l1_kit.h"

enum { KEYS = 3000, MOST = 1000, CAP = 60000 };

static void fill(kit *k)
{
    for (uint64_t id = 0; id < KEYS; id++) {
        kit_key key;
        unsigned char v[4] = {0};
        if (id % 5 == 0) { continue; }                                        /* absent */
        size_t len = id % 7 == 0 ? 0 : id % 11 == 0 ? 3000 : id % 101 == 0 ? 50000 : 1 + id % 200;
        /* expires soon */
        int64_t until = id % 13 == 0 ? kit_now(k) + 5 : BASE_NEVER_MS;
        T_EQ_I64(kit_put_until(k, 0, id, id, len, until), CELLAR_OK);
        if (id % 17 == 0) {
            l1_put_spec p =
                {.value = v, .value_len = 0, .deadline_ms = BASE_NEVER_MS, .change = L1_CHANGE_SET,
                             .kind = L1_NEGATIVE};
            T_EQ_I64(l1_put(k->c, kit_key_of(k, &key, 0, id), &p), CELLAR_OK);
        }
    }
    kit_forward(k, 5);
}

static void compare(kit *k, kit_rng *r, size_t n, unsigned flags)
{
    static cellar_get_item item[MOST];
    static kit_key key[MOST];
    static unsigned char *buf[MOST], one[CAP];
    for (size_t i = 0; i < n; i++) {
        uint64_t id = kit_below(r, KEYS + 50);
        /* duplicate */
        if (i > 0 && kit_one_in(r, 5)) { id = kit_id_of(key[kit_below(r, i)].text, 16); }
        size_t cap = kit_one_in(r, 6) ? kit_below(r, 50) : CAP;
        kit_key_of(k, &key[i], 0, id);
        buf[i] = malloc(cap + 1);
        T_REQUIRE(buf[i] != NULL);
        buf[i][cap] = 0xA5;
        item[i] = kit_item(&key[i], buf[i], cap);
    }
    for (size_t at = 0; at < n; at += 32) {
        const size_t part = BASE_MIN(n - at, (size_t)32);
        l1_key keys[32];
        for (size_t i = 0; i < part; i++) { keys[i] = key[at + i].key; }
        if (kit_one_in(r, 2)) { l1_prefetch_many(k->c, keys, part); }
        kit_get_many(k, &item[at], part, flags);
    }
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        cellar_err err = l1_get(k->c, &key[i].key, one, item[i].buf_cap, &len, flags);
        T_EQ_I64(item[i].status, err);
        if (err == CELLAR_OK || err == CELLAR_E_BUFFER) { T_EQ_U64(item[i].value_len, len); }
        if (err == CELLAR_OK) {
            T_CHECK(kit_is(item[i].buf, len, kit_id_of(key[i].text, 16),
                           kit_id_of(key[i].text, 16)));
        }
        T_EQ_U64(buf[i][item[i].buf_cap], 0xA5);
        free(buf[i]);
    }
}

T_CASE(get_many_equals_single_gets)
{
    static const size_t counts[] = {0, 1, 2, 31, 32, 33, 64, 1000};
    kit k;
    kit_rng r = {t_seed()};
    kit_open(&k, KIT_MIB(64), NULL);
    fill(&k);
    for (uint64_t round = 0; round < kit_scale(40); round++) {
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            compare(&k, &r, counts[i], round % 3 == 0 ? L1_PEEK : 0);
        }
    }
    kit_close(&k);
}

T_ONE_THREAD;
T_MAIN("l1_many")
