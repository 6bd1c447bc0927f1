"""What a spreadsheet is given, and what Python's own reader makes of it."""

import csv
import math

from napari_medaka_kd.csv_table import as_csv


def test_what_is_unknown_is_an_empty_cell_and_all_else_is_read_back():
    table = as_csv(["name", "volume"], [("liver, left", 1.5), ('the "heart"', math.nan), ("gut\nend", None)])
    rows = list(csv.reader(table.decode().splitlines(keepends=True)))
    assert rows == [["name", "volume"], ["liver, left", "1.5"], ['the "heart"', ""], ["gut\nend", ""]]


def test_a_table_without_rows_has_its_heads():
    assert as_csv(["organ", "iou"], []) == b"organ,iou\n"
