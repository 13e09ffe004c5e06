"""A night on which much went wrong, as the archive holds it: gates that waited, a guard that
stepped in, a failure, the way back.

Names are as long as PostgreSQL lets them be, numbers reach from nothing to much, and some things
could not be measured.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from nbformat import NotebookNode
from pages import code, notebook, prints, raises, shows

from runbook_lib.check import Checks, Status, check, unknown
from runbook_lib.show import charts, lanes
from runbook_lib.table import Table

LONG = "Überweisungsträgerempfängerverzeichniseintragsänderungshist"
"""63 bytes, the longest name that PostgreSQL has."""
FILES = ["20261012090000_appointment_channel", f"20261102100000_drop_the_columns_of_{LONG}"]
REASON = (
    "`prisma migrate deploy` failed in "
    + FILES[1]
    + ' with status 1: P3018: 23505: could not create unique index "User_email_lower_key"\n'
    "Cause: duplicate values"
)
GUARD = {
    "victims": 3,
    "waiting": 4,
    "longest_wait_s": 2.4,
    "allowed": {"victims": 2, "wait_s": 2.0},
    "who": ["api"],
    "cancelled": [4711],
    "ended": [],
    "seconds": 0.1,
}
CHANGES = [
    'enum public."AppointmentChannel" added (labels IN_PERSON, VIDEO, PHONE)',
    f'table public."{LONG}" added (kind table)',
    *(f'column public."{LONG}"."column_{n}" added (text, not null)' for n in range(24)),
    'materialized view public."report" changed: definition',
]
CONTENT = {
    "finding": "1 of 3 changed",
    "items": [
        {
            "name": 'public."Patient"',
            "kind": "table",
            "before": 1_000_000,
            "after": 1_000_000,
            "found": "identical",
            "declared": "",
            "verdict": "identical",
        },
        {
            "name": f'public."{LONG}"',
            "kind": "table",
            "before": None,
            "after": 800,
            "found": "added",
            "declared": "added",
            "verdict": "as declared",
        },
    ],
}


def at(minute: float) -> str:
    """A moment of the night, as run.json has it."""
    return f"2026-11-24T{2 + int(minute) // 60:02}:{int(minute) % 60:02}:{minute % 1 * 60:06.3f}Z"


def phase(
    name: str,
    file: str,
    start: float,
    end: float | None,
    status: str = "succeeded",
    reason: str = "",
    checks: tuple[str, ...] = (),
) -> dict[str, Any]:
    """An entry of run.json."""
    return {
        "phase": name,
        "status": status,
        "started_at": at(start),
        "ended_at": None if end is None else at(end),
        "notebook": file,
        "failed_checks": list(checks),
        "reason": reason,
    }


PHASES = [
    phase("plan", "10_plan.ipynb", 1, 3),
    phase("announce", "50_announce.ipynb", 20, 21),
    phase("migrate", "60_migrate.ipynb", 22, 23, "waiting", "the gate `migrate` needs a person"),
    phase("migrate", "60_migrate-2.ipynb", 40, 46, "failed", REASON, ("migrate.duplicates",)),
    phase("rollback", "90_rollback.ipynb", 47, 52),
]
RUN = {
    "run_id": f"20261124T020000Z_production_{FILES[1]}"[:120],
    "environment": "production",
    "production": True,
    "engineer": "Dana Fictitious",
    "target": {
        "host": "db-primary.eu-central-1.internal.example",
        "port": 5432,
        "database": "clinic",
        "system_identifier": "7711657233673979197",
        "server_version": "18.1",
    },
    "migrations": FILES,
    "outcome": "rolled_back",
    "started_at": at(0),
    "ended_at": at(53),
    "duration_s": 3180.0,
    "downtime_s": 1890.0,
    "phases": PHASES,
}


def line(minute: float, what: str, who: str = "dana", **facts: Any) -> dict[str, Any]:
    """A line of the journal."""
    return {"at": at(minute), "who": who, "host": "runner", "what": what, **facts}


JOURNAL = [
    line(0, "run started", engineer="Dana Fictitious", environment="production", migrations=FILES),
    line(1, "phase begun", phase="plan"),
    line(1.5, "checks", phase="plan", checks="drift", passed=0, failed=[], unknown=["plan.drift"]),
    line(2, "gate waits", gate="plan", could_not_check=["plan.drift"]),
    line(
        2.4,
        "gate approved",
        "Rita Reviewer",
        gate="plan",
        reason="Drift was looked at by hand: none. The dropped columns are saved first.",
    ),
    line(
        2.5, "gate passed", gate="plan", approved_by="Rita Reviewer", could_not_check=["plan.drift"]
    ),
    line(3, "phase ended", phase="plan", outcome="succeeded", reason=""),
    line(20, "phase begun", phase="announce"),
    line(20.1, "maintenance on", phase="announce"),
    line(
        20.2,
        "notified",
        audience="stakeholders",
        occasion="start",
        title="Database maintenance starts",
        deliveries=[{"to": "slack://•••", "delivered": False, "why": "error=503"}],
    ),
    line(
        20.3,
        "not notified",
        audience="operations",
        occasion="start",
        title="It starts",
        why="`notify.audiences.operations` is not set",
    ),
    line(21, "phase ended", phase="announce", outcome="succeeded", reason=""),
    line(22, "phase begun", phase="migrate"),
    line(22.5, "gate waits", gate="migrate", could_not_check=[]),
    line(
        23,
        "phase ended",
        phase="migrate",
        outcome="waiting",
        reason="the gate `migrate` needs a person",
    ),
    line(
        30, "gate refused", "Omar Operator", gate="migrate", reason="the nightly import still runs"
    ),
    line(39, "gate approved", "Rita Reviewer", gate="migrate", reason="the import is done"),
    line(40, "phase begun", phase="migrate"),
    line(40.2, "gate passed", gate="migrate", approved_by="Rita Reviewer", could_not_check=[]),
    line(40.4, "restore point made", name="runbook_20261124T020000Z", lsn="0/6159858"),
    line(41, "migration begun", files=FILES, forecast_s=42.0),
    line(
        42,
        "attempt ended",
        number=1,
        outcome="failed",
        guard=[GUARD],
        most_victims=4,
        longest_wait_s=2.4,
    ),
    line(42.5, "resolved", files=[FILES[1]], marked="rolled back"),
    line(
        45,
        "attempt ended",
        number=2,
        outcome="failed",
        guard=[],
        not_again="only what the guard cancelled is tried again",
    ),
    line(
        45.5,
        "migration failed",
        code="P3018",
        file=FILES[1],
        cause="duplicate values",
        now="applied: " + FILES[0],
    ),
    line(46, "phase ended", phase="migrate", outcome="failed", reason=REASON),
    line(46.1, "escalated", phase="migrate", severity="2", failures=["migration failed"]),
    line(
        46.2,
        "escalation step",
        phase="migrate",
        severity="2",
        after=0,
        told=["Database Administrator", "On-Call Engineer"],
        tried=2,
        delivered=2,
    ),
    line(46.5, "acknowledged", note="on it"),
    line(47, "phase begun", phase="rollback"),
    line(47.5, "rollback decided", way="restore", by="rollback.automatic"),
    line(51, "maintenance off", phase="rollback", verified=True),
    line(51.5, "rolled back", way="restore", reasons=["the migration failed"]),
    line(51.6, "lessons learned", text="Look for duplicates before an index is made unique."),
    line(52, "phase ended", phase="rollback", outcome="succeeded", reason=""),
    line(53, "run ended", outcome="rolled_back"),
    line(60, "a thing nobody foresaw", depth=3),
]
APPROVALS = [
    {
        "run": "r",
        "gate": gate,
        "plan": "9f2c77aa01bb23de9f2c77aa01bb23de",
        "person": who,
        "at": at(minute),
        "reason": reason,
        "decision": decision,
        **more,
    }
    for gate, minute, who, decision, reason, more in (
        (
            "plan",
            2.4,
            "Rita Reviewer",
            "approved",
            JOURNAL[4]["reason"],
            {"accepts": [f"{FILES[1]}: drop-column"], "could_not_check": ["plan.drift"]},
        ),
        ("migrate", 30, "Omar Operator", "refused", "the nightly import still runs", {}),
        ("migrate", 39, "Rita Reviewer", "approved", "the import is done", {}),
    )
]


def timed(cell: NotebookNode, id: str, start: float, end: float) -> NotebookNode:
    """A cell that was at work then, as papermill writes it down."""
    cell.metadata["papermill"] = {
        "start_time": at(start).replace("Z", "+00:00"),
        "end_time": at(end).replace("Z", "+00:00"),
    }
    cell.id = id
    return cell


def named(*cells: Any) -> NotebookNode:
    """A notebook whose code cells keep their ids."""
    ids = {number: cell.id for number, cell in enumerate(cells) if not isinstance(cell, str)}
    made = notebook(*cells)
    for number, id in ids.items():
        made.cells[number].id = id
    return made


@cache
def extremes() -> dict[str, Any]:
    """Each chart with what is hardest to draw: one thing, sixty, the longest names, nothing,
    what is not known, what shrank.
    """
    many = [f"{LONG[:50]}_{n:02}" for n in range(60)]
    nan = float("nan")
    return {
        "pairs": charts.before_after(
            f"{LONG} grew 4 %",
            many,
            [n * 10**n if n < 9 else 10 for n in range(60)],
            [None if n % 7 == 0 else n * 11 for n in range(60)],
            "rows",
        ),
        "one-pair": charts.before_after("Nothing changed", [LONG], [0], [0], "rows"),
        "shrank": charts.before_after(
            "The database shrank", [LONG, "b"], [5.0, nan], [-3.0, 12.5], "MiB"
        ),
        "durations": charts.durations(
            "Sixty steps took 100 000 s",
            {name: 10.0 ** (n % 6) for n, name in enumerate(many)},
            {many[5]: 60.0, many[7]: 90_000.0},
        ),
        "one-duration": charts.durations("It took no time", {LONG: 0.0}, {LONG: 5.0}),
        "sizes": charts.sizes("One table holds all", {LONG: 10**13, "empty": 0, "small": 5}),
        "stalls": charts.stalls(
            "Writers stalled for 2.5 s",
            {
                name: [(x / 10, (x * n % 17) / 10) for x in range(80)]
                for n, name in enumerate(many[:7])
            },
            limit=1.0,
        ),
        "one-stall": charts.stalls("One sample", {LONG: [(0.0, 0.0)]}),
        "history": charts.history(
            [
                {
                    **RUN,
                    "started_at": at(n),
                    "duration_s": nan if n == 3 else 60.0 * n,
                    "downtime_s": None if n % 3 else 5.0 * n,
                    "outcome": "failed" if n % 9 == 5 else "succeeded",
                }
                for n in range(60)
            ]
        ),
        "one-run": charts.history([RUN]),
        "lanes": lanes.lanes(
            "Sixty locks were held",
            Table("locks", ("what",), [(name,) for name in many]),
            [
                lanes.Lane(f"AccessExclusiveLock on {name}", ((n / 10, n / 10 + 1),), n % 5 == 0)
                for n, name in enumerate(many)
            ],
            "seconds since the migration began",
        ),
    }


def notebooks() -> list[tuple[str, NotebookNode]]:
    """The executed notebooks of the night."""
    checks = Checks(
        "Drift",
        [
            check("plan.a", "every file is as it was when it was applied", True, "5 files"),
            unknown(
                "plan.drift",
                "the database is as the history says",
                "no shadow database: permission denied",
            ),
            check(
                "plan.b",
                f'"{LONG}" has no orphan',
                False,
                "217 orphans of 1 000 000 rows",
                "0",
                "look at 95_troubleshoot",
            ),
        ],
    )
    assert checks.items[1].status is Status.UNKNOWN
    wide = Table(
        "Indexes",
        ("table", "index", "definition", "bytes", "scans"),
        [
            (
                LONG,
                f"{LONG[:58]}_key",
                f'CREATE UNIQUE INDEX ON public."{LONG}" USING btree (a, b, c)',
                10**12,
                0,
            )
        ]
        * 5,
    )
    plan = named(
        "# 10 · Plan\n\nWhat is pending, see [the migration](60_migrate.ipynb#migrate-gate).",
        timed(
            code("phase.drift()", shows(html=checks._repr_html_(), plain="x")),
            "plan-drift",
            1.4,
            1.6,
        ),
        timed(
            code("phase.gate()", prints("the gate waits\n" + "a very long line " * 40 + "\n")),
            "plan-gate",
            1.9,
            2.6,
        ),
        timed(
            code("phase.pending()", shows(html=wide._repr_html_(), plain="x")),
            "plan-pending",
            2.7,
            2.8,
        ),
        *(
            timed(
                code(
                    f"phase.{name.replace('-', '_')}()", shows(html=chart._repr_html_(), plain="x")
                ),
                f"plan-{name}",
                2.8,
                2.9,
            )
            for name, chart in extremes().items()
        ),
    )
    announce = named(
        "# 50 · Announce",
        timed(
            code("phase.maintenance_on()", prints("maintenance mode is on\n")),
            "announce-on",
            20,
            20.15,
        ),
        timed(
            code("phase.tell_start()", prints("not delivered\n", "stderr")),
            "announce-tell",
            20.16,
            20.4,
        ),
    )
    gate = timed(
        code("phase.gate()", raises("ApprovalNeeded", "the gate `migrate` needs a person")),
        "migrate-gate",
        22.4,
        22.6,
    )
    migrate = named(
        "# 60 · Migrate",
        timed(code("phase.gate()", prints("open\n")), "migrate-gate", 40.1, 40.3),
        timed(
            code("phase.deploy()", raises("MigrationFailed", REASON)), "migrate-deploy", 40.9, 46
        ),
    )
    back = named(
        "# 90 · Roll back",
        timed(code("phase.go_back()", prints("restored\n")), "rollback-go-back", 47.4, 51.1),
        timed(
            code(
                "phase.record()",
                shows(
                    html=Table(
                        "Way back", ("what", "found"), [("restore", "identical")], ["good"]
                    )._repr_html_(),
                    plain="x",
                ),
            ),
            "rollback-record",
            51.2,
            51.7,
        ),
    )
    return [
        ("10_plan.ipynb", plan),
        ("50_announce.ipynb", announce),
        ("60_migrate.ipynb", named("# 60 · Migrate", gate)),
        ("60_migrate-2.ipynb", migrate),
        ("90_rollback.ipynb", back),
    ]
