"""A line in real time: paces it, hands its samples to the protocol servers, remembers what was sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulators.sent import SentLedger, truth_lines, write_atomically
from simulators.servers.mqtt import MqttPublisher
from simulators.servers.opcua import OpcUaPlant
from simulators.signals import SIMULATED, Accounted, Emission, Line

PACE_S = 0.05
"""Seconds between looks at the clock."""
KEEP_EVERY_S = 5.0
"""Seconds between writes of sent.csv, truth.jsonl and sim.json."""
LIST_MAX = 500
"""Samples per MQTT message at most."""


@dataclass(frozen=True)
class PlantConfig:
    """How a line is run."""

    speed: float = 1.0
    """Seconds of the line per second of the clock; source times shrink with it, so that none lies in the future."""
    duration_s: float | None = None
    """Seconds of the clock after which the line stops; None = until stopped."""
    keep: Path | None = None
    """Folder for sent.csv, truth.jsonl and sim.json."""
    start_when: Path | None = None
    """The line waits until this file exists; servers answer meanwhile."""
    stop_when: Path | None = None
    """The line ends when this file exists."""
    stay: bool = False
    """After the line has ended its servers go on answering until `stop`, so that a client that was away can fetch the rest."""
    original_start_ns: int | None = None
    """Source time of the line's time zero in ns UTC; None = now."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.speed) and self.speed > 0.0):
            raise ValueError(f"--speed: expected a number > 0, found {self.speed}")
        if self.duration_s is not None and not (np.isfinite(self.duration_s) and self.duration_s > 0.0):
            raise ValueError(f"--duration: expected seconds > 0, found {self.duration_s}")


def source_times(time_ns: NDArray[np.int64], start_ns: int, speed: float) -> NDArray[np.int64]:
    """Source times in ns UTC, whole microseconds, of line times at a speed.

    >>> source_times(np.array([0, 1_000_000_000]), 1_000_000_000_000_000_000, 10.0).tolist()
    [1000000000000000000, 1000000000100000000]
    """
    if speed == 1.0:
        return start_ns + time_ns // 1000 * 1000
    return start_ns + np.floor(time_ns / speed / 1000.0).astype(np.int64) * 1000


class Plant:
    """One line with its servers; `run` returns when the line ends, the duration is over or `stop` was called."""

    def __init__(self, line: Line, config: PlantConfig, opcua: OpcUaPlant | None, mqtt: MqttPublisher | None,
                 clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._line = line
        self._config = config
        self._opcua = opcua
        self._mqtt = mqtt
        self._clock_ns = clock_ns
        self.ledger = SentLedger(line.signals)
        self._start_ns = 0
        self._now_ns = 0
        self._stopping = asyncio.Event()
        self._started = False
        self._ended = False

    def stop(self) -> None:
        """Ask the line to stop after the samples in hand; safe in a signal handler of the event loop."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until the end. Raises OSError when a port is taken."""
        if self._opcua is not None:
            await self._opcua.start()
        if self._mqtt is not None:
            self._mqtt.start()
        self._keep()
        try:
            await self._wait_for_start()
            if not self._stopping.is_set():
                await self._pace()
            if self._mqtt is not None:
                await self._drain(self._mqtt)
            self._ended = True
            self._keep()
            if self._config.stay:
                await self._stopping.wait()
            elif self._opcua is not None and self._opcua.subscribed():
                await asyncio.sleep(1.5)  # the last values must reach a subscriber before its session is closed
        finally:
            self._keep()
            if self._opcua is not None:
                await self._opcua.stop()
            if self._mqtt is not None:
                await asyncio.to_thread(self._mqtt.drain, 15.0)
                self._mqtt.stop()

    async def _drain(self, mqtt: MqttPublisher) -> None:
        until = time.monotonic() + 15.0
        while mqtt.pending and time.monotonic() < until:
            await asyncio.sleep(PACE_S)

    async def _wait_for_start(self) -> None:
        if self._config.start_when is None:
            return
        written = 0.0
        while not self._config.start_when.exists() and not self._stopping.is_set():
            if time.monotonic() - written > 0.5:
                self._keep()
                written = time.monotonic()
            await asyncio.sleep(PACE_S)

    async def _pace(self) -> None:
        cfg = self._config
        begin = time.monotonic_ns()
        wall_ns = self._clock_ns() // 1000 * 1000
        self._start_ns = wall_ns if cfg.original_start_ns is None else cfg.original_start_ns
        self._started = True
        end_ns = None if cfg.duration_s is None else int(cfg.duration_s * 1e9)
        kept = begin
        self._keep()
        while not self._stopping.is_set():
            since = time.monotonic_ns() - begin
            if end_ns is not None:
                since = min(since, end_ns)
            until = int(since * cfg.speed)
            await self.hand_over(self._line.step(until))
            self._now_ns = until
            if end_ns is not None and since >= end_ns:
                break
            if self._line.end_ns is not None and until >= self._line.end_ns:
                break
            if cfg.stop_when is not None and cfg.stop_when.exists():
                break
            if time.monotonic_ns() - kept > KEEP_EVERY_S * 1e9:
                self._keep()
                kept = time.monotonic_ns()
            try:
                await asyncio.wait_for(self._stopping.wait(), PACE_S)
            except TimeoutError:
                pass

    async def hand_over(self, out: Emission) -> None:
        """Give the samples of one step to their servers, then count them."""
        speed = 1.0 if self._config.original_start_ns is not None else self._config.speed
        times = source_times(out.time_ns, self._start_ns, speed)
        accepted = np.ones(len(out), np.bool_)
        for text in out.texts:
            when = int(source_times(np.array([text.time_ns], np.int64), self._start_ns, speed)[0])
            signal = self._line.signals[text.signal]
            if signal.road == "opcua" and self._opcua is not None:
                await self._opcua.write_text(text.signal, text.value, when)
            elif signal.road == "mqtt" and self._mqtt is not None:
                self._mqtt.publish(signal, [(when, text.value, SIMULATED)], retain=True)
        by_topic: dict[int, list[int]] = {}
        for row in range(len(out)):
            index = int(out.signal[row])
            if self._line.signals[index].road == "opcua":
                if self._opcua is not None:
                    await self._opcua.write(index, float(out.value[row]), int(out.status[row]), int(times[row]))
                else:
                    accepted[row] = False
            else:
                by_topic.setdefault(index, []).append(row)
        for index, rows in by_topic.items():
            if self._mqtt is None:
                accepted[rows] = False
                continue
            for at in range(0, len(rows), LIST_MAX):
                part = rows[at:at + LIST_MAX]
                # Samples refused by a full queue were sent all the same as far as the plant is concerned:
                # they stay in sent.csv, and sim.json says how many never reached the broker.
                self._mqtt.publish(self._line.signals[index],
                                   [(int(times[r]), float(out.value[r]), int(out.status[r])) for r in part])
        self.ledger.add(times[accepted], out.signal[accepted], out.value[accepted], out.status[accepted])

    def state(self) -> dict[str, object]:
        """What sim.json shows: progress, subscribed variables, samples not yet acknowledged and never sent, and where material went."""
        return {
            "simulated": True,
            "started": self._started,
            "ended": self._ended,
            "start_ns": self._start_ns,
            "line_s": round(self._now_ns / 1e9, 3),
            "samples": self.ledger.total,
            "opcua_variables": self._opcua.variables if self._opcua is not None else 0,
            "opcua_subscribed": self._opcua.subscribed() if self._opcua is not None else 0,
            "mqtt_connected": self._mqtt.connected if self._mqtt is not None else False,
            "mqtt_pending": self._mqtt.pending if self._mqtt is not None else 0,
            "mqtt_not_sent": self._mqtt.not_sent if self._mqtt is not None else 0,
            **({"material": self._line.account()} if isinstance(self._line, Accounted) else {}),
        }

    def _keep(self) -> None:
        folder = self._config.keep
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "sent.csv", self.ledger.text())
        write_atomically(folder / "truth.jsonl",
                         truth_lines(self._line.truth(), self._start_ns, self._config.speed, self._now_ns / 1e9))
        write_atomically(folder / "sim.json", json.dumps(self.state(), indent=1) + "\n")
