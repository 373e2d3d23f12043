/* SPDX-License-Identifier: MIT
 *
 * module: the module _cellar, and what it does after a fork.
 *
 * LIMITS     One interpreter: initialisation in one phase keeps isolated ones out, _start all
 *            others. */
#include "python/python.h"

static PyObject *module_forked(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    common_forks++;
    common_forked();
    load_forked();
    common_main_thread = PyThread_get_thread_ident();
    Py_RETURN_NONE;
}

static PyObject *module_end(PyObject *self, PyObject *unused)
{
    PyObject *done = common_end(self, unused);
    if (done != NULL) { (void)cache_close_left(NULL); }
    return done;
}

static PyMethodDef module_methods[] = {
    { "_start", common_start, METH_VARARGS, NULL },
    { "_end", module_end, METH_NOARGS, NULL },
    { "_forked", module_forked, METH_NOARGS, NULL },
    { NULL, NULL, 0, NULL }
};

PyMODINIT_FUNC PyInit__cellar(void);

PyMODINIT_FUNC PyInit__cellar(void)
{
    static struct PyModuleDef def = { PyModuleDef_HEAD_INIT, "cellar._cellar", NULL, -1,
                                      module_methods, NULL, NULL, NULL, NULL };
    PyObject *module = PyModule_Create(&def);
    if (module != NULL && (PyModule_AddStringConstant(module, "version", cellar_version()) < 0 ||
                           cache_types_add(module, &load_method) < 0 ||
                           load_types_add(module) < 0 || guard_types_add(module) < 0)) {
        Py_CLEAR(module);
    }
    return module;
}
