"""Compile every declared kernel ahead of time into `models/_kernels`: at build time only, with numba and a C compiler.

    python -m models.ahead MODULE...     the modules that declare kernels

An agent that finds the result imports no numba: it starts sooner and takes a fraction of the memory. LLVM makes the loops, exactly as it does
when they are compiled at start; a small C file around them checks type, dimensions and order of every array, as numba's dispatcher does, and
lets go of the interpreter lock. The result carries SHA-256 of the sources it was made of: beside changed sources it is not used.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from models import compiled

ROOT: Final = Path(__file__).resolve().parent.parent

_C_TYPES: Final = {
    "int64": ("int64_t", "NPY_INT64"), "int32": ("int32_t", "NPY_INT32"), "uint32": ("uint32_t", "NPY_UINT32"), "uint64": ("uint64_t", "NPY_UINT64"),
    "uint8": ("uint8_t", "NPY_UINT8"), "int8": ("int8_t", "NPY_INT8"), "float64": ("double", "NPY_FLOAT64"), "float32": ("float", "NPY_FLOAT32"),
    "bool": ("uint8_t", "NPY_BOOL"), "boolean": ("uint8_t", "NPY_BOOL"),
}  # fmt: skip

_TAKE: Final = {"float64": "PyFloat_AsDouble", "float32": "PyFloat_AsDouble", "bool": "PyObject_IsTrue", "boolean": "PyObject_IsTrue"}
_GIVE: Final = {"float64": "PyFloat_FromDouble", "float32": "PyFloat_FromDouble", "bool": "PyBool_FromLong", "boolean": "PyBool_FromLong"}

_HEAD: Final = """\
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

static PyArrayObject *array_of(PyObject *o, int type, int ndim, int writes, const char *what)
{
    if (PyArray_Check(o)) {
        PyArrayObject *a = (PyArrayObject *)o;
        if (PyArray_EquivTypenums(PyArray_TYPE(a), type) && PyArray_NDIM(a) == ndim && PyArray_IS_C_CONTIGUOUS(a)
            && PyArray_ISNOTSWAPPED(a) && PyArray_ISALIGNED(a) && (!writes || PyArray_ISWRITEABLE(a)))
            return a;
    }
    PyErr_Format(PyExc_TypeError, "%s, found %R", what, (PyObject *)Py_TYPE(o));
    return NULL;
}
"""


class Unsupported(ValueError):
    """A signature that has no ahead-of-time form."""


def _array(kind: Any) -> tuple[str, str, int, bool]:
    name = str(kind.dtype)
    if name not in _C_TYPES or kind.layout != "C":
        raise Unsupported(f"expected arrays in C order of {', '.join(_C_TYPES)}, found {kind}")
    return *_C_TYPES[name], kind.ndim, bool(kind.mutable)


def _wrapper(symbol: str, signature: Any) -> str:
    """C of one method: checks and unpacks the arguments, calls the loop without the interpreter lock, packs what it returns."""
    from numba import types

    unpack, call, declare = [], [], []
    for i, kind in enumerate(signature.args):
        if isinstance(kind, types.Array):
            ctype, npy, ndim, writes = _array(kind)
            what = f"{symbol}: expected argument {i} as {'writeable ' if writes else ''}array of {ctype}, {ndim} dimensions, C order"
            unpack.append(f'    PyArrayObject *a{i} = array_of(args[{i}], {npy}, {ndim}, {int(writes)}, "{what}");\n    if (!a{i}) return NULL;')
            declare.append("void *, void *, int64_t, int64_t, void *" + ", int64_t" * (2 * ndim))
            shape = "".join(f", PyArray_DIM(a{i}, {k})" for k in range(ndim)) + "".join(f", PyArray_STRIDE(a{i}, {k})" for k in range(ndim))
            call.append(f"NULL, NULL, PyArray_SIZE(a{i}), PyArray_ITEMSIZE(a{i}), PyArray_DATA(a{i}){shape}")
            continue
        ctype = _C_TYPES[str(kind)][0] if str(kind) in _C_TYPES else ""
        if not ctype:
            raise Unsupported(f"expected scalars of {', '.join(_C_TYPES)}, found {kind}")
        take = _TAKE.get(str(kind), "whole_of")
        unpack.append(f"    {ctype} a{i} = ({ctype}){take}(args[{i}]);\n    if (PyErr_Occurred()) return NULL;")
        declare.append(ctype)
        call.append(f"a{i}")
    result = signature.return_type
    parts = [] if result == types.none else list(result) if isinstance(result, types.BaseTuple) else [result]
    if unknown := [kind for kind in parts if str(kind) not in _C_TYPES]:
        raise Unsupported(f"expected scalars of {', '.join(_C_TYPES)} returned, found {unknown[0]}")
    fields = "".join(f" {_C_TYPES[str(kind)][0]} f{k};" for k, kind in enumerate(parts)) or " void *none;"
    gives = [f"{_GIVE.get(str(kind), 'PyLong_FromLongLong')}(out.f{k})" for k, kind in enumerate(parts)]
    if isinstance(result, types.BaseTuple):
        give = f'return Py_BuildValue("({"N" * len(gives)})", {", ".join(gives)});'
    else:
        give = f"return {gives[0]};" if gives else "Py_RETURN_NONE;"
    n = len(signature.args)
    return f"""
extern int {symbol}(void *, void **{"".join(f", {d}" for d in declare)});
static PyObject *py_{symbol}(PyObject *self, PyObject *const *args, Py_ssize_t n)
{{
    if (n != {n}) return PyErr_Format(PyExc_TypeError, "{symbol}: expected {n} arguments, found %zd", n);
{chr(10).join(unpack)}
    struct {{{fields} }} out = {{0}};
    void *raised = NULL;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = {symbol}(&out, &raised{"".join(f", {c}" for c in call)});
    Py_END_ALLOW_THREADS
    if (status) return PyErr_Format(PyExc_RuntimeError, "{symbol}: ended with status %d", status);
    {give}
}}
"""


# What a loop that makes a small array of its own needs of numba's runtime: a counted block of memory, its data aligned.
_MEMORY: Final = """
struct block { size_t count; void (*end)(void *, size_t, void *); void *info; void *data; size_t size; void *allocator; };

__attribute__((visibility("hidden"))) void *NRT_MemInfo_alloc_aligned(size_t size, uint32_t align)
{
    struct block *b = malloc(sizeof *b + size + align);
    if (!b) return NULL;
    *b = (struct block){1, NULL, NULL, NULL, size, NULL};
    b->data = (void *)(((uintptr_t)(b + 1) + align - 1) / align * align);
    return b;
}

__attribute__((visibility("hidden"))) void NRT_MemInfo_call_dtor(void *b) { free(b); }
"""

_WHOLE: Final = """
static long long whole_of(PyObject *o)
{
    PyObject *whole = PyNumber_Index(o);
    if (!whole) return -1;
    long long value = PyLong_AsLongLong(whole);
    Py_DECREF(whole);
    return value;
}
"""


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(modules: Iterable[str], out: Path | None = None) -> Path:
    """Compile the kernels of `modules` and return the extension module written into `out`, by default the folder of this package.

    Raises Unsupported for a signature without an ahead-of-time form and CalledProcessError when the C compiler fails.
    """
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from numba.core import sigutils
        from numba.pycc.compiler import ExportEntry, _ModuleCompiler

    paths = [Path(str(importlib.import_module(name).__file__)).resolve() for name in modules]
    chosen = [k for k in compiled.DECLARED.values() if k.function.__module__ in set(modules)]
    entries, text = [], [_HEAD, _MEMORY, _WHOLE]
    for k in chosen:
        args, returned = sigutils.normalize_signature(k.signature)
        signature = returned(*args)
        symbol = k.name.replace(".", "__")
        entries.append(ExportEntry(symbol, signature, k.function))
        text.append(_wrapper(symbol, signature))
    sources = {str(path.relative_to(ROOT)): digest(path) for path in [*paths, Path(compiled.__file__).resolve()]}
    methods = "".join(f'    {{"{e.symbol}", (PyCFunction)(void (*)(void))py_{e.symbol}, METH_FASTCALL, NULL}},\n' for e in entries)
    pairs = "".join(f'    {{ PyObject *v = PyUnicode_FromString("{v}"); if (!v || PyDict_SetItemString(d, "{k}", v)) return NULL; Py_DECREF(v); }}\n'
                    for k, v in sorted(sources.items()))  # fmt: skip
    text.append(f"""
static PyMethodDef methods[] = {{
{methods}    {{NULL, NULL, 0, NULL}}
}};
static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, "_kernels", "Kernels compiled ahead of time.", -1, methods}};
PyMODINIT_FUNC PyInit__kernels(void)
{{
    import_array();
    PyObject *m = PyModule_Create(&module);
    PyObject *d = m ? PyDict_New() : NULL;
    if (!d) return NULL;
{pairs}    if (PyModule_AddObject(m, "SOURCES", d)) return NULL;
    return m;
}}
""")
    target = (out or Path(__file__).resolve().parent) / f"_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "kernels.c").write_text("".join(text))
        _ModuleCompiler(entries, "_kernels", use_nrt=True).write_native_object(str(work / "loops.o"), wrap=False)
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        include = [f"-I{sysconfig.get_path('include')}", f"-I{np.get_include()}"]
        options = ["-O2", "-fPIC", "-shared", "-fvisibility=hidden", *include]
        subprocess.run([*compiler, *options, "kernels.c", "loops.o", "-lm", "-o", "_kernels.so"], cwd=work, check=True)
        whole = target.with_suffix(".part")
        whole.write_bytes((work / "_kernels.so").read_bytes())
        whole.replace(target)
    return target


def main(arguments: list[str]) -> int:
    """The command: builds and says where the result is."""
    wrong = [name for name in arguments if not re.fullmatch(r"[A-Za-z_][\w.]*", name)]
    if wrong or not arguments:
        print(f"python -m models.ahead: expected names of modules, found {' '.join(wrong) or 'none'}", file=sys.stderr)
        return 2
    target = build(arguments)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
