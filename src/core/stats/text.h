/* SPDX-License-Identifier: MIT
 *
 * text: the figures as text and as structs. */
#ifndef STATS_TEXT_H
#define STATS_TEXT_H

#include "base/service.h"
#include "stats/types.h"

typedef struct stats_out stats_out;
typedef struct stats_owner { /* a label of a sample; value unescaped */
    const char *label, *value;
    size_t value_len;
    const struct stats_owner *next; /* one more label; NULL: none */
} stats_owner;

/* A kind of objects with a public struct of figures: struct_size, then numbers. */
typedef struct stats_service {
    base_service_kind kind; /* first */
    /* Store the numbers in the order of the struct. Return the name of the object. */
    const char *(*read)(void *object, uint64_t *value);
    uint32_t struct_bytes;
    uint32_t count;    /* of lines: those of the first numbers of the struct */
    const char *label; /* of each line; its value is the name of the object */
    const char *lines; /* a list of metrics.h */
    /* Write more families; `value` as read. NULL: none. */
    void (*more)(stats_out *o, const stats_owner *owner, void *object, const uint64_t *value);
} stats_service;
typedef struct stats_struct { /* any such struct */
    size_t struct_size;
    uint64_t value[64];
} stats_struct;
/* Define a stats_service. rest: numbers of the struct behind those with lines. */
#define STATS_SERVICE(name, tick, read, type, rest, label, list, more) \
    _Static_assert(offsetof(stats_struct, value[0 list(STATS_PLUS_ONE) + (rest)]) == \
                       sizeof(type), "one line for each number"); \
    static const stats_service name = { { tick, BASE_TEXT(stats_text) }, read, sizeof(type), \
                                        0 list(STATS_PLUS_ONE), BASE_TEXT(label), \
                                        BASE_TEXT("" list(STATS_LINE)), BASE_TEXT(more) };
#define STATS_PLUS_ONE(id, family, label, shown) + 1
/* The lines of a list stand in one string, three words each: family, label, and 'm' or 'd' with the
 * help text. A line without a family goes on with the one above it. Pointers to the words would add
 * relocations and symbols. */
#define STATS_LINE(id, family, label, shown) family "\0" label "\0" STATS_##shown "\0"
#define STATS_FIELD_LINE(id, field, ...) STATS_LINE(id, __VA_ARGS__)
#define STATS_METRIC(help) "m" help
#define STATS_DUMP "d"
#define STATS_SAME ""

/* Copy the figures of an object with a stats_service to the struct of a caller. */
CELLAR_PRIVATE cellar_err stats_get(void *object, void *out);

#ifndef CELLAR_OMIT_TEXT
#define STATS_NAMESPACES_SHOWN 256u /* of more namespaces: 255 with most gets, and "other" */

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
    const stats_hot_line *hot; /* for STATS_JSON */
    size_t hot_count;
} stats_source;

/* Which figures of a store, and how. */
typedef enum stats_form {
    STATS_PROMETHEUS, /* the metrics and the durations, as Prometheus text 0.0.4 */
    STATS_JSON,       /* the metrics, the quantiles of all operations, and the hot keys */
    STATS_REST        /* what the metrics leave out, as Prometheus text */
} stats_form;
/* Write the figures of a store. Write at most `cap` bytes, the last of them 0. Return the length of
 * the whole text without that 0, like snprintf. No allocation, no lock, no locale. */
CELLAR_PRIVATE size_t stats_write(const stats *st, const stats_source *from, stats_form form,
                                  char *buf, size_t cap);
/* Write the figures of an object with a stats_service: see base_service_kind. */
CELLAR_PRIVATE cellar_err stats_text(void *object, bool json, char *buf, size_t cap, size_t *full);
/* Write the lines of a list of metrics.h with their values. */
CELLAR_PRIVATE void stats_tell_list(stats_out *o, const char *lines, size_t count,
                                    const stats_owner *owner, const uint64_t *value);
/* Begin a family of samples. kind: "counter", "gauge" or "histogram". */
CELLAR_PRIVATE void stats_family(stats_out *o, const char *name, const char *help,
                                 const char *kind);
/* Write one sample, its value / 10^digits. owner NULL: none. label: "name=value", or "". */
CELLAR_PRIVATE void stats_put_sample(stats_out *o, const char *family, const char *suffix,
                                     const stats_owner *owner, const char *label, int digits,
                                     uint64_t value);
/* Write a histogram of waits. */
CELLAR_PRIVATE void stats_tell_waits(stats_out *o, const char *family, const char *help,
                                     const stats_owner *owner, const stats_waits *w);
#endif

#endif
