/* SPDX-License-Identifier: MIT
 *
 * bus_message: make and link messages of a bus, and note their copies for the journal. */
#ifndef WORK_BUS_MESSAGE_H
#define WORK_BUS_MESSAGE_H

#include "work/bus_types.h"

/* Copy and check key and options; add up the bytes of the message. */
CELLAR_PRIVATE cellar_err bus_publication_opts(const cellar_bus *b, bus_publication *l,
                                               const cellar_bus_publish_opts *o);
/* Make the message of a publication: copies, headers, body and texts in one block. */
CELLAR_PRIVATE bus_message *bus_message_make(cellar_bus *b, const bus_publication *l, int64_t now);
/* Link a message into the ring, by its id. `at`: where the search begins; NULL: the newest. */
CELLAR_PRIVATE void bus_message_link(cellar_bus *b, bus_message *m, bus_message *at)
    SYNC_HOLDS(BUS);
/* Note that the row of a copy has changed, for the journal. */
CELLAR_PRIVATE void bus_note_push(cellar_bus *b, bus_copy *c) SYNC_HOLDS(BUS);
/* Note that the row of a copy has changed. Without a journal: do nothing. */
BASE_INLINE void bus_note_copy(cellar_bus *b, bus_copy *c) SYNC_HOLDS(BUS)
{
    if (b->tasks != NULL) { bus_note_push(b, c); }
}

#endif
