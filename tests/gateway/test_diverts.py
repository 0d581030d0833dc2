import httpx
import pytest

from gateway.console.app import create_app
from gateway.diverts import Steps, diverters, ledger
from tests.gateway.console.plant import Plant

S = 1_000_000_000
T0 = 1_760_000_000 * S
KEY = "e1:cm1/divert"


class Told:
    """What the tags of a diverter said: {output: [(second, value)]}."""

    def __init__(self, **tags):
        self.tags = {f"{KEY}.{name}": rows for name, rows in tags.items()}

    def __call__(self, key, from_ns, to_ns, points):
        rows = [(T0 + round(t * S), v) for t, v in self.tags.get(key, []) if from_ns <= T0 + round(t * S) < to_ns]
        return {"time_ns": [t for t, _ in rows], "last": [v for _, v in rows]}


LIFE = Told(
    divert_request=[(0, 1.0), (60, 0.0), (200, 1.0), (260, 0.0)],
    reason=[(0, 32.0), (60, 0.0), (195, 1.0), (220, 5.0), (260, 0.0)],
    diverted_kg=[(0, 0.0), (60, 0.33), (200, 0.33), (205, 0.34), (260, 0.65)],
    accepted_kg=[(0, 0.0), (100, 0.22), (200, 0.77), (260, 0.78), (300, 1.0)],
    against_kg=[(0, 0.0), (210, 0.01)],
)


def test_the_ledger_has_each_span_with_its_reasons_and_masses():
    found = ledger(LIFE, KEY, T0 - S, T0 + 400 * S)
    columns = ("request", "reason", "accepted_kg", "diverted_kg")
    spans = [((s["from_ns"] - T0) // S, (s["to_ns"] - T0) // S, *(s[c] for c in columns)) for s in found["spans"]]
    assert spans == [(0, 60, True, 32, 0.0, 0.33), (60, 200, False, 0, 0.77, 0.0), (200, 260, True, 5, 0.01, 0.32), (260, 300, False, 0, 0.22, 0.0)]
    assert (found["accepted_kg"], found["diverted_kg"], found["against_kg"]) == (1.0, 0.65, 0.01)
    assert found["told_ns"] == T0 + 300 * S


def test_what_held_before_a_span_holds_at_its_beginning():
    found = ledger(LIFE, KEY, T0 + 100 * S, T0 + 210 * S)
    assert [(s["request"], (s["from_ns"] - T0) // S) for s in found["spans"]] == [(False, 100), (True, 200)]
    assert [s["to_ns"] for s in found["spans"]] == [T0 + 200 * S, T0 + 210 * S]
    assert found["spans"][0]["accepted_kg"] == pytest.approx(0.55)
    assert found["spans"][1]["reason"] == 1


def test_parts_of_a_span_add_up_to_the_whole():
    parts = [ledger(LIFE, KEY, T0 + a * S, T0 + b * S) for a, b in ((0, 100), (100, 205), (205, 400))]
    whole = ledger(LIFE, KEY, T0, T0 + 400 * S)
    for account in ("accepted_kg", "diverted_kg", "against_kg"):
        assert sum(p[account] for p in parts) == pytest.approx(whole[account])


def test_a_counter_that_began_anew_is_counted_from_0():
    steps = Steps(Told(accepted_kg=[(0, 1.0), (10, 3.0), (20, 0.5), (30, 1.5)]), f"{KEY}.accepted_kg", T0, T0 + 60 * S)
    assert steps.grown(T0, T0 + 60 * S) == pytest.approx(2.0 + 0.5 + 1.0)


@pytest.mark.parametrize("span", [(0, 0), (5, 1), (0, 40 * 86_400)])
def test_a_span_that_cannot_be_is_refused(span):
    with pytest.raises(ValueError, match="at most 31 days"):
        ledger(LIFE, KEY, T0 + span[0] * S, T0 + span[1] * S)


def test_only_diverters_of_an_edge_are_diverters():
    tags = {"e1:cm1/divert.divert_request": "divert:0123", "e1:x.divert_request": "", "e1:y": "divert:1"}
    assert diverters([{"key": key, "model": model} for key, model in tags.items()]) == ["e1:cm1/divert"]


async def test_the_routes_answer_rows_csv_and_problems():
    transport = httpx.ASGITransport(create_app(Plant(diverting=True), timezone="UTC"))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        await answered(client)


async def answered(client):
    (key,) = (await client.get("/api/v1/diverters")).json()["diverters"]
    row = (await client.get("/api/v1/diverts", params={"diverter": key})).json()
    assert {s["request"] for s in row["spans"]} == {True, False}
    told = await client.get("/api/v1/diverts", params={"diverter": key, "format": "csv"})
    assert told.text.startswith("\ufeffdiverter,from_ns,from_utc")
    assert told.text.count("\r\n") == len(row["spans"]) + 1
    assert (await client.get("/api/v1/diverts", params={"diverter": "e1:none"})).status_code == 404
    assert (await client.get("/api/v1/diverts", params={"diverter": key, "from": "1", "to": "1"})).status_code == 422
