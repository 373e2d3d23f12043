/* SPDX-License-Identifier: MIT
 *
 * l2_tier: life of the disk tier of a store.
 *
 * PICTURE    cellar_config.l2_path -> l2_open -> tier of the store
 *            close -> entries of L1 are written to disk -> l2_end, l2_close
 *            save -> the same, while calls go on
 *            put of a change dropped -> owes -> ticks offer the entries without a copy again
 * INVARIANTS A store that loses its disk is L1 alone. An open without a usable disk fails, or with
 *            l2.optional is L1 alone; cellar_last_error has the reason.
 * LOCKING    None of its own.
 * LIMITS     Entries of kind error stay in memory. A stale entry of a soft tag is not read from
 *            disk and not written to it.
 * SEE ALSO   cache/tier_calls.c, cache/tier_store.c (any tier). */
#include "store/l2_tier.h"

#include "base/process.h"
#include "base/text.h"
#include "cache/demoted.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/tags.h"
#include "cache/tier_store.h"
#include "l2/l2.h"
#include "store/bloom_persist.h"

#include <errno.h>
#include <stdio.h>

#define CACHE_DISK_MIN_TTL_MS 10000
#define CACHE_DISK_MOVE_PCT 55 /* half, and the error of the estimate */
#define CACHE_DISK_CLOSE_MS 5000

BASE_SIZE_BEGIN

/* ---- open ---- */

static const char *cache_disk_why(cellar_err err, int sys_errno)
{
    if (err == CELLAR_E_UNSUPPORTED) {
        return "l2_path is on a network file system: use a local one, or l2.allow_network";
    }
    if (err == CELLAR_E_FOREIGN) {
        return "l2_path holds files that are not of a disk tier: use an empty directory";
    }
    if (err == CELLAR_E_NEWER_FORMAT) {
        return "l2_path has a format of a newer version of cellar: use that, or another directory";
    }
    if (err == CELLAR_E_CORRUPT) {
        return sys_errno == EEXIST ? "l2_path is damaged, and l2_path.bad.1 to .9 exist: remove one"
                                   : "l2_path is damaged: see l2.on_damage";
    }
    if (err != CELLAR_E_IO) { return cellar_code_name(err); }
    switch (sys_errno) {
    case EACCES:
    case EPERM: return "l2_path may not be read and written by this process: change permissions";
    case EROFS: return "l2_path is on a read-only file system";
    case ENOTDIR: return "l2_path is not a directory: name one";
    case ELOOP: return "the link l2_path or its target has another owner: name the directory";
    case EMLINK: return "l2_path goes through more than 8 symbolic links: use the real path";
    case EFBIG: return "l2_bytes is above the process's limit of file size (RLIMIT_FSIZE)";
    case ENOENT:
        return "mkdir of l2_path failed with ENOENT: its folder must exist and take directories";
    case ENAMETOOLONG: return "l2_path is too long";
    case EMFILE:
    case ENFILE: return "no file descriptor is left: raise RLIMIT_NOFILE";
    case ENOSPC:
    case EDQUOT: return "there is no room on the disk of l2_path";
    default: return cellar_code_name(err);
    }
}

/* Write the least memory_bytes that the index for this l2_bytes needs. */
static void cache_disk_small(char *text, size_t cap, const char *lead, const cache_settings *cfg,
                             uint64_t least)
{
    base_text t = { text, cap, 0 };
    base_text_add(&t, "%s: memory_bytes must be at least ", lead);
    base_text_size(&t, base_round_up(least, 1024));
    base_text_add(&t, " for l2_bytes ");
    base_text_size(&t, cfg->config.l2_bytes);
    base_text_add(&t, " (got ");
    base_text_size(&t, cfg->config.memory_bytes);
    base_text_add(&t, ")");
}

CELLAR_PRIVATE bool cache_disk_crowds(const cache_store *s, const cache_settings *cfg, char *text,
                                      size_t cap)
{
    l2 *d = cache_disk(s);
    if (d == NULL) { return false; }
    cache_disk_small(text, cap, "cellar_open", cfg, l2_least(d));
    return true;
}

static cellar_err cache_disk_failed(cache_store *s, const cache_settings *cfg, cellar_err err,
                                    const l2_refusal *known)
{
    const char *lead = cfg->l2.optional ? "the disk tier is off" : "cellar_open";
    if (known->least_memory != 0) {
        cache_disk_small(s->disk_text, sizeof s->disk_text, lead, cfg, known->least_memory);
    } else if (err == CELLAR_E_BUSY) {
        char owner[24] = "";
        if (known->owner != 0) {
            (void)snprintf(owner, sizeof owner, " %lld", (long long)known->owner);
        }
        (void)snprintf(s->disk_text, sizeof s->disk_text,
                       "%s: l2_path is in use by %s process%s: use another directory%s", lead,
                       known->owner == base_process_id() ? "a store of this" : "another", owner,
                       cfg->l2.optional ? "" : ", or l2.optional for a tool that runs twice at the "
                                               "same time");
    } else if (err == CELLAR_E_IO && known->misfit != NULL) {
        (void)snprintf(s->disk_text, sizeof s->disk_text,
                       "%s: l2_path has a link, folder or FIFO in place of its file %s: remove it",
                       lead, known->misfit);
    } else {
        (void)snprintf(s->disk_text, sizeof s->disk_text, "%s: %s", lead,
                       cache_disk_why(err, s->disk_errno));
    }
    if (!cfg->l2.optional) {
        cache_fail_open(err, s->disk_errno, s->disk_text);
        return err;
    }
    s->disk_err = err;
    base_log(&s->log, BASE_LOG_WARNING, "l2", (int)err, "%s (errno %d)", s->disk_text,
             s->disk_errno);
    return CELLAR_OK;
}

/* Answer also the worker of the disk, which asks before the store has the table. */
static bool cache_disk_alive(void *ctx, uint32_t generation)
{
    const cache_store *s = ctx;
    return base_load_acq(&s->generations) == NULL || cache_generation_alive(s, generation);
}

CELLAR_PRIVATE cellar_err cache_disk_open(cache_store *s, const cache_settings *cfg)
{
    s->disk_mode = (uint8_t)cfg->l2.write;
    if (cfg->config.l2_path == NULL) { return CELLAR_OK; }
    if (!CACHE_HAS_DISK) {
        cache_fail_open(CELLAR_E_UNSUPPORTED, 0,
                        "cellar_open: l2_path must be NULL: this library has no disk tier");
        return CELLAR_E_UNSUPPORTED;
    }
    /* A test may give a disk of its own, and sizes that no option has. */
    const int64_t min_ttl = cfg->l2.min_ttl_ms != 0 ? cfg->l2.min_ttl_ms : CACHE_DISK_MIN_TTL_MS;
    l2_refusal known;
    const l2_config none = { .vfs = NULL }, *own = cfg->disk != NULL ? cfg->disk : &none;
    const l2_config c = {
        .vfs = own->vfs, .seg_bytes = own->seg_bytes, .seg_count = own->seg_count,
        .refusal = &known, .account = &s->account,
        .log = &s->log, .clock = &s->clock, .path = cfg->config.l2_path,
        .bytes = cfg->config.l2_bytes, .memory_bytes = cfg->config.memory_bytes,
        .avg_object_bytes = cfg->l2.mean_entry_bytes, .level = (l2_level)cfg->l2.sync,
        .sync_ms = cfg->l2.sync_interval_ms, .min_ttl_ms = min_ttl,
        .write_bps = cfg->l2.write_bytes_per_s,
        .write_bpd = cfg->l2.write_bytes_per_day, .allow_network = cfg->l2.allow_network != 0,
        .hash_algo = cfg->tuning.hash == CELLAR_HASH_SIPHASH13 ? BASE_HASH_SIP13 : BASE_HASH_FOLD,
        .secret = cfg->tuning.hash_key, .crypt = cfg->cipher.seal != NULL ? &cfg->cipher : NULL,
        .move_pct = CACHE_DISK_MOVE_PCT, .no_thread = cfg->host.no_threads != 0,
        .stack_bytes = cfg->host.stack_bytes, .off_errors = cfg->l2.fail_errors,
        .off_damaged_pct = cfg->l2.fail_damaged_pct, .off_ms = cfg->l2.retry_ms,
        .off_max_ms = cfg->l2.retry_max_ms,
        .set_aside = cfg->l2.on_damage == CELLAR_L2_SET_ASIDE, .tags_valid = cache_tags_valid,
        .generation_alive = cache_disk_alive, .tags_ctx = s,
        .images = cache_keep_all, .images_ctx = s, .stats = s->stats,
    };
    stats_time_open(s->stats, STATS_OP_L2_READ);
    stats_time_open(s->stats, STATS_OP_L2_WRITE);
    const cellar_err err = l2_open(&c, &s->disk, &s->disk_errno);
    if (err != CELLAR_OK) { return cache_disk_failed(s, cfg, err, &known); }
    s->disk_tier = (cache_tier){
        .kind = CACHE_TIER_DISK, .ctx = s->disk, .min_ttl_ms = min_ttl,
        .commits = c.level != L2_DROP, .commit_each = c.level == L2_ALWAYS,
        .ticks = cfg->host.no_threads != 0,
    };
    base_store_rlx(&s->disk_close_ms, cfg->l2.close_ms);
    base_store_rlx(&s->disk_bytes, cfg->config.l2_bytes); /* another size than last time is a
                                                           * resize */
    s->tier = &s->disk_tier;
    return CELLAR_OK;
}

CELLAR_PRIVATE void cache_disk_abandon(cache_store *s)
{
    l2 *d = cache_disk(s);
    if (d == NULL) { return; }
    l2_close(d);
    s->disk = NULL;
    s->tier = NULL;
}

/* ---- entries of memory are written ---- */

#define CACHE_SPILL_BUCKETS 64u
#define CACHE_SAVE_PATIENCE_NS UINT64_C(1000000000)

typedef enum cache_spill_kind {
    CACHE_SPILL_CLOSE, /* all that fit in l2.close_ms */
    CACHE_SPILL_SAVE,  /* all; wait for room 1 s at most since the last entry that was stored */
    CACHE_SPILL_CHECK, /* none: count those that the disk lacks */
    CACHE_SPILL_OFFER  /* those that the disk dropped, until it has no room */
} cache_spill_kind;

typedef struct cache_spill {
    cache_store *store;
    cache_progress *progress; /* of the long value at which the walk waits */
    cache_spill_kind kind;
    uint64_t until_ns; /* CLOSE, OFFER: end of the walk; SAVE: end of the wait for room */
    uint64_t done;     /* entries handed to the log; but for OFFER, or refused by it */
    uint64_t missed;   /* entries without room, or refused although they live long enough */
    size_t written;    /* progress->parts.done at the last wait */
    bool over;         /* out of time, or of room */
    bool full;         /* out of room */
} cache_spill;

/* Return whether the disk has the entry, or must not have it. */
static bool cache_spill_there(const cache_store *s, const l1_key *k, const l1_info *i)
{
    const l2_key key = { k->bytes, k->len, k->generation, k->hash };
    l2_meta m;
    size_t len;
    if (i->kind == (uint8_t)L1_ERROR || i->stale || i->l2_addr == CACHE_NOT_ON_DISK ||
        i->expires_ms - base_now_ms(&s->clock) < s->disk_tier.min_ttl_ms) {
        return true;
    }
    const cellar_err err = l2_get(s->disk, &key, NULL, 0, &len, &m);
    return err != CELLAR_MISS && err != CELLAR_E_TIMEOUT && err != CELLAR_E_NOMEM;
}

/* Wait for room. Return false if the walk does not wait any longer. */
static bool cache_spill_wait(cache_spill *sp)
{
    const cache_store *s = sp->store;
    l2_stats now;
    l2_stats_get(s->disk, &now);
    if (sp->kind == CACHE_SPILL_SAVE && sp->progress->parts.done > sp->written) {
        sp->until_ns = base_now_ns() + CACHE_SAVE_PATIENCE_NS;
    }
    sp->written = sp->progress->parts.done;
    if (sp->kind == CACHE_SPILL_OFFER || now.broken || base_now_ns() >= sp->until_ns) {
        return false;
    }
    if (!l2_tick(s->disk, 1000)) { base_yield(); }
    return true;
}

/* Offer one entry of a namespace. Return false if the walk ends. */
static bool cache_spill_entry(cache_spill *sp, cellar *v, const l1_seen *e)
{
    const cache_store *s = sp->store;
    if (sp->kind == CACHE_SPILL_CLOSE && base_now_ns() >= sp->until_ns) {
        sp->over = true;
        return false;
    }
    const l1_key k = { e->key, (uint32_t)e->key_len, e->info.generation,
                       base_hash(&s->hash_key, e->info.generation, e->key, e->key_len) };
    if (sp->kind == CACHE_SPILL_CHECK) {
        sp->missed += !cache_spill_there(s, &k, &e->info) &&
                      cache_generation_alive(s, k.generation);
        return true;
    }
    cache_stored done;
    bool room;
    do {
        done = cache_tier_offer(v, &k, sp->progress);
        room = done != CACHE_NO_ROOM && (done != CACHE_REFUSED || !l2_off(s->disk));
    } while (!room && cache_spill_wait(sp));
    if (!room && sp->kind != CACHE_SPILL_SAVE) {
        sp->over = sp->full = true;
        return false;
    }
    if (done == CACHE_NO_ROOM || done == CACHE_REFUSED) {
        sp->missed++;
    } else if (sp->kind == CACHE_SPILL_SAVE && !l2_off(s->disk) && !l2_stands_still(s->disk)) {
        /* not on a disk that fails: each entry would wait as long again */
        sp->until_ns = base_now_ns() + CACHE_SAVE_PATIENCE_NS;
    }
    if (sp->kind != CACHE_SPILL_OFFER || done == CACHE_STORED) { sp->done++; }
    return true;
}

static bool cache_spill_one(void *ctx, const l1_seen *e)
{
    cache_spill *sp = ctx;
    cache_store *s = sp->store;
    cache_generation_info info;
    bool on = true;
    if (sp->kind == CACHE_SPILL_OFFER && !l1_addr_is_later(e->info.l2_addr)) { return true; }
    if (!cache_generation_alive(s, e->info.generation)) { return true; }
    cellar *v = cache_generation_namespace(s, e->info.generation, &info);
    if (v == NULL) { return true; }
    if (s->tier != NULL && cache_tier_of(v) == s->tier) { on = cache_spill_entry(sp, v, e); }
    cache_namespace_release(v);
    return on;
}

/* Walk on from *cursor, until the walk is over. *cursor 0: at the end of memory. E_NOMEM: entries
 * may be left. */
static cellar_err cache_spill_walk(cache_spill *sp, uint64_t *cursor)
{
    cellar_err err;
    do {
        err = l1_scan(sp->store->l1, cursor, CACHE_SPILL_BUCKETS, 0, L1_SCAN_EVERY,
                      cache_spill_one, sp);
        /* not inside a bucket: the next step continues behind it */
        sp->over = sp->over || (sp->kind == CACHE_SPILL_OFFER && *cursor != 0 &&
                                base_now_ns() >= sp->until_ns);
    } while (err == CELLAR_OK && *cursor != 0 && !sp->over);
    return err;
}

/* Write the entries of memory to disk. Unused entries are written, too: memory kept them to the
 * end, and the next open begins with them. Return whether l2.close_ms was long enough. */
static bool cache_disk_spill(cache_store *s)
{
    const int64_t wanted_ms = base_load_rlx(&s->disk_close_ms);
    const int64_t limit_ms = wanted_ms != 0 ? wanted_ms : CACHE_DISK_CLOSE_MS;
    cache_progress progress = { .hash = 0 };
    cache_spill sp = { .store = s, .kind = CACHE_SPILL_CLOSE, .progress = &progress,
                       .until_ns = base_until_ns(limit_ms) };
    uint64_t cursor = 0;
    (void)cache_spill_walk(&sp, &cursor);
    while (base_load_acq(&s->demoted_count) != 0 && base_now_ns() < sp.until_ns) {
        if (!cache_demoted_work(s) && !l2_tick(s->disk, 1000)) { base_yield(); }
    }
    if (base_now_ns() < sp.until_ns || (!sp.over && base_load_acq(&s->demoted_count) == 0)) {
        return true;
    }
    l1_stats l;
    l1_stats_get(s->l1, &l);
    base_log(&s->log, BASE_LOG_WARNING, "l2", (int)CELLAR_E_TIMEOUT,
             "cellar_close: l2.close_ms: wrote %llu entries of memory, dropped the others of %llu",
             (unsigned long long)sp.done, (unsigned long long)l.entries);
    return false;
}

/* Write the long values that left memory before. Return how many are left: no room for a while, or
 * other ones leave memory all the time. */
static uint32_t cache_disk_drain(cache_store *s)
{
    const uint64_t begin_ns = base_now_ns(), end_ns = begin_ns + 8 * CACHE_SAVE_PATIENCE_NS;
    uint64_t until_ns = begin_ns + CACHE_SAVE_PATIENCE_NS;
    while (base_load_acq(&s->demoted_count) != 0 && base_now_ns() < BASE_MIN(until_ns, end_ns)) {
        bool moved = false;
        if (base_cas_ar(&s->offers, 0u, 1u)) {
            moved = cache_demoted_work(s);
            base_store_rel(&s->offers, 0u);
        }
        if (moved) {
            until_ns = base_now_ns() + CACHE_SAVE_PATIENCE_NS;
        } else if (!l2_tick(s->disk, 1000)) {
            base_yield();
        }
    }
    return base_load_acq(&s->demoted_count);
}

CELLAR_PRIVATE cellar_err cache_disk_save(cache_store *s, uint64_t *missed)
{
    cache_progress progress = { .hash = 0 };
    cache_spill sp = { .store = s, .kind = CACHE_SPILL_SAVE, .progress = &progress,
                       .until_ns = base_now_ns() + CACHE_SAVE_PATIENCE_NS };
    uint64_t cursor = 0;
    l2_stats before, after;
    l2 *d = cache_disk(s);
    if (d == NULL || l2_off(d)) { return CELLAR_DISABLED; }
    l2_stats_get(d, &before);
    cellar_err err = cache_spill_walk(&sp, &cursor);
    const uint32_t left = err == CELLAR_OK ? cache_disk_drain(s) : 0;
    if (err == CELLAR_OK) {
        l2_images_save(d, false);
        err = l2_sync(d);
    }
    l2_stats_get(d, &after);
    if (err == CELLAR_OK && after.reclaimed != before.reclaimed) { /* perhaps of memory, too */
        sp = (cache_spill){ .store = s, .kind = CACHE_SPILL_CHECK };
        err = cache_spill_walk(&sp, &cursor);
    }
    *missed = sp.missed + left;
    return err == CELLAR_OK && *missed != 0 ? CELLAR_DROPPED : err;
}

/* Continue the pass for `budget_us`. Return false at its end, or if there is no room. */
static bool cache_offer_pass(cache_store *s, uint64_t budget_us)
{
    const size_t written = s->offered.parts.done;
    cache_spill sp = { .store = s, .kind = CACHE_SPILL_OFFER, .progress = &s->offered,
                       .until_ns = base_now_ns() + BASE_MIN(budget_us, 1000000u) * 1000u };
    if (s->offer_cursor == 0) { base_store_rel(&s->owes, (uint32_t)CACHE_OWES_PASS); }
    const cellar_err err = cache_spill_walk(&sp, &s->offer_cursor);
    if (sp.full || err != CELLAR_OK) { /* entries of this bucket are left */
        base_store_rel(&s->owes, (uint32_t)CACHE_OWES_AGAIN);
        return sp.done != 0 || s->offered.parts.done > written;
    }
    return sp.over ||
           !base_cas_ar(&s->owes, (uint32_t)CACHE_OWES_PASS, (uint32_t)CACHE_OWES_NOTHING);
}

CELLAR_PRIVATE bool cache_disk_offer(cache_store *s, uint64_t budget_us)
{
    const bool owes = base_load_acq(&s->owes) != CACHE_OWES_NOTHING;
    const l2 *d = cache_disk(s);
    if (d == NULL || (!owes && base_load_acq(&s->demoted_count) == 0) || l2_off(d) ||
        !base_cas_ar(&s->offers, 0u, 1u)) {
        return false;
    }
    bool more = cache_demoted_work(s);
    if (owes) { more = cache_offer_pass(s, budget_us) || more; }
    base_store_rel(&s->offers, 0u);
    return more;
}

CELLAR_PRIVATE bool cache_disk_end(cache_store *s)
{
    l2 *d = cache_disk(s);
    if (d == NULL) { return true; }
    const bool all = cache_disk_spill(s);
    return l2_end(d) == CELLAR_OK && all;
}

CELLAR_PRIVATE void cache_disk_close(cache_store *s)
{
    l2 *d = cache_disk(s);
    if (d == NULL) { return; }
    l2_close(d);
    s->disk = NULL;
    cache_demoted_drop(s); /* what left memory during the close */
}

CELLAR_PRIVATE void cache_disk_given(const cache_store *s, uint64_t given[STATS_GIVEN_COUNT])
{
    l2 *d = cache_disk(s);
    if (d == NULL) { return; }
    l2_stats l;
    l2_stats_get(d, &l);
#define CACHE_X(field, family, label, shown) \
    given[STATS_GIVEN_L2_##field] = (uint64_t)l.field;
    STATS_GIVEN_L2(CACHE_X)
#undef CACHE_X
    given[STATS_GIVEN_L2_REFUSED] = l.refused_size + l.refused_stamp + l.refused_ttl +
                                    l.refused_budget + l.refused_unused + l.refused_seal +
                                    l.refused_invalid;
    given[STATS_GIVEN_L2_OFF] = l.broken ? 2 : l.off;
    given[STATS_GIVEN_L2_BREAKER] = !l.off ? CELLAR_BREAKER_CLOSED
                                    : l.trying ? CELLAR_BREAKER_HALF_OPEN : CELLAR_BREAKER_OPEN;
}

BASE_SIZE_END
