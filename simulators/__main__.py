"""Command line of the simulated plant: `edge-sim`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from simulators import demo as demo_launcher
from simulators.continuous import FAST, Continuous, ContinuousSettings
from simulators.continuous_faults import LINE_FAULTS, line_faults
from simulators.faults import HALL_KINDS, KINDS, fault_from_text, hall_fault_from_text
from simulators.fleet import Fleet, FleetConfig
from simulators.hall import Hall
from simulators.plant import Plant, PlantConfig
from simulators.plc import SMALL_VALID_S, VALID_S, Plc
from simulators.press import DEMO, Press, PressSettings
from simulators.pump import KINDS as PUMP_FAULTS
from simulators.pump import RATE_HZ, WAVE_POINTS, WAVEFORM, Pump, pump_fault
from simulators.pump_run import PumpRun
from simulators.recording import RecordingError, parse_time, read_recording
from simulators.replay import Replay, unit_from_file
from simulators.sent import write_atomically
from simulators.servers.mqtt import MqttConfig, MqttPublisher
from simulators.servers.opcua import OpcUaConfig, OpcUaPlant
from simulators.servers.spectra import AdiServer, SpectraPublisher, WaveServer
from simulators.servers.spectra_files import FORMATS
from simulators.signals import Line
from simulators.spectra_run import SpectraRun
from simulators.spectrometer import KINDS as SPECTROMETER_FAULTS
from simulators.spectrometer import Spectrometer, calibration_csv, spectrometer_fault
from simulators.tags import tag_csv

app = typer.Typer(help="Simulated pharmaceutical plant with ground truth. All its data is marked simulated.",
                  no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Speed = Annotated[float, typer.Option(help="Seconds of the line per second of the clock.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random; the same seed gives the same values.")]
Duration = Annotated[float | None, typer.Option(help="Seconds after which to stop; without it until Ctrl-C.")]
OpcUaPort = Annotated[int | None, typer.Option(help="Port of the OPC UA server; 0 = no OPC UA.")]
Host = Annotated[str, typer.Option(help="Address the OPC UA server listens on.")]
Mqtt = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Broker to publish to.")]
Keep = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for sent.csv, truth.jsonl and sim.json.")]
StartWhen = Annotated[Path | None, typer.Option(metavar="FILE", help="Hold the line until this file exists.")]
StopWhen = Annotated[Path | None, typer.Option(metavar="FILE", help="End the line when this file exists.")]
Stay = Annotated[bool, typer.Option("--stay", help="When the line has ended, keep the servers open until Ctrl-C.")]
Security = Annotated[str, typer.Option(help="OPC UA security: none, basic256sha256 or both.")]
Pki = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the server's certificate, made once and kept.")]
User = Annotated[str | None, typer.Option(help="User name the OPC UA server asks for.")]
PasswordFile = Annotated[Path | None, typer.Option(metavar="FILE", help="File with the password of that user.")]

LINES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "press": ("Rotary tablet press, 36 stations, 24 tablets a second: force, weight loop, feed frame NIR, hopper, batches.", KINDS),
    "hall": ("Production hall: five motor control centres and twenty machines, 305 signals with an alarm each (configs/hall).", HALL_KINDS),
    "pump": ("Pump with motor, rolling bearing and filter: signals each second, a waveform every 10 s (MQTT, OPC UA, files).", PUMP_FAULTS),
    "nir": ("NIR spectrometer at the feed frame, 256 points every 2 s over OPC UA (ADI), MQTT and files, content known.", SPECTROMETER_FAULTS),
    "continuous": (
        "Continuous line, 20 kg/h: two loss-in-weight feeders, blender with NIR, chute, feed frame, diverter, press, PLC (configs/continuous).",
        LINE_FAULTS,
    ),
}
"""What each line is, and its faults."""


class UsageError(Exception):
    """The command line or a file it names is wrong; exit code 2."""


def _address(text: str, option: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{option}: expected HOST:PORT, found {text!r}")
    return host, int(port)


def _broker(text: str) -> MqttConfig:
    host, port = _address(text, "--mqtt")
    return MqttConfig(host=host, port=port)


def _opcua(line: Line, port: int, host: str, security: str, pki: Path | None, user: str | None,
           password_file: Path | None) -> OpcUaPlant:
    password = None if password_file is None else password_file.read_text(encoding="utf-8").strip()
    return OpcUaPlant(line.signals, OpcUaConfig(port=port, host=host, security=security, pki_dir=pki, username=user,
                                                password=password))


def _until_stopped(plant: Plant | SpectraRun, plc: Plc | None = None) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, plant.stop)
        task = asyncio.create_task(plc.run(), name="plc") if plc is not None else None
        await plant.run()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def _serve(plant: Plant, plc: Plc | None = None) -> None:
    _until_stopped(plant, plc)
    state = plant.state()
    typer.echo(f"{state['samples']} samples sent, {state['mqtt_not_sent']} refused by a full queue, "
               f"{state['mqtt_pending']} not acknowledged by the broker")


@app.command("list")
def list_lines(signals: Annotated[bool, typer.Option("--signals", help="Also list every signal.")] = False) -> None:
    """List the lines and the faults of each."""
    for name, (what, kinds) in LINES.items():
        typer.echo(f"{name}: {what}")
        for kind in kinds.values():
            typer.echo(f"  fault {kind.name}: {kind.what}")
        if signals and name != "nir":
            made: dict[str, Callable[[], Line]] = {"press": Press, "hall": Hall, "pump": Pump, "continuous": Continuous}
            for s in made[name]().signals:
                typer.echo(f"  {s.name} [{s.unit}] {s.period_s:g} s over {s.road}: {s.en}")
    typer.echo("replay FILE: a recorded CSV file over the same protocols")


@app.command()
def run(
    line: Annotated[str, typer.Argument(metavar="LINE", help="Name from `edge-sim list`.")],
    speed: Speed = 1.0,
    fault: Annotated[list[str] | None, typer.Option(metavar="NAME@T", help="NAME@SECONDS, NAME (random moment), random (all five) "
                                               "or endless.")] = None,
    seed: Seed = 1,
    duration: Duration = None,
    opcua_port: OpcUaPort = 4841,
    host: Host = "127.0.0.1",
    mqtt: Mqtt = None,
    keep: Keep = None,
    real_pace: Annotated[bool, typer.Option("--real-pace", help="Slow processes at the pace of a real press: "
                                            "weights each 10 min, 4 h batches, cleaning between them.")] = False,
    small: Annotated[bool, typer.Option("--small", help="A continuous line that is washed out in seconds instead of ten minutes.")] = False,
    plc: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Modbus TCP of the agent from which the PLC of a continuous line reads what to "
                                            "divert; without it everything is diverted.")] = None,
    start_when: StartWhen = None,
    stop_when: StopWhen = None,
    stay: Stay = False,
    security: Security = "none",
    pki: Pki = None,
    user: User = None,
    password_file: PasswordFile = None,
    tags: Annotated[Path | None, typer.Option(metavar="OUT.csv", help="Write a matching tag CSV for the agent.")] = None,
    folder: Annotated[Path | None, typer.Option(metavar="DIR", help="Of nir and pump: drop each spectrum or waveform there as a file.")] = None,
    file_format: Annotated[str, typer.Option(metavar="csv|jdx|spc", help="Of nir: what files --folder gets; csv, JCAMP-DX or SPC.")] = "csv",
    calibration: Annotated[Path | None, typer.Option(metavar="OUT.csv", help="Of nir: write 80 spectra of prepared blends with their "
                                                     "laboratory results for `edge-agent model train`, and end.")] = None,
) -> None:
    """Run a line and serve it over OPC UA and, with --mqtt, over MQTT."""
    if line not in LINES:
        raise UsageError(f"LINE: expected one of {', '.join(LINES)}, found {line!r}")
    if file_format not in FORMATS or (file_format != "csv" and (line != "nir" or folder is None)):
        raise UsageError(f"--file-format: expected one of {', '.join(FORMATS)}, of line nir and beside --folder, found {file_format!r}")
    if line == "nir":
        if calibration is not None:
            write_atomically(calibration, calibration_csv(80, seed))
            return
        instrument = Spectrometer(seed, tuple(spectrometer_fault(text) for text in fault or ()))
        adi = AdiServer(OpcUaConfig(port=opcua_port, host=host), instrument.background) if opcua_port else None
        config = PlantConfig(speed=speed, duration_s=duration, keep=keep, stop_when=stop_when)
        measuring = SpectraRun(instrument, config, adi, SpectraPublisher(_broker(mqtt)) if mqtt else None, folder, form=file_format)
        _until_stopped(measuring)
        typer.echo(f"{len(measuring.rows)} spectra")
        return
    if (folder is not None and line != "pump") or calibration is not None:
        raise UsageError("--folder: expected with the lines nir and pump only, --calibration with nir only")
    if line == "pump":
        pump = Pump(seed, tuple(pump_fault(text) for text in fault or ()))
        told = PlantConfig(speed=speed, duration_s=duration, keep=keep, start_when=start_when, stop_when=stop_when, stay=stay)
        _write_tags(tags, pump, speed, line)
        waves = WaveServer(OpcUaConfig(port=opcua_port, host=host), WAVEFORM, WAVE_POINTS, RATE_HZ) if opcua_port else None
        _serve(PumpRun(pump, told, MqttPublisher(_broker(mqtt)) if mqtt else None, folder, waves))
        return
    span = None if duration is None else duration * speed
    made: Line
    watching: Plc | None = None
    if line == "hall":
        made = Hall(seed, tuple(f for text in fault or () for f in hall_fault_from_text(text)))
    elif line == "continuous":
        settings = FAST if small else ContinuousSettings()
        made = Continuous(seed, settings, line_faults(fault or (), seed, span, settings.pace))
        if plc is not None:
            watching = Plc(made, _address(plc, "--plc"), valid_s=SMALL_VALID_S if small else VALID_S, speed=speed)
    else:
        faults = tuple(f for text in fault or () for f in fault_from_text(text, seed, span))
        made = Press(seed, PressSettings() if real_pace else DEMO, faults)
    _write_tags(tags, made, speed, line)
    plant = Plant(made, PlantConfig(speed=speed, duration_s=duration, keep=keep, start_when=start_when, stop_when=stop_when,
                                     stay=stay),
                  _opcua(made, opcua_port, host, security, pki, user, password_file) if opcua_port else None,
                  MqttPublisher(_broker(mqtt)) if mqtt else None)
    _serve(plant, watching)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, wide or long, plain or gzip.")],
    speed: Speed = 1.0,
    duration: Duration = None,
    opcua_port: OpcUaPort = None,
    host: Host = "127.0.0.1",
    mqtt: Mqtt = None,
    mqtt_tags: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Columns that go over MQTT when OPC UA "
                                                        "is served too.")] = None,
    text: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Serve a column of numbers as text.")] = None,
    unit: Annotated[str | None, typer.Option(help="Unit name before the tag names; default from the file name.")] = None,
    start_at: Annotated[str | None, typer.Option(metavar="TIME", help="Skip everything before this time.")] = None,
    max_pause: Annotated[float, typer.Option(help="Shorten longer pauses to this many recorded seconds; 0 = keep.")] = 0.0,
    original_times: Annotated[bool, typer.Option("--original-times", help="Keep the recorded times.")] = False,
    keep: Keep = None,
    start_when: StartWhen = None,
    stop_when: StopWhen = None,
    stay: Stay = False,
    tags: Annotated[Path | None, typer.Option(metavar="OUT.csv", help="Write a matching tag CSV for the agent.")] = None,
) -> None:
    """Serve a recorded CSV file over OPC UA (default), MQTT, or both."""
    if opcua_port is None:
        opcua_port = 0 if mqtt and not mqtt_tags else 4841
    recording = Replay(
        read_recording(file), unit or unit_from_file(file.name), road="opcua" if opcua_port else "mqtt",
        mqtt_tags=tuple(mqtt_tags or ()) if mqtt else (), max_pause_s=max_pause, text_columns=tuple(text or ()),
        start_ns=None if start_at is None else parse_time(start_at))
    _write_tags(tags, recording, 1.0 if original_times else speed, "press")
    config = PlantConfig(speed=speed, duration_s=duration, keep=keep, start_when=start_when, stop_when=stop_when, stay=stay,
                         original_start_ns=recording.first_ns if original_times else None)
    plant = Plant(recording, config, _opcua(recording, opcua_port, host, "none", None, None, None) if opcua_port else None,
                  MqttPublisher(_broker(mqtt)) if mqtt else None)
    _serve(plant)


def _write_tags(out: Path | None, line: Line, speed: float, area: str) -> None:
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, tag_csv(line.signals, opcua_source=f"{area}_ua", mqtt_source=f"{area}_mqtt", path=f"demo/solids/{area}-line",
                                      speed=speed))


@app.command()
def fleet(
    mqtt: Annotated[str, typer.Option(metavar="HOST:PORT", help="Broker of the gateway.")],
    edges: Annotated[int, typer.Option(min=1, help="Edges, each with a connection of its own.")] = 1000,
    tags: Annotated[int, typer.Option(min=1, help="Tags of each edge.")] = 200,
    every: Annotated[float, typer.Option(min=0.01, help="Seconds between two messages of an edge; each holds one value of every tag.")] = 1.0,
    window: Annotated[float, typer.Option(min=0.1, help="Seconds of the windows that are told beside the values.")] = 10.0,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds to send.")] = 60.0,
    site: Annotated[str, typer.Option(help="Site of the gateway.")] = "demo",
    gateway: Annotated[str, typer.Option(help="Id of the gateway whose answers count.")] = "gw1",
    seed: Seed = 1,
) -> None:
    """Many simulated edges toward one gateway, at the level of the wire format; prints what was sent and committed, as JSON.

    Exit code 1 when something was not committed.
    """
    host, _, port = mqtt.rpartition(":")
    if not host or not port.isdigit():
        raise typer.BadParameter(f"--mqtt: expected HOST:PORT, found {mqtt}")
    config = FleetConfig(host, int(port), edges, tags, every, window, duration, site, gateway, seed)
    try:
        told = Fleet(config).run()
    except OSError as error:
        typer.echo(f"edge-sim: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(told.summary()))
    raise typer.Exit(1 if told.uncommitted else 0)


@app.command()
def demo(
    duration: Duration = None,
    seed: Seed = 1,
    port: Annotated[int, typer.Option(help="Port of the console; 0 = any free one.")] = 8080,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Leave configs, stores, logs, sent.csv, truth.jsonl.")] = None,
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill agent, gateway and broker at random moments.")] = False,
    faults: Annotated[bool, typer.Option("--faults/--no-faults", help="Inject the five faults of the press.")] = True,
    json_line: Annotated[bool, typer.Option("--json", help="Print the accounts as the last line, in JSON.")] = False,
) -> None:
    """Start broker, simulated press, agent and gateway; print the address of the console; stop cleanly."""
    code = demo_launcher.launch(demo_launcher.DemoConfig(duration_s=duration, seed=seed, port=port, keep=keep, chaos=chaos,
                                                         faults=faults, json_line=json_line))
    raise typer.Exit(code)


def main() -> None:
    """Entry point: exit 0 ok, 1 failed, 2 wrong usage or file."""
    try:
        app()
    except (UsageError, RecordingError, ValueError, FileNotFoundError) as exc:
        typer.echo(f"edge-sim: {exc}", err=True)
        sys.exit(2)
    except OSError as exc:
        typer.echo(f"edge-sim: {exc}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
