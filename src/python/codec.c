/* SPDX-License-Identifier: MIT
 *
 * codec: keys and values of Python as bytes, and back.
 *
 * PICTURE    value   | bytes of the object | type |            the type stands last: see TYPE_BYTES
 *            key     str, bytes: the bytes of the text;  others: | 0 | object |
 *                    a text that begins with 0: | 0 | 'b' | text |
 *                    a memoized call: | 0 | 'm' | .. |
 *            object  'N' 'T' 'F'   None, True, False       'j' x     an int of -128..127
 *                    'i' 8 bytes   an int of 64 bits       'I' n hex a longer one
 *                    'd' 8 bytes   a float, bit by bit     's' n ..  str in UTF-8
 *                    'y' n ..  bytes    'l' n ..  list    'u' n ..  tuple    'k' n ..  dict
 *            n       one byte below 255; 255 and four bytes
 * INVARIANTS Equal bytes are equal keys, and different keys have different bytes. The numbers are
 *            little-endian, as are all machines of the library.
 * LIMITS     CODEC_DEPTH objects in each other, when writing and when reading: damaged bytes never
 *            end the stack. Exact types alone: a subclass has no codec.
 * SAFETY     Reading builds objects of these types and runs no code of the program. */
#include "python/python.h"

enum { CODEC_DEPTH = 100 };

/* What an object is part of. */
typedef enum codec_use {
    USE_VALUE,
    USE_KEY,      /* str, bytes, int, tuples of them; a str and its bytes are one key */
    USE_ARGUMENTS /* what an argument of a memoized function may be */
} codec_use;

int buf_grow(pybuf *b, size_t more)
{
    if (more > (size_t)CELLAR_VALUE_MAX * 2 - b->len) {
        PyErr_SetString(PyExc_ValueError, "cellar: a key or value over 2 GiB");
        return -1;
    }
    const size_t cap = (b->len + more) * 2;
    char *at = PyMem_Realloc(b->at == b->own ? NULL : b->at, cap);
    if (at == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (b->at == b->own) { memcpy(at, b->own, b->len); }
    b->at = at;
    b->cap = cap;
    return 0;
}

static int codec_head(pybuf *b, char tag, size_t n)
{
    char head[6] = { tag, (char)(n < 255 ? n : 255), 0, 0, 0, 0 };
    const uint32_t wide = (uint32_t)n;
    if (n > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "cellar: a value over 2 GiB");
        return -1;
    }
    memcpy(head + 2, &wide, sizeof wide);
    return buf_put(b, head, n < 255 ? 2 : 6);
}

static int codec_text(pybuf *b, char tag, const char *at, size_t n)
{
    return codec_head(b, tag, n) < 0 ? -1 : buf_put(b, at, n);
}

/* Return the bytes of a str. A str with surrogates has them in *owner: the caller releases it. */
static const char *codec_utf8(PyObject *o, Py_ssize_t *n, PyObject **owner)
{
    const char *at = PyUnicode_AsUTF8AndSize(o, n);
    *owner = NULL;
    if (at != NULL || !PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) { return at; }
    PyErr_Clear();
    char *bytes;
    *owner = PyUnicode_AsEncodedString(o, "utf-8", "surrogatepass");
    if (*owner == NULL || PyBytes_AsStringAndSize(*owner, &bytes, n) < 0) { return NULL; }
    return bytes;
}

static int codec_put_str(pybuf *b, PyObject *o)
{
    Py_ssize_t n;
    PyObject *owner;
    const char *at = codec_utf8(o, &n, &owner);
    const int done = at == NULL ? -1 : codec_text(b, 's', at, (size_t)n);
    Py_XDECREF(owner);
    return done;
}

static int codec_put_int(pybuf *b, PyObject *o)
{
    int overflow;
    char bytes[9] = { 'i' };
    const long long x = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow == 0 && x >= -128 && x < 128) {
        bytes[0] = 'j';
        bytes[1] = (char)x;
        return buf_put(b, bytes, 2);
    }
    if (overflow == 0) {
        memcpy(bytes + 1, &x, sizeof x);
        return buf_put(b, bytes, 9);
    }
    PyObject *hex = PyNumber_ToBase(o, 16); /* no limit of digits, unlike decimal text */
    if (hex == NULL) { return -1; }
    Py_ssize_t n;
    const char *at = PyUnicode_AsUTF8AndSize(hex, &n);
    const int done = at == NULL ? -1 : codec_text(b, 'I', at, (size_t)n);
    Py_DECREF(hex);
    return done;
}

static int codec_put(pybuf *b, PyObject *o, codec_use use, int depth);

static int codec_put_items(pybuf *b, PyObject *o, codec_use use, int depth)
{
    const int is_list = PyList_CheckExact(o);
    const Py_ssize_t n = is_list ? PyList_Size(o) : PyTuple_Size(o);
    if (codec_head(b, is_list ? 'l' : 'u', (size_t)n) < 0) { return -1; }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = is_list ? PyList_GetItem(o, i) : PyTuple_GetItem(o, i);
        if (item == NULL || codec_put(b, item, use, depth) < 0) { return -1; }
    }
    return 0;
}

static int codec_put_dict(pybuf *b, PyObject *o, int depth)
{
    PyObject *key, *value;
    Py_ssize_t at = 0, left = PyDict_Size(o);
    if (codec_head(b, 'k', (size_t)left) < 0) { return -1; }
    while (PyDict_Next(o, &at, &key, &value)) {
        if (--left < 0) { break; }
        if (codec_put(b, key, USE_VALUE, depth) < 0) { return -1; }
        if (codec_put(b, value, USE_VALUE, depth) < 0) { return -1; }
    }
    if (left == 0) { return 0; }
    PyErr_SetString(PyExc_RuntimeError, "cellar: the dict changed while it was stored");
    return -1;
}

static int codec_no_type(PyObject *o, codec_use use)
{
    PyObject *name = PyType_GetName(Py_TYPE(o));
    if (name == NULL) { return -1; }
    PyErr_Format(PyExc_TypeError,
                 use == USE_VALUE ? "cellar: no value of type %U; give codec= to the Cache" :
                 use == USE_KEY ? "cellar: no key of type %U: str, bytes, int or a tuple of them" :
                 "cellar: no key from an argument of type %U; give key= to memoize", name);
    Py_DECREF(name);
    return -1;
}

/* Append one object. */
static int codec_put(pybuf *b, PyObject *o, codec_use use, int depth)
{
    if (PyUnicode_CheckExact(o)) { return codec_put_str(b, o); }
    if (PyLong_CheckExact(o)) { return codec_put_int(b, o); }
    if (PyBytes_CheckExact(o)) {
        return codec_text(b, use == USE_KEY ? 's' : 'y', PyBytes_AsString(o),
                          (size_t)PyBytes_Size(o));
    }
    if (depth >= CODEC_DEPTH) {
        PyErr_SetString(PyExc_RecursionError, "cellar: more than 100 objects in each other");
        return -1;
    }
    if (PyTuple_CheckExact(o)) { return codec_put_items(b, o, use, depth + 1); }
    if (use == USE_KEY) { return codec_no_type(o, use); }
    if (o == Py_None) { return buf_put(b, "N", 1); }
    if (o == Py_True) { return buf_put(b, "T", 1); }
    if (o == Py_False) { return buf_put(b, "F", 1); }
    if (PyFloat_CheckExact(o)) {
        const double x = PyFloat_AsDouble(o);
        char bytes[9] = { 'd' };
        memcpy(bytes + 1, &x, sizeof x);
        return buf_put(b, bytes, 9);
    }
    if (use == USE_VALUE && PyDict_CheckExact(o)) { return codec_put_dict(b, o, depth + 1); }
    if (use == USE_VALUE && PyList_CheckExact(o)) { return codec_put_items(b, o, use, depth + 1); }
    return codec_no_type(o, use);
}

/* Bytes that are read, from `at` on. */
typedef struct codec_reader {
    const unsigned char *at, *end;
    codec_use use;
} codec_reader;

static PyObject *codec_take(codec_reader *r, int depth);

/* Read a length. Each item takes a byte at least, so a length above the rest is damage. */
static int codec_take_length(codec_reader *r, size_t *n)
{
    if (r->at == r->end) { return -1; }
    *n = *r->at++;
    if (*n == 255) {
        uint32_t wide;
        if (r->end - r->at < 4) { return -1; }
        memcpy(&wide, r->at, sizeof wide);
        r->at += 4;
        *n = wide;
    }
    return *n <= (size_t)(r->end - r->at) ? 0 : -1;
}

static PyObject *codec_take_text(codec_reader *r, char tag, size_t n)
{
    const char *at = (const char *)r->at;
    r->at += n;
    if (tag == 'y') { return PyBytes_FromStringAndSize(at, (Py_ssize_t)n); }
    if (tag == 's') {
        const int is_key = r->use == USE_KEY;
        PyObject *o = PyUnicode_DecodeUTF8(at, (Py_ssize_t)n, is_key ? NULL : "surrogatepass");
        if (o != NULL || !is_key || !PyErr_ExceptionMatches(PyExc_UnicodeError)) { return o; }
        PyErr_Clear();
        return PyBytes_FromStringAndSize(at, (Py_ssize_t)n);
    }
    char *text = PyMem_Malloc(n + 1);
    if (text == NULL) { return PyErr_NoMemory(); }
    memcpy(text, at, n);
    text[n] = '\0';
    char *end;
    PyObject *o = PyLong_FromString(text, &end, 16);
    if (o != NULL && end != text + n) { Py_CLEAR(o); }
    PyMem_Free(text);
    return o;
}

static PyObject *codec_take_items(codec_reader *r, char tag, size_t n, int depth)
{
    PyObject *o = tag == 'l' ? PyList_New((Py_ssize_t)n) : PyTuple_New((Py_ssize_t)n);
    for (size_t i = 0; o != NULL && i < n; i++) {
        PyObject *item = codec_take(r, depth);
        if (item == NULL) {
            Py_CLEAR(o);
        } else if (tag == 'l') {
            (void)PyList_SetItem(o, (Py_ssize_t)i, item);
        } else {
            (void)PyTuple_SetItem(o, (Py_ssize_t)i, item);
        }
    }
    return o;
}

static PyObject *codec_take_dict(codec_reader *r, size_t n, int depth)
{
    PyObject *o = PyDict_New();
    for (size_t i = 0; o != NULL && i < n; i++) {
        PyObject *key = codec_take(r, depth);
        PyObject *value = key == NULL ? NULL : codec_take(r, depth);
        if (value == NULL || PyDict_SetItem(o, key, value) < 0) { Py_CLEAR(o); }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return o;
}

/* Read one object. Return NULL for damage, with an exception or without one. */
static PyObject *codec_take(codec_reader *r, int depth)
{
    if (r->at == r->end || depth > CODEC_DEPTH) { return NULL; }
    const char tag = (char)*r->at++;
    const size_t left = (size_t)(r->end - r->at);
    size_t n;
    switch (tag) {
    case 'N': return Py_NewRef(Py_None);
    case 'T': return Py_NewRef(Py_True);
    case 'F': return Py_NewRef(Py_False);
    case 'j': return left < 1 ? NULL : PyLong_FromLong((signed char)*r->at++);
    case 'i':
    case 'd':
        if (left < 8) { return NULL; }
        long long x;
        double d;
        memcpy(&x, r->at, 8);
        memcpy(&d, r->at, 8);
        r->at += 8;
        return tag == 'i' ? PyLong_FromLongLong(x) : PyFloat_FromDouble(d);
    case 's':
    case 'y':
    case 'I': return codec_take_length(r, &n) < 0 ? NULL : codec_take_text(r, tag, n);
    case 'l':
    case 'u':
        return codec_take_length(r, &n) < 0 ? NULL : codec_take_items(r, tag, n, depth + 1);
    case 'k': return codec_take_length(r, &n) < 0 ? NULL : codec_take_dict(r, n, depth + 1);
    }
    return NULL;
}

/* Read one object and nothing behind it. Damage is no exception. */
static PyObject *codec_read(const char *at, size_t len, codec_use use)
{
    codec_reader r = { (const unsigned char *)at, (const unsigned char *)at + len, use };
    PyObject *o = codec_take(&r, 0);
    if (o != NULL && r.at != r.end) { Py_CLEAR(o); }
    if (o == NULL && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear(); /* no UTF-8, no number, a list as a key */
    }
    return o;
}

/* ---- Values --------------------------------------------------------------------------------- */

static int value_encode_other(pybuf *b, PyObject *o, const codec *c)
{
    PyObject *said = PyObject_CallFunctionObjArgs(c->dumps, o, NULL);
    if (said == NULL) { return -1; }
    char *at = NULL;
    Py_ssize_t n = 0;
    if (PyUnicode_Check(said)) {
        at = (char *)PyUnicode_AsUTF8AndSize(said, &n);
    } else if (PyBytes_AsStringAndSize(said, &at, &n) < 0) {
        at = NULL;
    }
    const char type = (char)c->type;
    const int done = at == NULL || buf_put(b, at, (size_t)n) < 0 ? -1 : buf_put(b, &type, 1);
    Py_DECREF(said);
    return done;
}

int value_encode(pybuf *b, PyObject *o, const codec *c)
{
    char type = (char)TYPE_TREE;
    if (PyBytes_CheckExact(o)) {
        type = (char)TYPE_BYTES;
        if (buf_put(b, PyBytes_AsString(o), (size_t)PyBytes_Size(o)) < 0) { return -1; }
        if (c->raw) { return 0; }
    } else if (c->raw) {
        PyErr_SetString(PyExc_TypeError, "cellar: values of a raw namespace are bytes");
        return -1;
    } else if (PyUnicode_CheckExact(o)) {
        Py_ssize_t n;
        PyObject *owner;
        const char *at = codec_utf8(o, &n, &owner);
        const int done = at == NULL ? -1 : buf_put(b, at, (size_t)n);
        Py_XDECREF(owner);
        if (done < 0) { return -1; }
        type = (char)TYPE_STR;
    } else {
        int overflow = 1;
        const long long x = PyLong_CheckExact(o) ? PyLong_AsLongLongAndOverflow(o, &overflow) : 0;
        if (overflow == 0) {
            type = (char)TYPE_INT;
            if (buf_put(b, &x, sizeof x) < 0) { return -1; }
        } else {
            const size_t begin = b->len;
            if (codec_put(b, o, USE_VALUE, 0) < 0) {
                if (c->type == 0 || !(PyErr_ExceptionMatches(PyExc_TypeError) ||
                                      PyErr_ExceptionMatches(PyExc_RecursionError))) {
                    return -1;
                }
                PyErr_Clear();
                b->len = begin;
                return value_encode_other(b, o, c);
            }
        }
    }
    return buf_put(b, &type, 1);
}

PyObject *value_decode(const char *at, size_t len, const codec *c)
{
    if (c->raw) { return PyBytes_FromStringAndSize(at, (Py_ssize_t)len); }
    if (len == 0) { return NULL; }
    const unsigned char type = (unsigned char)at[--len];
    PyObject *o = NULL;
    long long x;
    switch (type) {
    case TYPE_BYTES: return PyBytes_FromStringAndSize(at, (Py_ssize_t)len);
    case TYPE_STR:
        o = PyUnicode_DecodeUTF8(at, (Py_ssize_t)len, "surrogatepass");
        if (o == NULL && PyErr_ExceptionMatches(PyExc_UnicodeError)) { PyErr_Clear(); }
        return o;
    case TYPE_INT:
        if (len != sizeof x) { return NULL; }
        memcpy(&x, at, sizeof x);
        return PyLong_FromLongLong(x);
    case TYPE_TREE: return codec_read(at, len, USE_VALUE);
    case TYPE_PICKLE:
    case TYPE_CODEC:
        if (type != c->type) { return NULL; }
        PyObject *bytes = PyBytes_FromStringAndSize(at, (Py_ssize_t)len);
        if (bytes == NULL) { return NULL; }
        o = PyObject_CallFunctionObjArgs(c->loads, bytes, NULL);
        Py_DECREF(bytes);
        return o;
    }
    return NULL;
}

/* ---- Keys ----------------------------------------------------------------------------------- */

static int key_init_other(pykey *k, PyObject *o, int raw)
{
    if (buf_put(&k->buf, "\0b", 2) < 0) { return -1; }
    if (k->at != NULL) { /* a text that begins with 0 */
        if (buf_put(&k->buf, k->at, k->len) < 0) { return -1; }
    } else if (raw) {
        PyErr_SetString(PyExc_TypeError, "cellar: keys of a raw namespace are str or bytes");
        return -1;
    } else {
        k->buf.len = 1;
        if (codec_put(&k->buf, o, USE_KEY, 0) < 0) {
            key_fini(k);
            return -1;
        }
    }
    k->at = k->buf.at;
    k->len = k->buf.len;
    return 0;
}

int key_init(pykey *k, PyObject *o, int raw)
{
    Py_ssize_t n = 0;
    buf_init(&k->buf);
    k->at = NULL;
    if (PyUnicode_Check(o)) {
        k->at = PyUnicode_AsUTF8AndSize(o, &n);
        if (k->at == NULL) { return -1; }
    } else if (PyBytes_Check(o)) {
        k->at = PyBytes_AsString(o);
        n = PyBytes_Size(o);
    }
    k->len = (size_t)n;
    return k->at != NULL && (raw || n == 0 || k->at[0] != '\0') ? 0 : key_init_other(k, o, raw);
}

PyObject *key_object(const char *at, size_t len, int raw)
{
    if (!raw && len > 1 && at[0] == '\0') {
        if (at[1] != 'b') { return at[1] == 'm' ? NULL : codec_read(at + 1, len - 1, USE_KEY); }
        at += 2;
        len -= 2;
    }
    codec_reader r = { (const unsigned char *)at, (const unsigned char *)at + len, USE_KEY };
    return codec_take_text(&r, 's', len);
}

int key_add_arguments(pybuf *b, PyObject *args, PyObject *kwargs)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    const Py_ssize_t n = PyTuple_Size(args);
    for (Py_ssize_t i = 0; i < n; i++) {
        if (codec_put(b, PyTuple_GetItem(args, i), USE_ARGUMENTS, 0) < 0) { return -1; }
    }
    while (kwargs != NULL && PyDict_Next(kwargs, &at, &name, &value)) {
        if (buf_put(b, "=", 1) < 0 || codec_put(b, name, USE_ARGUMENTS, 0) < 0) { return -1; }
        if (codec_put(b, value, USE_ARGUMENTS, 0) < 0) { return -1; }
    }
    return 0;
}
