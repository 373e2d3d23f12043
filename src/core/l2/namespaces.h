/* SPDX-License-Identifier: MIT
 *
 * namespaces: the table of namespaces: name, id, generation, version. */
#ifndef L2_NAMESPACES_H
#define L2_NAMESPACES_H

#include "l2/types.h"

/* Return true if a record above the floor with this generation is of the current one of a
 * namespace. Once false, it stays false. */
CELLAR_PRIVATE bool l2_generation_used(l2 *d, uint32_t generation);
/* Return true if neither the table nor an open namespace has this generation. Once true, it stays
 * true. */
CELLAR_PRIVATE bool l2_generation_over(l2 *d, uint32_t generation);
/* Apply a row to the namespace table, unless *over is true. Return false if memory is short, or was
 * for a generation as new as this one. */
CELLAR_PRIVATE bool l2_namespace_apply(l2 *d, const l2_namespace *v, const char *name,
                                       size_t name_len, const _Atomic bool *over);

#endif
