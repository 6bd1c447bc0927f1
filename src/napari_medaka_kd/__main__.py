"""``python -m napari_medaka_kd``: the command line, also as the task of a window."""

from napari_medaka_kd.background import attend, own_folder


def main() -> None:
    """Run the command line; as a task, when its turn has come, and before anything heavy is imported."""
    folder = own_folder()
    if folder is None:
        run()
    else:
        with attend(folder):
            run()


def run() -> None:
    from napari_medaka_kd.cli import app

    app(prog_name="medaka-kd")


if __name__ == "__main__":
    main()
