/* SPDX-License-Identifier: MIT
 *
 * bus_journal: messages of a bus in the journal of a pool. */
#ifndef WORK_BUS_JOURNAL_H
#define WORK_BUS_JOURNAL_H

#include "work/bus_types.h"

/* Write what was noted, and wait for its commit. Without a journal: OK. Hold no lock.
 * returns: as task_commit_write; with an error it is tried again later */
CELLAR_PRIVATE cellar_err bus_commit(cellar_bus *b);
/* Write a message and its copies, and wait for the commit. The groups of the copies stay. */
CELLAR_PRIVATE cellar_err bus_commit_message(cellar_bus *b, bus_message *m);
/* Take the journal of a pool.
 * returns: OK; E_UNSUPPORTED (it has none), E_BUSY (another bus has it); as task_commit_write */
CELLAR_PRIVATE cellar_err bus_journal_open(cellar_bus *b, struct cellar_pool *p,
                                           const char **why);
/* Write the last notes, and give the journal back. */
CELLAR_PRIVATE void bus_journal_close(cellar_bus *b);
/* Make messages of the copies of a group that is not there yet: a chain, the oldest first. */
CELLAR_PRIVATE cellar_err bus_restore(cellar_bus *b, const char *queue, const char *group,
                                      bus_message **out);
/* Put the messages of bus_restore into their group. */
CELLAR_PRIVATE void bus_restore_enter(bus_group *g, bus_message *chain, bus_after *a)
    SYNC_HOLDS(BUS);
CELLAR_PRIVATE void bus_restore_drop(cellar_bus *b, bus_message *chain);

#endif
