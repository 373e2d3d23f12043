/* SPDX-License-Identifier: MIT
 *
 * owner_images: keep images (Bloom filters of namespaces) in bloom.snap, one per name. */
#ifndef L2_OWNER_IMAGES_H
#define L2_OWNER_IMAGES_H

#include "l2/types.h"

/* Read the heads of bloom.snap. clean: the store was closed and is no copy. After this call the
 * count of opens does not change in this run. */
CELLAR_PRIVATE void l2_images_open(l2 *d, bool clean);
CELLAR_PRIVATE void l2_images_fini(l2 *d);
/* Make room within the size of the store for the images of a save. */
CELLAR_PRIVATE void l2_images_reserve(l2 *d);
/* Return the number of damaged images. No other thread uses the store. */
BASE_SPARE CELLAR_PRIVATE uint32_t l2_images_damaged(l2 *d);

#endif
