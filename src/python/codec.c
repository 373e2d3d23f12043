/* SPDX-License-Identifier: MIT
 *
 * codec: keys and values of Python as bytes, and back.
 *
 * PICTURE    value   | body | tag |                    the tag stands last: see TAG_NONE
 *            object  | tag | n | body |                what is inside of a value, or a key
 *            body    int: 8 bytes, or 1 for -128..127 inside of a value; longer ones as hex text
 *                    float: 8 bytes    str: UTF-8    bytes: the bytes    None, True, False: none
 *                    list, tuple: n objects    dict: n pairs of objects
 *                    of a whole value they begin with n
 *            n       bytes or items: one byte below 255; 255 and four bytes
 *            key     str, bytes: the bytes of the text;  others: | 0 | object |
 *                    a text that begins with 0: | 0 | 'b' | text |
 *                    a memoized call: | 0 | 'm' | .. |
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

/* ---- Objects to bytes ----------------------------------------------------------------------- */

/* Append a tag, unless the object is a whole value, and a length. */
static int codec_head(pybuf *b, int tag, size_t n, int depth)
{
    char head[6] = { (char)tag, (char)(n < 255 ? n : 255) };
    const uint32_t wide = (uint32_t)n; /* the library refuses longer values */
    memcpy(head + 2, &wide, sizeof wide);
    const size_t len = n < 255 ? 2 : 6;
    return depth > 0 ? buf_put(b, head, len) : buf_put(b, head + 1, len - 1);
}

/* Append an object that holds no others. Return its tag. */
static int codec_leaf(pybuf *b, int tag, const void *body, size_t n, int depth)
{
    if (depth > 0 && codec_head(b, tag, n, depth) < 0) { return 0; }
    return buf_put(b, body, n) < 0 ? 0 : tag;
}

static int codec_put_str(pybuf *b, PyObject *o, int depth)
{
    Py_ssize_t n;
    PyObject *bytes = NULL;
    const char *at = PyUnicode_AsUTF8AndSize(o, &n);
    if (at == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) { /* surrogates */
        PyErr_Clear();
        bytes = PyUnicode_AsEncodedString(o, "utf-8", "surrogatepass");
        at = bytes == NULL ? NULL : PyBytes_AsString(bytes);
        n = bytes == NULL ? 0 : PyBytes_Size(bytes);
    }
    const int tag = at == NULL ? 0 : codec_leaf(b, TAG_STR, at, (size_t)n, depth);
    Py_XDECREF(bytes);
    return tag;
}

static int codec_put_int(pybuf *b, PyObject *o, int depth)
{
    int overflow;
    const long long x = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow == 0) {
        const int is_short = depth > 0 && x >= -128 && x < 128;
        return codec_leaf(b, TAG_INT, &x, is_short ? 1 : sizeof x, depth);
    }
    PyObject *hex = PyNumber_ToBase(o, 16); /* no limit of digits, unlike decimal text */
    Py_ssize_t n;
    const char *at = hex == NULL ? NULL : PyUnicode_AsUTF8AndSize(hex, &n);
    const int tag = at == NULL ? 0 : codec_leaf(b, TAG_INT, at, (size_t)n, depth);
    Py_XDECREF(hex);
    return tag;
}

static int codec_put(pybuf *b, PyObject *o, codec_use use, int depth);

static int codec_put_items(pybuf *b, PyObject *o, int tag, codec_use use, int depth)
{
    const Py_ssize_t n = PySequence_Size(o);
    if (codec_head(b, tag, (size_t)n, depth) < 0) { return 0; }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = tag == TAG_LIST ? PyList_GetItem(o, i) : PyTuple_GetItem(o, i);
        if (item == NULL || codec_put(b, item, use, depth + 1) == 0) { return 0; }
    }
    return tag;
}

static int codec_put_dict(pybuf *b, PyObject *o, int depth)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    if (codec_head(b, TAG_DICT, (size_t)PyDict_Size(o), depth) < 0) { return 0; }
    while (PyDict_Next(o, &at, &key, &value)) { /* with the GIL, so nothing changes it */
        if (codec_put(b, key, USE_VALUE, depth + 1) == 0 ||
            codec_put(b, value, USE_VALUE, depth + 1) == 0) {
            return 0;
        }
    }
    return TAG_DICT;
}

/* Append an object that holds others. Up to 3.11 the exception of a str that is no UTF-8 may begin
 * a collection, which runs code of the program: it could change what is read here. */
static int codec_put_holder(pybuf *b, PyObject *o, int tag, codec_use use, int depth)
{
    const int collects = depth == 0 && PyGC_Disable();
    const int done = tag == TAG_DICT ? codec_put_dict(b, o, depth) :
        codec_put_items(b, o, tag, use, depth);
    if (collects) { (void)PyGC_Enable(); }
    return done;
}

static int codec_no_type(PyObject *o, codec_use use)
{
    PyObject *name = PyType_GetName(Py_TYPE(o));
    if (name == NULL) { return 0; }
    PyErr_Format(PyExc_TypeError,
                 use == USE_VALUE ? "cellar: no value of type %U; give codec= to the Cache" :
                 use == USE_KEY ? "cellar: no key of type %U: str, bytes, int or a tuple of them" :
                 "cellar: no key from an argument of type %U; give key= to memoize", name);
    Py_DECREF(name);
    return 0;
}

/* Append an object, of a whole value (depth 0) its body alone. Return its tag, 0 after an error. */
static int codec_put(pybuf *b, PyObject *o, codec_use use, int depth)
{
    if (PyUnicode_CheckExact(o)) { return codec_put_str(b, o, depth); }
    if (PyLong_CheckExact(o)) { return codec_put_int(b, o, depth); }
    if (PyBytes_CheckExact(o)) {
        return codec_leaf(b, use == USE_KEY ? TAG_STR : TAG_BYTES, PyBytes_AsString(o),
                          (size_t)PyBytes_Size(o), depth);
    }
    if (depth >= CODEC_DEPTH) {
        PyErr_SetString(PyExc_RecursionError, "cellar: more than 100 objects in each other");
        return 0;
    }
    if (PyTuple_CheckExact(o)) { return codec_put_holder(b, o, TAG_TUPLE, use, depth); }
    if (use == USE_KEY) { return codec_no_type(o, use); }
    const int tag = o == Py_None ? TAG_NONE : o == Py_True ? TAG_TRUE :
        o == Py_False ? TAG_FALSE : 0;
    if (tag != 0) { return codec_leaf(b, tag, "", 0, depth); }
    if (PyFloat_CheckExact(o)) {
        const double x = PyFloat_AsDouble(o);
        return codec_leaf(b, TAG_FLOAT, &x, sizeof x, depth);
    }
    if (use == USE_ARGUMENTS) { return codec_no_type(o, use); }
    if (PyDict_CheckExact(o)) { return codec_put_holder(b, o, TAG_DICT, use, depth); }
    if (PyList_CheckExact(o)) { return codec_put_holder(b, o, TAG_LIST, use, depth); }
    return codec_no_type(o, use);
}

/* ---- Bytes to objects ----------------------------------------------------------------------- */

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

static PyObject *codec_take_items(codec_reader *r, int tag, size_t n, int depth)
{
    PyObject *o = tag == TAG_LIST ? PyList_New((Py_ssize_t)n) : PyTuple_New((Py_ssize_t)n);
    for (size_t i = 0; o != NULL && i < n; i++) {
        PyObject *item = codec_take(r, depth + 1);
        if (item == NULL) {
            Py_CLEAR(o);
        } else {
            (void)(tag == TAG_LIST ? PyList_SetItem : PyTuple_SetItem)(o, (Py_ssize_t)i, item);
        }
    }
    return o;
}

/* The str keys of dicts that were read last: length and text, and the object with its hash. */
static struct codec_name {
    unsigned char text[32];
    PyObject     *object;
} codec_names[64];

/* Read a key of a dict. */
static PyObject *codec_take_name(codec_reader *r, int depth)
{
    const unsigned char *const text = r->at + 1; /* behind the tag */
    const size_t left = (size_t)(r->end - r->at);
    if (left < 3 || *r->at != TAG_STR || *text > 30 || *text > left - 2) {
        return codec_take(r, depth);
    }
    struct codec_name *const name = &codec_names[(*text + text[1] + text[*text] * 7u) % 64];
    if (name->object != NULL && memcmp(name->text, text, *text + 1u) == 0) {
        r->at += *text + 2;
        return Py_NewRef(name->object);
    }
    PyObject *key = codec_take(r, depth);
    if (key == NULL) { return NULL; }
    Py_XDECREF(name->object);
    name->object = Py_NewRef(key);
    memcpy(name->text, text, *text + 1u);
    return key;
}

static PyObject *codec_take_dict(codec_reader *r, size_t n, int depth)
{
    PyObject *o = PyDict_New();
    for (size_t i = 0; o != NULL && i < n; i++) {
        PyObject *key = codec_take_name(r, depth + 1);
        PyObject *value = key == NULL ? NULL : codec_take(r, depth + 1);
        if (value == NULL || PyDict_SetItem(o, key, value) < 0) { Py_CLEAR(o); }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return o;
}

/* Read the body of an object: n bytes or items. Return NULL for damage, with an exception or
 * without one. */
static PyObject *codec_take_body(codec_reader *r, int tag, size_t n, int depth)
{
    const char *at = (const char *)r->at;
    const Py_ssize_t len = (Py_ssize_t)n;
    long long x;
    double d;
    if (r->use == USE_KEY && tag != TAG_STR && tag != TAG_INT && tag != TAG_TUPLE) { return NULL; }
    if (tag == TAG_DICT) { return codec_take_dict(r, n, depth); }
    if (tag == TAG_LIST || tag == TAG_TUPLE) { return codec_take_items(r, tag, n, depth); }
    r->at += n;
    switch (tag) {
    case TAG_NONE: return Py_NewRef(Py_None);
    case TAG_TRUE: return Py_NewRef(Py_True);
    case TAG_FALSE: return Py_NewRef(Py_False);
    case TAG_FLOAT:
        if (n != sizeof d) { return NULL; }
        memcpy(&d, at, sizeof d);
        return PyFloat_FromDouble(d);
    case TAG_INT:
        if (n == 1) { return PyLong_FromLong((signed char)*at); }
        if (n != sizeof x) {
            return PyObject_CallFunction((PyObject *)&PyLong_Type, "s#i", at, len, 16);
        }
        memcpy(&x, at, sizeof x);
        return PyLong_FromLongLong(x);
    case TAG_STR:
        if (r->use == USE_VALUE) { return PyUnicode_DecodeUTF8(at, len, "surrogatepass"); }
        PyObject *text = PyUnicode_DecodeUTF8(at, len, NULL);
        if (text != NULL || !PyErr_ExceptionMatches(PyExc_UnicodeError)) { return text; }
        PyErr_Clear();
        return PyBytes_FromStringAndSize(at, len);
    case TAG_BYTES: return PyBytes_FromStringAndSize(at, len);
    }
    return NULL;
}

/* Read one object inside of a value, or a key. */
static PyObject *codec_take(codec_reader *r, int depth)
{
    size_t n;
    if (r->at == r->end || depth > CODEC_DEPTH) { return NULL; }
    const int tag = *r->at++;
    return codec_take_length(r, &n) < 0 ? NULL : codec_take_body(r, tag, n, depth);
}

/* Return the object if nothing stands behind it. Damage is no exception. */
static PyObject *codec_whole(const codec_reader *r, PyObject *o)
{
    if (o != NULL && r->at != r->end) { Py_CLEAR(o); }
    if (o == NULL && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear(); /* no UTF-8, no number, a list as a key */
    }
    return o;
}

/* ---- Values --------------------------------------------------------------------------------- */

/* Append the bytes that dumps of the program returns for an object. */
static int value_encode_other(pybuf *b, PyObject *o, const codec *c)
{
    PyObject *said = PyObject_CallFunctionObjArgs(c->dumps, o, NULL);
    const char *at = said == NULL ? NULL : PyBytes_AsString(said);
    const int tag = at == NULL ? 0 : codec_leaf(b, c->tag, at, (size_t)PyBytes_Size(said), 0);
    Py_XDECREF(said);
    return tag;
}

int value_encode(pybuf *b, PyObject *o, const codec *c)
{
    if (c->raw) {
        if (PyBytes_Check(o)) { return buf_put(b, PyBytes_AsString(o), (size_t)PyBytes_Size(o)); }
        PyErr_SetString(PyExc_TypeError, "cellar: values of a raw namespace are bytes");
        return -1;
    }
    const size_t begin = b->len;
    int tag = codec_put(b, o, USE_VALUE, 0);
    if (tag == 0 && c->tag != 0 && (PyErr_ExceptionMatches(PyExc_TypeError) ||
                                    PyErr_ExceptionMatches(PyExc_RecursionError))) {
        PyErr_Clear();
        b->len = begin;
        tag = value_encode_other(b, o, c);
    }
    const char last = (char)tag;
    return tag == 0 ? -1 : buf_put(b, &last, 1);
}

PyObject *value_decode(const char *at, size_t len, const codec *c)
{
    if (c->raw) { return PyBytes_FromStringAndSize(at, (Py_ssize_t)len); }
    if (len == 0) { return NULL; }
    const int tag = (unsigned char)at[--len];
    if (tag == TAG_BYTES) { return PyBytes_FromStringAndSize(at, (Py_ssize_t)len); }
    if (c->tag != 0 && tag == c->tag) {
        return PyObject_CallFunction(c->loads, "y#", at, (Py_ssize_t)len);
    }
    codec_reader r = { (const unsigned char *)at, (const unsigned char *)at + len, USE_VALUE };
    size_t n = len;
    return codec_whole(&r, tag >= TAG_LIST && codec_take_length(&r, &n) < 0 ? NULL :
                       codec_take_body(&r, tag, n, 0));
}

/* ---- Keys ----------------------------------------------------------------------------------- */

int key_init_other(pykey *k, PyObject *o, int raw)
{
    const char *at = NULL;
    Py_ssize_t n = 0;
    if (PyUnicode_Check(o)) {
        at = PyUnicode_AsUTF8AndSize(o, &n);
        if (at == NULL) { return -1; }
    } else if (PyBytes_Check(o)) {
        at = PyBytes_AsString(o);
        n = PyBytes_Size(o);
    } else if (raw) {
        PyErr_SetString(PyExc_TypeError, "cellar: keys of a raw namespace are str or bytes");
        return -1;
    }
    k->at = at;
    k->len = (size_t)n;
    if (at != NULL && (raw || n == 0 || *at != '\0')) { return 0; }
    if (buf_put(&k->buf, "\0b", at == NULL ? 1 : 2) < 0 ||
        (at == NULL ? codec_put(&k->buf, o, USE_KEY, 1) == 0 : buf_put(&k->buf, at, k->len) < 0)) {
        key_fini(k);
        return -1;
    }
    k->at = k->buf.at;
    k->len = k->buf.len;
    return 0;
}

int key_argument(PyObject *o, void *key)
{
    if (o != NULL) { return key_init(key, o, 0) < 0 ? 0 : Py_CLEANUP_SUPPORTED; }
    key_fini(key);
    return 1;
}

PyObject *key_object(const char *at, size_t len, int raw)
{
    codec_reader r = { (const unsigned char *)at, (const unsigned char *)at + len, USE_KEY };
    if (raw || len < 2 || at[0] != '\0') { return codec_take_body(&r, TAG_STR, len, 1); }
    r.at += at[1] == 'b' ? 2 : 1;
    if (at[1] == 'b') { return codec_take_body(&r, TAG_STR, len - 2, 1); }
    return at[1] == 'm' ? NULL : codec_whole(&r, codec_take(&r, 1));
}

int key_add_arguments(pybuf *b, PyObject *args, PyObject *kwargs)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    const Py_ssize_t n = PyTuple_Size(args);
    for (Py_ssize_t i = 0; i < n; i++) {
        if (codec_put(b, PyTuple_GetItem(args, i), USE_ARGUMENTS, 1) == 0) { return -1; }
    }
    while (kwargs != NULL && PyDict_Next(kwargs, &at, &name, &value)) {
        if (buf_put(b, "=", 1) < 0 || codec_put(b, name, USE_ARGUMENTS, 1) == 0 ||
            codec_put(b, value, USE_ARGUMENTS, 1) == 0) {
            return -1;
        }
    }
    return 0;
}
