"""Account for writes: what anybody but the migration wrote since the backup.

No moment is left out.

Three instants are known by content, each with the transactions that were finished by then: the
backup, the state before the migration, and now. From the first to the second every difference is
somebody's write. From the second to the third it is, too, unless the plan declares it. Where the
plan writes a table itself, its content cannot tell who did it; then the counters must account for
every row, and the transactions of these rows be the migration's: those that made what the plan
declares, or exactly as many as the statements that landed and wrote rows there in the rehearsal.
Where the server lets its log be read, that tells whose they are, of deleted rows and of dropped
tables, too. What none of this settles is in doubt, and doubt is never taken for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from runbook_lib.gate import plan_hash
from runbook_lib.phases import declared
from runbook_lib.phases.backup import load_backup
from runbook_lib.phases.base import Phase
from runbook_lib.phases.declared import Judged, Verdict
from runbook_lib.phases.landed import Landed
from runbook_lib.postgres import catalog, wal, writers
from runbook_lib.postgres.catalog import Catalog, Change
from runbook_lib.postgres.comparison import Compared, Outcome
from runbook_lib.postgres.snapshot import Snapshot
from runbook_lib.postgres.writers import Counters, Written
from runbook_lib.prisma.declared import Declared

SCHEMA = "the schema"
"""What a change of the catalogue is counted under."""
EVERYTHING = "everything"
"""What is in doubt where nothing can be told of a span at all."""
_NOTHING: dict[str, Any] = {"changes": [], "rows": {}, "tables": [], "unclear": []}


@dataclass(frozen=True)
class Span:
    """What others wrote in a span of time.

    Args:
        lost: table, sequence, large objects, setting or schema → what was written, in words.
        doubt: the same → why it cannot be told whether anything was.
        own: the transactions that are known to be the migration's, where something was lost or is
            in doubt.
    """

    lost: Mapping[str, str] = field(default_factory=dict)
    doubt: Mapping[str, str] = field(default_factory=dict)
    own: tuple[int, ...] = ()


@dataclass(frozen=True)
class Moment:
    """A database as it is at one instant: first what was counted until then, then what it holds.

    A write in between is in the content and counted as later: never the other way round.
    """

    counters: Counters
    content: Snapshot
    objects: Catalog


def moment(phase: Phase, before: Snapshot) -> Moment:
    """The live database now, in a form that can be compared with an earlier snapshot."""
    counters = writers.counters(phase.db)
    content = declared.taken_again(before, phase.target, phase.application_name)
    return Moment(counters, content, catalog.read(phase.db))


def earlier(phase: Phase, later: Moment | None = None) -> Span:
    """From the backup to the state before the migration.

    To `later` where that state was never taken.
    """
    made, stored = load_backup(phase), phase.run.read_evidence("before.snapshot", missing=None)
    if stored is not None:
        content = Snapshot.from_dict(stored)
        objects = Catalog.from_dict(phase.run.read_evidence("before.catalog"))
        counters = _counters(phase, "before")
    elif later is not None:
        content, objects, counters = later.content, later.objects, later.counters
    else:
        return Span({}, {EVERYTHING: "what was written since the backup was not looked at"})
    counted = _counted(_counters(phase, "backup"), counters)
    found = made.snapshot.compare(content)
    items = [item for item in (*found.differing, *found.facts) if not declared.of_prisma(item.name)]
    lost, doubt = {}, {}
    for item in items:
        if item.outcome is not Outcome.NOT_COMPARED:
            lost[item.name] = _said(item, counted)
        elif why := _not_compared(item, counted):
            doubt[item.name] = why
    changes = catalog.difference(made.catalog(), objects).changes
    return Span(lost | _schema(changes), doubt)


def since(phase: Phase, now: Moment, landed: Landed, begun: bool) -> Span:
    """From the state before the migration until now, without what the plan declares.

    Args:
        landed: what of the migration is in the database.
        begun: whether the migration has begun: until then it has written nothing.
    """
    before = Snapshot.from_dict(phase.run.read_evidence("before.snapshot"))
    plan = phase.run.read_evidence("plan", missing={}).get("declared", {}) if begun else {}
    objects = Catalog.from_dict(phase.run.read_evidence("before.catalog"))
    strange = _strange(phase, catalog.difference(objects, now.objects).changes, plan)
    counted = _counted(_counters(phase, "before"), now.counters)
    judge = _Judge(phase, before, now, counted, landed, certain=not strange)
    lost, doubt = _schema(strange), {}
    unchanged = _unchanged(before, now.content)
    for item in declared.compare(before, now.content, plan).items:
        if declared.of_prisma(item.found.name) or item.found.name in unchanged:
            continue
        if item.verdict is Verdict.UNDECLARED:
            lost[item.found.name] = _said(item.found, counted)
        elif why := judge.doubt(item):
            doubt[item.found.name] = why
    own = tuple(sorted(judge.seen | judge.definers)) if begun and (lost or doubt) else ()
    return Span(lost, doubt, own)


def _unchanged(before: Snapshot, now: Snapshot) -> frozenset[str]:
    """The tables whose content is the same in every column, the declared ones too.

    Whoever wrote there left nothing to lose.

    An UPDATE that failed is counted by the server although its rows were never there.
    """
    return frozenset(
        item.name
        for item in before.compare(now).content
        if item.outcome is Outcome.IDENTICAL and not item.why
    )


@dataclass(frozen=True)
class _Judge:
    """Whether others may have written what is as the plan declares.

    Args:
        certain: whether every change of the schema is the migration's: then who made one is the
            migration.
    """

    phase: Phase
    before: Snapshot
    now: Moment
    counted: Mapping[str, Written] | None
    landed: Landed
    certain: bool

    def doubt(self, item: Judged) -> str:
        """Why it cannot be told; empty where nobody else wrote."""
        found = item.found
        if item.verdict is Verdict.BLIND:
            return _not_compared(found, self.counted)
        whole = found.outcome in (Outcome.EXCLUDED, Outcome.AHEAD) or (
            found.outcome is Outcome.IDENTICAL and not found.why
        )
        if whole or found.kind != "table":
            return ""
        why = self._counted_out(found)
        return why if why and not self._logged(found) else ""

    def _counted_out(self, found: Compared) -> str:
        """Why content and counters do not tell that nobody but the migration wrote a table."""
        if found.outcome is Outcome.MISSING:
            return "the migration removed it; what others wrote to it before is not known"
        if self.counted is None:
            return (
                "the server's counters began anew since then, or there are none from before; the "
                "migration changes this table"
            )
        return self._own(found, self.counted.get(found.name, Written()))

    def _logged(self, found: Compared) -> bool:
        """Whether the server's log shows that all who wrote a table are the migration."""
        log = self.log
        if log is None or found.name in log.unlogged:
            return False
        own = self.definers | self.seen
        wrote = log.tables.get(found.name, frozenset())
        renewed = (
            log.tables.get(wal.CLASSES, frozenset())
            if found.outcome is Outcome.MISSING
            else frozenset()
        )
        as_many = not wrote & self.definers and len(wrote) == self._expected(found.name)
        return not (log.elsewhere | renewed) - own and (not wrote - own or as_many)

    @cached_property
    def log(self) -> wal.Log | None:
        """What the server's log says since the state before; `None` where it cannot be read."""
        then = self.phase.run.read_evidence("before.files", missing=None)
        if then is None:
            return None
        db = self.phase.db
        return wal.written(
            db,
            wal.Files.from_dict(then),
            wal.files(db),
            self.before.lsn,
            db.value("SELECT pg_current_wal_flush_lsn()::text"),
        )

    def _own(self, found: Compared, counted: Written) -> str:
        """Why the rows that were written cannot be shown to be the migration's own, all of them."""
        if not counted and (found.before or 0) == (found.after or 0):
            return ""
        told = f"by the counters {counted or 'nothing'}, the migration's own among them"
        if counted.deleted or (found.after or 0) != (found.before or 0) + counted.inserted:
            return f"what the migration did not write cannot be told apart: {told}"
        rows = writers.rows_since(self.phase.db, found.name, self.before.transactions)
        if sum(rows.values()) != counted.inserted + counted.updated:
            return f"what the migration did not write cannot be told apart: {told}"
        strangers = rows.keys() - self.definers - self.seen
        as_many = not rows.keys() & self.definers and len(rows) == self._expected(found.name)
        if not strangers or as_many:
            return ""
        many = sum(rows[xid] for xid in strangers)
        return (
            f"{many} rows were written by transactions that are not known to be the migration's; "
            f"{told}"
        )

    @cached_property
    def definers(self) -> frozenset[int]:
        """The transactions that made what the plan declares."""
        return (
            writers.of_definitions(self.phase.db, self.before.transactions)
            if self.certain
            else frozenset()
        )

    @cached_property
    def seen(self) -> frozenset[int]:
        """The transactions in which the migration was seen at work."""
        return frozenset(self.phase.run.read_evidence("migrate.transactions", missing=()))

    def _expected(self, table: str) -> int:
        """Return how many transactions of the migration wrote rows of a table.

        Each statement commits alone: those count that landed and wrote rows in the rehearsal of
        this plan; 0 if that is not known.
        """
        promise = self.phase.run.read_evidence("promise", missing={})
        review = self.phase.run.read_evidence("plan.review", missing={})
        if promise.get("plan") != plan_hash(self.phase.run) or "statements" not in review:
            return 0
        rehearsed = self.phase.run.read_evidence("rehearsal", missing={})
        wrote = {
            (one["file"], one["line"], one["kind"])
            for one in rehearsed.get("statements", ())
            if one.get("rows")
        }
        own = [one for one in review["statements"] if self._landed(one)]
        if any(one["transaction"] for one in own):
            return 0
        return sum(
            (one["file"], one["line"], one["kind"]) in wrote
            for one in own
            if any(rows["table"] == table for rows in one["rows"])
        )

    def _landed(self, statement: Mapping[str, Any]) -> bool:
        replayed = self.landed.replayed
        if statement["file"] in self.landed.files:
            return True
        return bool(
            replayed
            and replayed.landed
            and (statement["file"] == replayed.file and statement["statement"] <= replayed.landed)
        )


def _counters(phase: Phase, name: str) -> Counters | None:
    stored = phase.run.read_evidence(f"{name}.counters", missing=None)
    return None if stored is None else Counters.from_dict(stored)


def _counted(then: Counters | None, now: Counters | None) -> Mapping[str, Written] | None:
    return then.until(now) if then and now else None


def _not_compared(found: Compared, counted: Mapping[str, Written] | None) -> str:
    """Why it is not known of something whose content could not be compared.

    Empty where the counters say that nobody wrote it.
    """
    name = writers.LARGE_OBJECTS if found.kind == "large objects" else found.name
    if counted is not None and name not in counted and found.before == found.after:
        return ""
    return f"not compared: {found.why}"


def _strange(
    phase: Phase, changes: tuple[Change, ...], plan: Mapping[str, Any]
) -> tuple[Change, ...]:
    """The changes of the schema that neither plan nor rehearsal knows."""
    said = Declared.from_dict({**_NOTHING, **plan})
    promised = phase.run.read_evidence("promise", missing={}).get("difference", {}) if plan else {}
    known = {(one["kind"], one["name"], one["action"]) for one in promised.get("changes", ())}
    return tuple(
        one
        for one in changes
        if (one.kind, one.name, one.action) not in known
        and not said.covers(one.kind, one.name, one.action, one.before, one.after)
        and not declared.of_prisma(one.name)
    )


def _schema(changes: tuple[Change, ...]) -> dict[str, str]:
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return {SCHEMA: "; ".join(map(_short, changes[:3])) + more} if changes else {}


def _short(change: Change) -> str:
    return f"{change.kind} {change.name} {change.action}"


def _said(found: Compared, counted: Mapping[str, Written] | None) -> str:
    return "; ".join(_words(found, counted))


def _words(found: Compared, counted: Mapping[str, Written] | None) -> Iterator[str]:
    if found.outcome is Outcome.ROWS:
        yield f"{found.after - found.before:+,} rows".replace(",", " ")
    else:
        yield found.outcome.value + (f" ({found.why})" if found.why else "")
    if counted and found.kind == "table" and found.name in counted:
        yield f"by the counters {counted[found.name]}"
