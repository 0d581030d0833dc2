"""A simulated pump in real time: its signals as those of any line, its waveforms beside them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from simulators.plant import Plant, PlantConfig, source_times
from simulators.pump import TOPIC, Pump, wave_file, wave_message
from simulators.sent import write_atomically
from simulators.servers.mqtt import MqttPublisher
from simulators.servers.spectra import WaveServer
from simulators.signals import Emission


class PumpRun(Plant):
    """A plant whose line also has waveforms: over MQTT, as an array over OPC UA, and as files where a folder is given."""

    def __init__(self, pump: Pump, config: PlantConfig, mqtt: MqttPublisher | None, folder: Path | None, opcua: WaveServer | None = None) -> None:
        super().__init__(pump, config, None, mqtt)
        self._pump, self._folder, self._array = pump, folder, opcua
        self.waves = 0

    async def run(self) -> None:
        """Serve until the end; see `Plant.run`. Raises OSError when the port is taken."""
        if self._array is None:
            return await super().run()
        await self._array.start()
        try:
            await super().run()
        finally:
            await self._array.stop()

    async def hand_over(self, out: Emission) -> None:
        """Give the samples of one step, then its waveforms, to their roads."""
        await super().hand_over(out)
        for wave in self._pump.waves:
            time_ns = int(source_times(np.array([wave.time_ns], np.int64), self._start_ns, self._config.speed)[0])
            self.waves += 1
            if self._mqtt is not None:
                self._mqtt.send(TOPIC, wave_message(wave, time_ns))
            if self._array is not None:
                await self._array.publish(wave.values, self.waves, time_ns)
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                await asyncio.to_thread(write_atomically, self._folder / f"pump1_{self.waves:06d}.csv", wave_file(wave, time_ns))
