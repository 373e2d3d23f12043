/* SPDX-License-Identifier: MIT
 *
 * Aim:    A key of CELLAR_KEY_MAX bytes works like any other key in the smallest store. Every call
 *         accepts it, compares all of it, and passes it to listeners and scans.
 * Method: Public calls only, one store of 1 MiB; keys that differ only in their last byte. */
#include "tests/support/api_kit.h"
#include "tests/support/scan.h"
#include "tests/support/settings.h"

enum { LEN = CELLAR_KEY_MAX };

static unsigned char key[LEN], other[LEN];
static char text[30000];

static struct { unsigned ended[CELLAR_CAUSE_COUNT], seen, wrong; } told;

static void on_end(const cellar_event *e, void *ctx)
{
    (void)ctx;
    told.ended[e->cause]++;
    told.wrong += e->key_len != LEN || memcmp(e->key, key, LEN - 1) != 0;
}

static bool on_entry(const cellar_scan_entry *e, void *ctx)
{
    (void)ctx;
    told.seen++;
    told.wrong += e->key_len != LEN || memcmp(e->key, key, LEN - 1) != 0;
    return true;
}

static cellar_err append_x(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    cellar_err err = cellar_buf_append(out, old, old_len);
    return err == CELLAR_OK ? cellar_buf_append(out, "x", 1) : err;
}

static cellar *open_one(void)
{
    memset(key, 'k', LEN);
    memset(other, 'k', LEN);
    other[LEN - 1] = 'o';
    memset(text, 't', sizeof text);
    memset(&told, 0, sizeof told);
    return api_open(1u << 20);
}

static void one_key(size_t len)
{
    static char buf[sizeof text + 1];
    cellar *c = open_one();
    cellar_pinned pin;
    cellar_entry_info info = cellar_entry_info_default();
    void *copy;
    size_t got;
    int64_t n;
    uint64_t id, cursor = 0;
    T_EQ_I64(cellar_listener_add(c, 0, on_end, NULL, &id), CELLAR_OK);
    T_EQ_I64(cellar_set(c, key, LEN, text, len, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get(c, other, LEN, buf, sizeof buf, &got), CELLAR_MISS);
    T_EQ_I64(cellar_get(c, key, LEN - 1, buf, sizeof buf, &got), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, key, LEN), CELLAR_OK);
    T_EQ_I64(cellar_get(c, key, LEN, buf, 0, &got), len != 0 ? CELLAR_E_BUFFER : CELLAR_OK);
    T_EQ_I64(peek(c, key, LEN, buf, sizeof buf, &got), CELLAR_OK);
    T_CHECK(got == len && memcmp(buf, text, len) == 0);
    T_EQ_I64(cellar_get_alloc(c, key, LEN, &copy, &got), CELLAR_OK);
    T_CHECK(got == len && memcmp(copy, text, len) == 0);
    cellar_free(copy);
    T_EQ_I64(cellar_pin(c, key, LEN, &pin), CELLAR_OK);
    T_EQ_I64(cellar_touch(c, key, LEN, 60000), CELLAR_OK);
    T_EQ_I64(cellar_update(c, key, LEN, NULL, append_x, NULL), CELLAR_OK);
    T_CHECK(pin.value_len == len && memcmp(pin.value, text, len) == 0);
    cellar_unpin(&pin);
    T_EQ_I64(cellar_get(c, key, LEN, buf, sizeof buf, &got), CELLAR_OK);
    T_CHECK(got == len + 1 && buf[len] == 'x');
    T_EQ_I64(cellar_entry_info_get(c, key, LEN, CELLAR_GET_WANT_VERSION, &info), CELLAR_OK);
    T_CHECK(info.version != 0);
    do {
        T_EQ_I64(cellar_scan(c, &cursor, SCAN("kk*k", 4, 0), on_entry, NULL), CELLAR_OK);
    } while (cursor != 0);
    T_EQ_U64(told.seen, 1);
    cellar_get_item many[2] = {{key, LEN, buf, sizeof buf, 0, CELLAR_E_INVAL, 0},
                               {other, LEN, buf, sizeof buf, 0, CELLAR_E_INVAL, 0}};
    T_EQ_I64(cellar_get_many(c, many, 2, &got), CELLAR_OK);
    T_CHECK(got == 1 && many[0].status == CELLAR_OK && many[1].status == CELLAR_MISS);
    T_EQ_I64(cellar_increment(c, other, LEN, 3, 4, NULL, &n), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, other, LEN, 3, 4, NULL, &n), CELLAR_OK);
    T_EQ_I64(n, 10);
    T_EQ_I64(cellar_delete(c, key, LEN), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, key, LEN), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, other, LEN), CELLAR_OK);
    T_EQ_I64(cellar_touch(c, other, LEN, 5), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 5);
    T_EQ_I64(cellar_get(c, other, LEN, buf, sizeof buf, &got), CELLAR_MISS);
    (void)cellar_tick(c, UINT64_MAX, NULL);
    T_EQ_U64(told.ended[CELLAR_CAUSE_DELETED], 1);
    T_EQ_U64(told.ended[CELLAR_CAUSE_EXPIRED], 1);
    T_EQ_U64(told.wrong, 0);
    api_shut(c);
}

T_CASE(every_call_accepts_longest_key)
{
    one_key(0);
    one_key(100);
    one_key(20000);
}

T_CASE(namespaces_and_batches_accept_longest_key)
{
    cellar *c = open_one(), *v = NULL;
    char buf[8];
    size_t n;
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    cellar_set_item set[2] = {{key, LEN, "1", 1, CELLAR_E_INVAL, 0},
                              {other, LEN, "2", 1, CELLAR_E_INVAL, 0}};
    T_EQ_I64(cellar_set_many(v, set, 2, NULL, &n), CELLAR_OK);
    T_EQ_U64(n, 2);
    T_EQ_I64(cellar_get(c, key, LEN, buf, sizeof buf, &n), CELLAR_MISS);
    T_EQ_I64(cellar_get(v, other, LEN, buf, sizeof buf, &n), CELLAR_OK);
    T_CHECK(n == 1 && buf[0] == '2');
    cellar_delete_item del[2] = {{key, LEN, CELLAR_E_INVAL, 0}, {other, LEN, CELLAR_E_INVAL, 0}};
    T_EQ_I64(cellar_delete_many(v, del, 1, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_I64(cellar_clear(v), CELLAR_OK);
    T_EQ_I64(cellar_get(v, other, LEN, buf, sizeof buf, &n), CELLAR_MISS);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    api_shut(c);
}

T_MAIN("api_long_keys")
