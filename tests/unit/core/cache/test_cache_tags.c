/* SPDX-License-Identifier: MIT
 *
 * Aim:    A reader beside a fold of the tag table never finds an invalidated entry valid.
 * Method: The source of tags.c is part of this program, so that a fold runs inside the look of a
 *         reader, between its first and its last reading of the version. */
#include "store/store.h"
#include "tests/support/t.h"

#include "base/num.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/shared.h"
#include "cache/tags.h"
#include "cache/tier_calls.h"
#include "tests/support/api_kit.h"

static cache_store *folds; /* the next look for a slot folds the table of this store */
static void fold_now(void);

/* tags.c mixes a fingerprint to find its slot. */
static uint64_t mix_beside_a_fold(uint64_t fp)
{
    if (folds != NULL) { fold_now(); }
    return base_mix64(fp);
}
#define base_mix64 mix_beside_a_fold
#include "cache/tags.c"
#undef base_mix64

static void fold_now(void)
{
    cache_store *s = folds;
    folds = NULL;
    sync_take(TAG, &s->tag_lock);
    cache_tag_fold(s, base_load_rlx(&s->tags));
    sync_drop(TAG, &s->tag_lock);
}

T_CASE(reader_beside_a_fold_finds_no_invalid_entry_valid)
{
    enum { TAGS = 40 };
    cellar *c = api_open(4u << 20);
    cache_store *s = c->store;
    const uint64_t oldest = 1;
    (void)cache_tag_invalidate(s, oldest, false);
    const uint64_t born = base_load_rlx(&s->tag_epoch) - 1; /* just before */
    for (uint64_t fp = 2; fp <= TAGS; fp++) { (void)cache_tag_invalidate(s, fp, false); }
    const uint64_t unknown = TAGS + 1, young = base_load_rlx(&s->tag_epoch) - 1;
    T_EQ_I64(cache_tags_valid(s, born, &oldest, 1), 2);
    T_EQ_I64(cache_tags_valid(s, young, &unknown, 1), 0);
    folds = s;
    T_EQ_I64(cache_tags_valid(s, born, &oldest, 1), 2);
    T_CHECK(folds == NULL && base_load_rlx(&s->tag_floor) > born); /* its record is gone */
    T_EQ_U64(base_load_rlx(&cache_tag_slot_of(base_load_rlx(&s->tags), oldest)->fp), 0);
    T_EQ_I64(cache_tags_valid(s, born, &oldest, 1), 2);
    folds = s;
    T_EQ_I64(cache_tags_valid(s, young, &unknown, 1), 2); /* a miss is always allowed */
    T_EQ_I64(cache_tags_valid(s, young, &unknown, 1), 0);
    api_shut(c);
}

T_MAIN("cache_tags")
