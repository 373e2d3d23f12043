/* SPDX-License-Identifier: MIT
 *
 * Aim:    OK with CELLAR_GET_WANT_VERSION has a version, whatever other writers do meanwhile; where
 *         there can be none, a code says so.
 * Method: The source of get_with.c is part of this program. Its call of l1_version goes through a
 *         function that changes the key before and after it, as other threads may. */
#include "l1/l1.h"
#include "tests/support/t.h"

static cellar_err version_between_changes(l1 *l, const l1_key *k, uint64_t *version);
#define l1_version version_between_changes
#include "cache/get_with.c"
#undef l1_version

#include "tests/support/disk_store.h"
#include "tests/support/settings.h"

static cellar *c;
static unsigned calls, changes; /* calls of l1_version; so many of them meet other writers */

static void set(const char *value)
{
    T_EQ_I64(cellar_set(c, "k", 1, value, strlen(value), NULL), CELLAR_OK);
}

static cellar_err version_between_changes(l1 *l, const l1_key *k, uint64_t *version)
{
    if (++calls > changes) { return l1_version(l, k, version); }
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    const cellar_err err = l1_version(l, k, version);
    T_EQ_I64(err, CELLAR_MISS);
    set("other");
    return err;
}

static void begin(unsigned changed)
{
    settings cfg = { SETTINGS_SIZES, .host.no_threads = 1 };
    calls = 0;
    changes = changed;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    set("first");
}

static cellar_err get(cellar_entry_info *info, char buf[8])
{
    size_t len;
    *info = cellar_entry_info_default();
    const cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_WANT_VERSION,
                                .info = info };
    const cellar_err err = cellar_get_with(c, "k", 1, &o, buf, 8, &len);
    if (err == CELLAR_OK) { buf[len] = '\0'; }
    return err;
}

T_CASE(entry_that_replaced_another_is_returned_with_a_version)
{
    char buf[8];
    cellar_entry_info info;
    begin(1);
    T_EQ_I64(get(&info, buf), CELLAR_OK);
    T_EQ_STR(buf, "other");
    T_CHECK(info.version != 0 && (info.flags & CELLAR_INFO_VERSION) != 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    begin(1);
    info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, CELLAR_GET_WANT_VERSION, &info), CELLAR_OK);
    T_CHECK(info.version != 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_CASE(entry_that_is_replaced_in_each_round_is_busy)
{
    char buf[8];
    cellar_entry_info info;
    cellar_error_info e = cellar_error_info_default();
    begin(1000);
    T_EQ_I64(get(&info, buf), CELLAR_E_BUSY);
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_EQ_STR(e.text, "cellar_get_with: other calls replaced the entry in each of 64 tries: call "
                     "again");
    T_EQ_U64(calls, CACHE_ROUNDS);
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, CELLAR_GET_WANT_VERSION, &info), CELLAR_E_BUSY);
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_CHECK(strncmp(e.text, "cellar_entry_info_get: other calls replaced", 43) == 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

/* Only memory gives versions: an entry of the disk that finds no room there is not returned. */
T_CASE(entry_of_the_disk_without_room_in_memory_has_no_version)
{
    static char long_value[700000];
    char buf[8];
    cellar_entry_info info;
    cellar_pinned pins[64];
    unsigned n = 0;
    store_begin();
    calls = changes = 0;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .config.l2_path = store,
                     .config.l2_bytes = 64u << 20, .host.clock = read_clock, .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    set("disk");
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    for (size_t len = sizeof long_value; n < 64 && len >= 1000;) { /* pinned: no room is left */
        if (cellar_reserve(c, len, &pins[n]) == CELLAR_OK) { n++; } else { len /= 2; }
    }
    info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, CELLAR_GET_WANT_VERSION, &info), CELLAR_E_SPACE);
    const cellar_err err = get(&info, buf); /* it may find a hole in the log */
    T_CHECK(err == CELLAR_E_SPACE || (err == CELLAR_OK && info.version != 0));
    while (n > 0) { cellar_unpin(&pins[--n]); }
    T_EQ_I64(get(&info, buf), CELLAR_OK);
    T_CHECK(info.version != 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_ONE_THREAD;
T_MAIN("cache_version")
