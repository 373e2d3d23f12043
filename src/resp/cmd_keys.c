/* SPDX-License-Identifier: MIT
 *
 * cmd_keys: KEYS SCAN RANDOMKEY DBSIZE RENAME RENAMENX COPY FLUSHDB FLUSHALL.
 *
 * WALK       KEYS, DBSIZE: the whole namespace, in one command. SCAN: buckets until `count` keys
 *            were seen. The glob is matched here: the server knows patterns of any length.
 * INVARIANTS Each command shows what GET finds: values, no negative entries. SCAN shows an element
 *            that is present throughout at least once.
 *            RENAME, RENAMENX and COPY are several calls: atomic against other clients of the port
 *            only.
 * LOCKING    None.
 * LIMITS     KEYS ends with an error after 1,000,000 keys. One SCAN reads up to 10 x count buckets,
 *            100,000 at most, for 5 ms. KEYS and DBSIZE read the whole disk tier in one command. */
#include "base/num.h"
#include "base/random.h"
#include "resp/data.h"
#include "resp/entry.h"
#include "resp/key_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

BASE_SIZE_BEGIN

#define RESP_KEYS_MAX         1000000u
#define RESP_SCAN_BUCKETS_MAX 100000u
#define RESP_SCAN_SLICE       8u /* buckets between two looks at the clock; 64 disk records */
#define RESP_SCAN_NS          UINT64_C(5000000) /* the longest time of one SCAN, but for a slice */
#define RESP_STRIPES          64u /* usual stripes of a store; upper half of a cursor */

/* ---- Lists of keys --------------------------------------------------------------------------- */

static cellar_err resp_change_nothing(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)old, (void)old_len, (void)out, (void)ctx;
    return CELLAR_CONFLICT;
}

/* Return whether a namespace is switched off: a scan would show its entries, GET does not. */
static bool resp_is_off(cellar *ns)
{
    return cellar_update(ns, "?", 1, NULL, resp_change_nothing, NULL) == CELLAR_DISABLED;
}

/* Walk through at most `buckets` buckets from *cursor on. Return false: an error was written. */
static bool resp_walk(resp_client *c, cellar *ns, uint64_t *cursor, size_t buckets,
                      resp_key_list *l)
{
    if (resp_is_off(ns)) {
        *cursor = 0;
        return true;
    }
    cellar_scan_opts o = cellar_scan_opts_default();
    o.bucket_count = buckets;
    o.flags = CELLAR_SCAN_DISK;
    const cellar_err err = cellar_scan_with(ns, cursor, &o, resp_key_seen, l);
    if (err == CELLAR_OK && !l->full) { return true; }
    resp_fail(c, err != CELLAR_OK ? err : CELLAR_E_SPACE);
    return false;
}

/* Send the keys of a list as an array. */
static void resp_put_keys(resp_client *c, const resp_key_list *l)
{
    resp_array(c, l->count);
    for (size_t at = 0; at < l->used;) {
        const cellar_bytes key = resp_key_next(l, &at);
        resp_bulk(c, key.data, key.len);
    }
}

/* Return whether every key matches. */
static bool resp_match_all(cellar_bytes match)
{
    return match.len == 1 && ((const char *)match.data)[0] == '*';
}

RESP_CALL(resp_cmd_keys)
{
    (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    resp_key_list l = { .account = &c->of->account, .match = argv[1], .most_seen = UINT64_MAX,
                        .distinct = true };
    if (resp_match_all(l.match)) { l.match.data = NULL; }
    uint64_t cursor = 0;
    bool fine = true;
    do {
        fine = resp_walk(c, ns, &cursor, 1024, &l);
    } while (fine && cursor != 0 && l.count <= RESP_KEYS_MAX);
    if (fine && l.count > RESP_KEYS_MAX) {
        resp_error(c, "ERR more than %u keys match: use SCAN", RESP_KEYS_MAX);
    } else if (fine) {
        resp_put_keys(c, &l);
    }
    resp_key_list_free(&l);
}

/* Walk until `count` keys were seen, the buckets of one SCAN were read, or its time has passed. */
static bool resp_scan_some(resp_client *c, cellar *ns, uint64_t *cursor, int64_t count,
                           resp_key_list *l)
{
    const uint64_t most = BASE_MIN((uint64_t)count, RESP_SCAN_BUCKETS_MAX / 10) * 10;
    const uint64_t end_ns = base_tsc_ns() + RESP_SCAN_NS;
    uint64_t read = 0;
    do {
        if (!resp_walk(c, ns, cursor, RESP_SCAN_SLICE, l)) { return false; }
        read += RESP_SCAN_SLICE;
    } while (*cursor != 0 && l->seen < l->most_seen && read < most && base_tsc_ns() < end_ns);
    return true;
}

RESP_CALL(resp_cmd_scan)
{
    uint64_t cursor;
    resp_options o;
    if (!resp_read_cursor(argv[1].data, argv[1].len, &cursor)) {
        resp_error(c, "ERR invalid cursor");
        return;
    }
    const char *error = resp_options_scan(argv + 2, argc - 2, &o);
    if (error != NULL) {
        resp_error(c, "%s", error);
        return;
    }
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    resp_key_list l = { .account = &c->of->account, .match = o.match,
                        .most_seen = (uint64_t)o.count };
    if (o.match.data != NULL && resp_match_all(o.match)) { l.match.data = NULL; }
    l.counts_only = o.type.data != NULL && !resp_is(&o.type, "string");
    if (resp_scan_some(c, ns, &cursor, o.count, &l)) {
        char text[24];
        resp_array(c, 2);
        resp_bulk(c, text, (size_t)snprintf(text, sizeof text, "%" PRIu64, cursor));
        resp_put_keys(c, &l);
    }
    resp_key_list_free(&l);
}

RESP_CALL(resp_cmd_dbsize)
{
    (void)argv, (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    const bool disk = resp_has_disk(ns);
    resp_key_list l = { .account = &c->of->account, .most_seen = UINT64_MAX,
                        .counts_only = !disk, .distinct = disk };
    uint64_t cursor = 0;
    bool fine = true;
    do { fine = resp_walk(c, ns, &cursor, 1024, &l); } while (fine && cursor != 0);
    if (fine) { resp_int(c, (int64_t)(disk ? l.count : l.seen)); }
    resp_key_list_free(&l);
}

/* Send a key of the first bucket with keys from a random place on. */
RESP_CALL(resp_cmd_randomkey)
{
    (void)argv, (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    resp_key_list l = { .account = &c->of->account, .most_seen = 1 };
    uint32_t draw[3] = { 0, 0, 0 };
    (void)base_random_bytes(draw, sizeof draw); /* without: the first key */
    uint64_t cursor = (uint64_t)(draw[0] % RESP_STRIPES) << 32 | draw[1];
    bool fine = resp_walk(c, ns, &cursor, SIZE_MAX, &l);
    if (fine && l.count == 0) {
        cursor = 0;
        fine = resp_walk(c, ns, &cursor, SIZE_MAX, &l);
    }
    if (fine && l.count == 0) {
        resp_null(c);
    } else if (fine) {
        size_t at = 0;
        cellar_bytes key = resp_key_next(&l, &at);
        for (uint64_t skip = draw[2] % l.count; skip > 0; skip--) { key = resp_key_next(&l, &at); }
        resp_bulk(c, key.data, key.len);
    }
    resp_key_list_free(&l);
}

/* ---- RENAME, COPY ---------------------------------------------------------------------------- */

/* Store the value of one key, with its TTL and user flags, under another. Return OK, MISS (no such
 * key), EXISTS (absent_only) or an error. */
static cellar_err resp_copy_entry(cellar *from, cellar_bytes source, cellar *to,
                                  cellar_bytes target, bool absent_only)
{
    cellar_entry_info info;
    cellar_pinned p = { NULL, 0, { 0 } };
    void *copy = NULL;
    size_t len = 0;
    cellar_err err = resp_info(from, source, &info);
    if (err == CELLAR_OK) { err = cellar_pin(from, source.data, source.len, &p); }
    if (err == CELLAR_E_LIMIT) {
        err = cellar_get_alloc(from, source.data, source.len, &copy, &len);
    }
    if (err == CELLAR_OK) {
        cellar_set_opts o = resp_write_opts(info.ttl_left_ms);
        o.user_flags = info.user_flags;
        if (absent_only) { o.flags |= CELLAR_ONLY_IF_ABSENT; }
        const cellar_bytes value = copy != NULL ? (cellar_bytes){ copy, len }
                                                : (cellar_bytes){ p.value, p.value_len };
        err = resp_store(to, target, value, &o);
    }
    cellar_unpin(&p);
    cellar_free(copy);
    return err == CELLAR_ABSENT ? CELLAR_MISS : err;
}

/* Return whether two arguments are the same key. */
static bool resp_same_key(const cellar_bytes *argv)
{
    return argv[0].len == argv[1].len && memcmp(argv[0].data, argv[1].data, argv[0].len) == 0;
}

static void resp_rename_run(resp_client *c, const cellar_bytes *argv, bool absent_only)
{
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    const bool same = resp_same_key(argv + 1);
    cellar_err err = CELLAR_OK;
    if (same) {
        err = resp_has(ns, argv[1]) ? CELLAR_EXISTS : CELLAR_MISS;
    } else {
        err = resp_copy_entry(ns, argv[1], ns, argv[2], absent_only);
    }
    if (err == CELLAR_OK) {
        bool gone;
        err = resp_delete(ns, argv[1], &gone);
    }
    if (err == CELLAR_MISS) {
        resp_error(c, "ERR no such key");
    } else if (err != CELLAR_OK && err != CELLAR_EXISTS) {
        resp_fail(c, err);
    } else if (absent_only) {
        resp_int(c, err == CELLAR_OK);
    } else {
        resp_ok(c);
    }
}

RESP_CALL(resp_cmd_rename)
{
    (void)argc;
    resp_rename_run(c, argv, false);
}

RESP_CALL(resp_cmd_renamenx)
{
    (void)argc;
    resp_rename_run(c, argv, true);
}

RESP_CALL(resp_cmd_copy)
{
    resp_options o;
    const char *error = resp_options_copy(argv + 3, argc - 3, &o);
    if (error != NULL) {
        resp_error(c, "%s", error);
        return;
    }
    const bool other = (o.flags & RESP_OPT_DB) != 0;
    cellar *from = resp_ns(c);
    if (from == NULL) { return; }
    cellar_err err = CELLAR_OK;
    cellar *to = other ? resp_ns_of(c->of, (uint32_t)o.db, &err) : from;
    if (to == NULL) {
        resp_fail(c, err);
    } else if (to == from && resp_same_key(argv + 1)) {
        resp_error(c, "ERR source and destination objects are the same");
    } else {
        err = resp_copy_entry(from, argv[1], to, argv[2], (o.flags & RESP_OPT_REPLACE) == 0);
        if (err == CELLAR_OK || err == CELLAR_MISS || err == CELLAR_EXISTS) {
            resp_int(c, err == CELLAR_OK);
        } else {
            resp_fail(c, err);
        }
    }
}

/* ---- FLUSHDB, FLUSHALL ----------------------------------------------------------------------- */

/* Check the words after FLUSHDB: SYNC and ASYNC do the same, a clear takes O(1). Return false: an
 * error was written. */
static bool resp_flush_words(resp_client *c, const cellar_bytes *argv, uint32_t argc)
{
    if (argc == 1 || (argc == 2 && (resp_is(&argv[1], "sync") || resp_is(&argv[1], "async")))) {
        return true;
    }
    resp_syntax(c);
    return false;
}

RESP_CALL(resp_cmd_flushdb)
{
    if (!resp_flush_words(c, argv, argc)) { return; }
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    const cellar_err err = cellar_clear(ns);
    if (err != CELLAR_OK) { resp_fail(c, err); } else { resp_ok(c); }
}

RESP_CALL(resp_cmd_flushall)
{
    if (!resp_flush_words(c, argv, argc)) { return; }
    cellar_err first = CELLAR_OK;
    for (uint32_t db = 0; db < RESP_DBS; db++) {
        cellar_err err = CELLAR_OK;
        cellar *ns = resp_ns_of(c->of, db, &err);
        if (ns != NULL) { err = cellar_clear(ns); }
        if (first == CELLAR_OK) { first = err; }
    }
    if (first != CELLAR_OK) { resp_fail(c, first); } else { resp_ok(c); }
}

BASE_SIZE_END
