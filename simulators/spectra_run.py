"""A simulated spectrometer in real time: paced, put on its roads, and written down with the truth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from simulators.plant import PACE_S, PlantConfig
from simulators.sent import truth_lines, write_atomically
from simulators.servers.spectra import AdiServer, SpectraPublisher
from simulators.servers.spectra_files import drop
from simulators.spectrometer import Spectrometer, Spectrum

HEADER = "time_ns,counter,status,api,moisture,faults"


class SpectraRun:
    """One instrument with its roads; `run` returns when the duration is over or `stop` was called."""

    def __init__(
        self, instrument: Spectrometer, config: PlantConfig, opcua: AdiServer | None, mqtt: SpectraPublisher | None, folder: Path | None,
        clock_ns: Callable[[], int] = time.time_ns, form: str = "csv",
    ) -> None:  # fmt: skip
        self._instrument, self._config, self._opcua, self._mqtt, self._folder = instrument, config, opcua, mqtt, folder
        self._clock_ns, self._form = clock_ns, form
        self._stopping = asyncio.Event()
        self._start_ns = self._now_ns = 0
        self.rows: list[str] = []
        """What `spectra.csv` holds: every acquisition with its true content."""

    def stop(self) -> None:
        """Ask it to end after the acquisition in hand; safe in a signal handler of the event loop."""
        self._stopping.set()

    async def run(self) -> None:
        """Measure until the end. Raises OSError when the port is taken."""
        if self._opcua is not None:
            await self._opcua.start()
        if self._mqtt is not None:
            self._mqtt.start()
        try:
            await self._pace()
        finally:
            self._keep()
            if self._opcua is not None:
                await self._opcua.stop()
            if self._mqtt is not None:
                await asyncio.to_thread(self._mqtt.stop)

    async def _pace(self) -> None:
        cfg = self._config
        begin = time.monotonic_ns()
        self._start_ns = self._clock_ns() // 1000 * 1000
        while not self._stopping.is_set() and not (cfg.stop_when is not None and cfg.stop_when.exists()):
            since = time.monotonic_ns() - begin
            self._now_ns = int(since * cfg.speed)
            found = self._instrument.step(self._now_ns)
            for spectrum in found:
                await self.hand_over(spectrum)
            if found:
                self._keep()
            if cfg.duration_s is not None and since >= cfg.duration_s * 1e9:
                return
            try:
                await asyncio.wait_for(self._stopping.wait(), PACE_S)
            except TimeoutError:
                pass

    async def hand_over(self, spectrum: Spectrum) -> None:
        """Put one acquisition on every road, and write down its truth."""
        time_ns = (self._start_ns + int(spectrum.time_ns / self._config.speed)) // 1000 * 1000
        if self._opcua is not None:
            await self._opcua.publish(spectrum, time_ns)
        if self._mqtt is not None:
            self._mqtt.publish(spectrum, time_ns)
        if self._folder is not None:
            await asyncio.to_thread(drop, self._folder, spectrum, time_ns, self._form)
        faults = " ".join(spectrum.faults)
        self.rows.append(f"{time_ns},{spectrum.counter},{spectrum.status},{spectrum.api:.6f},{spectrum.moisture:.6f},{faults}")

    def _keep(self) -> None:
        if self._config.keep is None:
            return
        self._config.keep.mkdir(parents=True, exist_ok=True)
        write_atomically(self._config.keep / "spectra.csv", "\n".join([HEADER, *self.rows]) + "\n")
        truth = truth_lines(self._instrument.truth(), self._start_ns, self._config.speed, self._now_ns / 1e9)
        write_atomically(self._config.keep / "truth.jsonl", truth)
