/* SPDX-License-Identifier: MIT
 *
 * l2_tier_none: a build without src/l2 (CELLAR_OMIT_L2) refuses an l2_path; nothing else changes.
 */
#include "cache/error.h"
#include "store/bloom_persist.h"
#include "store/l2_tier.h"

#ifdef CELLAR_OMIT_L2

CELLAR_PRIVATE cellar_err cache_disk_open(cache_store *s, const cache_settings *cfg)
{
    (void)s;
    if (cfg->config.l2_path == NULL) { return CELLAR_OK; }
    cache_fail_open(CELLAR_E_UNSUPPORTED, 0,
                    "cellar_open: l2_path must be NULL: this library has no disk tier");
    return CELLAR_E_UNSUPPORTED;
}

CELLAR_PRIVATE bool cache_disk_crowds(const cache_store *s, const cache_settings *cfg, char *text,
                                      size_t cap)
{
    (void)s;
    (void)cfg;
    (void)text;
    (void)cap;
    return false;
}

CELLAR_PRIVATE void cache_disk_abandon(cache_store *s) { (void)s; }

CELLAR_PRIVATE bool cache_disk_end(cache_store *s)
{
    (void)s;
    return true;
}
CELLAR_PRIVATE void cache_disk_close(cache_store *s) { (void)s; }

CELLAR_PRIVATE bool cache_disk_offer(cache_store *s, uint64_t budget_us)
{
    (void)s;
    (void)budget_us;
    return false;
}

CELLAR_PRIVATE cellar_err cache_disk_save(cache_store *s, uint64_t *missed)
{
    (void)s;
    (void)missed;
    return CELLAR_DISABLED;
}

CELLAR_PRIVATE void cache_disk_given(const cache_store *s, uint64_t given[STATS_GIVEN_COUNT])
{
    (void)s;
    (void)given;
}

CELLAR_PRIVATE void cache_keep_all(void *s, struct l2_images *to)
{
    (void)s;
    (void)to;
}

CELLAR_PRIVATE struct l2_image *cache_keep_begin(cellar *v, bool no_disk)
{
    (void)v;
    (void)no_disk;
    return NULL;
}

CELLAR_PRIVATE void cache_keep_end(struct l2_image *im, bool opened)
{
    (void)im;
    (void)opened;
}
#endif
