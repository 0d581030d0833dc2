"""The certificates and secrets that a configuration rests on."""

from __future__ import annotations

from pathlib import Path

from edge_agent.broker import TlsConfig
from edge_agent.config.agent import AgentSettings


def secured(settings: AgentSettings) -> bool:
    """Whether anything of an edge shows or checks a certificate."""
    sections = (*settings.sources, *settings.uplinks)
    return any(getattr(s, "tls", None) or getattr(getattr(s, "security", None), "policy", "none") != "none" for s in sections)


def certificates_of(settings: AgentSettings, base: Path) -> list[tuple[str, Path]]:
    """Every certificate that this edge rests on, with what it is for; those made at the first connection only once they are there."""
    found: list[tuple[str, Path]] = []
    for section in (*settings.sources, *settings.uplinks):
        tls = getattr(section, "tls", None)
        if isinstance(tls, TlsConfig):
            found += [(f"{section.name} {key}", base / path) for key in ("ca_file", "cert_file") if (path := getattr(tls, key)) is not None]
        security = getattr(section, "security", None)
        if security is not None and getattr(security, "policy", "none") != "none":
            own = base / settings.edge.data_dir / "sources" / section.name / "own.der"
            found += [(f"{section.name} own", own)] if own.exists() else []
            found += [(f"{section.name} trusted", base / path) for path in security.trusted]
    return found


def secrets_of(settings: AgentSettings, base: Path) -> list[tuple[str, Path]]:
    """Every file with a password or a key that the configuration names."""
    found: list[tuple[str, Path]] = []
    for section in (*settings.sources, *settings.uplinks):
        password, tls = getattr(section, "password_file", None), getattr(section, "tls", None)
        found += [(f"password of {section.name}", base / password)] if password is not None else []
        found += [(f"key of {section.name}", base / tls.key_file)] if isinstance(tls, TlsConfig) and tls.key_file is not None else []
    return found
