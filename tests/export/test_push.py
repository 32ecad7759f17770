"""The folder goes to the hub only when asked twice, with a token that is printed nowhere."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import huggingface_hub
import pytest
from rich.console import Console

from boresight.core.errors import UserError
from boresight.export.push import Push, plan_push, push_folder

SECRET = "hf_secretsecretsecret"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("card")
    (tmp_path / "model.safetensors").write_bytes(b"0" * 2_500_000)
    return tmp_path


def test_a_dry_run_lists_the_files_and_sends_nothing(folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", None)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    console = Console(record=True, width=300)
    folder = folder.rename(folder.with_name("my model"))
    push_folder(folder, plan_push("org/name", dry_run=True), console)
    printed = console.export_text()
    assert "README.md (0.0 MB)" in printed and "model.safetensors (2.5 MB)" in printed
    assert "Nothing was sent" in printed and f"`hf upload --private org/name '{folder}'`" in printed
    assert SECRET not in printed


def test_what_is_missing_is_said_before_anything_is_written(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", " ")
    with pytest.raises(UserError, match="set HF_TOKEN"):
        plan_push("org/name", dry_run=False)
    for name in ("name", "org/name/more", "../name", "org/na me", "org/", "https://huggingface.co/org/name"):
        with pytest.raises(UserError, match="write it as ORG/NAME"):
            plan_push(name, dry_run=True)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert plan_push("org/name", dry_run=False) == Push("org/name", SECRET)
    assert SECRET not in repr(Push("org/name", SECRET))


def test_the_folder_goes_in_one_commit_to_a_private_repository(folder, monkeypatch):
    calls = []

    class Hub:
        def __init__(self, token):
            calls.append(token)

        def create_repo(self, repository, **options):
            calls.append((repository, options))
            return f"https://hub/{repository}"

        def upload_folder(self, **options):
            calls.append((options["repo_id"], options["folder_path"]))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    console = Console(record=True, width=300)
    push_folder(folder, Push("org/name", SECRET), console)
    assert calls == [SECRET, ("org/name", {"private": True, "exist_ok": True}), ("org/name", folder)]
    assert console.export_text().strip() == "pushed: https://hub/org/name (2 files)"


def test_a_hub_that_refuses_is_one_sentence_without_the_token(folder, monkeypatch):
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(403)
            body = f'{{"error": "no right to write, {self.headers["Authorization"]}"}}'.encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    real = huggingface_hub.HfApi
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda token: real(endpoint=address, token=token))
        with pytest.raises(UserError, match=r"the hub did not take org/name: .*403") as error:
            push_folder(folder, Push("org/name", SECRET), Console(quiet=True))
        server.shutdown()
        thread.join()
    assert SECRET not in str(error.value) and "\n" not in str(error.value)
