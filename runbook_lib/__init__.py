"""The database migration runbook: what its notebooks call."""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
"""Optional in jsonschema, which nbformat imports: it builds 38 grammars, 1.5 s of each command and
kernel, for a check of addresses that no notebook is asked for. None is how Python says that a
module is not to be had.
"""
