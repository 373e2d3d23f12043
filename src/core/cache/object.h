/* SPDX-License-Identifier: MIT
 *
 * object: functions of object.c for the files above it. */
#ifndef CACHE_OBJECT_H
#define CACHE_OBJECT_H

#include "cache/types.h"

/* Return whether an open namespace holds objects. */
BASE_INLINE bool cache_has_objects(const cellar *c)
{
    return (base_load_acq(&c->state) & (CACHE_OBJECTS | CACHE_CLOSED)) == CACHE_OBJECTS;
}
/* Refuse a call of objects: the namespace is closed or holds bytes. */
CELLAR_PRIVATE cellar_err cache_no_objects(cellar *c, const char *call);
/* Refuse an object that got no cell in `call`. */
CELLAR_PRIVATE cellar_err cache_cell_failed(cellar *c, const char *call, cellar_err err,
                                            size_t charge);
/* Let a new namespace hold objects, if its options say so. E_NOMEM, E_LIMIT. */
CELLAR_PRIVATE cellar_err cache_object_begin(cellar *c, const cellar_namespace_config *o);
/* Return whether the options ask for other objects than the namespace holds. */
CELLAR_PRIVATE bool cache_object_differs(const cellar *c, const cellar_namespace_config *o);
/* Return whether `object` is all that the options, read before, say. */
CELLAR_PRIVATE bool cache_object_alone(const cellar_namespace_config *o);
/* End the entries of objects before L1 closes. */
CELLAR_PRIVATE void cache_objects_close(cache_store *s);

#endif
