/* SPDX-License-Identifier: MIT
 *
 * borrow: copies of borrowed bytes, in a debug build.
 *
 * LOCKING    BORROW, over the list of all owners.
 * LIMITS     The copies are of malloc, beside every budget: tools know malloc. */
#include "base/borrow.h"

#ifdef CELLAR_DEBUG_PINS

#include <stdlib.h>
#include <string.h>

#include "base/sync.h"

typedef struct base_borrowed {
    struct base_borrowed *next;
    const void *owner;
    void *bytes;
} base_borrowed;

static sync_lock base_borrow_lock;
static base_borrowed *base_borrow_first SYNC_GUARDED(BORROW);

CELLAR_PRIVATE const void *base_borrow(const void *owner, const void *bytes, size_t len)
{
    base_borrowed *e = malloc(sizeof *e);
    void *copy = malloc(len + (len == 0));
    if (e == NULL || copy == NULL) {
        free(copy);
        free(e);
        return bytes;
    }
    memcpy(copy, bytes, len);
    sync_take(BORROW, &base_borrow_lock);
    *e = (base_borrowed){ base_borrow_first, owner, copy };
    base_borrow_first = e;
    sync_drop(BORROW, &base_borrow_lock);
    return copy;
}

CELLAR_PRIVATE void base_borrow_end(const void *owner, const void *copy)
{
    sync_take(BORROW, &base_borrow_lock);
    for (base_borrowed **at = &base_borrow_first; *at != NULL;) {
        base_borrowed *e = *at;
        if (e->owner == owner && (copy == NULL || e->bytes == copy)) {
            *at = e->next;
            free(e->bytes);
            free(e);
        } else {
            at = &e->next;
        }
    }
    sync_drop(BORROW, &base_borrow_lock);
}

#else
typedef int base_borrow_is_off; /* a file has at least one declaration */
#endif
