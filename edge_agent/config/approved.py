"""Which configuration runs in GMP mode: the file when it was approved, else the last approved one (docs/changes.md).

The folder `approved` in the edge's data folder holds `approvals.json`, everything that gateways sent and whose signature is right, and
`running.json`, a copy of the configuration in force with its approval. Keys are those in `keys` of the data folder (`*.pub`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge_agent.config.agent import AgentSettings, load_agent
from edge_agent.config.sections import EdgeSection
from edge_agent.core import ConfigError, Refused
from edge_agent.core.change import ChangeApproval, Difference, check_change, config_sha256, differences
from edge_agent.core.settings import read_yaml
from edge_agent.core.signing import public_keys, wrong_keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FOLDER: Final = "approved"
KEPT: Final = 50
"""Approvals kept, the newest."""
TOLD: Final = 12
"""Differences that are told one by one."""


class Running(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration in force and its approval."""

    approval: ChangeApproval
    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs, and why."""

    settings: AgentSettings
    sha256: str
    """Of what runs."""
    approval: ChangeApproval | None = None
    """What it runs by; None outside GMP mode, and while nothing is approved."""
    refused: tuple[Difference, ...] = ()
    """How the file differs from what runs."""
    problem: str = ""
    """Why the file does not run; empty when it does."""
    applied: bool = False
    """Whether it runs for the first time: whoever runs it puts it in force (`Approvals.keep`)."""

    @property
    def told(self) -> str:
        """The problem with its differences, in one line."""
        shown = "; ".join(f"{d.key}: {d.old or '-'} -> {d.new or '-'}" for d in self.refused[:TOLD])
        more = f"; and {len(self.refused) - TOLD} more" if len(self.refused) > TOLD else ""
        return f"{self.problem}: {shown}{more}" if shown else self.problem


def document_of(settings: AgentSettings) -> dict[str, Any]:
    """A configuration as it is hashed, proposed and kept."""
    found: dict[str, Any] = settings.model_dump(mode="json", by_alias=True)
    return found


class Approvals:
    """The folder of one edge."""

    def __init__(self, data_dir: Path, *, site: str, edge: str) -> None:
        self.folder = data_dir / FOLDER
        self._keys_in, self._site, self._edge = data_dir / "keys", site, edge

    def keys(self) -> dict[str, Ed25519PublicKey]:
        """The keys that this edge trusts."""
        return public_keys(self._keys_in)

    def wrong_keys(self) -> list[str]:
        """Files among the keys that hold none: nothing is trusted by them."""
        return wrong_keys(self._keys_in)

    def known(self) -> tuple[ChangeApproval, ...]:
        """Approvals whose signature is right, the oldest first; one that somebody edited is not among them."""
        try:
            found = msgspec.json.decode((self.folder / "approvals.json").read_bytes(), type=list[ChangeApproval])
        except (OSError, msgspec.DecodeError):
            return ()
        return tuple(sorted((a for a in found if self._right(a)), key=lambda a: a.approved_ns))

    def _right(self, approval: ChangeApproval) -> bool:
        try:
            check_change(approval, self.keys(), site=self._site, edge=self._edge)
        except Refused:
            return False
        return True

    def take(self, approvals: Sequence[ChangeApproval]) -> tuple[list[ChangeApproval], list[str]]:
        """Keep those that are right and new; these, and why others are not kept."""
        known, wrong = list(self.known()), []
        new: list[ChangeApproval] = []
        for approval in approvals:
            if approval in known:
                continue
            try:
                check_change(approval, self.keys(), site=self._site, edge=self._edge)
            except Refused as error:
                wrong.append(str(error))
            else:
                new.append(approval)
        if new:
            kept = sorted([*known, *new], key=lambda a: a.approved_ns)[-KEPT:]
            self._write("approvals.json", msgspec.json.format(msgspec.json.encode(kept), indent=1))
        return new, wrong

    def running(self) -> Running | None:
        """The configuration in force; None when there is none, or it is not as it was approved."""
        try:
            found = msgspec.json.decode((self.folder / "running.json").read_bytes(), type=Running)
        except (OSError, msgspec.DecodeError):
            return None
        return found if self._right(found.approval) and config_sha256(found.config) == found.approval.sha256 else None

    def keep(self, settings: AgentSettings, approval: ChangeApproval) -> None:
        """Put a configuration in force."""
        self._write("running.json", msgspec.json.format(msgspec.json.encode(Running(approval, document_of(settings))), indent=1))

    def in_force(self, sha256: str, now_ns: int) -> ChangeApproval | None:
        """The approval by which a configuration may run now: in effect, and not older than what runs."""
        running = self.running()
        oldest = running.approval.approved_ns if running is not None else 0
        return next((a for a in reversed(self.known()) if a.sha256 == sha256 and a.effective_ns <= now_ns and a.approved_ns >= oldest), None)

    def _write(self, name: str, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{name}.{os.getpid()}"
        with draft.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(self.folder / name)


def choose_of(path: Path, now_ns: int) -> Choice:
    """What runs of a configuration file; a file with mistakes does not stop an edge that has an approved configuration. ConfigError otherwise."""
    try:
        settings = load_agent(path)
    except ConfigError as error:
        running = _without_file(path)
        if running is None:
            raise
        kept = AgentSettings.model_validate(running.config)
        problem = f"the configuration file has mistakes; the last approved one runs: {error.mistakes[0]}"
        return Choice(kept, running.approval.sha256, running.approval, problem=problem)
    return choose(settings, path.parent / settings.edge.data_dir, now_ns)


def _without_file(path: Path) -> Running | None:
    """The configuration in force in the folder that a file with mistakes names, or in the one that it names when it says nothing."""
    edge: Any = None
    with contextlib.suppress(ConfigError):
        edge = read_yaml(path)[0].get("edge")
    named = edge.get("data_dir") if isinstance(edge, dict) else None
    return _gmp_in(path.parent / (named if isinstance(named, str) else EdgeSection.model_fields["data_dir"].default))


def _gmp_in(data_dir: Path) -> Running | None:
    """The configuration in force in a data folder when it says GMP mode, whatever edge and site the file names: those of its approval count."""
    try:
        found = msgspec.json.decode((data_dir / FOLDER / "running.json").read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None
    running = Approvals(data_dir, site=found.approval.site, edge=found.approval.edge).running()
    return running if running is not None and running.config.get("edge", {}).get("gmp") else None


def choose(settings: AgentSettings, data_dir: Path, now_ns: int) -> Choice:
    """What runs of the configuration in the file.

    GMP mode holds when the file or the configuration in force says so: an editor cannot leave it, also not with another edge or site in the file.
    With nothing approved yet the edge only connects to its gateways, so that an approval can reach it.
    """
    document = document_of(settings)
    sha256 = config_sha256(document)
    running = _gmp_in(data_dir)
    if not settings.edge.gmp and running is None:
        return Choice(settings, sha256)
    named = settings.edge.site, settings.edge.id
    site, edge = (running.approval.site, running.approval.edge) if running is not None else named
    approvals = Approvals(data_dir, site=site, edge=edge)
    approval = approvals.in_force(sha256, now_ns)
    if approval is not None and named == (site, edge):
        return Choice(settings, sha256, approval, applied=running is None or running.approval != approval)
    if running is not None:
        waiting = next((a for a in reversed(approvals.known()) if a.sha256 == sha256 and a.effective_ns > now_ns), None)
        problem = "the configuration in the file is not approved; the last approved one runs"
        if waiting is not None:
            problem = f"the configuration in the file is approved for later ({waiting.words()}); until then the last approved one runs"
        kept = AgentSettings.model_validate(running.config)
        return Choice(kept, running.approval.sha256, running.approval, tuple(differences(running.config, document)), problem)
    bare = settings.model_copy(update={"sources": (), "tags": (), "models": (), "alarms": ()})
    return Choice(bare, config_sha256(document_of(bare)), problem="no configuration is approved yet; nothing is read and nothing is judged")
