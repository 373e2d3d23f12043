/* SPDX-License-Identifier: MIT
 *
 * shared: the store that processes share, and what the functions of CELLAR.TIER do with it.
 *
 * PICTURE    entries: a store without threads, thirteen sixteenths of shared_bytes
 *            control keys: tables (control.c), two; limiters (shared_limit.c), one
 * INVARIANTS Only the thread of the round reads, writes, expires and evicts: each request and each
 *            function is atomic, and no change reaches the announcer late.
 *            A listener of the store notes what is evicted and what expires (track.c).
 * LIMITS     A function has up to four values at hand. */
#include <errno.h>

#include "base/num.h"
#include "cellar_admin.h"
#include "cellar_observe.h"
#include "resp/control.h"
#include "resp/entry.h"
#include "resp/shared.h"
#include "resp/shared_limit.h"
#include "resp/track.h"

BASE_SIZE_BEGIN

#define RESP_LARGEST_REST (UINT64_C(16) << 10) /* of a request or half of the store: a key, words */
#define RESP_CONTROL_PART 8   /* of shared_bytes, for control keys */
#define RESP_TICK_US 1000     /* of a round for the store */
#define RESP_TICK_MS 100      /* longest time between two ticks */

/* ---- open, close, tick ---- */

static void resp_shared_ended(const cellar_event *e, void *port)
{
    resp_changed(port, NULL, (cellar_bytes){ e->key, e->key_len });
}

/* Set the parts of a size. Return the bytes of the entries. */
static uint64_t resp_shared_parts(cellar_resp *r, uint64_t bytes)
{
    resp_shared *s = &r->shared;
    const uint64_t most = bytes / RESP_CONTROL_PART, limits = bytes / RESP_LIMIT_PART;
    base_store_rlx(&s->most_bytes, most);
    base_store_rlx(&s->limit_most_bytes, limits);
    s->largest = BASE_MIN((bytes - most - limits) / 2, r->opts.max_request_bytes) -
                 RESP_LARGEST_REST;
    return bytes - most - limits;
}

CELLAR_PRIVATE cellar_err resp_shared_open(cellar_resp *r, const cellar_resp_config *o,
                                           const cellar_host_config *host)
{
    resp_shared *s = &r->shared;
    cellar_host_config own = *host;
    cellar_config cfg = cellar_config_default();
    uint64_t id;
    s->look_ms = INT64_MAX;
    if (o->shared_bytes == 0) { return CELLAR_OK; }
    own.no_threads = 1;
    cfg.host = &own;
    cfg.memory_bytes = resp_shared_parts(r, o->shared_bytes);
    for (uint32_t i = 0; i < RESP_PARTS; i++) {
        base_account_init(&s->part[i].account, UINT64_MAX, &r->obj.account.hooks);
    }
    const cellar_err err = cellar_open(&cfg, &s->store);
    if (err != CELLAR_OK) { return err; }
    r->db[0].handle = s->store;
    return cellar_listener_add(s->store, CELLAR_CAUSE_BIT(EVICTED) | CELLAR_CAUSE_BIT(EXPIRED),
                               resp_shared_ended, r, &id);
}

CELLAR_PRIVATE cellar_err resp_shared_resize(cellar_resp *r, uint64_t bytes)
{
    resp_shared *s = &r->shared;
    const uint64_t keys = base_load_rlx(&s->part[RESP_PART_KEYS].account.used);
    const uint64_t old = base_load_rlx(&s->most_bytes) * RESP_CONTROL_PART;
    if (keys > bytes / RESP_CONTROL_PART / RESP_PARTS) { return CELLAR_E_SPACE; }
    const cellar_err err = cellar_option_set(s->store, CELLAR_OPT_MEMORY_BYTES,
                                             (int64_t)resp_shared_parts(r, bytes));
    if (err != CELLAR_OK && err != CELLAR_E_BUSY) { (void)resp_shared_parts(r, old); }
    return err; /* E_BUSY: the store has the new size */
}

static void resp_shared_unread(resp_shared *s)
{
    for (uint32_t i = 0; i < RESP_READS; i++) { cellar_unpin(&s->read[i]); }
}

CELLAR_PRIVATE void resp_shared_close(cellar_resp *r)
{
    resp_shared *s = &r->shared;
    if (s->store == NULL) { return; }
    resp_shared_unread(s);
    resp_control_clear(r);
    resp_limit_close(r);
    BASE_ASSERT(resp_control_used(r) == 0);
    base_free(&r->obj.account, BASE_MOD_STORE, r->tracking.changes, r->tracking.cap);
    (void)cellar_close(s->store);
    r->db[0].handle = NULL;
    s->store = NULL;
}

/* Look whether the socket file has its place. If another port has it, close the clients: they would
 * not hear of the changes of its clients. They connect again, to that port. */
static void resp_shared_file(cellar_resp *r)
{
    const int before = r->shared.file;
    if (r->unix_file[0].inode == 0 || r->unix_path[0][0] != '/') { return; }
    r->shared.file = base_net_unix_look(r->unix_path[0], &r->unix_file[0]);
    if (r->shared.file == before || r->shared.file == 0) { return; }
    const bool taken = r->shared.file == -EEXIST;
    base_log(&r->obj.log, BASE_LOG_WARNING, "resp", (int)(taken ? CELLAR_E_BUSY : CELLAR_E_IO),
             taken ? "another process has the socket file %s: clients of this one are closed"
                   : "the socket file %s was removed: no client can connect until the port is "
                     "opened again", r->unix_path[0]);
    if (!taken) { return; }
    for (resp_client *c = r->first; c != NULL; c = c->next) {
        if (!(c->flags & RESP_C_UNIX)) { continue; }
        c->flags |= RESP_C_BROKEN;
        resp_wake(c);
    }
}

CELLAR_PRIVATE void resp_shared_tick(cellar_resp *r)
{
    resp_shared *s = &r->shared;
    int64_t wait_ms = RESP_TICK_MS;
    if (s->store == NULL || r->now_ms < s->tick_ms) { return; }
    resp_control_sweep(r);
    resp_limit_tick(r);
    (void)cellar_tick(s->store, RESP_TICK_US, &wait_ms);
    resp_shared_file(r);
    s->tick_ms = r->now_ms + BASE_MIN(BASE_MAX(wait_ms, 1), RESP_TICK_MS);
    resp_announce(r);
}

/* ---- functions ---- */

CELLAR_PRIVATE void resp_shared_begin(resp_client *c)
{
    c->of->shared.in_function = true;
    c->of->shared.fills = false;
    c->of->shared.wrote = false;
}

CELLAR_PRIVATE void resp_shared_end(resp_client *c)
{
    c->of->shared.in_function = false;
    resp_shared_unread(&c->of->shared);
}

CELLAR_PRIVATE bool resp_shared_get(resp_client *c, cellar_bytes key, cellar_bytes *value)
{
    resp_shared *s = &c->of->shared;
    *value = (cellar_bytes){ "", 0 };
    if (resp_is_control(key)) {
        const resp_control *k = resp_control_find(c->of, key);
        if (k != NULL) { *value = resp_control_value(k); }
        return k != NULL;
    }
    const uint32_t i = s->reads++ % RESP_READS;
    cellar_pinned *p = &s->read[i];
    size_t len;
    cellar_unpin(p);
    cellar_err err = cellar_get(s->store, key.data, key.len, s->copy[i], RESP_READ_COPY, &len);
    if (err == CELLAR_OK) { *value = (cellar_bytes){ s->copy[i], len }; }
    if (err == CELLAR_E_BUFFER) {
        err = cellar_pin(s->store, key.data, key.len, p);
        if (err == CELLAR_OK) { *value = (cellar_bytes){ p->value, p->value_len }; }
    }
    return err == CELLAR_OK;
}

CELLAR_PRIVATE int64_t resp_shared_pttl(resp_client *c, cellar_bytes key)
{
    cellar_entry_info info;
    if (resp_info(c, c->of->shared.store, key, &info) != CELLAR_OK) { return -2; }
    return info.ttl_left_ms == CELLAR_TTL_NONE ? -1 : info.ttl_left_ms;
}

CELLAR_PRIVATE bool resp_shared_set(resp_client *c, cellar_bytes key, cellar_bytes value,
                                    int64_t ttl_ms)
{
    const bool keeps = ttl_ms == RESP_TTL_KEEP;
    cellar_set_opts o = keeps ? resp_keep_opts() : resp_write_opts(ttl_ms);
    if (keeps) { o.flags |= CELLAR_ONLY_IF_PRESENT; } /* it may have expired since it was read */
    const cellar_err err = resp_store(c, c->of->shared.store, key, value, &o);
    if (err < 0) { resp_fail(c, err); }
    return err >= 0;
}

CELLAR_PRIVATE bool resp_shared_unlink(resp_client *c, cellar_bytes key)
{
    bool gone = false;
    (void)resp_delete(c, c->of->shared.store, key, &gone);
    c->of->shared.wrote = true; /* also without a key, as in Redis */
    return gone;
}

CELLAR_PRIVATE bool resp_shared_pexpire(resp_client *c, cellar_bytes key, int64_t ttl_ms)
{
    if (ttl_ms <= 0) { return resp_shared_unlink(c, key); }
    c->of->shared.wrote = true;
    return resp_touch(c, c->of->shared.store, key, ttl_ms) == CELLAR_OK;
}

BASE_SIZE_END
