/* SPDX-License-Identifier: MIT
 *
 * rest: calls of l2.h for which the log has no mechanism yet: another size, and images.
 *
 * LIMITS     The size of a store is that of its first open. No image is kept, so filters of
 *            namespaces are filled again after an open. */
#include "l2/types.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE cellar_err l2_resize(l2 *d, uint64_t bytes)
{
    if (bytes < L2_BYTES_MIN) { return CELLAR_E_INVAL; }
    return bytes == d->super.l2_bytes ? CELLAR_OK : CELLAR_E_RANGE;
}

CELLAR_PRIVATE void l2_images_save(l2 *d, bool closing) { (void)d, (void)closing; }

CELLAR_PRIVATE bool l2_image_begin(l2_images *to, const char *name, size_t len, uint64_t bytes,
                                   const uint64_t note[2])
{
    (void)to, (void)name, (void)len, (void)bytes, (void)note;
    return false;
}

CELLAR_PRIVATE bool l2_image_give(void *to, const void *bytes, size_t len)
{
    (void)to, (void)bytes, (void)len;
    return false;
}

CELLAR_PRIVATE bool l2_image_end(l2_images *to, bool ok)
{
    (void)to, (void)ok;
    return false;
}

CELLAR_PRIVATE l2_image *l2_image_open(l2 *d, const char *name, size_t len)
{
    (void)d, (void)name, (void)len;
    return NULL;
}

CELLAR_PRIVATE bool l2_image_clean(const l2_image *im)
{
    (void)im;
    return false;
}

CELLAR_PRIVATE const uint64_t *l2_image_note(const l2_image *im)
{
    static const uint64_t none[2];
    (void)im;
    return none;
}

CELLAR_PRIVATE bool l2_image_take(void *im, void *bytes, size_t len)
{
    (void)im, (void)bytes, (void)len;
    return false;
}

CELLAR_PRIVATE void l2_image_close(l2_image *im, bool used) { (void)im, (void)used; }

BASE_SIZE_END
