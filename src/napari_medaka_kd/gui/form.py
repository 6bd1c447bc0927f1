"""Form: any of our settings as fields, with their titles, meanings and limits; groups fold."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.fields import FieldInfo

_MANY = 2**31 - 1  # Qt's largest whole number
_DECIMALS = 6


@dataclass(frozen=True)
class Field:
    """A widget, and how its value is read and set."""

    widget: QWidget
    read: Callable[[], Any]
    show: Callable[[Any], None]


class SettingsForm(QWidget):
    """A form of one settings class; emits ``changed`` when a person turns a knob.

    A knob without a title is not shown and keeps its value, as does the group named ``without``.

    Attributes
    ----------
    base
        What was shown before a person turned anything.
    """

    changed = Signal()

    def __init__(self, settings: Settings, parent: QWidget | None = None, without: str = "") -> None:
        super().__init__(parent)
        self._without = without
        self._kind = type(settings)
        self.base: Any = settings
        self._hidden: dict[str, Any] = {}
        self._as_shown: dict[str, Any] = {}  # by knob, what its field said before a person turned it
        self.fields: dict[str, Field] = {}
        self.groups: dict[str, SettingsForm] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._rows = QFormLayout()
        self._rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self._rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._column.addLayout(self._rows)
        for name, info in self._kind.model_fields.items():
            self._add(name, info, getattr(settings, name))
        self.setValue(settings)

    @property
    def value(self) -> Any:
        """The settings as they stand in the form.

        Raises
        ------
        UserError
            If a knob cannot be turned that far.
        """
        try:
            values = {name: field.read() for name, field in self.fields.items()}
            values |= {name: group.value for name, group in self.groups.items()}
            return self._kind.model_validate(self._hidden | values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            title = self._kind.model_fields[name].title or name
            raise UserError(
                f"{title!r} cannot be {first.get('input')!r}: {first['msg']}.", "Choose another."
            ) from error

    def setValue(self, settings: Settings) -> None:  # noqa: N802  Qt's manner
        """Show ``settings``, without telling anyone."""
        self.rebase(settings, everywhere=True)

    def rebase(self, settings: Settings, everywhere: bool = False) -> None:
        """Show ``settings``, but leave alone what a person turned, whether or not it can be read."""
        self.base = settings
        self.blockSignals(True)
        for name, field in self.fields.items():
            if everywhere or field.read() == self._as_shown[name]:
                field.show(getattr(settings, name))
                self._as_shown[name] = field.read()
        for name, group in self.groups.items():
            group.rebase(getattr(settings, name), everywhere)
        self._hidden = {name: getattr(settings, name) for name in self._hidden}
        self.blockSignals(False)

    def _add(self, name: str, info: FieldInfo, value: Any) -> None:
        if name == self._without:
            self._hidden[name] = value
            return
        if isinstance(value, Settings):
            self._add_group(name, info.title or name.replace("_", " ").capitalize(), value)
            return
        field = self._field(info) if info.title else None
        if field is None:
            self._hidden[name] = value
            return
        field.widget.setToolTip(info.description or "")
        field.widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._rows.addRow(info.title, field.widget)
        self._rows.labelForField(field.widget).setToolTip(info.description or "")
        self.fields[name] = field

    def _add_group(self, name: str, title: str, settings: Settings) -> None:
        group = SettingsForm(settings)
        group.changed.connect(self.changed)
        fold = QCollapsible(title)
        fold.addWidget(group)
        fold.collapse(animate=False)
        self._column.addWidget(fold)
        self.groups[name] = group

    def _field(self, info: FieldInfo) -> Field | None:
        """The widget for a knob, by its type; ``None`` for a kind of which there is no form."""
        kind, optional = _without_none(info.annotation)
        if isinstance(kind, type) and issubclass(kind, Settings):
            return None
        if get_origin(kind) is Literal:
            field = _choice(get_args(kind), self.changed)
        elif kind is bool:
            field = _switch(self.changed)
        elif kind in (int, float):
            field = _number(kind, info, self.changed)
        elif get_origin(kind) is tuple:
            field = _several(get_args(kind)[0], self.changed)
        else:
            field = _words(self.changed)
        return _optional(field, self.changed) if optional else field


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """(the type, whether None is allowed as well)."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0], len(kinds) < len(get_args(annotation))
    return annotation, False


def _choice(values: tuple[Any, ...], changed: Any) -> Field:
    box = QComboBox()
    for value in values:
        box.addItem(str(value), value)
    box.currentIndexChanged.connect(lambda _: changed.emit())
    return Field(box, box.currentData, lambda value: box.setCurrentIndex(box.findData(value)))


def _switch(changed: Any) -> Field:
    box = QCheckBox()
    box.toggled.connect(lambda _: changed.emit())
    return Field(box, box.isChecked, box.setChecked)


def _number(kind: type, info: FieldInfo, changed: Any) -> Field:
    low, high = -float(_MANY), float(_MANY)  # type: Any, Any
    for limit in info.metadata:
        low = limit.ge if isinstance(limit, Ge) else limit.gt if isinstance(limit, Gt) else low
        high = limit.le if isinstance(limit, Le) else limit.lt if isinstance(limit, Lt) else high
    box: Any = QSpinBox() if kind is int else QDoubleSpinBox()
    if kind is float:
        box.setDecimals(_DECIMALS)
    box.setRange(kind(low), kind(high))
    box.setStepType(box.StepType.AdaptiveDecimalStepType)
    box.setKeyboardTracking(False)
    box.valueChanged.connect(lambda _: changed.emit())
    return Field(box, box.value, box.setValue)


def _several(kind: type, changed: Any) -> Field:
    """Values of one kind as words with commas in between."""
    line = QLineEdit()
    line.editingFinished.connect(changed.emit)

    def read() -> list[str]:
        words = [word.strip() for word in line.text().replace("×", ",").split(",") if word.strip()]
        return [str(word.lower() in ("true", "yes", "1")) for word in words] if kind is bool else words

    def show(values: Any) -> None:
        line.setText(", ".join(("yes" if v else "no") if kind is bool else str(v) for v in values or ()))

    return Field(line, read, show)


def _words(changed: Any) -> Field:
    line = QLineEdit()
    line.editingFinished.connect(changed.emit)
    return Field(line, line.text, lambda value: line.setText(str(value)))


def _optional(inner: Field, changed: Any) -> Field:
    """A field that is only read while its box is ticked."""
    both, tick = QWidget(), QCheckBox()
    line = QHBoxLayout(both)
    line.setContentsMargins(0, 0, 0, 0)
    line.addWidget(tick)
    line.addWidget(inner.widget, 1)
    inner.widget.setEnabled(False)
    tick.toggled.connect(inner.widget.setEnabled)
    tick.toggled.connect(lambda _: changed.emit())

    def show(value: Any) -> None:
        tick.setChecked(value is not None)
        if value is not None:
            inner.show(value)

    return Field(both, lambda: inner.read() if tick.isChecked() else None, show)
