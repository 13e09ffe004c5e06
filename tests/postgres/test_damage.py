"""A backup that was damaged: every damage is found, in every compression, before anything is
restored from it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.demo.embedded import Server
from runbook_lib.errors import CheckError, UsageError
from runbook_lib.postgres import dump
from runbook_lib.postgres.backup import Backup, load, verify_hashes
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.restore import restore
from runbook_lib.postgres.tools import COMPRESSIONS, Tools, tools

NAME = "runbook/test/damage"
RICH = (Path(__file__).parent / "rich.sql").read_text()
SEVENTEEN = Path(__file__).resolve().parents[2] / ".servers" / "17" / "bin"
NOWHERE = Target("nowhere.invalid", 1, "", "nothing")
"""A restore that went as far as to ask the server would fail otherwise than by its checks."""


@pytest.fixture(scope="module")
def seventeen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Tools]]:
    """A rich database of PostgreSQL 17, whose programs write every compression."""
    if not (SEVENTEEN / "postgres").exists():
        pytest.skip("PostgreSQL 17 is not here: `make servers` fetches it")
    server = Server(tmp_path_factory.mktemp("seventeen"), {"fsync": "off"}, SEVENTEEN).start()
    target = Target.parse(server.url())
    with Database(target) as db:
        db.execute(RICH)
    yield target, tools(target, SEVENTEEN)
    server.stop("immediate")


@pytest.fixture(scope="module", params=[*COMPRESSIONS, "none"])
def packed(
    request: pytest.FixtureRequest,
    source: Target,
    programs: Tools,
    tmp_path_factory: pytest.TempPathFactory,
) -> Backup:
    """A backup in each compression, to be damaged and mended again; from another server where
    the first one's tools do not write it.
    """
    written = request.param in (*programs.compressions, "none")
    target, able = (source, programs) if written else request.getfixturevalue("seventeen")
    return dump.make(
        target, tmp_path_factory.mktemp("packed") / "b", NAME, tools=able, compression=request.param
    )


def refused(made: Backup, programs: Tools) -> str:
    """What a restore of the backup says, which touches nothing."""
    with pytest.raises((CheckError, UsageError)) as caught:
        restore(load(made.folder), NOWHERE, NAME, tools=programs)
    return caught.value.message


def flipped(good: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(good))
    return good[:place] + bytes([good[place] ^ 1 << chance.randrange(8)]) + good[place + 1 :]


def test_every_flipped_bit_is_found(packed: Backup, programs: Tools) -> None:
    chance = random.Random(7)
    files = sorted(
        path for path in packed.folder.rglob("*") if path.is_file() and path.stat().st_size
    )
    for _ in range(50):
        path = chance.choice(files)
        good = path.read_bytes()
        path.write_bytes(flipped(good, chance))
        said = refused(packed, programs)
        assert path.name in said or path.name == "manifest.json"
        path.write_bytes(good)
    assert verify_hashes(packed).passed


def test_files_cut_emptied_deleted_replaced_or_added_are_found(
    packed: Backup, programs: Tools
) -> None:
    first, second = sorted(
        (packed.folder / "dump").glob("*.dat*"), key=lambda path: -path.stat().st_size
    )[:2]
    good, other, foreign = (
        first.read_bytes(),
        second.read_bytes(),
        packed.folder / "dump" / "9999.dat",
    )
    damages = {
        f"{first.name} has {len(good) - 1} instead of": lambda: first.write_bytes(good[:-1]),
        f"{first.name} has {len(good) // 2} instead of": lambda: first.write_bytes(
            good[: len(good) // 2]
        ),
        f"{first.name} has 0 instead of": lambda: first.write_bytes(b""),
        f"{first.name} has {len(other)} instead of": lambda: first.write_bytes(other),
        f"{first.name} is missing": first.unlink,
        foreign.name: lambda: foreign.write_bytes(good),
    }
    for said, damage in damages.items():
        damage()
        assert said in refused(packed, programs)
        first.write_bytes(good)
        foreign.unlink(missing_ok=True)
    assert verify_hashes(packed).passed


def test_what_cannot_be_read_is_found(made: Backup, programs: Tools) -> None:
    path = made.folder / "globals.sql"
    path.unlink()
    path.symlink_to(made.folder / "nothing")
    assert "globals.sql is missing" in refused(made, programs)
    path.unlink()
    path.mkdir()
    assert "globals.sql cannot be read: Is a directory" in refused(made, programs)


def test_every_flipped_bit_of_the_manifest_is_found(made: Backup, programs: Tools) -> None:
    chance, path = random.Random(8), made.folder / "manifest.json"
    good = path.read_bytes()
    for _ in range(50):
        path.write_bytes(flipped(good, chance))
        assert "manifest" in refused(made, programs)
    for place in [
        place for place in range(len(good)) if good[place : place + 2] == rb"\u"
    ]:  # a digit of it in capitals means the same
        path.write_bytes(
            good[:place]
            + good[place : place + 6].upper().replace(rb"\U", rb"\u")
            + good[place + 6 :]
        )
        assert path.read_bytes() == good or "manifest" in refused(made, programs)


@pytest.mark.parametrize("old", ['"rows": 201', '"jobs": 2', '"globals_missing": ""', '"bytes": '])
def test_an_edited_manifest_is_found(made: Backup, programs: Tools, old: str) -> None:
    path = made.folder / "manifest.json"
    path.write_text(path.read_text().replace(old, old[:-1] + "1" + old[-1], 1))
    assert "manifest" in refused(made, programs)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 1}', "\0"])
def test_a_manifest_that_says_nothing_is_damaged(made: Backup, programs: Tools, text: str) -> None:
    (made.folder / "manifest.json").write_text(text)
    assert "is damaged" in refused(made, programs)


def test_a_backup_put_together_from_two_is_found(
    made: Backup, source: Target, programs: Tools, tmp_path: Path
) -> None:
    other = dump.make(source, tmp_path / "other", NAME, tools=programs)
    shutil.copy(other.folder / "manifest.json", made.folder / "manifest.json")
    assert "was altered" in refused(
        made, programs
    )  # globals.sql at the least: pg_dumpall puts a word of its own into each
