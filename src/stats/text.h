/* SPDX-License-Identifier: MIT
 *
 * text: the figures as text. */
#ifndef STATS_TEXT_H
#define STATS_TEXT_H

#include "stats/types.h"

#ifndef CELLAR_OMIT_TEXT
#define STATS_NAMESPACES_SHOWN 256u /* of more namespaces: the 255 with most gets, and "other" */

typedef struct stats_namespace_name {
    const char *bytes; /* valid during the call of the writer */
    size_t len;
} stats_namespace_name;

typedef struct stats_hot_line { /* a key with many gets */
    const char *namespace_name; /* terminated */
    const char *key;            /* its text or hash */
    size_t key_len;
    uint64_t gets_per_s, share_ppm;
} stats_hot_line;

typedef struct stats_source {
    /* Return the name of the namespace in `slot`; false: the slot is free. May be called several
     * times per slot. Takes no lock that the caller of the writer holds. */
    bool (*namespace_name)(void *ctx, uint32_t slot, stats_namespace_name *out);
    /* Store a figure of the namespace in `slot`; false: unknown. Locks as in namespace_name. NULL:
     * no figures. */
    bool (*namespace_given)(void *ctx, uint32_t slot, stats_namespace_given id, uint64_t *out);
    void *ctx;
    uint64_t given[STATS_GIVEN_COUNT]; /* present values */
    const stats_hot_line *hot; /* for stats_write_json */
    size_t hot_count;
} stats_source;

/* Write the metrics as Prometheus text 0.0.4. Write at most `cap` bytes, the last of
 * them 0. Return the length of the whole text without that 0, like snprintf. No allocation, no
 * lock, no locale. */
CELLAR_PRIVATE size_t stats_write_prometheus(const stats *st, const stats_source *from, char *buf,
                                             size_t cap);
/* Write the same figures as JSON, the quantiles of all operations, and the hot keys. */
CELLAR_PRIVATE size_t stats_write_json(const stats *st, const stats_source *from, char *buf,
                                       size_t cap);
/* Write the figures that the metrics leave out, in the same form. */
CELLAR_PRIVATE size_t stats_write_rest(const stats *st, const stats_source *from, char *buf,
                                       size_t cap);
/* Write the figures of a table of locks as Prometheus text, each with the label table="name". json:
 * as an object with the list "metrics", as in stats_write_json. */
CELLAR_PRIVATE size_t stats_write_locks(const char *name, const uint64_t value[STATS_LOCK_COUNT],
                                        bool json, char *buf, size_t cap);
/* Write the figures of a scheduler likewise, each with the label scheduler="name". */
CELLAR_PRIVATE size_t stats_write_scheduler(const char *name,
                                            const uint64_t value[STATS_SCHEDULER_COUNT],
                                            bool json, char *buf, size_t cap);
/* Write the figures of a port likewise, each with the label port="name". */
BASE_SPARE CELLAR_PRIVATE size_t stats_write_port(const char *name,
                                                  const uint64_t value[STATS_PORT_COUNT],
                                                  bool json, char *buf, size_t cap);
/* Write the figures of a batcher likewise, each with the label batcher="name". */
CELLAR_PRIVATE size_t stats_write_batcher(const char *name,
                                          const uint64_t value[STATS_BATCHER_COUNT],
                                          bool json, char *buf, size_t cap);
/* Write the figures of a refresher likewise, each with the label refresher="name"; `late`: how late
 * its runs began. */
CELLAR_PRIVATE size_t stats_write_refresher(const char *name,
                                            const uint64_t value[STATS_REFRESHER_COUNT],
                                            const stats_waits *late, bool json, char *buf,
                                            size_t cap);
/* Write the figures of a bus likewise, each with the label bus="name". */
CELLAR_PRIVATE size_t stats_write_bus(const char *name, const uint64_t value[STATS_BUS_COUNT],
                                      bool json, char *buf, size_t cap);
typedef struct stats_queue { /* of a pool of tasks */
    const char *name;
    uint64_t tasks, bytes, oldest_ms;
} stats_queue;
/* Write the figures of a pool of tasks likewise, each with the label pool="name": its histograms,
 * in the order of STATS_TASK_WAITS, and its queues as well. */
CELLAR_PRIVATE size_t stats_write_tasks(const char *name, const uint64_t value[STATS_TASK_COUNT],
                                        const stats_waits waits[STATS_TASK_WAIT_COUNT],
                                        const stats_queue *queues, uint32_t queue_count, bool json,
                                        char *buf, size_t cap);
typedef struct stats_rule { /* of a limiter */
    const char *name;
    uint64_t denied;
} stats_rule;
/* Write the figures of a limiter likewise, each with the label limiter="name", and the denials of
 * its rules. At most 10 rules. */
CELLAR_PRIVATE size_t stats_write_limiter(const char *name,
                                          const uint64_t value[STATS_LIMITER_COUNT],
                                          const stats_rule *rules, uint32_t rule_count, bool json,
                                          char *buf, size_t cap);
#endif

#endif
