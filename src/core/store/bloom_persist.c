/* SPDX-License-Identifier: MIT
 *
 * bloom_persist: Bloom filters that outlive the process, with a disk tier.
 *
 * PICTURE    cellar_sync, close -> image of each filter -> log of the disk tier
 *            namespace opened -> image -> AUTHORITATIVE: it was, and the store was closed since
 *                                      -> OBSERVING, with its bits: after a kill, a power cut, or
 *                                         in a copy
 *                                      -> OBSERVING, empty: the image is damaged
 * INVARIANTS An image is believed only if the close wrote it and the namespace was not open since:
 *            README.md. A namespace gets its filter before it can be found by name. A second opener
 *            waits until then. A namespace opened without disk gives its image up: later adds are
 *            not logged.
 * LOCKING    The image is held (`imaging` of l2) from cache_keep_begin to cache_keep_end. NAMESPACE
 *            may be taken meanwhile, never the other way round.
 * LIMITS     An image misses keys that enter the source while the store is closed, or open without
 *            its disk. The generation announces them, see cellar_bloom.h.
 * SEE ALSO   l2/image.c (records), bloom/ (bits). */
#include "store/bloom_persist.h"

#include "cache/bloom_guard.h"
#include "cache/handle.h"
#include "cache/talk.h"
#include "l2/l2.h"

#define CACHE_KEEP_TRIES 3

BASE_SIZE_BEGIN

/* Return a check of the hash key, which made all hashes in a filter. */
static uint64_t cache_keep_check(const cache_store *s)
{
    /* Six bytes are long for every hash algorithm; a compiler of 32-bit code cannot know that. */
    return base_hash_long(&s->hash_key, 0, "filter", 6);
}

/* Write the name of the image: a prefix separates the root from a namespace with the same name. */
static size_t cache_keep_name(const cellar *v, char name[CELLAR_NAME_MAX + 1])
{
    name[0] = v == v->store->root ? 'r' : 'v';
    memcpy(name + 1, v->name, v->name_len);
    return v->name_len + 1u;
}

/* ---- saving ---- */

static void cache_keep_one(const cache_store *s, const cellar *v, const bloom *b, l2_images *to)
{
    char name[CELLAR_NAME_MAX + 1];
    const size_t len = cache_keep_name(v, name);
    for (int i = 0; i < CACHE_KEEP_TRIES; i++) { /* a new filter may replace it meanwhile */
        cellar_bloom_info f;
        bloom_figures_get(b, &f);
        if (f.state == CELLAR_BLOOM_OFF) { return; }
        const uint64_t note[2] = { f.expected_keys, (uint64_t)(f.false_positive_rate * 1e9 + 0.5) };
        if (!l2_image_begin(to, name, len, bloom_image_bytes(b), note)) { return; }
        const cellar_err err = bloom_save(b, cache_keep_check(s), l2_image_give, to);
        if (l2_image_end(to, err == CELLAR_OK) || err != CELLAR_E_BUSY) { return; }
    }
}

CELLAR_PRIVATE void cache_keep_all(void *ctx, l2_images *to)
{
    cache_store *s = ctx;
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot++) {
        sync_take(NAMESPACE, &s->namespace_lock);
        cellar *v = cache_namespace_at(s, slot);
        const bool wanted = v != NULL && v->settled && !v->no_disk &&
                            !base_load_rlx(&v->dropped) && base_load_acq(&v->bloom) != NULL &&
                            cache_namespace_hold(v);
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (!wanted) { continue; }
        cache_keep_one(s, v, base_load_acq(&v->bloom), to);
        cache_namespace_release(v);
    }
}

/* ---- loading ---- */

/* Open an empty filter instead of an unreadable or changed image, and count a doubt. */
static bool cache_keep_anew(bloom *b, const uint64_t note[2])
{
    if (bloom_open(b, note[0], (double)note[1] / 1e9) != CELLAR_OK) { return false; }
    bloom_suspect(b, CELLAR_BLOOM_DOUBT_RESTORED);
    return true;
}

static void cache_keep_load(cellar *v, l2_image *im)
{
    cache_store *s = v->store;
    bloom *b = bloom_create(&s->account);
    cellar_err err = CELLAR_E_NOMEM;
    if (b != NULL) {
        err = bloom_load(b, cache_keep_check(s), l2_image_clean(im), l2_image_take, im);
    }
    const bool memory = err == CELLAR_E_NOMEM || err == CELLAR_E_SPACE;
    if (err == CELLAR_OK || (!memory && cache_keep_anew(b, l2_image_note(im)))) {
        cellar_bloom_info f;
        bloom_figures_get(b, &f);
        base_store_rlx(&v->bloom_keys, f.expected_keys);
        base_store_rlx(&v->bloom_fpr_ppm, (uint32_t)(f.false_positive_rate * 1e6 + 0.5));
        base_store_sc(&v->bloom, b); /* no other thread can find the namespace yet */
        cache_filter_tell(v, b);
        return;
    }
    bloom_destroy(b);
    cache_log(v, BASE_LOG_WARNING, "bloom", (int)err,
              "no memory for a stored Bloom filter of a namespace: it is off");
}

CELLAR_PRIVATE l2_image *cache_keep_begin(cellar *v, bool no_disk)
{
    l2 *d = cache_disk(v->store);
    if (d == NULL) { return NULL; }
    char name[CELLAR_NAME_MAX + 1];
    l2_image *im = l2_image_open(d, name, cache_keep_name(v, name));
    if (im != NULL && !no_disk) { cache_keep_load(v, im); }
    return im;
}

CELLAR_PRIVATE void cache_keep_end(l2_image *im, bool opened)
{
    if (CACHE_HAS_DISK && im != NULL) { l2_image_close(im, opened); }
}

BASE_SIZE_END
