/* SPDX-License-Identifier: MIT
 *
 * meta: store and load META, the table of namespaces, tags and patterns. */
#ifndef L2_META_H
#define L2_META_H

#include "l2/types.h"

CELLAR_PRIVATE int l2_meta_store(l2 *d);
/* Load the valid copy of META with the higher serial. d->meta_lsn is its lsn. */
CELLAR_PRIVATE cellar_err l2_meta_load(l2 *d);

#endif
