/* SPDX-License-Identifier: MIT
 *
 * common: structs and constants of the files that serve both disk tiers, this one and src/core/log.
 *
 * SEE ALSO   types.h: the store. src/core/log/README.md: which files these are. */
#ifndef L2_COMMON_H
#define L2_COMMON_H

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/sync.h"
#include "l2/l2.h"

#define L2_PAGE 4096u
#define L2_RECORD_HEAD 24u
#define L2_RECORD_CHECK 4u /* bytes of the check at its begin */
#define L2_WALL_END_MS ((int64_t)1 << 48) /* 8,900 years: no limit */
#define L2_EXT_MAX 232u      /* bytes of a record's extension in this version */
#define L2_DAY_STEPS 256u     /* SUPER counts 1/256 of a day's budget ahead */
#define L2_PACKERS 4u /* two for compression, two for encryption */

enum { L2_KIND_PUT = 0, L2_KIND_TOMB = 1, L2_KIND_CONTROL = 2 };
/* Flags next to the kind, in a record and in its footer line. DURABLE: the durability of the put
 * was acknowledged. LINKED: the record names an older record of its bunch, see index.c, LINKS. */
#define L2_FLAG_DURABLE 0x10u
#define L2_FLAG_LINKED 0x20u
#define L2_FLAGS (L2_FLAG_DURABLE | L2_FLAG_LINKED)
#define L2_VOID_H48 ((uint64_t)0) /* in the line of a void record, a tombstone of no key */
#define L2_LINK_BYTES 8u /* first bytes of a record's extension */
#define L2_VLEN_MASK 0x3fffffffu
/* The two bits above a value's length. Both may be set. */
enum { L2_FORM_PLAIN = 0, L2_FORM_PACKED = 1, L2_FORM_SEALED = 2 };
/* First byte of a control's value. For a TAG and a GLOB also the hash48 of the footer line. */
enum { L2_CTL_NAMESPACE = 1, L2_CTL_FLOOR = 2, L2_CTL_TAG = 3, L2_CTL_GLOB = 4 };
#define L2_CTL_BYTES_MAX 1040u /* of a value: a GLOB */

typedef struct l2_rec { /* the 24-byte head of a record, decoded */
    uint32_t check;
    uint16_t mark, klen;
    uint32_t vlen;   /* bytes as stored */
    uint8_t kind, ext, form; /* form: L2_FORM_..., for a put */
    uint8_t flags;   /* L2_FLAG_... */
    int64_t expiry_wall_ms; /* 0: none */
    uint32_t generation;
    uint32_t bytes;  /* without padding */
} l2_rec;

typedef struct l2_form { /* parameters of all checks of one store; constant while it is open */
    base_sum_key sum;
    uint64_t epoch;
    uint32_t seg_bytes, granule;
} l2_form;

typedef struct l2_terms { /* conditions for a put */
    uint64_t invalidations;    /* count before its tags and its key were checked */
    const l2_current *current; /* NULL: always current */
    uint64_t hash;
    uint64_t lsn;              /* of the record that is moved: a floor above it refuses; 0: none */
    uint64_t older;            /* lsn of an older record of the key; 0: unknown */
} l2_terms;

#define L2_TAGS_MAX 4096u
#define L2_GLOBS_MAX 256u
#define L2_GLOB_TEXT_MAX ((uint32_t)64 << 10) /* all patterns together */

typedef struct l2_tag_row {
    uint64_t fp, hard, soft; /* fingerprint, epochs; epoch 0: never invalidated in this way */
    uint64_t lsn;            /* lsn of its newest control */
    uint32_t pending;        /* controls not yet logged */
    uint32_t reserved;
} l2_tag_row;

typedef struct l2_globs l2_globs;

typedef struct l2_invalidations {
    sync_lock lock;           /* rank GLOB; guards all fields that are not atomic */
    _Atomic uint64_t count;   /* number of invalidations; raised between row and control */
    l2_tag_row *tag SYNC_GUARDED(GLOB);
    uint32_t tag_count SYNC_GUARDED(GLOB), tag_cap SYNC_GUARDED(GLOB);
    uint64_t tag_floor SYNC_GUARDED(GLOB); /* epoch; tagged entries born before are invalid */
    l2_globs *_Atomic globs;  /* NULL: none */
    l2_globs *replaced SYNC_GUARDED(GLOB); /* retire list: replaced lists that readers may see */
    _Atomic uint32_t readers; /* readers of lists */
    uint64_t last_seq SYNC_GUARDED(GLOB);
    uint64_t floor SYNC_GUARDED(GLOB); /* highest lsn of a FLOOR that replaced a pattern */
    bool open;                /* the log accepts controls; constant after the open */
} l2_invalidations;

#define L2_ERRORS_MOST 64u
enum { L2_DISK_OK, L2_DISK_OFF, L2_DISK_TRYING }; /* values of l2.disk */

typedef struct l2_health {
    sync_lock lock;        /* rank L2_DEV; guards the rest */
    /* ring of cfg.off_errors times of errors, in ms */
    int64_t error_ms[L2_ERRORS_MOST] SYNC_GUARDED(L2_DEV);
    uint32_t errors SYNC_GUARDED(L2_DEV);  /* since the last recovery of the disk */
    uint32_t damaged SYNC_GUARDED(L2_DEV); /* damaged records since damage_ms */
    int64_t damage_ms SYNC_GUARDED(L2_DEV);
    uint64_t damage_reads SYNC_GUARDED(L2_DEV); /* gets before damage_ms */
    int64_t off_ms SYNC_GUARDED(L2_DEV);        /* length of the current pause */
    int64_t until_ms SYNC_GUARDED(L2_DEV);      /* end of the current pause */
} l2_health;

typedef struct l2_counts { /* relaxed; `invalidated` without `denied` and `remembered` */
#define L2_X(name) _Atomic uint64_t name;
    L2_COUNTERS(L2_X)
#undef L2_X
} l2_counts;

typedef struct l2_budget { /* bytes of puts in a window of one second or one day */
    _Atomic uint64_t window; /* number of the window; the next one begins with a CAS */
    _Atomic uint64_t used;   /* bytes; may include a few of the window before, see admission.c */
} l2_budget;

typedef struct l2_windows { uint64_t second, day; } l2_windows; /* windows that counted a put */

/* Call the disk. */
#define L2_DISK(d, op, ...) ((d)->vfs->op((d)->vfs->ctx, __VA_ARGS__))
#define L2_COUNT(d, field) ((void)base_add_rlx(&(d)->n.field, (uint64_t)1))
#define L2_COUNT_BY(d, field, by) ((void)base_add_rlx(&(d)->n.field, (uint64_t)(by)))
BASE_INLINE uint64_t l2_h48(uint64_t hash) { return base_mix64(hash) >> 16; }

#endif
