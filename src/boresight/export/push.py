"""Upload an exported folder to the Hugging Face hub; a dry run only lists the files."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from boresight.core.errors import UserError
from boresight.core.wording import plural
from boresight.llm.replies.failures import one_line, redacted

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
TOKEN = "HF_TOKEN"


@dataclass(frozen=True, slots=True)
class Push:
    """Destination of an upload.

    Attributes:
        repository: name of the repository, such as ORG/NAME.
        token: access token, which is never printed; None for a dry run.
    """

    repository: str
    token: str | None = field(repr=False)


def plan_push(repository: str, dry_run: bool) -> Push:
    """Check the repository's name and read the token from `HF_TOKEN`, before anything is written.

    Raises:
        UserError: an invalid name, or no token in the environment for an upload that is not a dry run.
    """
    if not REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        raise UserError(f"--push: {repository!r} is not a repository of the hub; write it as ORG/NAME.")
    token = None if dry_run else os.environ.get(TOKEN, "").strip()
    if token == "":
        raise UserError(f"--push: set {TOKEN} to a token that may write, or leave --no-dry-run out.")
    return Push(repository, token)


def push_folder(folder: Path, push: Push, console: Console) -> None:
    """Upload all files of `folder` in one commit; without a token (a dry run), list them.

    A repository that does not exist is created as a private one.

    Raises:
        UserError: the hub refuses the upload or cannot be reached.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if push.token is None:
        for file in files:
            size = file.stat().st_size / 1e6
            console.print(f"  {file.relative_to(folder)} ({size:,.1f} MB)", markup=False, highlight=False)
        said = (
            f"Dry run: {plural(len(files), 'file')} would go to {push.repository}, private if it is new. "
            "Nothing was sent; repeat with --no-dry-run and a new --to, or run "
            f"`hf upload --private {push.repository} {shlex.quote(str(folder))}`."
        )
        console.print(said, markup=False, highlight=False)
        return
    url = _upload(folder, push.repository, push.token)
    console.print(f"pushed: {url} ({plural(len(files), 'file')})", markup=False, highlight=False)


def _upload(folder: Path, repository: str, token: str) -> str:
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        url = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repository, commit_message="Upload by boresight")
    except Exception as error:  # the hub client's HTTP library, and so its errors, differ between versions
        reason = one_line(redacted(str(error), token)) or type(error).__name__
        raise UserError(f"--push: the hub did not take {repository}: {reason}") from None
    return str(url)
