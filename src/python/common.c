/* SPDX-License-Identifier: MIT
 *
 * common: errors, log lines and arguments of all types of the module.
 *
 * LOCKING    The GIL. common_log runs in threads of the library, also while a call holds the GIL
 *            and waits for that thread. It takes no GIL and hands the line to the main thread.
 * END        A thread that takes the GIL of an ending interpreter ends. Threads of the library may
 *            end in a loader alone, so `_end`, at the exit, keeps them out.
 * LIMITS     The main thread has room for 31 lines; further ones are lost. */
#include "python/python.h"

#include <stdatomic.h>

unsigned common_forks;
_Thread_local int common_background;
unsigned long common_main_thread;
static PyObject *common_sleep; /* time.sleep */
static PyObject *common_error; /* makes an exception of a code and a text */
static PyObject *common_write; /* writes a log line: level, text */

/* ---- The end of the interpreter ------------------------------------------------------------- */

static atomic_int common_ended;  /* 1: threads of the library stay out */
static atomic_int common_inside; /* threads of the library inside, but for loaders */

int common_enter(PyGILState_STATE *state)
{
    (void)atomic_fetch_add(&common_inside, 1);
    if (!common_has_ended()) {
        *state = PyGILState_Ensure();
        return 0;
    }
    (void)atomic_fetch_sub(&common_inside, 1);
    return -1;
}

void common_leave(PyGILState_STATE state)
{
    PyGILState_Release(state);
    (void)atomic_fetch_sub(&common_inside, 1);
}

PyObject *common_end(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    atomic_store(&common_ended, 1);
    while (atomic_load(&common_inside) > 0) {
        if (common_pause() < 0) { return NULL; }
    }
    Py_RETURN_NONE;
}

void common_forked(void) { atomic_store(&common_inside, 0); }

int common_has_ended(void) { return atomic_load(&common_ended); }

/* ---- Errors --------------------------------------------------------------------------------- */

PyObject *common_raise_text(cellar_err err, int code, const char *text)
{
    PyObject *message = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    PyObject *error = PyObject_CallFunction(common_error, "iiN", (int)err, code, message);
    if (error != NULL) { PyErr_SetObject((PyObject *)Py_TYPE(error), error); }
    Py_XDECREF(error);
    return NULL;
}

static PyObject *common_raise_info(cellar_err err, const cellar_error_info *info)
{
    return common_raise_text(err, (int)err, info->code == err ? info->text : cellar_strerror(err));
}

PyObject *common_raise(cellar *c, cellar_err err)
{
    cellar_error_info info = cellar_error_info_default();
    (void)cellar_last_error(c, &info);
    return common_raise_info(err, &info);
}

PyObject *common_raise_remote(const cellar_remote *r, cellar_err err)
{
    cellar_error_info info = cellar_error_info_default();
    (void)cellar_remote_last_error(r, &info);
    return common_raise_info(err, &info);
}

int common_arguments(const char *call, Py_ssize_t n, Py_ssize_t min, Py_ssize_t max)
{
    if (n >= min && n <= max) { return 0; }
    PyErr_Format(PyExc_TypeError, "%s takes %zd to %zd positional arguments (got %zd)", call, min,
                 max, n);
    return -1;
}

int common_ms(PyObject *seconds, void *ms)
{
    int64_t *const out = ms;
    *out = seconds == Py_None ? CELLAR_TTL_NONE : 0;
    if (seconds == Py_None || seconds == Py_Ellipsis) { return 1; }
    const double s = PyLong_CheckExact(seconds) ? PyLong_AsDouble(seconds) :
        PyFloat_AsDouble(seconds); /* of an int it makes an object */
    if (s == -1.0 && PyErr_Occurred()) { return 0; }
    if (!(s > 0)) {
        PyErr_Format(PyExc_ValueError, "cellar: a time must be above 0 s, or None for no end "
                     "(got %R)", seconds);
        return 0;
    }
    *out = s > 9e12 ? CELLAR_TTL_NONE : s < 0.001 ? 1 : (int64_t)(s * 1000);
    return 1;
}

int common_stale(PyObject *seconds, void *ms)
{
    int64_t *const out = ms;
    if (!common_ms(seconds == Py_None ? Py_Ellipsis : seconds, out)) { return 0; }
    *out -= *out == CELLAR_TTL_NONE; /* which a set takes for no window */
    return 1;
}

int common_unsigned(PyObject *number, void *out)
{
    *(uint64_t *)out = PyLong_AsUnsignedLongLong(number);
    return !PyErr_Occurred();
}

int common_pause(void)
{
    PyObject *done = PyObject_CallFunction(common_sleep, "d", 0.001);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* ---- Log lines ------------------------------------------------------------------------------ */

typedef struct common_line {
    atomic_flag taken; /* by a line on its way */
    int  level;
    char text[600]; /* area and text of at most 511 bytes */
} common_line;

enum { COMMON_LINES = 31 }; /* Python has room for 32 calls; the last one closes stores */
static common_line common_lines[COMMON_LINES];

/* Write one line in the main thread. */
static int common_write_line(void *ctx)
{
    common_line *line = ctx;
    PyObject *text = PyUnicode_DecodeUTF8(line->text, (Py_ssize_t)strlen(line->text), "replace");
    PyObject *done = PyObject_CallFunction(common_write, "iN", line->level, text);
    atomic_flag_clear(&line->taken);
    if (done == NULL) { PyErr_WriteUnraisable(NULL); }
    Py_XDECREF(done);
    return 0;
}

void common_log(cellar_log_level level, const char *area, cellar_err code, const char *text,
                void *ctx)
{
    (void)ctx;
    if (code == CELLAR_E_LOADER || common_has_ended()) { return; } /* callers get the exception */
    size_t i = 0;
    while (i < COMMON_LINES && atomic_flag_test_and_set(&common_lines[i].taken)) { i++; }
    if (i == COMMON_LINES) { return; }
    common_line *line = &common_lines[i];
    line->level = (int)level;
    (void)PyOS_snprintf(line->text, sizeof line->text, "%s: %s%s%s", area, text,
                        code == CELLAR_OK ? "" : ": ",
                        code == CELLAR_OK ? "" : cellar_code_name(code));
    if (Py_AddPendingCall(common_write_line, line) < 0) { atomic_flag_clear(&line->taken); }
}

/* ---- Types ---------------------------------------------------------------------------------- */

void common_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

PyObject *common_start(PyObject *self, PyObject *args)
{
    (void)self;
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        PyErr_SetString(PyExc_ImportError, "cellar: sub-interpreters cannot import the module");
        return NULL;
    }
    Py_INCREF(args); /* as long as the process */
    return PyArg_ParseTuple(args, "kOOO", &common_main_thread, &common_sleep, &common_error,
                            &common_write) ? Py_NewRef(Py_None) : NULL;
}
