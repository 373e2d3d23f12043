/* SPDX-License-Identifier: MIT
 *
 * subject: the interface of every measured store to the harness; ours, the peers and the RAW limit.
 *
 * PICTURE    suite -> window -> [ table of function pointers ] -> raw | uthash | glib | cellar
 * INVARIANTS everything goes through these pointers, so the cost of the call is equal for all; a
 *            NULL pointer means the subject cannot do it, and the suite leaves the row out. Peers of
 *            other languages are processes: their windows are asked for (harness/driver.h).
 * LOCKING    get, set, del, get_many, pin may be called by any thread; open, close, count and
 *            settle only while no other call runs. accounted_bytes may run during writes. */
#ifndef BENCH_HARNESS_SUBJECT_H
#define BENCH_HARNESS_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bench_caps {
    BENCH_BOUNDED = 1,    /* holds a bound in entries or bytes by evicting */
    BENCH_TTL = 2,
    BENCH_DEL = 4,
    BENCH_LOAD = 8,
    BENCH_INCR = 16,
    BENCH_FIXED_KV = 64,  /* key and value sizes are fixed when it is opened */
    BENCH_SPMC = 128,     /* one writer at a time */
    BENCH_LEAKS = 256,    /* never frees replaced values: stated in every row */
    BENCH_NO_EVICT = 512, /* grows without bound: stated in every row */
    BENCH_JIT = 1024,     /* compiled while it runs: warmed up before the measurement */
    BENCH_BYTES = 2048,   /* the bound can be in bytes */
    BENCH_SLOW = 4096,    /* a million sets take a minute or more, or cross a socket each: takes
                           * part where it is named, and elsewhere in smaller sizes or not at all */
    BENCH_SMALL = 8192    /* values of at most BENCH_SMALL_LEN bytes; only in workloads */
};
#define BENCH_SMALL_LEN 103u

#define BENCH_DIGEST 4096

typedef struct bench_key {
    const void *ptr;
    size_t len;
} bench_key;

/* Options of an open. Zero means: no such bound, no such hint. */
typedef struct bench_cfg {
    uint64_t key_count;        /* ids 0 .. key_count - 1 may come; only RAW and sizing need it */
    uint64_t hint_entries;     /* expected entries, for peers that can be pre-sized */
    uint64_t capacity_entries;
    uint64_t capacity_bytes;
    uint64_t payload_bytes;    /* keys and values of a full population; for those with a budget */
    int64_t ttl_ms;            /* 0: entries never expire */
    uint32_t key_len, value_len; /* bytes; value_len is the largest */
    uint32_t threads;
    uint32_t reserved;
    uint64_t seed;             /* of keyed hashes */
    /* For drivers, which read the same workload: themselves, the files, the names of the row. */
    const struct bench_subject *self;
    const char *bench, *workload, *workload_path, *trace_path;
    const char *scratch;       /* folder for files and sockets; NULL: build/bench */
    uint64_t digest;           /* of the first BENCH_DIGEST requests: the driver has to agree */
    uint32_t warm_ms;
    uint32_t reserved2;
} bench_cfg;

/* A value read without copying. `handle` belongs to the subject between pin and unpin. */
typedef struct bench_pinned {
    const void *value;
    size_t value_len;
    uint64_t handle[8];
} bench_pinned;

/* Make the value of a missed key; return its length. */
typedef size_t bench_loader(void *ctx, void *value, size_t cap);

typedef struct bench_subject {
    const char *name, *version; /* "uthash64", "2.3.0" */
    const char *semantics;      /* "copy": bytes copied out; "ref": reference or pin; "remote" */
    uint32_t caps;              /* bench_caps */
    uint32_t threads_max;       /* 0: any number */
    /* A process of its own (harness/driver.h): the name of the program, open and close; the
     * pointers below are NULL and the process times its windows. NULL: inside this process. */
    const char *driver;
    void *(*open)(const bench_cfg *cfg); /* NULL: cannot be opened with this configuration */
    void (*close)(void *store);
    /* 1 hit, 0 miss, < 0 error. *value_len is the full length on a hit. */
    int (*get)(void *store, const void *key, size_t key_len, void *buf, size_t buf_cap,
               size_t *value_len);
    /* 0 stored, < 0 refused. ttl_ms 0: no deadline. */
    int (*set)(void *store, const void *key, size_t key_len, const void *value, size_t value_len,
               int64_t ttl_ms);
    int (*del)(void *store, const void *key, size_t key_len); /* 1 was there, 0 was not */
    /* Value i goes to bufs + i * stride; returns the number of hits. NULL: no batches. */
    size_t (*get_many)(void *store, const bench_key *keys, size_t count, void *bufs,
                       size_t stride);
    int (*pin)(void *store, const void *key, size_t key_len, bench_pinned *out); /* as get */
    void (*unpin)(void *store, bench_pinned *p);
    /* get, and on a miss the loader, by whatever single flight the store has. NULL: none. */
    int (*load)(void *store, const void *key, size_t key_len, bench_loader *loader, void *ctx,
                void *buf, size_t buf_cap, size_t *value_len);
    uint64_t (*count)(void *store);
    /* bytes held, as reported by the store; NULL: unknown */
    uint64_t (*accounted_bytes)(void *store);
    uint64_t (*settle)(void *store); /* do deferred work; return its CPU ns. NULL: none */
    uint64_t (*kept)(void *store);   /* records that eviction kept so far; NULL: unknown */
} bench_subject;

/* All built-in subjects, ours last; a peer without its headers has a `missing` text. */
typedef struct bench_entry {
    const char *name;
    const bench_subject *subject; /* NULL: see `missing` */
    const char *missing;
} bench_entry;

extern const bench_entry bench_registry[];
extern const size_t bench_registry_count;

const bench_subject *bench_subject_find(const char *name); /* NULL: unknown or not built in */

#endif
