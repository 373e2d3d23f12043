/* SPDX-License-Identifier: MIT
 *
 * status: values of tasks; each has a state, and the state decides the TTL.
 *
 * PICTURE    entry of the namespace: the value as given; user_flags: bits 0-3 the state, bits 4-31
 *            how often the entry was prolonged. The TTL class of a state is its number plus 1.
 * INVARIANTS Value and state are stored in one set and read in one read. An entry that was
 *            prolonged n times ends min(TTL + n x extra, greatest age) after its last change: the
 *            deadline therefore gives its age. Gain n + 1 needs an age of n x TTL or more.
 * WALK       update: cellar_update, up to 8 rounds -> lock of the id, then again. An owner that
 *            loses 64 rounds more closes the id: new updates begin with the lock. From then on
 *            another update beats the owner at most once for each thread that had begun before.
 *            read: base/hot_keys.c counts it -> hot and due: read value and version, set if the
 *            version is unchanged. A touch would shorten an entry that got another state meanwhile.
 * LOCKING    None, except that lock. It serves progress only: a call that waited 1 s, or finds no
 *            memory for the lock, goes on without it.
 * SEE ALSO   README.md in this folder: why the state is not a part of the value. */
#include "cellar_kit.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/hot_keys.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/opts.h"
#include "base/thread_record.h"
#include "cellar_lock.h"
#include "cellar_observe.h"

#include <string.h>

BASE_SIZE_BEGIN

#define KIT_STATUS_BITS 4u        /* of user_flags: the state */
#define KIT_STATUS_ROUNDS 8u      /* rounds of an update before it queues */
#define KIT_STATUS_TRIES 64u      /* calls of cellar_update in the queue, 64 rounds each */
#define KIT_STATUS_WAIT_MS 1000
#define KIT_STATUS_LOCKS 1024u
#define KIT_STATUS_GROUP 32u      /* items of one cellar_get_many */
#define KIT_STATUS_WINDOW 64u     /* items that are sorted by state */
#define KIT_STATUS_VALUE 1024u    /* bytes of a value that is prolonged without an allocation */
#define KIT_STATUS_QUEUES 64u
#define KIT_STATUS_HOT_SETS 256u
#define KIT_STATUS_SAMPLES 16u    /* that decide; a lower threshold counts each read */
#define KIT_STATUS_EVERY_MAX 64u

_Static_assert(CELLAR_STATUS_HOT_ID == BASE_HOT_KEY_BYTES, "one limit");
_Static_assert(CELLAR_TTL_CLASSES_MAX <= 1u << KIT_STATUS_BITS, "a state has 4 bits");

/* How often the ids are read. */
typedef struct kit_status_reads {
    base_hash_key hash_key;
    base_clock clock;
    uint32_t every; /* one read in so many is a sample */
    uint32_t need;  /* samples of a minute that make an id hot */
    base_hot *hot;  /* KIT_STATUS_HOT_SETS, behind this struct */
} kit_status_reads;

struct cellar_status {
    cellar *ns;
    kit_status_reads *reads;              /* NULL: no entry is hot */
    uint32_t state_count, fallback;       /* fallback: from 0 */
    int64_t ttl_ms[CELLAR_TTL_CLASSES_MAX];
    int64_t extra_ms, max_age_ms;         /* max_age_ms 0: twice the TTL */
    char name[CELLAR_TTL_CLASSES_MAX][CELLAR_TTL_CLASS_NAME_MAX + 1];
    struct cellar_locks *_Atomic locks;   /* opened by the first update that queues */
    _Atomic uint32_t closed[KIT_STATUS_QUEUES]; /* owners that closed an id; after a fork or the
                                           * end of a thread too many: harmless */
    _Atomic uint64_t updates_queued, prolonged;
};

/* ---- states ---- */

/* Return the number of a state from 0, state_count: unknown. */
static uint32_t kit_status_find(const cellar_status *s, const char *state)
{
    uint32_t i = 0;
    while (i < s->state_count && strcmp(s->name[i], state) != 0) { i++; }
    return i;
}

/* Return the number of a state from 0, or its fallback. */
static uint32_t kit_status_state(const cellar_status *s, const char *state)
{
    uint32_t number = kit_status_find(s, state);
    if (number < s->state_count) { return number; }
    (void)cellar_ttl_class_find(s->ns, state, &number); /* counts it */
    return s->fallback;
}

static uint32_t kit_status_of(const cellar_status *s, uint32_t user_flags)
{
    const uint32_t state = user_flags & ((1u << KIT_STATUS_BITS) - 1);
    return state < s->state_count ? state : s->fallback;
}

static cellar_set_opts kit_status_opts(uint32_t state)
{
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_KEEP_OLD_VALUE,
                          .ttl_class = state + 1, .user_flags = state };
    return o;
}

/* ---- hot entries ---- */

static size_t kit_status_reads_bytes(void)
{
    return sizeof(kit_status_reads) + base_hot_bytes(KIT_STATUS_HOT_SETS);
}

/* Begin without samples. `reads` of a minute make an id hot. */
static cellar_err kit_status_reads_open(cellar_status *s, uint32_t reads, cellar_clock_fn clock,
                                        void *ctx)
{
    unsigned char secret[32];
    if (!base_random_bytes(secret, sizeof secret)) { return CELLAR_E_NOMEM; }
    kit_status_reads *r = s->reads = base_alloc_raw(NULL, kit_status_reads_bytes());
    if (r == NULL) { return CELLAR_E_NOMEM; }
    base_hash_key_init(&r->hash_key, BASE_HASH_FOLD, secret);
    r->clock = (base_clock){ clock, clock, ctx };
    r->every = BASE_MIN(BASE_MAX(reads / KIT_STATUS_SAMPLES, 1u), KIT_STATUS_EVERY_MAX);
    r->need = (reads + r->every - 1) / r->every;
    r->hot = (base_hot *)(r + 1);
    base_hot_init(r->hot, KIT_STATUS_HOT_SETS, base_now_ms(&r->clock));
    return CELLAR_OK;
}

/* Note a read. Return true if the read was a sample and its id is hot. */
static bool kit_status_is_hot(cellar_status *s, const void *id, size_t id_len)
{
    kit_status_reads *r = s->reads;
    if (r == NULL) { return false; }
    base_thread_record *const self = base_thread_self();
    base_rng *const rng = self->index != 0 ? &self->rng : NULL; /* 0: a shared generator */
    if (r->every > 1 && (rng == NULL || base_rng_below(rng, r->every) != 0)) { return false; }
    return base_hot_note(r->hot, base_hash(&r->hash_key, 0, id, id_len), 0, id, id_len,
                         base_coarse_ms(&r->clock), rng) >= r->need;
}

/* Return the time from the last change to the end of an entry that was prolonged n times. */
static int64_t kit_status_life(const cellar_status *s, uint32_t state, uint32_t n)
{
    const int64_t ttl = s->ttl_ms[state];
    const int64_t most = s->max_age_ms != 0 ? s->max_age_ms : base_add_sat(ttl, ttl);
    if (n != 0 && s->extra_ms > (most - ttl) / n) { return most; }
    return ttl + s->extra_ms * n;
}

/* Return whether an entry gains time now, and which options prolong it. */
static bool kit_status_due(const cellar_status *s, const cellar_entry_info *info,
                           cellar_set_opts *o)
{
    const uint32_t state = kit_status_of(s, info->user_flags);
    const uint32_t n = info->user_flags >> KIT_STATUS_BITS;
    const int64_t ttl = s->ttl_ms[state], left = info->ttl_left_ms;
    if (ttl == CELLAR_TTL_NONE || left == CELLAR_TTL_NONE || info->idle_ms != 0 ||
        n >= UINT32_MAX >> KIT_STATUS_BITS) {
        return false;
    }
    const int64_t life = kit_status_life(s, state, n), longer = kit_status_life(s, state, n + 1);
    if (longer == life || n > (life - left) / ttl) { return false; }
    *o = kit_status_opts(state);
    o->flags |= CELLAR_ONLY_IF_VERSION;
    o->ttl_ms = base_add_sat(left, longer - life);
    o->user_flags = state | (n + 1) << KIT_STATUS_BITS;
    o->if_version = info->version;
    return true;
}

/* Prolong an entry, if no other thread did. A failure is no error of the read. */
static void kit_status_prolong(cellar_status *s, const void *id, size_t id_len)
{
    unsigned char small[KIT_STATUS_VALUE];
    void *value = small;
    size_t len = 0, cap = sizeof small;
    cellar_entry_info info = cellar_entry_info_default();
    cellar_set_opts set;
    cellar_get_opts get = { .struct_size = sizeof get,
                            .flags = CELLAR_GET_PEEK | CELLAR_GET_WANT_VERSION, .info = &info };
    cellar_err err = cellar_get_with(s->ns, id, id_len, &get, value, cap, &len);
    if (err == CELLAR_E_BUFFER) {
        cap = len;
        value = base_alloc_raw(NULL, cap);
        if (value == NULL) { return; }
        err = cellar_get_with(s->ns, id, id_len, &get, value, cap, &len);
    }
    if (err == CELLAR_OK && (info.flags & CELLAR_INFO_VERSION) != 0 &&
        kit_status_due(s, &info, &set) &&
        cellar_set(s->ns, id, id_len, value, len, &set) == CELLAR_OK) {
        (void)base_add_rlx(&s->prolonged, 1);
    }
    if (value != small) { base_free_raw(NULL, value, cap); }
}

/* ---- open and close ---- */

static const cellar_ttl_class kit_status_preset[] = {
    { "processing", 300000 }, { "success", 3600000 }, { "failed", 1800000 }, { "batch", 600000 }
};

/* Complete the options with their defaults, and check what cellar_namespace_open does not see. */
static cellar_err kit_status_config_in(const cellar_status_config *o, cellar_status_config *full,
                                       cellar_namespace_config *ns)
{
    *full = cellar_status_config_default();
    *ns = cellar_namespace_config_default();
    cellar_err err = o != NULL ? base_opts_in(full, sizeof *full, o) : CELLAR_OK;
    if (err == CELLAR_OK && full->ns != NULL) { err = base_opts_in(ns, sizeof *ns, full->ns); }
    if (err != CELLAR_OK) { return err; }
    if (full->reserved0 != 0) { return CELLAR_E_UNSUPPORTED; }
    if (full->states == NULL && full->state_count == 0) {
        full->states = kit_status_preset;
        full->state_count = sizeof kit_status_preset / sizeof *kit_status_preset;
    }
    if (full->states == NULL || full->state_count == 0 ||
        full->state_count > CELLAR_TTL_CLASSES_MAX || full->state_fallback > full->state_count ||
        full->hot_extra_ms < 0 || full->max_age_ms < 0 || ns->ttl_classes != NULL ||
        ns->ttl_class_count != 0 || ns->ttl_class_fallback != 0) {
        return CELLAR_E_INVAL;
    }
    for (uint32_t i = 0; i < full->state_count && full->max_age_ms != 0; i++) {
        const int64_t ttl = full->states[i].ttl_ms;
        if (ttl != CELLAR_TTL_NONE && ttl > full->max_age_ms) { return CELLAR_E_INVAL; }
    }
    if (full->hot_extra_ms == 0) { full->hot_extra_ms = 60000; }
    if (full->hot_reads == 0) { full->hot_reads = 100; }
    if (full->state_fallback == 0) { full->state_fallback = 1; }
    ns->ttl_classes = full->states;
    ns->ttl_class_count = full->state_count;
    ns->ttl_class_fallback = full->state_fallback;
    return CELLAR_OK;
}

static cellar_err kit_status_open_with(cellar *c, const char *name, const cellar_status_config *o,
                                       const cellar_namespace_config *ns, cellar_status *s)
{
    if (o->hot_reads != CELLAR_OFF) {
        const cellar_err err = kit_status_reads_open(s, o->hot_reads, o->clock, o->clock_ctx);
        if (err != CELLAR_OK) { return err; }
    }
    const cellar_err err = cellar_namespace_open(c, name, ns, &s->ns);
    if (err != CELLAR_OK) { return err; }
    s->state_count = o->state_count;
    s->fallback = o->state_fallback - 1;
    s->extra_ms = o->hot_extra_ms;
    s->max_age_ms = o->max_age_ms;
    for (uint32_t i = 0; i < o->state_count; i++) {
        memcpy(s->name[i], o->states[i].name, strlen(o->states[i].name)); /* it was checked */
        s->ttl_ms[i] = o->states[i].ttl_ms;
    }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_status_open(cellar *c, const char *name, const cellar_status_config *o,
                                         cellar_status **out)
{
    if (out != NULL) { *out = NULL; }
    if (c == NULL || out == NULL) { return CELLAR_E_INVAL; }
    cellar_status_config full;
    cellar_namespace_config ns;
    cellar_err err = kit_status_config_in(o, &full, &ns);
    if (err != CELLAR_OK) { return err; }
    cellar_status *s = base_alloc_raw(NULL, sizeof *s);
    if (s == NULL) { return CELLAR_E_NOMEM; }
    memset(s, 0, sizeof *s);
    err = kit_status_open_with(c, name != NULL ? name : "image_task", &full, &ns, s);
    if (err != CELLAR_OK) {
        cellar_status_close(s);
        return err;
    }
    *out = s;
    return CELLAR_OK;
}

CELLAR_API void cellar_status_close(cellar_status *s)
{
    if (s == NULL) { return; }
#ifndef CELLAR_OMIT_LIMIT
    cellar_locks_close(base_load_acq(&s->locks));
#endif
    if (s->reads != NULL) { base_free_raw(NULL, s->reads, kit_status_reads_bytes()); }
    (void)cellar_namespace_close(s->ns);
    base_free_raw(NULL, s, sizeof *s);
}

/* ---- one id ---- */

static cellar_err kit_status_set_one(cellar_status *s, const cellar_status_set_item *it)
{
    if (it->state == NULL || it->reserved0 != 0) { return CELLAR_E_INVAL; }
    const cellar_set_opts o = kit_status_opts(kit_status_state(s, it->state));
    return cellar_set(s->ns, it->id, it->id_len, it->value, it->value_len, &o);
}

/* Read one item. Unlike a read of many, this one knows whether the entry is due for a gain. */
static void kit_status_get_one(cellar_status *s, cellar_status_get_item *it)
{
    size_t len = 0;
    cellar_entry_info info = cellar_entry_info_default();
    cellar_set_opts longer;
    cellar_get_opts o = { .struct_size = sizeof o, .info = &info };
    const void *id = it->reserved0 == 0 ? it->id : NULL; /* NULL: E_INVAL */
    it->status = cellar_get_with(s->ns, id, it->id_len, &o, it->buf, it->buf_cap, &len);
    const bool there = it->status == CELLAR_OK || it->status == CELLAR_E_BUFFER;
    it->value_len = there ? len : 0;
    it->state = there ? s->name[kit_status_of(s, info.user_flags)] : NULL;
    if (it->status == CELLAR_OK && kit_status_is_hot(s, it->id, it->id_len) &&
        kit_status_due(s, &info, &longer)) {
        kit_status_prolong(s, it->id, it->id_len);
    }
}

/* ---- update ---- */

typedef struct kit_status_merge {
    cellar_update_fn fn;
    void *ctx;
    uint32_t rounds;  /* that may begin before the update queues */
    bool lost;        /* they are used up */
    cellar_err said;  /* what fn returned last */
} kit_status_merge;

static cellar_err kit_status_round(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    kit_status_merge *m = ctx;
    m->lost = m->rounds == 0;
    if (m->lost) { return CELLAR_CONFLICT; }
    m->rounds--;
    m->said = m->fn(old, old_len, out, m->ctx);
    return m->said;
}

/* Update until a round is not lost, or user code or another failure ends the update. */
static cellar_err kit_status_tries(cellar_status *s, const void *id, size_t id_len,
                                   const cellar_set_opts *o, kit_status_merge *m,
                                   _Atomic uint32_t *closed)
{
    cellar_err err;
    uint32_t tries = 0;
    do {
        if (tries++ == 1) { (void)base_add_rlx(closed, 1u); }
        m->said = CELLAR_OK;
        m->rounds = UINT32_MAX;
        err = cellar_update(s->ns, id, id_len, o, kit_status_round, m);
    } while (err == CELLAR_E_BUSY && m->said != CELLAR_E_BUSY && tries < KIT_STATUS_TRIES);
    if (tries > 1) { (void)base_sub_rlx(closed, 1u); }
    return err;
}

#ifndef CELLAR_OMIT_LIMIT
/* Return the table of locks, NULL without memory. */
static cellar_locks *kit_status_locks(cellar_status *s)
{
    cellar_locks *t = base_load_acq(&s->locks); /* compare-exchange below */
    if (t != NULL) { return t; }
    cellar_locks_config cfg = { .struct_size = sizeof cfg, .max_locks = KIT_STATUS_LOCKS };
    if (cellar_locks_open(&cfg, &t) != CELLAR_OK) { return NULL; }
    if (base_cas_ar(&s->locks, (cellar_locks *)NULL, t)) { return t; }
    cellar_locks_close(t);
    return base_load_acq(&s->locks);
}
#endif

/* Update with the lock of the id, or without it if the lock cannot be had in time. */
static cellar_err kit_status_in_turn(cellar_status *s, const void *id, size_t id_len,
                                     const cellar_set_opts *o, kit_status_merge *m,
                                     _Atomic uint32_t *closed)
{
#ifndef CELLAR_OMIT_LIMIT
    cellar_lock lk = { 0, 0 };
    cellar_lock_opts wait = { .struct_size = sizeof wait, .wait_timeout_ms = KIT_STATUS_WAIT_MS,
                              .flags = CELLAR_LOCK_THREAD_BOUND | CELLAR_LOCK_NO_END };
    cellar_locks *t = kit_status_locks(s);
    if (t != NULL) { (void)cellar_lock_acquire(t, id, id_len, &wait, &lk); }
#endif
    const cellar_err err = kit_status_tries(s, id, id_len, o, m, closed);
#ifndef CELLAR_OMIT_LIMIT
    if (t != NULL && lk.fence != 0) { (void)cellar_lock_release(t, &lk); }
#endif
    return err;
}

CELLAR_API cellar_err cellar_status_update(cellar_status *s, const void *id, size_t id_len,
                                           const char *state, cellar_update_fn fn, void *ctx)
{
    if (s == NULL || state == NULL || fn == NULL) { return CELLAR_E_INVAL; }
    cellar_set_opts o = kit_status_opts(kit_status_state(s, state));
    o.flags |= CELLAR_ONLY_IF_PRESENT | CELLAR_REPLACE; /* the flags of state 0 are 0 */
    kit_status_merge m = { fn, ctx, KIT_STATUS_ROUNDS, false, CELLAR_OK };
    const bool fine = id != NULL && id_len != 0 && id_len <= CELLAR_KEY_MAX; /* else refused */
    const unsigned char *p = id;
    const size_t mix = fine ? p[0] * 31u + p[id_len - 1] + id_len : 0;
    _Atomic uint32_t *const closed = &s->closed[mix % KIT_STATUS_QUEUES];
    if (base_load_rlx(closed) == 0) {
        const cellar_err err = cellar_update(s->ns, id, id_len, &o, kit_status_round, &m);
        if (!m.lost) { return err; }
    }
    (void)base_add_rlx(&s->updates_queued, 1);
    return kit_status_in_turn(s, id, id_len, &o, &m, closed);
}

/* ---- many ids ---- */

/* Read up to KIT_STATUS_GROUP items. Return the number of OK. */
static size_t kit_status_get_group(cellar_status *s, cellar_status_get_item *items, size_t n)
{
    cellar_get_item group[KIT_STATUS_GROUP];
    size_t hits = 0;
    for (size_t i = 0; i < n; i++) {
        const cellar_status_get_item *it = &items[i];
        const void *id = it->reserved0 == 0 ? it->id : NULL; /* NULL: E_INVAL */
        group[i] = (cellar_get_item){ id, it->id_len, it->buf, it->buf_cap, 0, CELLAR_OK, 0 };
    }
    const cellar_err err = cellar_get_many(s->ns, group, n, &hits);
    for (size_t i = 0; i < n; i++) {
        cellar_status_get_item *it = &items[i];
        it->status = err != CELLAR_OK ? err : group[i].status;
        const bool there = it->status == CELLAR_OK || it->status == CELLAR_E_BUFFER;
        it->value_len = there ? group[i].value_len : 0;
        it->state = there ? s->name[kit_status_of(s, group[i].user_flags)] : NULL;
        if (it->status == CELLAR_OK && kit_status_is_hot(s, it->id, it->id_len)) {
            kit_status_prolong(s, it->id, it->id_len);
        }
    }
    return hits;
}

CELLAR_API cellar_err cellar_status_get_many(cellar_status *s, cellar_status_get_item *items,
                                             size_t count, size_t *hits)
{
    size_t ok = 0;
    if (hits != NULL) { *hits = 0; }
    if (s == NULL || (items == NULL && count != 0)) { return CELLAR_E_INVAL; }
    if (count == 1) {
        kit_status_get_one(s, items);
        ok = items->status == CELLAR_OK;
        count = 0;
    }
    for (size_t i = 0; i < count; i += KIT_STATUS_GROUP) {
        ok += kit_status_get_group(s, items + i, BASE_MIN(count - i, KIT_STATUS_GROUP));
    }
    if (hits != NULL) { *hits = ok; }
    return CELLAR_OK;
}

/* Mix the ends of an id into a word. Equal ids give equal words; others seldom do. */
static uint64_t kit_status_mix(const void *id, size_t id_len)
{
    uint64_t first = 0, last = 0;
    const size_t n = id != NULL ? BASE_MIN(id_len, sizeof first) : 0;
    memcpy(&first, n != 0 ? id : "", n);
    memcpy(&last, n != 0 ? (const unsigned char *)id + id_len - n : (const unsigned char *)"", n);
    return (first + id_len) * UINT64_C(0x9e3779b97f4a7c15) ^ last;
}

/* Return how many of the first items may be stored in any order: different ids, or one state. */
static size_t kit_status_apart(const cellar_status_set_item *items, const uint32_t *states,
                               size_t n)
{
    uint64_t mix[KIT_STATUS_WINDOW];
    size_t same = 1;
    while (same < n && states[same] == states[0]) { same++; }
    if (same >= n) { return n; }
    for (size_t i = 0; i < n; i++) { mix[i] = kit_status_mix(items[i].id, items[i].id_len); }
    for (size_t i = same; i < n; i++) {
        bool equal = false;
        for (size_t j = 0; j < i; j++) { equal |= mix[j] == mix[i]; }
        if (equal) { return i; }
    }
    return n;
}

/* Store those of n items that have this state, state_count: an unknown one. Return the number of
 * OK. */
static size_t kit_status_set_group(cellar_status *s, cellar_status_set_item *items, size_t n,
                                   const uint32_t *states, uint32_t state)
{
    cellar_set_item group[KIT_STATUS_WINDOW];
    uint8_t item_of[KIT_STATUS_WINDOW];
    size_t used = 0, ok = 0;
    for (size_t i = 0; i < n; i++) {
        const cellar_status_set_item *it = &items[i];
        if (states[i] != state) { continue; }
        group[used] = (cellar_set_item){ it->id, it->id_len, it->value, it->value_len, CELLAR_OK,
                                         it->reserved0 };
        item_of[used++] = (uint8_t)i;
        if (state == s->state_count) { (void)kit_status_state(s, it->state); } /* counts it */
    }
    if (used == 0) { return 0; }
    const cellar_set_opts o = kit_status_opts(state < s->state_count ? state : s->fallback);
    const cellar_err err = cellar_set_many(s->ns, group, used, &o, &ok);
    for (size_t i = 0; i < used; i++) {
        items[item_of[i]].status = err != CELLAR_OK ? err : group[i].status;
    }
    return ok;
}

CELLAR_API cellar_err cellar_status_set_many(cellar_status *s, cellar_status_set_item *items,
                                             size_t count, size_t *stored)
{
    uint32_t states[KIT_STATUS_WINDOW];
    size_t ok = 0;
    if (stored != NULL) { *stored = 0; }
    if (s == NULL || (items == NULL && count != 0)) { return CELLAR_E_INVAL; }
    if (count == 1) {
        items->status = kit_status_set_one(s, items);
        ok = items->status == CELLAR_OK;
        count = 0;
    }
    for (size_t at = 0, n; at < count; at += n) {
        n = BASE_MIN(count - at, KIT_STATUS_WINDOW);
        for (size_t i = 0; i < n; i++) {
            const char *state = items[at + i].state;
            items[at + i].status = CELLAR_E_INVAL; /* without a state */
            states[i] = state != NULL ? kit_status_find(s, state) : UINT32_MAX;
        }
        n = kit_status_apart(items + at, states, n);
        for (uint32_t state = 0; state <= s->state_count; state++) {
            ok += kit_status_set_group(s, items + at, n, states, state);
        }
    }
    if (stored != NULL) { *stored = ok; }
    return CELLAR_OK;
}

/* ---- figures ---- */

CELLAR_API cellar_err cellar_status_hot(cellar_status *s, cellar_status_hot_id *out, uint32_t cap,
                                        uint32_t *count)
{
    if (count != NULL) { *count = 0; }
    if (s == NULL || count == NULL || (out == NULL && cap != 0)) { return CELLAR_E_INVAL; }
    kit_status_reads *r = s->reads;
    if (r == NULL) { return CELLAR_E_UNSUPPORTED; }
    const size_t most = BASE_MIN(cap, KIT_STATUS_HOT_SETS * BASE_HOT_WAYS);
    base_hot_key *top = base_alloc_raw(NULL, (most + 1) * sizeof *top); /* not 0 bytes */
    uint64_t samples;
    int64_t window_ms;
    if (top == NULL) { return CELLAR_E_NOMEM; }
    const size_t n = base_hot_top(r->hot, UINT32_MAX, top, most, base_now_ms(&r->clock), &samples,
                                  &window_ms);
    for (size_t i = 0; i < n; i++) {
        memcpy(out[i].id, top[i].key, sizeof out[i].id);
        out[i].id_len = top[i].key_len;
        out[i].reads = (uint32_t)BASE_MIN((uint64_t)top[i].count * r->every, UINT32_MAX);
    }
    base_free_raw(NULL, top, (most + 1) * sizeof *top);
    *count = (uint32_t)n;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_status_stats_get(cellar_status *s, cellar_status_stats *out)
{
    if (s == NULL || out == NULL) { return CELLAR_E_INVAL; }
    cellar_stats of = cellar_stats_default();
    const cellar_err err = cellar_stats_get(s->ns, CELLAR_SCOPE_NAMESPACE, &of);
    if (err != CELLAR_OK) { return err; }
    const cellar_status_stats now = {
        sizeof now, of.gets, of.hits_l1 + of.hits_l2, of.misses, of.sets,
        of.ended[CELLAR_CAUSE_EXPIRED], of.ttl_class_fallbacks,
        base_load_rlx(&s->updates_queued), base_load_rlx(&s->prolonged)
    };
    return base_opts_out(out, &now, sizeof now);
}

BASE_SIZE_END
