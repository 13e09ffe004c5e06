"""Signs a seal with an SSH key, and checks such a signature.

`ssh-keygen -Y`, whose keys engineers already have.

The formats are OpenSSH's (ssh-keygen(1), "ALLOWED SIGNERS"): the signature stands beside the file
as `<file>.sig`, and a file of allowed signers says whose key is whose.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from runbook_lib import process
from runbook_lib.errors import ToolError

NAMESPACE = "database-migration-runbook"
"""What the signatures are for: one made for mail or git is not accepted for a seal."""
SUFFIX = ".sig"
_ALONE = {"SSH_ASKPASS_REQUIRE": "never"}
_TIMEOUT_S = 30


@dataclass(frozen=True)
class Signature:
    """Whose signature a file bears.

    Args:
        signer: the principal that the allowed signers name for the key; empty if there is none.
        wrong: why the signature does not hold; empty if it does, or could not be checked.
        could_not_check: why nothing can be said; empty if something can.
    """

    signer: str = ""
    wrong: str = ""
    could_not_check: str = ""


def sign(file: Path, key: Path) -> Path:
    """Sign a file, beside it.

    Args:
        file: what is signed.
        key: a private key without a passphrase, or a public key whose private half `ssh-agent`
            holds.

    Returns:
        the signature's file.

    Raises:
        ToolError: ssh-keygen is missing or could not sign.
    """
    made = file.with_name(file.name + SUFFIX)
    made.unlink(missing_ok=True)
    process.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(file)],
        env=_ALONE,
        timeout_s=_TIMEOUT_S,
        remedy="`environment.signing_key` names a private key without a passphrase, or a public "
        "key whose private half ssh-agent holds",
    )
    return made


def check(file: Path, allowed_signers: Path | None) -> Signature:
    """Check the signature beside a file against the allowed signers.

    Args:
        file: what was signed.
        allowed_signers: whose key is whose; without it a signature says nothing of anybody.
    """
    made = file.with_name(file.name + SUFFIX)
    if not made.exists():
        return Signature(wrong="it is not signed" if allowed_signers else "")
    if allowed_signers is None:
        return Signature(
            could_not_check="it is signed; `--allowed-signers FILE` tells whose signature that is"
        )
    if not allowed_signers.exists():
        return Signature(could_not_check=f"there is no file of allowed signers: {allowed_signers}")
    try:
        return _signed_by(file, made, allowed_signers)
    except ToolError as error:
        return Signature(could_not_check=error.message)


def _signed_by(file: Path, made: Path, allowed_signers: Path) -> Signature:
    found = _ssh_keygen("find-principals", "-s", made, "-f", allowed_signers)
    if found.status:
        return Signature(wrong="the key that signed it is not among the allowed signers")
    signer = found.output.splitlines()[0].strip()
    held = _ssh_keygen(
        "verify", "-f", allowed_signers, "-I", signer, "-s", made, standard_input=file
    )
    if held.status:
        return Signature(signer, wrong=f"the signature of {signer} is not of this seal")
    return Signature(signer)


def _ssh_keygen(
    verb: str, *arguments: str | Path, standard_input: Path | None = None
) -> process.Completed:
    """Ask ssh-keygen; its status is the answer, unless it cannot be started (127)."""
    command = shlex.join(["ssh-keygen", "-Y", verb, "-n", NAMESPACE, *map(str, arguments)])
    if standard_input:
        command += f" < {shlex.quote(str(standard_input))}"
    done = process.run(command, env=_ALONE, timeout_s=_TIMEOUT_S, check=False)
    if done.status == 127:
        raise ToolError("ssh-keygen is not installed here", "install OpenSSH's client")
    return done
