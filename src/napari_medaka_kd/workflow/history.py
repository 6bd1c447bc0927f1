"""History: all that was ever said in a project, out to a file and in from one."""

from __future__ import annotations

import io
from collections import defaultdict
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.review import Verdict, VerdictLog, read_verdicts, take_in, verify_chain
from napari_medaka_kd.review.written import is_csv, read_written, write_verdicts
from napari_medaka_kd.volumes.atomic import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.project import Project


def export_verdicts(project: Project, file: Path) -> int:
    """Write every verdict, also those taken back, into a new CSV or JSON file; returns how many.

    Raises
    ------
    UserError
        If the name ends in neither, there is such a file, or a log is damaged.
    """
    as_csv = is_csv(file)
    if file.exists():
        raise UserError(f"There is a file {str(file)!r}.", "Choose another name; nothing is written over.")
    if not file.parent.is_dir():
        raise UserError(f"There is no folder {str(file.parent)!r}.", "Make it first.")
    text = io.StringIO(newline="")
    count = write_verdicts(text, read_verdicts(project.review_folder), project.schema, as_csv)
    # Spreadsheets take a file for UTF-8 by the mark at its beginning.
    replace_file(file, text.getvalue().encode("utf-8-sig" if as_csv else "utf-8"))
    return count


def import_verdicts(project: Project, file: Path) -> tuple[int, int]:
    """Add the verdicts of a CSV or JSON file to the project, as they are; those that it has already are left out.

    They go into a log of their own beside that of each reviewer, ``<reviewer>+imported.sqlite``, and count by their
    times. Nothing is written if any row is wrong.

    Returns
    -------
    How many were added, and how many were known.

    Raises
    ------
    UserError
        If the file cannot be read, or naming the first row that is no verdict on this project.
    """
    read = tuple(dict.fromkeys((verdict, verdict.gesture) for verdict in read_written(file, project.schema)))
    known = {(verdict, verdict.gesture) for verdict in read_verdicts(project.review_folder)} if read else set()
    fresh = [verdict for verdict, gesture in read if (verdict, gesture) not in known]
    _require(project, fresh, file)
    logs: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in fresh:
        logs[verdict.reviewer].append(verdict)
    added = sum(take_in(VerdictLog(project.review_folder, name), said) for name, said in sorted(logs.items()))
    return added, len(read) - added


def check_logs(project: Project) -> dict[str, int]:
    """Every row of every log checked against the chain of hashes: rows by file name.

    Raises
    ------
    UserError
        Naming the first row that is not what was written.
    """
    return {path.name: verify_chain(path) for path in sorted(project.review_folder.glob("[!.]*.sqlite"))}


def _require(project: Project, verdicts: list[Verdict], file: Path) -> None:
    cases = {case.id for case in project.cases}
    for verdict in verdicts:
        if verdict.item.case not in cases:
            raise UserError(
                f"{file.name!r} speaks of an animal {verdict.item.case!r} that the project does not have.",
                "Add it, or take those rows out: nothing was imported.",
            )
        VerdictLog(project.review_folder, verdict.reviewer)  # refuses what cannot be a file's name
