/* SPDX-License-Identifier: MIT
 *
 * service: what the objects that a program opens have in common: a store, a limiter, a table of
 * locks, a pool, a batcher, a port. Each takes options of the host, and answers cellar_tick,
 * cellar_metrics_write and cellar_stats_json. */
#ifndef BASE_SERVICE_H
#define BASE_SERVICE_H

#include "base/log.h"
#include "base/mem.h"
#include "base/service_kind.h"
#include "base/thread_record.h"

/* What an object begins with, except a store. */
typedef struct base_object {
    base_service kind;    /* first */
    void *raw;            /* its block, as allocated */
    size_t bytes;         /* of the object */
    base_account account; /* without a limit: those of the object bound it; a port sets one */
    base_clock clock;
    cellar_clock_fn wall_clock; /* from its own options; NULL: of the system */
    base_log log;
    base_fork_node fork;  /* see base_object_forks */
    uint32_t stack_bytes; /* of each thread; 0: the default of the process */
    bool no_threads;      /* the program calls cellar_tick instead */
    bool forked;          /* this process is a child of the one that opened it */
    char name[CELLAR_NAME_MAX + 1]; /* label of its figures */
} base_object;

/* Allocate an object of `bytes`, aligned to BASE_PAD and zero behind its base_object. NULL: no
 * memory. */
CELLAR_PRIVATE void *base_object_new(const base_service_kind *kind, const cellar_host_config *host,
                                     size_t bytes);
/* Register `child`, which gets the object and runs in a child of a fork: base_object_forked first.
 * False: no memory. */
CELLAR_PRIVATE bool base_object_forks(base_object *o, void (*child)(void *object));
/* Mark the object in a child of a fork: `forked`, and the calls of base_service_kind refuse. */
CELLAR_PRIVATE void base_object_forked(void *object);
/* Return the bytes of its figures: its account and itself. */
BASE_INLINE uint64_t base_object_bytes(const base_object *o)
{
    return base_load_rlx(&o->account.used) + o->bytes + BASE_PAD;
}
/* Free it; its account is empty. */
CELLAR_PRIVATE void base_object_free(base_object *o);

/* Copy the host options of a caller and check them. `call` is the public function, for the reason
 * of a refusal; `name` stands in place of an empty name. */
CELLAR_PRIVATE cellar_err base_host_in(cellar_host_config *out, const cellar_host_config *from,
                                       const char *call, const char *name);
/* Rule for a number of an option struct: `none` replaces 0; another number is min..max. */
typedef struct base_number {
    uint16_t offset;
    bool wide;       /* 8 bytes, else 4 */
    uint64_t none, min, max; /* of a signed field: max is positive, so no negative one passes */
    const char *why; /* names field and rule */
} base_number;
#define BASE_NUMBER(type, field, none, min, max, why) \
    { (uint16_t)offsetof(type, field), sizeof(((type *)0)->field) == 8, none, min, max, why }
#define BASE_NUMBERS(rows) rows, sizeof(rows) / sizeof(rows)[0]

/* Put the defaults of numbers. Return the first row that another number breaks, and that number;
 * NULL: none. */
CELLAR_PRIVATE const base_number *base_numbers_in(void *options, const base_number *rows,
                                                  size_t count, uint64_t *got);

/* Copy the options of a caller and those of the host in them: base_open_opts, base_host_in. Then
 * base_numbers_in. `out` has the other defaults; host_at: offset of the
 * field `host`. */
CELLAR_PRIVATE cellar_err base_config_in(void *out, size_t known, const void *from,
                                         const char *type, size_t host_at,
                                         cellar_host_config *host, const char *call,
                                         const char *name, const base_number *rows, size_t count);
/* The same for a struct of `type`, which has a default function and a field `host`; then come
 * BASE_NUMBERS. */
#define BASE_CONFIG_IN(type, out, from, host_out, call, name, ...) \
    (*(out) = type##_default(), \
     base_config_in((out), sizeof(type), (from), #type, offsetof(type, host), (host_out), (call), \
                    (name), __VA_ARGS__))
/* Make the account of an object, without a limit, its clock and its log. */
CELLAR_PRIVATE void base_host_init(const cellar_host_config *host, base_account *account,
                                   base_clock *clock, base_log *log);
/* Return the allocator of the host. */
BASE_INLINE base_alloc_hooks base_host_hooks(const cellar_host_config *host)
{
    return (base_alloc_hooks){ .alloc = host->alloc, .free = host->free, .ctx = host->alloc_ctx };
}

#endif
