/* SPDX-License-Identifier: MIT
 *
 * cmd_keys: KEYS SCAN RANDOMKEY DBSIZE RENAME RENAMENX COPY FLUSHDB FLUSHALL.
 *
 * WALK       KEYS, DBSIZE, RANDOMKEY: slices -> reply. A slice reads RESP_WALK_ENTRIES entries, or
 *            for RESP_SCAN_NS. After the first one the client waits; serve.c runs the next one in
 *            a later round. SCAN: one slice. The glob is matched here: the server knows patterns of
 *            any length.
 * INVARIANTS Each command shows what GET finds: values, no negative entries. A key that is present
 *            from the first to the last slice is shown, with a disk tier unless it is written
 *            meanwhile; another one may be. KEYS shows a key once. DBSIZE counts it once, unless it
 *            is written or moves to the disk meanwhile.
 *            Inside EXEC all slices run in one round: a transaction is atomic against others.
 *            RENAME, RENAMENX and COPY are several calls: atomic against other clients of the port
 *            only.
 * LOCKING    None.
 * LIMITS     KEYS ends with an error after 1,000,000 keys. One SCAN reads up to 10 x count buckets,
 *            100,000 at most, for 1 ms. A slice may wait 25 ms for entries that move to disk. */
#include "base/num.h"
#include "base/random.h"
#include "resp/client.h"
#include "resp/control.h"
#include "resp/data.h"
#include "resp/entry.h"
#include "resp/key_list.h"
#include "resp/trace.h"
#include "resp/track.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

BASE_SIZE_BEGIN

#define RESP_KEYS_MAX         1000000u
#define RESP_SCAN_BUCKETS_MAX 100000u
#define RESP_SCAN_BUCKETS     8u /* buckets between two looks at the clock; 64 disk records */
#define RESP_SCAN_NS          UINT64_C(1000000) /* the longest time of a slice, but for an entry */
#define RESP_STALL_NS         UINT64_C(1000000000) /* so long a scan waits for a disk */
#define RESP_WALK_ENTRIES     1024u             /* entries of a slice */
#define RESP_WALK_FREE        256u              /* allocations that a slice frees */
#define RESP_STRIPES          64u /* usual stripes of a store; upper half of a cursor */

/* ---- Lists of keys --------------------------------------------------------------------------- */

/* Return whether a namespace is switched off: a scan would show its entries, GET does not. */
static bool resp_is_off(cellar *ns)
{
    return cellar_update(ns, "?", 1, NULL, resp_change_nothing, NULL) == CELLAR_DISABLED;
}

/* Return whether a scan goes on later: the disk does not answer, which may end soon. */
static bool resp_scan_waits(const resp_client *c, resp_key_list *l)
{
    if (l->stalled_ns == 0) { l->stalled_ns = l->end_ns; }
    return (c->flags & RESP_C_IN_EXEC) == 0 && l->end_ns - l->stalled_ns < RESP_STALL_NS;
}

/* Walk from *cursor on, until the list ends the scan or `buckets` buckets were read. place: that of
 * cellar_scan_opts. Return false: an error was written. */
static bool resp_scan_some(resp_client *c, cellar *ns, uint64_t *cursor, uint64_t *place,
                           uint64_t buckets, resp_key_list *l)
{
    if (resp_is_off(ns)) {
        *cursor = 0;
        return true;
    }
    cellar_scan_opts o = cellar_scan_opts_default();
    o.bucket_count = RESP_SCAN_BUCKETS;
    o.flags = CELLAR_SCAN_DISK;
    o.place = place;
    uint64_t read = 0;
    l->end_ns = base_tsc_ns() + RESP_SCAN_NS;
    do {
        const cellar_err err = cellar_scan(ns, cursor, &o, resp_key_seen, l);
        if (err == CELLAR_E_BUSY && resp_scan_waits(c, l)) { return true; }
        if (err == CELLAR_E_BUSY) {
            resp_error(c, "ERR the disk does not answer");
            return false;
        }
        l->stalled_ns = 0;
        if (err != CELLAR_OK || l->full) {
            (void)resp_key_list_free(l, 1); /* room for the error */
            resp_fail(c, err != CELLAR_OK ? err : CELLAR_E_SPACE);
            return false;
        }
        read += RESP_SCAN_BUCKETS;
    } while (*cursor != 0 && l->seen < l->most_seen && read < buckets &&
             base_tsc_ns() < l->end_ns);
    return true;
}

/* Return whether every key matches. */
static bool resp_match_all(cellar_bytes match)
{
    return match.len == 1 && ((const char *)match.data)[0] == '*';
}

/* ---- Scans in slices ------------------------------------------------------------------------- */

/* Run one slice: read and, at the end, reply; then free. Return whether nothing is left. */
static bool resp_walk_slice(resp_client *c, resp_walk *w)
{
    if (w->reply == NULL) { return resp_key_list_free(&w->list, RESP_WALK_FREE); }
    const uint64_t since_ns = base_tsc_ns();
    resp_key_list *l = &w->list;
    cellar *ns = resp_ns(c);
    bool fine = ns != NULL;
    l->most_seen = l->seen + BASE_MIN(w->most_count, RESP_WALK_ENTRIES);
    fine = fine && resp_scan_some(c, ns, &w->cursor, &w->place, UINT64_MAX, l);
    w->passes -= fine && w->cursor == 0;
    const bool end = !fine || w->passes == 0 || l->count >= w->most_count;
    if (fine && end) { w->reply(c, w); }
    w->took_ns += base_tsc_ns() - since_ns;
    if (end) { w->reply = NULL; }
    return end && resp_key_list_free(&w->list, RESP_WALK_FREE);
}

CELLAR_PRIVATE void resp_walk_continue(resp_client *c)
{
    resp_walk *w = c->walk;
    const cellar_resp *r = c->of;
    if (r->walked) { return; }
    c->of->walked = true;
    resp_client_active(c);
    if (w->muted) { c->flags |= RESP_C_MUTED; }
    const bool end = resp_walk_slice(c, w);
    c->flags &= ~RESP_C_MUTED;
    if (!end) { return; }
    if (w->took_ns / 1000 > r->opts.slow_us) {
        resp_slow_note(c, w->argv, w->argc, w->took_ns / 1000);
    }
    resp_walk_drop(c);
}

/* Start a scan. NULL: an error was written. */
static resp_walk *resp_walk_new(resp_client *c, const cellar_bytes *argv, uint32_t argc,
                                void (*reply)(resp_client *c, resp_walk *w))
{
    size_t bytes = sizeof(resp_walk) + argc * sizeof *argv;
    for (uint32_t i = 0; i < argc; i++) { bytes += argv[i].len; }
    resp_walk *w = base_alloc(&c->of->obj.account, BASE_MOD_STORE, bytes, NULL);
    if (w == NULL) {
        resp_fail(c, CELLAR_E_SPACE);
        return NULL;
    }
    w->list.of = c->of;
    w->reply = reply;
    w->most_count = UINT64_MAX;
    w->passes = 1;
    w->muted = (c->flags & RESP_C_MUTED) != 0;
    w->bytes = bytes;
    w->argc = argc;
    resp_args_copy(w->argv, argv, argc);
    c->walk = w;
    return w;
}

/* Run the first slice of a scan; inside EXEC all of them. */
static void resp_walk_start(resp_client *c, resp_walk *w)
{
    bool end;
    do { end = resp_walk_slice(c, w); } while (!end && (c->flags & RESP_C_IN_EXEC));
    if (end) { resp_walk_drop(c); }
}

static void resp_keys_reply(resp_client *c, resp_walk *w)
{
    if (w->list.count > RESP_KEYS_MAX) {
        resp_error(c, "ERR more than %u keys match: use SCAN", RESP_KEYS_MAX);
    } else {
        resp_array(c, w->list.count);
        resp_key_list_put(c, &w->list);
    }
}

RESP_CALL(resp_cmd_keys)
{
    resp_walk *w = resp_walk_new(c, argv, argc, resp_keys_reply);
    if (w == NULL) { return; }
    if (!resp_match_all(w->argv[1])) { w->list.match = w->argv[1]; }
    w->list.distinct = true;
    w->most_count = RESP_KEYS_MAX + 1;
    resp_walk_start(c, w);
}

static void resp_dbsize_reply(resp_client *c, resp_walk *w)
{
    resp_int(c, (int64_t)w->list.seen);
}

RESP_CALL(resp_cmd_dbsize)
{
    resp_walk *w = resp_walk_new(c, argv, argc, resp_dbsize_reply);
    if (w == NULL) { return; }
    w->list.no_bytes = w->list.no_objects = true;
    resp_walk_start(c, w);
}

static void resp_randomkey_reply(resp_client *c, resp_walk *w)
{
    if (w->list.count == 0) { resp_null(c); }
    resp_key_list_put(c, &w->list);
}

/* Send a key of the first bucket with keys from a random place on. */
RESP_CALL(resp_cmd_randomkey)
{
    resp_walk *w = resp_walk_new(c, argv, argc, resp_randomkey_reply);
    if (w == NULL) { return; }
    uint32_t draw[3] = { 0, 0, 0 };
    (void)base_random_bytes(draw, sizeof draw); /* without: the first key */
    w->cursor = (uint64_t)(draw[0] % RESP_STRIPES) << 32 | draw[1];
    w->list.draw = (uint64_t)draw[2] << 1 | 1;
    w->most_count = 1;
    w->passes = 2;
    resp_walk_start(c, w);
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
    resp_key_list l = { .of = c->of, .match = o.match, .most_seen = (uint64_t)o.count };
    const uint64_t buckets = BASE_MIN((uint64_t)o.count, RESP_SCAN_BUCKETS_MAX / 10) * 10;
    if (o.match.data != NULL && resp_match_all(o.match)) { l.match.data = NULL; }
    l.no_bytes = o.type.data != NULL && !resp_is(&o.type, "string");
    l.no_objects = o.type.data != NULL && !resp_is(&o.type, "object");
    if (resp_scan_some(c, ns, &cursor, NULL, buckets, &l)) {
        char text[24];
        resp_array(c, 2);
        resp_bulk(c, text, (size_t)snprintf(text, sizeof text, "%" PRIu64, cursor));
        resp_array(c, l.count);
        resp_key_list_put(c, &l);
    }
    (void)resp_key_list_free(&l, UINT32_MAX);
}

/* ---- RENAME, COPY ---------------------------------------------------------------------------- */

/* Store the value of one key, with its TTL and user flags, under another. Return OK, MISS (no such
 * key), EXISTS (absent_only) or an error. */
static cellar_err resp_copy_entry(resp_client *c, cellar *from, cellar_bytes source, cellar *to,
                                  cellar_bytes target, bool absent_only)
{
    cellar_entry_info info;
    resp_held h = { .own.account = &c->of->obj.account };
    cellar_err err = CELLAR_MISS;
    for (uint32_t n = 0; n < RESP_BUSY_ROUNDS && err == CELLAR_MISS; n++) {
        err = resp_look(c, from, source, 0, &info);
        if (err != CELLAR_OK) { break; }
        err = resp_hold(c, from, source, &h); /* MISS: it has ended, or memory evicts it */
    }
    if (err == CELLAR_OK) {
        cellar_set_opts o = resp_write_opts(BASE_MAX(info.ttl_left_ms, 1));
        o.user_flags = info.user_flags;
        if (absent_only) { o.flags |= CELLAR_ONLY_IF_ABSENT; }
        err = resp_store(c, to, target, h.value, &o);
    }
    resp_held_free(&h);
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
    cellar_entry_info info;
    cellar_err err = CELLAR_OK;
    if (same) {
        err = resp_look(c, ns, argv[1], 0, &info);
        if (err == CELLAR_OK) { err = CELLAR_EXISTS; }
    } else {
        err = resp_copy_entry(c, ns, argv[1], ns, argv[2], absent_only);
    }
    if (err == CELLAR_OK) {
        bool gone;
        err = resp_delete(c, ns, argv[1], &gone);
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
    if (other && c->of->opts.writable == 0) {
        resp_error(c, "ERR COPY to another database needs the option writable");
    } else if (to == NULL) {
        resp_fail(c, err);
    } else if (to == from && resp_same_key(argv + 1)) {
        resp_error(c, "ERR source and destination objects are the same");
    } else {
        err = resp_copy_entry(c, from, argv[1], to, argv[2], (o.flags & RESP_OPT_REPLACE) == 0);
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

/* Clear the namespace of a database. */
static cellar_err resp_clear(cellar_resp *r, cellar *ns)
{
    const cellar_err err = cellar_clear(ns);
    if (ns != r->shared.store) { return err; }
    resp_control_clear(r);
    resp_changed_all(r);
    return err;
}

RESP_CALL(resp_cmd_flushdb)
{
    if (!resp_flush_words(c, argv, argc)) { return; }
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    const cellar_err err = resp_clear(c->of, ns);
    if (err != CELLAR_OK) { resp_fail(c, err); } else { resp_ok(c); }
}

RESP_CALL(resp_cmd_flushall)
{
    if (!resp_flush_words(c, argv, argc)) { return; }
    cellar_err first = CELLAR_OK;
    for (uint32_t db = 0; db < RESP_DBS; db++) {
        cellar_err err = CELLAR_OK;
        cellar *ns = resp_ns_of(c->of, db, &err);
        if (ns != NULL) { err = resp_clear(c->of, ns); }
        if (first == CELLAR_OK) { first = err; }
    }
    if (first != CELLAR_OK) { resp_fail(c, first); } else { resp_ok(c); }
}

BASE_SIZE_END
