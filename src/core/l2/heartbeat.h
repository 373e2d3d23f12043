/* SPDX-License-Identifier: MIT
 *
 * heartbeat: check once a second that the disk and the files are there. */
#ifndef L2_HEARTBEAT_H
#define L2_HEARTBEAT_H

#include "l2/types.h"

/* Return false while the disk is off; probe it when that is due. The worker calls it before
 * work. */
CELLAR_PRIVATE bool l2_disk_works(l2 *d);
/* Handle a missing page of the stage: nothing of the stage counts, now and at the next open. Called
 * without locks, before anything is acknowledged. */
CELLAR_PRIVATE void l2_stage_lost(l2 *d);
BASE_INLINE void l2_stage_look(l2 *d)
{
    if (base_sigbus_hit(d->guard)) { l2_stage_lost(d); }
}
/* Return false if the files are not intact. The worker does nothing with them any more. */
CELLAR_PRIVATE bool l2_heartbeat(l2 *d);
CELLAR_PRIVATE bool l2_files_there(l2 *d); /* the same with a check now */

#endif
