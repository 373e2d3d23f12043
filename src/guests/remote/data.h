/* SPDX-License-Identifier: MIT
 *
 * data: what the files behind the tier table of a shared namespace have in common.
 *
 * PICTURE    store -> table (attach.c) -> get.c put.c -> control.c, pending.c -> link
 *            link  -> coherence.c      -> control.c, pending.c, host of each namespace
 * NUMBERS    The epoch of the server rises with each end (clear, version change, tag delete). The
 *            generation of a namespace and the number of a tag are epochs. `born` of a value is an
 *            epoch that this process had read before the load or the set began.
 * INVARIANTS A value counts only if its generation is the known one, born >= generation, and
 *            born >= the number of each of its tags. A number in this process never falls.
 *            A gap makes all numbers unknown until they were read again.
 * LOCKING    data.lock guards the numbers; space.lock the pending writes. Neither is held in calls
 *            of the link or of the host. space.use is held for reading in calls of the store and
 *            of the I/O thread; the end of the remote or of the store writes. */
#ifndef REMOTE_DATA_H
#define REMOTE_DATA_H

#include <pthread.h>

#include "cellar_invalidate.h"
#include "cellar_tier.h"
#include "remote/key.h"
#include "remote/link.h"
#include "remote/remote.h"

enum {
    REMOTE_SPACES_MAX = 64,  /* namespaces of one remote */
    REMOTE_TAGS_KEPT = 4096, /* tags with a number in memory; others are read again */
    REMOTE_BORN_KEPT = 64,   /* pairs of epochs */
    REMOTE_CONTROL_MAX = 24, /* generations and tags that one script reads */
    REMOTE_BATCH = 64        /* pending writes sent together */
};

typedef struct remote_tag {
    uint64_t hard, soft; /* numbers; 0: none read yet */
    uint64_t forgot;     /* data.round when `known` fell */
    uint64_t read;       /* data.reads when the numbers were read; 0: not yet */
    bool known;
    uint8_t len;         /* 0: free */
    char text[CELLAR_TAG_MAX];
} remote_tag;

/* Epoch of tags in the store, and epoch of the server that was read before it was drawn. */
typedef struct remote_born {
    uint64_t here, server;
} remote_born;

typedef struct remote_pending remote_pending;

typedef struct remote_space {
    cellar_remote *r;             /* until the link is closed */
    bool closed;                  /* calls of the store are refused; under `use` */
    const cellar_tier_host *host; /* NULL: not attached, or ended; under `use` */
    pthread_rwlock_t use;
    const char *rule;             /* why the attach is refused; NULL: the store refuses it */
    cellar_remote_namespace_config opts;
    remote_names names;           /* texts below */
    char name[CELLAR_NAME_MAX + 1];
    char prefix[CELLAR_REMOTE_PREFIX_MAX + 1];
    bool tracked;                 /* thread of the link: its prefix is heard since the last gap */
    bool ends;                    /* thread of the link: entries end with the next proof, as: */
    uint32_t end_mode;
    _Atomic bool has_digest;      /* memory may have a key that has a digest as its name */
    uint64_t generation;          /* data.lock */
    uint64_t forgot;              /* data.lock: as in remote_tag */
    bool known;                   /* data.lock */
    pthread_mutex_t posts;        /* orders posts of batches with `settle`; see pending.c */
    pthread_mutex_t lock;         /* guards all below */
    remote_pending **pending;     /* REMOTE_PENDING_BUCKETS lists by name */
    uint64_t changes;             /* rises with each pending write */
    uint32_t cursor;              /* bucket at which the next batch begins */
    uint32_t journal_count, queue_count;
    size_t journal_bytes, queue_bytes;
    bool queues;                  /* values may wait: tracking is on since the last gap */
    bool busy;                    /* a batch is on its way */
    bool must_clear;              /* the journal was full, or a clear had no answer */
    uint64_t must_upto, clear_upto; /* changes: of the newest such call; of the running end */
} remote_space;

struct remote_data {
    cellar_remote *r;
    pthread_mutex_t lock;
    remote_space *space[REMOTE_SPACES_MAX]; /* entries never change */
    _Atomic uint32_t space_count;           /* release after the entry */
    uint64_t round;                         /* rises when a number becomes unknown */
    uint64_t lost;                          /* highest `forgot` of a tag that has no place now */
    uint64_t reads;                         /* rises with each tag that is read */
    uint64_t heard;                         /* highest epoch read */
    uint64_t done, doing;                   /* thread of the link: epochs up to which all ends
                                             * were heard: by the last proof, by the next one */
    remote_born born[REMOTE_BORN_KEPT];     /* both fields rise; newest at born_count - 1 */
    uint64_t born_count;
    remote_tag *tags;                       /* REMOTE_TAGS_KEPT; NULL: none was needed */
};

#endif
