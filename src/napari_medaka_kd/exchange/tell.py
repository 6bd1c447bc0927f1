"""What the person at napari is told while a file is opened or saved."""

from __future__ import annotations


def warn(sentences: str) -> None:
    """Show that something is not quite as it should be."""
    from napari.utils.notifications import show_warning

    show_warning(sentences)


def inform(sentences: str) -> None:
    """Show what was done, where that is not what one might expect."""
    from napari.utils.notifications import show_info

    show_info(sentences)
