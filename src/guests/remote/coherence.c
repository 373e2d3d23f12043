/* SPDX-License-Identifier: MIT
 *
 * coherence: what the link reports: invalidations, gaps, proofs.
 *
 * PROTOCOL   reconnect: tracking is on (link) -> all numbers read -> journal sent -> remote_synced
 *            -> marker -> entries in memory end -> proof. A reply that was on its way when entries
 *            ended is not stored: the store compares the life that the get noted.
 * INVARIANTS Entries end after tracking is on: a value that is stored between an end and tracking
 *            would never be invalidated. They end after the marker: a load without a proof has no
 *            lease. With TRUST a load asks for one since tracking is on, and entries end then.
 *            A heard key is removed from memory before the next message is handled, and before the
 *            marker behind it counts.
 * LOCKING    Functions run in the I/O thread. space.use is held for reading around host calls. */
#include <string.h>

#include "remote/control.h"
#include "remote/pending.h"
#include "remote/share.h"

/* Call `fn` for a namespace, if it is attached. */
static bool remote_space_call(remote_space *s, void (*fn)(remote_space *s, const void *arg),
                              const void *arg)
{
    pthread_rwlock_rdlock(&s->use);
    const bool attached = s->host != NULL;
    if (attached) { fn(s, arg); }
    pthread_rwlock_unlock(&s->use);
    return attached;
}

static void remote_each_space(struct remote_data *d, void (*fn)(remote_space *s, const void *arg),
                              const void *arg)
{
    const uint32_t n = atomic_load_explicit(&d->space_count, memory_order_acquire);
    for (uint32_t i = 0; i < n; i++) { (void)remote_space_call(d->space[i], fn, arg); }
}

/* ---- invalidations ---- */

/* Remove a key from memory. A digest names no key: then all entries end, if one may be there. */
static void remote_space_heard(remote_space *s, const void *parts)
{
    const remote_parts *p = parts;
    uint8_t key[CELLAR_REMOTE_KEY_TEXT_MAX];
    const size_t len = remote_key_of(p->text, p->text_len, key);
    if (len != 0) {
        s->host->changed(s->host->ctx, key, len);
    } else if (atomic_exchange(&s->has_digest, false)) {
        s->host->ended(s->host->ctx, CELLAR_TAG_HARD);
    }
}

static void remote_value_heard(cellar_remote *r, const remote_parts *p)
{
    remote_space *s = remote_space_named(r->data, p->space, p->space_len);
    if (s == NULL) {
        REMOTE_ADD(r, heard_foreign, 1);
        return;
    }
    (void)remote_space_call(s, remote_space_heard, p);
    REMOTE_ADD(r, heard, 1);
}

static void remote_space_end(remote_space *s, const void *mode)
{
    s->host->ended(s->host->ctx, *(const uint32_t *)mode);
}

static const uint32_t remote_hard = CELLAR_TAG_HARD;

static void remote_space_tag(remote_space *s, const void *parts)
{
    const remote_parts *p = parts;
    const uint32_t mode = p->kind == REMOTE_KIND_SOFT_TAG ? CELLAR_TAG_SOFT : CELLAR_TAG_HARD;
    s->host->tag_ended(s->host->ctx, p->text, p->text_len, mode);
}

static void remote_tag_heard(cellar_remote *r, const remote_parts *p)
{
    const uint32_t n = atomic_load_explicit(&r->data->space_count, memory_order_acquire);
    bool told = false; /* one host ends the tag in the whole store */
    for (uint32_t i = 0; i < n && !told; i++) {
        told = remote_space_call(r->data->space[i], remote_space_tag, p);
    }
}

/* End the entries of a namespace. */
static void remote_clear_heard(cellar_remote *r, const char *name, size_t len)
{
    remote_space *s = remote_space_named(r->data, name, len);
    if (s != NULL) { (void)remote_space_call(s, remote_space_end, &remote_hard); }
}

/* End the entries of a namespace in which another process deleted by pattern: memory may have
 * values that match, of loads without a lease. */
static void remote_pattern_heard(cellar_remote *r, const remote_parts *p)
{
    const size_t skip = REMOTE_OWN_TEXT + 1;
    if (p->text_len < skip || memcmp(p->text, r->cfg.uuid, REMOTE_OWN_TEXT) == 0) { return; }
    remote_clear_heard(r, p->text + skip, p->text_len - skip);
}

CELLAR_PRIVATE void remote_heard(cellar_remote *r, const char *key, size_t len)
{
    const remote_parts p = remote_name_parts(r->cfg.prefix, key, len);
    switch (p.kind) {
    case REMOTE_KIND_OTHER: remote_share_heard(r, key, len); break;
    case REMOTE_KIND_EPOCH: remote_control_heard(r->data, &p); break;
    case REMOTE_KIND_VALUE: remote_value_heard(r, &p); break;
    case REMOTE_KIND_GENERATION:
        remote_control_heard(r->data, &p); /* unknown first: no get may judge by the old number */
        remote_clear_heard(r, p.text, p.text_len);
        break;
    case REMOTE_KIND_PATTERN: remote_pattern_heard(r, &p); break;
    case REMOTE_KIND_TAG:
    case REMOTE_KIND_SOFT_TAG:
        remote_control_heard(r->data, &p);
        remote_tag_heard(r, &p);
        break;
    }
}

CELLAR_PRIVATE void remote_heard_flush(cellar_remote *r)
{
    REMOTE_ADD(r, flushes, 1);
    remote_control_forget(r->data);
    remote_each_space(r->data, remote_space_end, &remote_hard);
    remote_control_read_all(r->data, NULL);
    remote_share_gap(r);
}

/* ---- gaps and proofs ---- */

static void remote_space_gap(remote_space *s, const void *unused)
{
    (void)unused;
    s->tracked = false;
    s->host->proven(s->host->ctx, 0);
    remote_pending_queues(s, false); /* first: no value enters behind the walk */
    remote_pending_demote(s);
}

CELLAR_PRIVATE void remote_gap(cellar_remote *r)
{
    remote_control_forget(r->data);
    remote_each_space(r->data, remote_space_gap, NULL);
    remote_share_gap(r);
}

/* Choose how the entries of a namespace end behind a gap. They may stay as stale values if nothing
 * was cleared meanwhile. The clear of a RAW namespace raises no epoch. */
static void remote_space_linked(remote_space *s, const void *quiet)
{
    const bool stale = *(const bool *)quiet && s->opts.values != CELLAR_REMOTE_RAW;
    s->end_mode = stale ? CELLAR_TAG_SOFT : CELLAR_TAG_HARD;
    s->ends = s->opts.offline != CELLAR_REMOTE_TRUST;
    if (!s->ends) { remote_space_end(s, &s->end_mode); }
    remote_pending_queues(s, true);
    remote_pending_kick(s);
}

static void remote_numbers_read(struct remote_data *d, cellar_err err)
{
    if (err != CELLAR_OK) {
        remote_sync_failed(d->r->link, err);
        return;
    }
    const bool quiet = remote_control_epoch(d) == d->done;
    remote_each_space(d, remote_space_linked, &quiet);
    remote_synced(d->r->link);
}

/* Mark the spaces with a prefix that is heard. The first prefix is that of the numbers. */
static void remote_note_tracked(cellar_remote *r)
{
    const uint32_t tracked = remote_tracked(r->link);
    for (uint32_t i = 1; i < tracked; i++) { r->data->space[i - 1]->tracked = true; }
}

CELLAR_PRIVATE void remote_linked(cellar_remote *r)
{
    remote_note_tracked(r);
    remote_lease_again(r); /* before a waiter finds that they are gone */
    remote_control_read_all(r->data, remote_numbers_read);
}

/* Prove a space, unless it was attached behind the last tracking. Its entries end first: the loads
 * of the gap had no lease. A load that begins from now on asks for one. */
static void remote_space_proven(remote_space *s, const void *until_ms)
{
    if (!s->tracked) { return; }
    if (s->ends) { remote_space_end(s, &s->end_mode); }
    s->ends = false;
    s->host->proven(s->host->ctx, *(const int64_t *)until_ms);
    if (!remote_pending_empty(s)) { remote_pending_kick(s); }
}

CELLAR_PRIVATE void remote_proven(cellar_remote *r, int64_t until_ms)
{
    struct remote_data *d = r->data;
    d->done = d->doing; /* read before this marker was sent: the markers follow one another */
    d->doing = remote_control_epoch(d);
    remote_each_space(d, remote_space_proven, &until_ms);
}

CELLAR_PRIVATE size_t remote_prefix(void *remote, size_t i, char *buf, size_t cap)
{
    const cellar_remote *r = remote;
    const struct remote_data *d = r->data;
    const uint32_t n = atomic_load_explicit(&d->space_count, memory_order_acquire);
    remote_name name;
    if (i > n) { return 0; }
    if (i == 0) { /* all control keys: the name of the epoch without its last byte */
        remote_control_name(r->cfg.prefix, REMOTE_KIND_EPOCH, "", 0, &name);
    } else { /* all values of a namespace */
        remote_key_name(&d->space[i - 1]->names, "k", 1, &name);
    }
    if (name.len - 1 > cap) { return 0; }
    memcpy(buf, name.text, name.len - 1);
    return name.len - 1;
}
