/* SPDX-License-Identifier: MIT
 *
 * python: what the files of the extension share.
 *
 * All functions need the GIL, except where a comment says otherwise. A function that fails sets a
 * Python exception, and returns -1 or NULL; a converter of PyArg_ParseTuple returns 0. */
#ifndef CELLAR_PYTHON_H
#define CELLAR_PYTHON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pythread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_remote.h"

/* ---- common.c: errors, log lines, arguments ------------------------------------------------- */

/* Count of forks, raised in each child. An object that another count opened belongs to a parent. */
extern unsigned common_forks;
/* The main thread of this process, which alone receives signals. */
extern unsigned long common_main_thread;
/* 1 in a thread of a store that refreshes a value. */
extern _Thread_local int common_background;

/* Raise the Python exception of a code, with the text of the call that failed; return NULL. */
PyObject *common_raise(cellar *c, cellar_err err);
PyObject *common_raise_remote(const cellar_remote *r, cellar_err err);
/* Raise it with another text, and another attribute `code`; return NULL. */
PyObject *common_raise_text(cellar_err err, int code, const char *text);
/* Raise the Python exception of a code; return -1. */
static inline int common_fail(cellar *c, cellar_err err) { return common_raise(c, err) ? 0 : -1; }
/* Write a line to the logger "cellar". For cellar_host_config.log: it needs no GIL. */
void common_log(cellar_log_level level, const char *area, cellar_err code, const char *text,
                void *ctx);
/* Take the GIL in a thread of the library, and give it back. Fail without an exception if the
 * interpreter ends, which would end the thread. */
int common_enter(PyGILState_STATE *state);
void common_leave(PyGILState_STATE state);
/* Keep threads of the library out of the interpreter, which ends. */
PyObject *common_end(PyObject *self, PyObject *unused);
int common_has_ended(void);
/* Forget the threads of the parent, in a child. */
void common_forked(void);
/* Sleep 1 ms without the GIL. Fail when a signal handler raises. */
int common_pause(void);
/* Convert seconds to an int64_t of ms: Ellipsis is 0 (the default), None CELLAR_TTL_NONE. */
int common_ms(PyObject *seconds, void *ms);
/* Convert the seconds of a stale window: Ellipsis and None are 0. */
int common_stale(PyObject *seconds, void *ms);
/* Convert an int to a uint64_t. */
int common_unsigned(PyObject *number, void *out);
/* Free an object of a type. */
void common_free(PyObject *self);
#define COMMON_METHOD(f) (PyCFunction)(void (*)(void))f
/* Raise TypeError unless a call has `min`..`max` positional arguments. */
int common_arguments(const char *call, Py_ssize_t n, Py_ssize_t min, Py_ssize_t max);
/* Take what __init__.py gives the module: the main thread, time.sleep, the two functions that make
 * an exception (code, attribute, text) and write a log line (level, text). */
PyObject *common_start(PyObject *self, PyObject *args);
/* Add the types and functions of a file to the module. */
int cache_types_add(PyObject *module, const PyMethodDef *more);
int load_types_add(PyObject *module);
int guard_types_add(PyObject *module);

/* ---- codec.c: keys and values as bytes ------------------------------------------------------ */

/* Growing bytes. Begin with buf_init, end with buf_fini. */
typedef struct pybuf {
    char  *at;        /* `own`, or memory of PyMem_Malloc */
    size_t len;       /* bytes in use */
    size_t cap;       /* bytes at `at` */
    char   own[1000]; /* short keys and values */
} pybuf;

static inline void buf_init(pybuf *b)
{
    b->at = b->own;
    b->len = 0;
    b->cap = sizeof b->own;
}
static inline void buf_fini(pybuf *b)
{
    if (b->at != b->own) { PyMem_Free(b->at); }
}
int buf_grow(pybuf *b, size_t more);
static inline int buf_put(pybuf *b, const void *bytes, size_t len)
{
    if (len > b->cap - b->len && buf_grow(b, len) < 0) { return -1; }
    memcpy(b->at + b->len, bytes, len);
    b->len += len;
    return 0;
}

/* The type of an object, the last byte of a value. UTF-8 ends with none of them, so no text of
 * another program is a value. The last three have a count of items. */
enum {
    TAG_NONE = 0xF0, TAG_TRUE, TAG_FALSE, TAG_FLOAT, TAG_INT, TAG_STR, TAG_BYTES,
    TAG_PICKLE, /* pickle.dumps: read with codec="pickle" alone */
    TAG_CODEC,  /* dumps of the program */
    TAG_LIST, TAG_TUPLE, TAG_DICT
};

/* How a Cache converts values that the package does not know. */
typedef struct codec {
    PyObject *dumps;
    PyObject *loads;
    int       tag; /* TAG_PICKLE, TAG_CODEC; 0: none */
    int       raw; /* 1: values are bytes, without a tag */
} codec;

/* A key as bytes: those of the object, or of `buf`. */
typedef struct pykey {
    const char *at;
    size_t      len;
    pybuf       buf;
} pykey;

/* Convert a key that is not exactly a str, or that begins with a zero byte. */
int key_init_other(pykey *k, PyObject *o, int raw);
/* Convert a key. The bytes live until key_fini, and as long as `o`. */
static inline int key_init(pykey *k, PyObject *o, int raw)
{
    Py_ssize_t n = 0;
    buf_init(&k->buf);
    if (!PyUnicode_CheckExact(o)) { return key_init_other(k, o, raw); }
    k->at = PyUnicode_AsUTF8AndSize(o, &n);
    k->len = (size_t)n;
    if (k->at == NULL) { return -1; }
    return raw || n == 0 || *k->at != '\0' ? 0 : key_init_other(k, o, raw);
}
static inline void key_fini(pykey *k) { buf_fini(&k->buf); }
/* Convert a key, as a converter. */
int key_argument(PyObject *o, void *key);
/* Return the object of a key; NULL without an exception for a key of a memoized function. */
PyObject *key_object(const char *at, size_t len, int raw);
/* Append the arguments of a call to a key. */
int key_add_arguments(pybuf *b, PyObject *args, PyObject *kwargs);
/* Append a value and its tag. */
int value_encode(pybuf *b, PyObject *o, const codec *c);
/* Return the object of a value; NULL without an exception for bytes that are no such value. */
PyObject *value_decode(const char *at, size_t len, const codec *c);

/* ---- cache.c: stores and namespaces --------------------------------------------------------- */

typedef struct cache cache;
struct cache {
    PyObject_HEAD
    cellar        *c;       /* of this process while forks == common_forks; NULL: not open */
    cache         *root;    /* the store, which `owned` of a namespace keeps */
    cellar_remote *remote;  /* of a store: link to the server; NULL: not shared */
    PyObject      *owned;   /* the arguments: `spec` and the functions of `codec` are theirs */
    PyObject      *spec;    /* what opens the handle, also in a child */
    codec          codec;
    uint64_t       foreign; /* values without a valid tag, since the open */
    unsigned       forks;   /* common_forks of the open */
    unsigned       opening; /* 1 + common_forks while a thread opens the handle, else 0 */
    unsigned long  opener;  /* that thread */
    unsigned       busy;    /* of a store: calls that run without the GIL */
    unsigned       entering; /* of a store: loads that the library may not have yet */
    cache         *next;    /* a store without references, which the main thread closes */
    int            below;   /* what is below memory: 0, BELOW_DISK, BELOW_SERVER */
    int            closed;
};
enum { BELOW_DISK = 1, BELOW_SERVER };
extern PyTypeObject *cache_type;

int cache_open_here(cache *s);
/* Close the stores that threads of stores left to the main thread. Return 0. */
int cache_close_left(void *unused);
static inline int cache_is_open(const cache *s)
{
    return s->c != NULL && s->forks == common_forks && !s->root->closed;
}
/* Make sure that the handle is open in this process. */
static inline int cache_ready(cache *s) { return cache_is_open(s) ? 0 : cache_open_here(s); }

/* Release the GIL for a call, for which the close waits; take it back. NULL: it is not released. */
static inline PyThreadState *cache_leave(cache *s)
{
    s->root->busy++;
    return PyEval_SaveThread();
}
static inline void cache_return(cache *s, PyThreadState *gil)
{
    if (gil == NULL) { return; }
    PyEval_RestoreThread(gil);
    s->root->busy--;
}

/* Return the value of a key in memory, and in tiers below if `deep`. NULL without an exception: no
 * value. */
PyObject *cache_look(cache *s, const char *key, size_t len, int deep);
/* Read a tuple of tags into `out`, which has room for CELLAR_TAGS_MAX. The texts live as long as
 * the tuple. */
int cache_tags(PyObject *tags, cellar_bytes *out, uint32_t *count);

/* Options of a set or load. */
typedef struct cache_options {
    int64_t   ttl_ms;   /* 0: of the namespace */
    int64_t   stale_ms; /* 0: none */
    PyObject *tags;     /* borrowed; None: none */
} cache_options;
/* Read `ttl`, NULL if it is not given, and the keyword arguments, which stand at `a`. */
int cache_options_init(cache_options *x, PyObject *ttl, PyObject *const *a, PyObject *names);

/* ---- load.c --------------------------------------------------------------------------------- */

/* The method get_or_load of a Cache. */
extern const PyMethodDef load_method;
/* Forget the calls of the parent, in a child. */
void load_forked(void);

#endif
