/* SPDX-License-Identifier: MIT
 *
 * image: data of the cache under a name, in records of the log; the calls are in l2.h. */
#ifndef L2_IMAGE_H
#define L2_IMAGE_H

#include "l2/types.h"

CELLAR_PRIVATE void l2_images_close(l2 *d); /* free the names */

#endif
