"""The operator's commands."""

import pytest

from runbook_lib.errors import ToolError
from runbook_lib.service import deploy


def test_a_command_runs_in_its_folder_with_its_variables(tmp_path):
    lines = []
    done = deploy.run("pwd; echo $PORT", cwd=tmp_path, env={"PORT": "3000"}, on_line=lines.append)
    assert done.status == 0 and done.output == f"{tmp_path}\n3000"
    assert lines[1] == "#"  # what an operator's command prints is told masked


def test_a_failing_command_says_what_to_do():
    with pytest.raises(ToolError, match="the application may be down"):
        deploy.run("echo starting; exit 7")


def test_a_hanging_command_is_ended():
    with pytest.raises(ToolError, match="was ended after 0.2 s"):
        deploy.run("sleep 30", timeout_s=0.2)
