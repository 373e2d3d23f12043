/* SPDX-License-Identifier: MIT
 *
 * control: the numbers that make values dead: epoch, generations, tags. */
#ifndef REMOTE_CONTROL_H
#define REMOTE_CONTROL_H

#include "remote/data.h"

typedef enum remote_life {
    REMOTE_LIFE_FRESH,
    REMOTE_LIFE_STALE,  /* a tag ended softly */
    REMOTE_LIFE_DEAD,
    REMOTE_LIFE_UNKNOWN /* numbers are missing: remote_control_need, then again */
} remote_life;

/* Judge a value by the numbers that are known. */
CELLAR_PRIVATE remote_life remote_control_judge(remote_space *s, uint64_t generation,
                                                uint64_t born, const cellar_bytes *tags,
                                                uint32_t tag_count);

/* Read the generation of `s` and the numbers of the tags. Missing keys are made. Waits for the
 * server. Returns OK, or a code of remote_ask. */
CELLAR_PRIVATE cellar_err remote_control_need(remote_space *s, const cellar_bytes *tags,
                                              uint32_t tag_count);
/* Ask for the same, without waiting: the numbers are known before the replies to later requests.
 * s NULL: for the tags alone; without tags the epoch alone. */
CELLAR_PRIVATE void remote_control_want(struct remote_data *d, remote_space *s,
                                        const cellar_bytes *tags, uint32_t tag_count);

/* Return the generation of `s`, 0: not known, and the server's epoch for `here`, an epoch of tags
 * of the store; 0: older than all that are kept. */
CELLAR_PRIVATE uint64_t remote_control_generation(remote_space *s);
CELLAR_PRIVATE uint64_t remote_control_born(struct remote_data *d, uint64_t here);

/* Return the highest epoch read. */
CELLAR_PRIVATE uint64_t remote_control_epoch(struct remote_data *d);

/* Return the attached namespace of a name; NULL: this process has none. */
CELLAR_PRIVATE remote_space *remote_space_named(const struct remote_data *d, const char *name,
                                                size_t len);
/* Forget that numbers are known: all of them, or those that a heard control key names. */
CELLAR_PRIVATE void remote_control_forget(struct remote_data *d);
CELLAR_PRIVATE void remote_control_heard(struct remote_data *d, const remote_parts *p);

/* Read all numbers that this process keeps without waiting; then call `done`. I/O thread. */
CELLAR_PRIVATE void remote_control_read_all(struct remote_data *d,
                                            void (*done)(struct remote_data *d, cellar_err err));

/* End the namespace of `s` by its generation, or a tag, for all processes. Waits for the server. */
CELLAR_PRIVATE cellar_err remote_control_end(remote_space *s, remote_kind kind, const void *text,
                                             size_t len);
/* End the namespace without waiting. `done` gets `s`. */
CELLAR_PRIVATE void remote_control_clear_post(remote_space *s,
                                              void (*done)(void *ctx, cellar_err err));

#endif
