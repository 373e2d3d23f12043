/* SPDX-License-Identifier: MIT
 *
 * lock: locks that several processes share.
 *
 * PICTURE    acquire -> row of the key, in order of arrival -> script LOCK -> owner, fence
 *                          ^ heard: the key was released or expired     `-> held: sleep
 * INVARIANTS Only the first waiter of a key in this process asks the server. It is in its row
 *            before it asks, so it hears each release behind its request.
 *            The hold of a handle ends `hold` after the request was sent, which is before the
 *            server ends it.
 * LOCKING    remote_lock_row.lock; the server is asked without it.
 * LIMITS     waiting is fair inside one process only. */
#include "remote/share.h"

#include <stdio.h>
#include <string.h>

#include "remote/key.h"

enum { REMOTE_LOCK_HOLD_MS = 30000, REMOTE_LOCK_WAIT_MS = 30000 };

struct remote_lock_wait {
    remote_lock_wait *next;
    const remote_name *name;
    bool woken; /* the key was heard since the last request */
};

/* ---- Waiters of a key ----------------------------------------------------------------------- */

static remote_lock_row *remote_row_of(struct remote_share *s, const char *name, size_t len)
{
    return &s->rows[remote_check(s->seed, name, len) % REMOTE_LOCK_ROWS];
}

static bool remote_same_name(const remote_name *n, const char *name, size_t len)
{
    return n->len == len && memcmp(n->text, name, len) == 0;
}

static void remote_row_wake(remote_lock_row *row, const char *name, size_t len)
{
    pthread_mutex_lock(&row->lock);
    for (remote_lock_wait *w = row->first; w != NULL; w = w->next) {
        if (name == NULL || remote_same_name(w->name, name, len)) { w->woken = true; }
    }
    remote_share_wake(&row->changed);
    pthread_mutex_unlock(&row->lock);
}

CELLAR_PRIVATE void remote_share_heard(cellar_remote *r, const char *key, size_t len)
{
    struct remote_share *s = r->share;
    if (s == NULL || atomic_load_explicit(&s->lock_waits, memory_order_seq_cst) == 0) { return; }
    remote_row_wake(remote_row_of(s, key, len), key, len);
}

CELLAR_PRIVATE void remote_share_gap(cellar_remote *r)
{
    struct remote_share *s = r->share;
    for (size_t i = 0; s != NULL && i < REMOTE_LOCK_ROWS; i++) {
        remote_row_wake(&s->rows[i], NULL, 0);
    }
}

#ifndef CELLAR_OMIT_LIMIT

static void remote_row_enter(struct remote_share *s, remote_lock_row *row, remote_lock_wait *w)
{
    pthread_mutex_lock(&row->lock);
    remote_lock_wait **at = &row->first;
    while (*at != NULL) { at = &(*at)->next; }
    *at = w;
    atomic_fetch_add_explicit(&s->lock_waits, 1, memory_order_seq_cst);
    pthread_mutex_unlock(&row->lock);
}

static void remote_row_leave(struct remote_share *s, remote_lock_row *row, remote_lock_wait *w)
{
    pthread_mutex_lock(&row->lock);
    remote_lock_wait **at = &row->first;
    while (*at != w) { at = &(*at)->next; }
    *at = w->next;
    atomic_fetch_sub_explicit(&s->lock_waits, 1, memory_order_relaxed);
    remote_share_wake(&row->changed);
    pthread_mutex_unlock(&row->lock);
}

static bool remote_row_is_first(const remote_lock_row *row, const remote_lock_wait *w)
{
    const remote_lock_wait *i = row->first;
    while (!remote_same_name(i->name, w->name->text, w->name->len)) { i = i->next; }
    return i == w;
}

/* Wait until `w` is the first of its key and was woken, or until `until_ms`. */
static void remote_row_sleep(cellar_remote *r, remote_lock_row *row, remote_lock_wait *w,
                             int64_t until_ms, bool asked)
{
    pthread_mutex_lock(&row->lock);
    while (!(remote_row_is_first(row, w) && (w->woken || !asked))) {
        const int64_t left = until_ms - remote_share_now();
        if (left <= 0) { break; }
        if (r->cfg.no_thread) { /* the caller hears for itself */
            pthread_mutex_unlock(&row->lock);
            const bool busy = remote_link_step(r->link, 1) == CELLAR_E_BUSY;
            pthread_mutex_lock(&row->lock);
            if (busy) { remote_share_sleep(&row->changed, &row->lock, 1); }
        } else {
            remote_share_sleep(&row->changed, &row->lock, left);
        }
    }
    w->woken = false;
    pthread_mutex_unlock(&row->lock);
}

/* ---- The scripts ---------------------------------------------------------------------------- */

static void remote_lock_name(const cellar_remote *r, const void *key, size_t key_len,
                             remote_name *out)
{
    const remote_names names = { r->cfg.prefix, "~k" };
    remote_key_name(&names, key, key_len, out);
}

/* Words of the script that gives a lock a new life if the key has its token; 0: release it. */
#define REMOTE_LOCK_KEEP(r, named, name, token, life_ms) \
    REMOTE_WORDS(REMOTE_EVAL(r, named, REMOTE_SCRIPT_KEEP, "1"), REMOTE_NAME(name), \
                 { token, REMOTE_UUID_TEXT }, REMOTE_NUMBER(life_ms))

static cellar_err remote_lock_keep(cellar_remote *r, const void *key, size_t key_len,
                                   const cellar_remote_lock *lk, int64_t hold_ms)
{
    remote_name name;
    char token[REMOTE_UUID_TEXT + 1];
    int64_t numbers[REMOTE_NUMBERS_MAX];
    remote_random_text(lk->opaque, token);
    remote_lock_name(r, key, key_len, &name);
    const bool named = remote_is_named(r);
    const cellar_err err = remote_script_run(r, REMOTE_LOCK_KEEP(r, named, &name, token, hold_ms),
                                             0, numbers, NULL);
    return err != CELLAR_OK ? err : numbers[0] == 1 ? CELLAR_OK : CELLAR_E_LOST;
}

/* Ask for the lock. E_BUSY: *left_ms of the owner, INT64_MAX for a key without a TTL, which is of
 * another program. After an unknown fate the token is released. */
static cellar_err remote_lock_ask(cellar_remote *r, const remote_name *name, int64_t hold_ms,
                                  cellar_remote_lock *out, int64_t *left_ms)
{
    remote_fate fate;
    char fence[CELLAR_REMOTE_PREFIX_MAX + 8], token[REMOTE_UUID_TEXT + 1];
    int64_t numbers[REMOTE_NUMBERS_MAX];
    (void)snprintf(fence, sizeof fence, "~%s:fence", r->cfg.prefix);
    remote_random_text(out->opaque, token);
    const int64_t sent = remote_share_now();
    bool named = remote_is_named(r);
    cellar_err err = remote_script_run(
        r, REMOTE_WORDS(REMOTE_EVAL(r, named, REMOTE_SCRIPT_LOCK, "2"), REMOTE_NAME(name),
                        REMOTE_WORD(fence), { token, REMOTE_UUID_TEXT }, REMOTE_NUMBER(hold_ms)),
        0, numbers, &fate);
    if (err == CELLAR_OK && numbers[0] == 0) {
        *left_ms = numbers[1] >= 0 ? numbers[1] : INT64_MAX;
        return CELLAR_E_BUSY;
    }
    out->fence = (uint64_t)numbers[1];
    out->until_ms = sent + hold_ms;
    if (err == CELLAR_OK && remote_share_now() >= out->until_ms) { err = CELLAR_E_TIMEOUT; }
    if (err == CELLAR_E_TIMEOUT || (err != CELLAR_OK && fate == REMOTE_UNKNOWN)) {
        named = remote_is_named(r);
        remote_script_post(r, REMOTE_LOCK_KEEP(r, named, name, token, 0));
    }
    return err;
}

/* ---- Calls ---------------------------------------------------------------------------------- */

static bool remote_lock_is_held(const cellar_remote_lock *lk)
{
    return (lk->opaque[0] | lk->opaque[1]) != 0;
}

/* Read the options of a call. *wait_ms 0: do not wait. */
static cellar_err remote_lock_opts(const cellar_lock_opts *o, int64_t *wait_ms, int64_t *hold_ms)
{
    *wait_ms = REMOTE_LOCK_WAIT_MS;
    *hold_ms = REMOTE_LOCK_HOLD_MS;
    if (o == NULL) { return CELLAR_OK; }
    if (o->struct_size != sizeof *o || (o->flags & ~CELLAR_LOCK_NO_WAIT) != 0 || o->note != NULL ||
        o->reserved0 != 0) {
        return CELLAR_E_UNSUPPORTED;
    }
    if (o->wait_timeout_ms < 0 || o->hold_ms < 0 || o->hold_ms > CELLAR_REMOTE_HOLD_MAX_MS) {
        return CELLAR_E_INVAL;
    }
    if (o->wait_timeout_ms != 0) { *wait_ms = o->wait_timeout_ms; }
    if ((o->flags & CELLAR_LOCK_NO_WAIT) != 0) { *wait_ms = 0; }
    if (o->hold_ms != 0) { *hold_ms = o->hold_ms; }
    return CELLAR_OK;
}

static cellar_err remote_lock_await(cellar_remote *r, const remote_name *name, int64_t wait_ms,
                                   int64_t hold_ms, cellar_remote_lock *out)
{
    struct remote_share *s = r->share;
    remote_lock_row *row = remote_row_of(s, name->text, name->len);
    remote_lock_wait w = { .name = name };
    const int64_t now = remote_share_now();
    const int64_t deadline = wait_ms > INT64_MAX - now ? INT64_MAX : now + wait_ms;
    cellar_err err = CELLAR_E_TIMEOUT;
    int64_t left_ms = 0;
    remote_row_enter(s, row, &w);
    remote_row_sleep(r, row, &w, deadline, false);
    while (remote_share_now() < deadline) {
        err = remote_lock_ask(r, name, hold_ms, out, &left_ms);
        if (err != CELLAR_E_BUSY) { break; }
        err = CELLAR_E_TIMEOUT;
        const int64_t from = remote_share_now();
        const int64_t until = left_ms < deadline - from ? from + left_ms + 1 : deadline;
        remote_row_sleep(r, row, &w, until, true);
    }
    remote_row_leave(s, row, &w);
    return err;
}

CELLAR_API cellar_err cellar_remote_lock_acquire(cellar_remote *r, const void *key,
                                                 size_t key_len, const cellar_lock_opts *o,
                                                 cellar_remote_lock *out)
{
    remote_name name;
    cellar_remote_lock lk = { .fence = 0 };
    int64_t wait_ms, hold_ms, left_ms;
    if (out == NULL) { return CELLAR_E_INVAL; }
    *out = lk;
    if (r == NULL || key == NULL || key_len == 0 || key_len > CELLAR_KEY_MAX) {
        return CELLAR_E_INVAL;
    }
    if (r->forked) { return CELLAR_E_FORKED; }
    if (remote_inside(r->link)) { return CELLAR_E_DEADLOCK; } /* no other thread would hear */
    cellar_err err = remote_lock_opts(o, &wait_ms, &hold_ms);
    if (err == CELLAR_OK) { err = remote_random(lk.opaque, 2); }
    if (err != CELLAR_OK) { return err; }
    remote_lock_name(r, key, key_len, &name);
    err = wait_ms == 0 ? remote_lock_ask(r, &name, hold_ms, &lk, &left_ms)
                       : remote_lock_await(r, &name, wait_ms, hold_ms, &lk);
    if (err == CELLAR_OK) { *out = lk; }
    return err;
}

CELLAR_API cellar_err cellar_remote_lock_check(const cellar_remote *r,
                                               const cellar_remote_lock *lk)
{
    if (r == NULL || lk == NULL) { return CELLAR_E_INVAL; }
    if (r->forked) { return CELLAR_E_FORKED; }
    if (!remote_lock_is_held(lk)) { return CELLAR_E_NOT_OWNER; }
    return remote_share_now() < lk->until_ms ? CELLAR_OK : CELLAR_E_LOST;
}

CELLAR_API cellar_err cellar_remote_lock_extend(cellar_remote *r, const void *key, size_t key_len,
                                                cellar_remote_lock *lk, int64_t hold_ms)
{
    if (key == NULL || key_len == 0 || key_len > CELLAR_KEY_MAX || hold_ms < 1 ||
        hold_ms > CELLAR_REMOTE_HOLD_MAX_MS) {
        return CELLAR_E_INVAL;
    }
    cellar_err err = cellar_remote_lock_check(r, lk);
    if (err != CELLAR_OK) { return err; }
    const int64_t sent = remote_share_now();
    err = remote_lock_keep(r, key, key_len, lk, hold_ms);
    if (err == CELLAR_E_LOST) {
        lk->until_ms = sent;
    } else if (err == CELLAR_OK || sent + hold_ms < lk->until_ms) {
        lk->until_ms = sent + hold_ms; /* without an answer it may be the shorter one */
    }
    return err == CELLAR_OK ? cellar_remote_lock_check(r, lk) : err; /* it may come too late */
}

CELLAR_API cellar_err cellar_remote_lock_release(cellar_remote *r, const void *key,
                                                 size_t key_len, cellar_remote_lock *lk)
{
    if (r == NULL || lk == NULL || key == NULL || key_len == 0 || key_len > CELLAR_KEY_MAX) {
        return CELLAR_E_INVAL;
    }
    if (r->forked) { return CELLAR_E_FORKED; }
    if (!remote_lock_is_held(lk)) { return CELLAR_E_NOT_OWNER; }
    const cellar_err err = remote_lock_keep(r, key, key_len, lk, 0);
    if (err == CELLAR_OK) { *lk = (cellar_remote_lock){ .fence = 0 }; }
    return err;
}

#endif
