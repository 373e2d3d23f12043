/* SPDX-License-Identifier: MIT
 *
 * directory: report what the directory of a disk tier holds, without any change to it. */
#ifndef CLI_DIRECTORY_H
#define CLI_DIRECTORY_H

#include "l2/l2.h"

typedef struct directory_segment {
    uint64_t segseq, live_bytes, dead_bytes;
    uint32_t place, data_end, records, live, tombstones, controls, damaged;
    bool unreadable;      /* rows, or the whole segment */
} directory_segment;
typedef struct directory_record { /* a live record; pointers are valid during the call */
    const unsigned char *key;
    uint32_t key_len;
    const char *namespace;
    uint32_t namespace_len;
    uint64_t value_len; /* of the value that a get returns; of a sealed one, as it is stored */
    int64_t left_ms; /* remaining TTL; -1: none */
    uint64_t version;
    uint32_t user_flags;
    uint8_t kind;
} directory_record;
typedef struct directory_how { /* options; each callback may be NULL */
    const char *path;
    bool verify; /* check every record, not only the rows */
    bool head;   /* read SUPER alone: identity and sizes */
    bool force;  /* also inspect while a store is open; its writes may look like damage */
    void (*namespace)(void *ctx, const l2_namespace *v, const char *name, size_t name_len);
    void (*segment)(void *ctx, const directory_segment *s); /* oldest first */
    void (*record)(void *ctx, const directory_record *r);
    void *ctx;
    const base_vfs *vfs;           /* this field and the next three: for tests */
    const base_clock *clock;
    int64_t (*wall_ms)(void *ctx);
    void *wall_ctx;
} directory_how;
typedef struct directory_report {
    /* state of each copy: OK, E_CORRUPT, E_NEWER_FORMAT, STALE (an older format), E_FOREIGN */
    cellar_err super[2];
    unsigned char uuid[16];
    uint64_t opens, serial, l2_bytes, file_bytes, floor_lsn;
    int64_t last_seen_wall_ms, wall_ms;
    uint64_t records, live, live_bytes, dead_bytes, tombstones, controls, old_generation, expired;
    uint64_t ended; /* invalidated by a tag or a pattern */
    uint64_t holes, pages_healed, read_errors, records_damaged;
    uint32_t seg_bytes, seg_count, granule_bytes, namespaces;
    uint32_t places_sealed, places_torn; /* segments with rows; with a header alone */
    uint32_t files_short, segments, segments_damaged;
    l2_level level;
    uint16_t major, minor;
    bool clean;       /* closed */
    bool begins_anew; /* the next open begins an empty store: no record is live */
} directory_report;
/* Inspect a directory. Errors as in l2_open; E_BUSY: a store has it open. On an error *out holds
 * the findings so far. */
cellar_err directory_inspect(const directory_how *how, directory_report *out, int *sys_errno);
/* Return the number of findings that are damage; 0: none. */
uint64_t directory_damage(const directory_report *r);

#endif
