"What a running notebook's client does with outputs: limits, secrets, displays that are updated or cleared"

import asyncio
from types import SimpleNamespace

import nbformat
import nbformat.v4 as made
import papermill
import pytest
from nbclient import NotebookClient

from nbs_lib.runner.engine import Limits, _Watch, blank, last_lines, secrets_in

SECRET = "s3cret-Pass99/x"


class Client(_Watch, NotebookClient):
    "A client that is told messages instead of running a kernel"

    def __init__(self, **limits: object):
        self.cell = made.new_code_cell("")
        super().__init__(made.new_notebook(cells=[self.cell]))
        self.km = SimpleNamespace(shutdown_kernel=lambda now: None)
        self.limits, self.clear_before_next_output = Limits(**limits), False
        self.reset_execution_trackers()

    def tell(self, kind: str, display_id: str | None = None, **content: object) -> None:
        if display_id:
            content["transient"] = {"display_id": display_id}
        if "data" in content:
            content.setdefault("metadata", {})
        head = {"msg_type": kind, "header": {"msg_type": kind}, "parent_header": {"msg_id": "1"}}
        self.process_message({**head, "content": content}, self.cell, 0)

    def say(self, text: str, name: str = "stdout") -> None:
        self.tell("stream", name=name, text=text)

    def show(self, text: str, kind: str = "display_data", display_id: str | None = None) -> None:
        self.tell(kind, display_id, data={"text/plain": text})

    @property
    def said(self) -> str:
        return "".join(str(o.get("text") or o.get("data") or o.get("traceback")) for o in self.cell.outputs)


def test_an_error_is_kept_when_much_was_printed():
    client = Client(kept=100)
    client.say("x" * 1000)
    client.tell("error", ename="ValueError", evalue="y\n" * 1_000_000, traceback=["y" * 1_000_000 + "\nwhy"])
    error = client.cell.outputs[-1]
    assert error.traceback[0].endswith("\nwhy") and len(error.traceback[0]) < 5000
    assert error.evalue.startswith("y\n") and len(error.evalue) < 200_000


def test_a_progress_display_that_is_cleared_and_what_follows_are_kept():
    client = Client(kept=1000)
    for i in range(40):
        client.tell("clear_output", wait=True)
        client.show(f"epoch {i}" + " " * 500)
    client.say("score 0.93")
    assert "epoch 39" in client.said and "epoch 38" not in client.said and "score 0.93" in client.said
    assert "left out" not in client.said and not client._stopped


def test_a_clear_that_waits_is_carried_out_before_the_note():
    client = Client(kept=1000)
    client.say("first")
    client.tell("clear_output", wait=True)
    client.say("second" + "x" * 2000)
    client.say("third")
    assert "first" not in client.said and client.said.startswith("second") and "left out" in client.said
    assert "third" not in client.said


def test_clearing_does_not_get_around_the_limit_of_a_flood():
    client = Client(kept=1000, flood=10_000)
    for _ in range(30):
        client.tell("clear_output", wait=False)
        client.say("x" * 500)
    assert client._stopped.kind == "output limit"


def test_an_update_is_counted_and_cut():
    client = Client(kept=1000, flood=100_000)
    client.show("one", display_id="d")
    for i in range(100):
        client.show(f"step {i}" + " " * 500, "update_display_data", "d")
    assert "step 99" in client.said, "what an update replaces counts no more"
    client.show("x" * 5000, "update_display_data", "d")
    assert "xxx" not in client.said and "left out" in client.said
    client.show("back", "update_display_data", "d")
    assert "back" in client.said and not client._stopped
    client.show("x" * 100_000, "update_display_data", "d")
    assert client._stopped.kind == "output limit"


@pytest.mark.parametrize(
    "tell",
    [
        lambda c: c.say("dsn:\n" + SECRET),
        lambda c: c.say(SECRET + "_ro"),
        lambda c: (c.say("dsn " + SECRET[:6]), c.say(SECRET[6:])),
        lambda c: c.show(repr("dsn:\n" + SECRET)),
        lambda c: c.show("postgres://me:s3cret-Pass99%2Fx@host"),
        lambda c: c.tell("error", ename="E", evalue="a\n" + SECRET, traceback=["a\n" + SECRET]),
        lambda c: (c.show("x", display_id="d"), c.show(SECRET, "update_display_data", "d")),
        lambda c: c.tell("display_data", data={"application/json": {"a": [{SECRET: 1}]}}),
        lambda c: c.tell("display_data", data={"text/plain": "x"}, metadata={"note": SECRET}),
        lambda c: c.tell("comm_open", comm_id="1", target_name="x", data={"state": {"value": SECRET}}),
    ],
)
def test_a_secret_is_found_wherever_it_stands(tell):
    client = Client(secrets={"PASS": SECRET})
    tell(client)
    assert client._stopped.kind == "secret" and "PASS" in str(client._stopped)
    assert SECRET not in str(client.nb) and SECRET[6:] not in client.said and client.widget_state == {}


def test_a_short_secret_is_a_word_of_its_own():
    client = Client(secrets={"NAME": "post", "KIND": "data"})
    for text in ("postgresql ", "x" * 40 + "h", "post", "poster"):
        client.say(text)
    client.show("postgres")
    assert not client._stopped
    client.say("\npost\n")
    assert client._stopped


def test_a_secret_in_pieces_does_not_come_back_as_a_line():
    cell = {"outputs": [{"output_type": "stream", "text": t} for t in ("a\npw: s3cret", "-Pass99/x\n")]}
    assert last_lines(cell, secrets={"PASS": SECRET}) == ["a", "pw: •••"]
    many = "-----BEGIN\nabc\n-----END"
    assert blank(f"key={many}!", {"KEY": many}) == "key=•••!"
    assert secrets_in(blank(f"{SECRET} {SECRET!r}", {"P": SECRET}), {"P": SECRET}) == []


def test_the_kernel_is_ended_when_a_secret_is_shown():
    ended = []

    async def shutdown(now: bool) -> None:
        ended.append(now)

    async def run() -> None:
        client = Client(secrets={"PASS": SECRET})
        client.km.shutdown_kernel = lambda now: shutdown(now)
        client.say(SECRET)
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert ended == [True]


def test_a_notebook_is_saved_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    cells = [made.new_code_cell(f"x = {i}; print(x)") for i in range(40)] + [made.new_code_cell("1 / 0")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(made.new_notebook(cells=cells, metadata=kernel), tmp_path / "many.ipynb")
    writes, real = [], papermill.engines.write_ipynb
    monkeypatch.setattr(
        papermill.engines, "write_ipynb", lambda nb, path: (writes.append(path), real(nb, path))
    )
    with pytest.raises(papermill.PapermillExecutionError):
        papermill.execute_notebook(
            str(tmp_path / "many.ipynb"), str(tmp_path / "out.ipynb"), engine_name="nbs", progress_bar=False
        )
    done = nbformat.read(tmp_path / "out.ipynb", 4)
    assert len(writes) < 8, "twice for each cell would be 82"
    outputs = [o for c in done.cells for o in c.get("outputs", []) if o["output_type"] == "stream"]
    said = "".join(o["text"] for o in outputs)  # a busy kernel may send a line in two pieces
    assert said.split() == [str(i) for i in range(40)]
    assert any("ZeroDivisionError" in str(c.get("outputs")) for c in done.cells)
