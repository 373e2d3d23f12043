/* SPDX-License-Identifier: MIT
 *
 * mapped_read: read sealed records through a read-only mapping of data.seg, if the host enables
 * it. */
#ifndef L2_MAPPED_READ_H
#define L2_MAPPED_READ_H

#include "l2/types.h"

/* Map `wanted` places, and all of now. On failure gets read the file. */
CELLAR_PRIVATE void l2_map_open(l2 *d, uint64_t wanted);
CELLAR_PRIVATE void l2_map_close(l2 *d);
CELLAR_PRIVATE void l2_map_set(l2 *d);  /* all places of now; worker only */
/* Stop new readers before the file gets shorter. Return false while a reader is active. */
CELLAR_PRIVATE bool l2_map_shut(l2 *d);
CELLAR_PRIVATE void l2_map_forget(l2 *d, uint32_t place); /* after a write to the place */
CELLAR_PRIVATE void l2_map_work(l2 *d); /* periodic; worker only */
/* Note that n bytes at `at`, all of one place, were read from the file. */
CELLAR_PRIVATE void l2_map_note(l2 *d, uint64_t at, size_t n);
/* Copy from the mapping. Return false if the caller must read the file. */
CELLAR_PRIVATE bool l2_map_read(l2 *d, void *buf, size_t n, uint32_t place, uint64_t at);

#endif
