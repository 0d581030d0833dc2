"""Other processors: every library that runs has a wheel for ARM64 at a hash of the lock, known without asking a package index."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

from deploy.bundle import platforms
from deploy.cross import declaring, written_for
from deploy.needed import canonical, locked, needed

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / "deploy" / "aarch64.sha256"
ARM = {"platform_machine": "aarch64", "sys_platform": "linux", "platform_system": "Linux", "python_version": "3.11", "python_full_version": "3.11.2"}
HOW = "run `python -m deploy.arm64` after a change of requirements.lock"


def test_every_library_that_runs_has_a_wheel_for_arm64_in_the_lock() -> None:
    wanted: dict[str, tuple[str, set[str]]] = {}
    for part in re.split(r"^(?=[A-Za-z0-9])", locked(needed(), (ROOT / "requirements.lock").read_text()), flags=re.MULTILINE):
        if not part:
            continue
        requirement = Requirement(part.split("\\")[0].strip())
        if requirement.marker is None or requirement.marker.evaluate(ARM):
            version = next(iter(requirement.specifier)).version
            wanted[canonical(requirement.name)] = (version, set(re.findall(r"sha256:([0-9a-f]{64})", part)))
    found = {}
    for line in WHEELS.read_text().splitlines():
        digest, name = line.split("  ")
        library, version, *_, tags = name.removesuffix(".whl").split("-")
        assert tags == "any" or "aarch64" in tags, name
        found[canonical(library)] = (version, digest)
    assert set(found) == set(wanted), HOW
    for name, (version, digests) in wanted.items():
        assert found[name][0] == version, f"{name}: {HOW}"
        assert found[name][1] in digests, f"{name}: {HOW}"


def test_llvm_s_code_becomes_that_of_another_processor() -> None:
    import llvmlite.binding as llvm

    text = "define double @f(double %a, double %b, double %c) { %p = fmul double %a, %b\n %s = fadd double %p, %c\n ret double %s }"
    written = written_for("aarch64", llvm.parse_assembly(text).as_bitcode())
    assert written[:4] == b"\x7fELF"
    assert int.from_bytes(written[18:20], "little") == 183, "EM_AARCH64"


def test_kernels_of_another_processor_are_those_of_this_one() -> None:
    assert {"models.ewma", "edge_agent.pipeline.windows", "edge_agent.sources.opcua_kernel"} <= set(declaring())
    assert "manylinux_2_28_aarch64" in platforms("aarch64")
