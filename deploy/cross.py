"""Kernels for a type of processor that this computer is not of.

    python -m deploy.cross aarch64 DIR

numba optimises the loops for no processor in particular; only the last step, from LLVM's code to machine code, is another one here. LLVM contracts no
multiplication and addition without being told to, on either, so results are the same to the last bit. Needs the C compiler MACHINE-linux-gnu-gcc;
the headers of Python and numpy describe every 64-bit little-endian Linux alike.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

from models.ahead import build

ROOT: Final = Path(__file__).resolve().parent.parent


def declaring() -> list[str]:
    """Modules that declare kernels."""
    files = [path for top in ("edge_agent", "models") for path in sorted((ROOT / top).rglob("*.py")) if "\n@kernel" in path.read_text("utf-8")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]


def written_for(machine: str, bitcode: bytes) -> bytes:
    """An object file of LLVM's code for another processor, named as `uname -m` does."""
    import llvmlite.binding as llvm  # type: ignore[import-untyped]

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = f"{machine}-unknown-linux-gnu"
    target = llvm.Target.from_triple(triple).create_target_machine(cpu="generic", opt=2, reloc="pic", codemodel="default")
    module = llvm.parse_bitcode(bitcode)
    module.triple, module.data_layout = triple, str(target.target_data)
    written: bytes = target.emit_object(module)
    return written


def main() -> None:
    """Entry point; a process of its own, because numba is told for all of it what it writes."""
    from numba.core.codegen import AOTCodeLibrary

    machine, out = sys.argv[1], Path(sys.argv[2]).resolve()

    def emit(library: Any) -> bytes:
        return written_for(machine, library.emit_bitcode())

    AOTCodeLibrary.emit_native_object = emit
    os.environ["CC"] = f"{machine}-linux-gnu-gcc"
    made = build(declaring(), out)
    made.rename(made.with_name(made.name.replace(platform.machine(), machine)))


if __name__ == "__main__":
    main()
