"""Load one libclang and parse a small header with it: `libclang_probe.py LIBRARY [CLANG_ARGUMENT...]`.

Run in a process of its own, since a library that does not fit may take its process with it. Prints the version
and exits 0 when the library can do what bindgen asks of it: load, be new enough, and find the compiler's own
headers (`stddef.h`, `stdbool.h`), which are a separate package on most systems.
"""

import ctypes
import re
import sys
import tempfile
from pathlib import Path

# bindgen 0.72 is built against the interface of clang 11.
OLDEST_MAJOR = 11
HEADER = """
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
bool autotune_probe(size_t count, int64_t offset);
"""
ERROR_SEVERITY = 3


class CXString(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("flags", ctypes.c_uint)]


def text(library, value):
    library.clang_getCString.restype = ctypes.c_char_p
    library.clang_getCString.argtypes = [CXString]
    return (library.clang_getCString(value) or b"").decode(errors="replace")


def probe(path, arguments):
    """Return (version, problem); the problem is None when the library fits."""
    library = ctypes.CDLL(path)
    library.clang_getClangVersion.restype = CXString
    version = text(library, library.clang_getClangVersion())
    major = re.search(r"version (\d+)", version)
    if major is None or int(major.group(1)) < OLDEST_MAJOR:
        return version, f"{version} is older than {OLDEST_MAJOR}"

    library.clang_createIndex.restype = ctypes.c_void_p
    library.clang_parseTranslationUnit.restype = ctypes.c_void_p
    library.clang_parseTranslationUnit.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int,
        ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint,
    ]  # fmt: skip
    library.clang_getNumDiagnostics.argtypes = [ctypes.c_void_p]
    library.clang_getDiagnostic.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.clang_getDiagnostic.restype = ctypes.c_void_p
    library.clang_getDiagnosticSeverity.argtypes = [ctypes.c_void_p]
    library.clang_getDiagnosticSpelling.argtypes = [ctypes.c_void_p]
    library.clang_getDiagnosticSpelling.restype = CXString

    index = library.clang_createIndex(0, 0)
    encoded = [argument.encode() for argument in arguments]
    vector = (ctypes.c_char_p * len(encoded))(*encoded)
    with tempfile.TemporaryDirectory() as folder:
        header = Path(folder, "probe.h")
        header.write_text(HEADER)
        unit = library.clang_parseTranslationUnit(index, str(header).encode(), vector, len(encoded), None, 0, 0)
    if not unit:
        return version, f"{version} could not parse a header"
    for number in range(library.clang_getNumDiagnostics(unit)):
        diagnostic = library.clang_getDiagnostic(unit, number)
        if library.clang_getDiagnosticSeverity(diagnostic) >= ERROR_SEVERITY:
            return version, text(library, library.clang_getDiagnosticSpelling(diagnostic))
    return version, None


def main():
    try:
        version, problem = probe(sys.argv[1], sys.argv[2:])
    except (OSError, AttributeError) as error:
        print(error)
        return 1
    print(problem or version)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
