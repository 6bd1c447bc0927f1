"""What each of several processes plays under torchrun: ``several.py <folder> <turn>…``; it keeps what it ends in.

In the folder there is a project ``boxes``, in which the command line trains a teacher with these turns of knobs.
"""

import sys
from pathlib import Path

import toy
from safetensors.torch import save_file

from napari_medaka_kd import processes
from napari_medaka_kd.cli import app
from napari_medaka_kd.distil.metrics import STOP
from napari_medaka_kd.job import drain

STEPS, KINDS = 4, ("supervise", "self_training", "mutual")
MORE = {"accumulate": 2, "average": 0.5}

if __name__ == "__main__":
    folder, own = Path(sys.argv[1]), processes.number()
    ended = {}
    for kind in KINDS:
        for progress in (stopped := toy.KINDS[kind](folder / kind, STEPS, 2, **MORE)[1]):
            if progress.done == 3:  # and again from 2
                stopped.close()
                break
        ended[kind], job = toy.KINDS[kind](folder / kind, STEPS, 2, **MORE)
        assert next(job).done == 2
        drain(job)
    ended["stopped"], job = toy.teach(folder / "stopped", 100, 100, **MORE)
    steps = []
    for progress in job:
        steps.append(progress.done)
        if processes.first() and progress.done == 3:
            (folder / "stopped" / STOP).touch()
    (folder / f"steps-{own}").write_text(str(max(steps)))
    for kind, network in ended.items():
        save_file({name: each.contiguous() for name, each in network.state_dict().items()}, folder / f"{kind}-{own}")
    turns = [word for turn in sys.argv[2:] for word in ("--set", turn)]
    app(["train", str(folder / "boxes"), "--name", "shared", "--json", *turns], standalone_mode=False)
